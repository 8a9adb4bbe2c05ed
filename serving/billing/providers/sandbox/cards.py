"""The sandbox's test cards, and what a bank says of each. No other number is taken, and no number is kept."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What the bank answers to a charge."""

    paid = "paid"
    challenge = "challenge"  # the owner has to confirm first (3-D Secure)
    refused = "refused"


@dataclass(frozen=True)
class Card:
    """A test card. `present`: its owner pays on the hosted page; `absent`: the saved card is charged without them.

    `failure` is the code of a refusal; `disputed`: the owner tells the bank later that it was not them.
    """

    name: str
    number: str
    brand: str
    present: Verdict = Verdict.paid
    absent: Verdict = Verdict.paid
    failure: str = ""
    disputed: bool = False

    @property
    def label(self) -> str:
        """As its owner knows it: `Visa •••• 4242`."""
        return f"{self.brand} •••• {self.number[-4:]}"

    @property
    def grouped(self) -> str:
        return " ".join(self.number[at : at + 4] for at in range(0, len(self.number), 4))


_NO = Verdict.refused
# fmt: off
CARDS = (
    Card("good", "4242424242424242", "Visa"),
    Card("mir", "2200000000000004", "Мир"),
    Card("declined", "4000000000000002", "Visa", _NO, _NO, "card_declined"),
    Card("poor", "4000000000009995", "Visa", _NO, _NO, "insufficient_funds"),
    Card("old", "4000000000000069", "Visa", _NO, _NO, "expired_card"),
    Card("secure", "4000002500003155", "Visa", Verdict.challenge),
    Card("always_secure", "4000002760003184", "Visa", Verdict.challenge, Verdict.challenge),
    Card("later_poor", "4000000000000341", "Visa", Verdict.paid, _NO, "insufficient_funds"),
    Card("disputed", "4000000000000259", "Visa", disputed=True),
)
# fmt: on
BY_NAME = {card.name: card for card in CARDS}
_BY_NUMBER = {card.number: card for card in CARDS}


def card_of(number: str) -> Card | None:
    """The test card of a number as a person types it; None for any other, a real one included."""
    return _BY_NUMBER.get("".join(character for character in number if character not in " -\u00a0"))
