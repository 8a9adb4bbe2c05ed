"""What happens in business, as postings: debits above zero, credits below.

    charge       receivable +total | tax -tax, subscription|rental|purchase -list price, discount +what codes took off
    void         the charge, the other way round
    payment      clearing +amount  | receivable -amount
    fee          fee +fee          | clearing -fee
    credit       the charge of its lines, the other way round: the customer is owed
    refund       receivable +amount | clearing -amount
    dispute      disputed +amount | clearing -amount
    dispute_won  clearing +amount  | disputed -amount
    dispute_lost loss +amount +fee, receivable +what the customer had back already | disputed -amount, clearing -fee
    payout       bank +amount      | clearing -amount

All are pure; amounts are above zero and in minor units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from serving.billing.errors import LedgerError
from serving.billing.ledger.core import Posting, Transaction
from serving.billing.ledger.money import Money

REVENUE = {
    "plan": "subscription",
    "unused": "subscription",
    "rent": "rental",
    "buy": "purchase",
    "discount": "discount",
}


class Amounts(Protocol):
    """A line of an invoice: its amount includes the tax."""

    @property
    def kind(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def tax_minor(self) -> int: ...


class Bill(Protocol):
    """An invoice or a credit note."""

    @property
    def invoice_id(self) -> str: ...
    @property
    def customer_id(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def tax_country(self) -> str: ...
    @property
    def lines(self) -> Sequence[Amounts]: ...


def charge(invoice: Bill, at: datetime) -> Transaction:
    """What the customer owes; without postings where every line is of nothing."""
    return Transaction("charge", invoice.invoice_id, at, _bill(invoice, 1))


def void(invoice: Bill, at: datetime) -> Transaction:
    return Transaction("void", invoice.invoice_id, at, _bill(invoice, -1))


def credit(note: Bill, at: datetime) -> Transaction:
    """Revenue and tax given back to the customer's balance, by the lines of the note."""
    return Transaction("credit", note.invoice_id, at, _bill(note, -1))


def payment(payment_id: str, customer_id: str, provider: str, money: Money, at: datetime) -> Transaction:
    return _move("payment", payment_id, at, money, ("clearing", provider), ("receivable", customer_id))


def fee(source_id: str, provider: str, money: Money, at: datetime) -> Transaction:
    """What the provider kept of the payment or refund `source_id`; below zero: what it gave back."""
    return _either_way("fee", source_id, at, money, ("fee", provider), ("clearing", provider))


def refund(refund_id: str, customer_id: str, provider: str, money: Money, at: datetime) -> Transaction:
    return _move("refund", refund_id, at, money, ("receivable", customer_id), ("clearing", provider))


def dispute(dispute_id: str, provider: str, money: Money, at: datetime) -> Transaction:
    """The provider holds the amount back."""
    return _move("dispute", dispute_id, at, money, ("disputed", provider), ("clearing", provider))


def dispute_won(dispute_id: str, provider: str, money: Money, at: datetime) -> Transaction:
    return _move("dispute_won", dispute_id, at, money, ("clearing", provider), ("disputed", provider))


def dispute_lost(
    dispute_id: str, provider: str, money: Money, fee_minor: int, at: datetime, *, customer_id: str = "",
    owed_minor: int = 0,
) -> Transaction:  # fmt: skip
    """The amount is gone, and the provider's fee for it. `owed_minor` of it went to the customer's balance before, or
    never bought anything: that is owed."""
    lost = _move("dispute_lost", dispute_id, at, money, ("loss", provider), ("disputed", provider))
    if owed_minor:
        entries = [("loss", provider, money.minor - owed_minor), ("receivable", customer_id, owed_minor)]
        lost = replace(lost, postings=_postings(money.currency, [*entries, ("disputed", provider, -money.minor)]))
    if not fee_minor:
        return lost
    extra = _move(
        "dispute_lost", dispute_id, at, Money(fee_minor, money.currency), ("loss", provider), ("clearing", provider)
    )
    return replace(lost, postings=lost.postings + extra.postings)


def payout(source_id: str, provider: str, money: Money, at: datetime) -> Transaction:
    """What went to our bank; below zero: what came back from there."""
    return _either_way("payout", source_id, at, money, ("bank", provider), ("clearing", provider))


def _bill(bill: Bill, sign: int) -> tuple[Posting, ...]:
    sums: dict[str, int] = {}
    for line in bill.lines:
        ledger = REVENUE.get(line.kind)
        if ledger is None:
            raise LedgerError(f"{bill.invoice_id}: no ledger is for lines of kind {line.kind!r}")
        sums[ledger] = sums.get(ledger, 0) - (line.amount_minor - line.tax_minor)
    tax = sum(line.tax_minor for line in bill.lines)
    if tax and not bill.tax_country:
        raise LedgerError(f"{bill.invoice_id} has tax and no country that it is owed to")
    total = sum(line.amount_minor for line in bill.lines)
    entries = [("receivable", bill.customer_id, total), ("tax", bill.tax_country, -tax)]
    entries += [(ledger, "", amount) for ledger, amount in sums.items()]
    return _postings(bill.currency, ((ledger, party, sign * amount) for ledger, party, amount in entries))


def _move(
    kind: str, source: str, at: datetime, money: Money, debit: tuple[str, str], credit: tuple[str, str]
) -> Transaction:
    if money.minor <= 0:
        raise LedgerError(f"{kind} of {source}: {money.minor} {money.currency} is no amount, it must be above zero")
    return Transaction(kind, source, at, _postings(money.currency, [(*debit, money.minor), (*credit, -money.minor)]))


def _either_way(
    kind: str, source: str, at: datetime, money: Money, debit: tuple[str, str], credit: tuple[str, str]
) -> Transaction:
    if money.minor < 0:
        return _move(kind, source, at, -money, credit, debit)
    return _move(kind, source, at, money, debit, credit)


def _postings(currency: str, entries: Iterable[tuple[str, str, int]]) -> tuple[Posting, ...]:
    return tuple(Posting(ledger, party, currency, amount) for ledger, party, amount in entries if amount)
