"""What the sandbox remembers of a payment, and the pure rules of its bank."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serving.billing.ledger.money import Money, share
from serving.billing.providers.base import DisputeSeen, MethodSeen, Order, Outcome, State
from serving.billing.providers.sandbox.cards import BY_NAME, Card, Verdict
from serving.billing.providers.sandbox.faults import Faults

FEE_BP = 290  # of every payment, in hundredths of a percent; a refund does not give it back
DISPUTE_FEE_MINOR = 1_500  # of a lost one


@dataclass(frozen=True)
class Payment:
    """A row of `sandbox.payment`, with its dispute if there is one."""

    ref: str
    payment_id: str
    customer_id: str
    state: str
    amount_minor: int
    currency: str
    description: str
    language: str
    return_url: str | None
    save_method: bool
    card: str | None
    method_ref: str | None
    failure: str | None
    fee_minor: int
    refunded_minor: int
    expires_at: datetime
    disputes: Sequence[Mapping[str, Any]]

    @property
    def money(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def settled(self) -> bool:
        return self.state in ("succeeded", "failed")

    @property
    def waits_for_bank(self) -> bool:
        """Whether a card was given and its owner's bank asks whether it is really them."""
        return self.state == "action" and self.card is not None

    def is_of(self, order: Order) -> bool:
        """Whether the order is the one that this payment was made by."""
        return (self.money, self.customer_id) == (order.money, order.customer_id)

    def outcome(self, page: str | None) -> Outcome:
        """As the rest of billing sees it; `page` is the address of its page, while the buyer has to act there."""
        state = State(self.state)
        paid = state is State.succeeded
        kept = paid and self.save_method and self.method_ref and self.card
        return Outcome(
            ref=self.ref,
            state=state,
            money=self.money if paid else Money(0, self.currency),
            fee_minor=self.fee_minor,
            checkout_url=page,
            failure=self.failure,
            method=MethodSeen(self.method_ref, BY_NAME[self.card].label) if kept else None,  # pyright: ignore[reportArgumentType] - `kept` says that both are there
            refunded_minor=self.refunded_minor,
            disputes=tuple(_dispute(found) for found in self.disputes),
        )


@dataclass(frozen=True)
class Answer:
    """What the bank makes of a charge."""

    state: State
    failure: str | None = None
    fee_minor: int = 0


def answer(card: Card, money: Money, verdict: Verdict, *, declined: bool = False) -> Answer:
    """The bank's answer. `declined`: a fault refuses what would have gone well."""
    match verdict:
        case Verdict.refused:
            return Answer(State.failed, card.failure)
        case _ if declined:
            return Answer(State.failed, "card_declined")
        case Verdict.challenge:
            return Answer(State.action)
        case Verdict.paid:
            return Answer(State.succeeded, fee_minor=share(money.minor, FEE_BP, 10_000))


def hosted(order: Order) -> dict[str, Any]:
    """The row of a payment that waits for its buyer on the hosted page."""
    return _row(order, Answer(State.action), None)


def charged(order: Order, method: Mapping[str, Any] | None, faults: Faults) -> dict[str, Any]:
    """The row of a payment by a saved card, which its owner may have taken back."""
    if method is None:
        return _row(order, Answer(State.failed, "method_gone"), None)
    card = BY_NAME[method["card"]]
    said = answer(card, order.money, card.absent, declined=faults.declined(order.payment_id))
    return _row(order, said, card.name) | {"method_ref": order.method_ref}


def _row(order: Order, said: Answer, card: str | None) -> dict[str, Any]:
    return {
        "ref": token("pay"),
        "payment_id": order.payment_id,
        "customer_id": order.customer_id,
        "state": said.state.value,
        "amount_minor": order.money.minor,
        "currency": order.money.currency,
        "description": order.description,
        "language": order.language,
        "return_url": order.return_url,
        "save_method": order.save_method,
        "card": card,
        "method_ref": None,
        "failure": said.failure,
        "fee_minor": said.fee_minor,
    }


def token(kind: str) -> str:
    """A name that nobody guesses: who knows a payment's may open its page."""
    return f"sbx_{kind}_{secrets.token_urlsafe(18)}"


def _dispute(found: Mapping[str, Any]) -> DisputeSeen:
    money, state = Money(found["amount_minor"], found["currency"]), found["state"]
    fee_minor, opened = found["fee_minor"] if state == "lost" else 0, datetime.fromisoformat(found["opened_at"])
    return DisputeSeen(found["ref"], money, fee_minor, found["reason"], state, opened)
