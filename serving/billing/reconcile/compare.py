"""What a provider lists of our balance there, held against what the ledger has in `clearing`. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from serving.billing.providers.base import Movement

# The ledger's kinds as a provider would call them. A lost dispute takes a fee: the amount went when it was opened.
_KINDS = {"dispute_won": "dispute", "dispute_lost": "fee"}
_BY_PAYMENT = ("payment", "fee", "dispute")


@dataclass(frozen=True, slots=True)
class Booked:
    """A fact that moved our balance at the provider, by so much. `payment_id`: the payment that it is about."""

    kind: str
    source: str
    occurred_at: datetime
    currency: str
    amount_minor: int
    payment_id: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of our balance, told by one side. `id`: of the payment, refund, or of the movement itself."""

    kind: str
    id: str
    currency: str
    minor: int
    at: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.id, self.currency


@dataclass(frozen=True, slots=True)
class Difference:
    """What the two sides tell differently about one thing, in minor units with the sign of our balance there.

    None: that side tells nothing that the other has not got.
    """

    kind: str
    id: str
    currency: str
    here: int | None
    there: int | None

    @property
    def lacking(self) -> int:
        """What our side would have to book to agree."""
        return (self.there or 0) - (self.here or 0)

    @property
    def wrong(self) -> str:
        if self.here is None:
            return "missing here"
        return "missing there" if self.there is None else "other amount"


def there(movements: Iterable[Movement]) -> list[Entry]:
    """The provider's movements by what they are about."""
    names = ((each, each.refund_id if each.kind == "refund" else each.payment_id) for each in movements)
    return [Entry(each.kind, name or each.ref, each.money.currency, each.money.minor, each.at) for each, name in names]


def here(facts: Iterable[Booked]) -> list[Entry]:
    """The ledger's facts likewise."""
    return [
        Entry(
            kind := _KINDS.get(each.kind, each.kind),
            (each.payment_id if kind in _BY_PAYMENT else None) or each.source,
            each.currency,
            each.amount_minor,
            each.occurred_at,
        )
        for each in facts
    ]


def differences(ours: list[Entry], theirs: list[Entry], since: datetime, until: datetime) -> list[Difference]:
    """What remains when everything that both tell is taken away, of `since` <= at < `until`.

    The same amount about the same thing is one movement, whenever either side wrote it. What remains of one thing is
    added up: a fee in two parts, or a refund that came back, agrees when the sums do.
    """
    mine, their = _sums(_without(ours, theirs), since, until), _sums(_without(theirs, ours), since, until)
    return [
        Difference(*key, mine.get(key), their.get(key))
        for key in sorted({*mine, *their})
        if mine.get(key, 0) != their.get(key, 0)
    ]


def _sums(entries: Iterable[Entry], since: datetime, until: datetime) -> dict[tuple[str, str, str], int]:
    sums: dict[tuple[str, str, str], int] = {}
    for each in entries:
        if since <= each.at < until:
            sums[each.key] = sums.get(each.key, 0) + each.minor
    return sums


def _without(entries: list[Entry], others: list[Entry]) -> Iterator[Entry]:
    told = Counter((*each.key, each.minor) for each in others)
    for each in entries:
        same = (*each.key, each.minor)
        if told[same]:
            told[same] -= 1
        else:
            yield each
