"""Subscriptions that nobody was ever charged for, in the books: what the simulator, or an import, says viewers had.

Every month or year that was paid becomes an invoice, a payment by a provider named `simulated` and its fee; a payment
that failed an invoice that is void once it is given up. Ids follow from the customer and the time, so writing them
again, or later, when more is known, adds only what is new. Customers' ids are random: nothing here names a person.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from matinee.db.queries import load
from matinee.ids import content_uuid7, uuid7
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Draft, Line, finished
from serving.billing.ledger import facts
from serving.billing.ledger.core import Transaction
from serving.billing.ledger.money import Money, share

PROVIDER = "simulated"
MONTH, YEAR = timedelta(days=30), timedelta(days=365)
FEE_BP = 290  # what a provider keeps, in hundredths of a percent
ORIGINS = ("simulate", "import")
_SQL = load(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Held:
    """A period of `subscription_period`: `monthly_minor` is the price of a month without tax."""

    customer_id: str
    plan: str
    names: Mapping[str, str]
    state: str
    monthly_minor: int
    currency: str
    country: str
    opened: datetime
    closed: datetime | None


@dataclass(frozen=True, slots=True)
class TaxRate:
    country: str
    rate_bp: int
    valid: "Range[date]"


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice and when it was given up, if it was: a paid one was paid when it was issued."""

    invoice: Invoice
    void_at: datetime | None = None

    @property
    def payment_id(self) -> str:
        return _id(self.invoice, "payment")

    @property
    def fee_minor(self) -> int:
        return share(self.invoice.total_minor, FEE_BP, 10_000) if self.invoice.state == "paid" else 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was new."""

    customers: int
    invoices: int
    facts: int


def adopt(connection: psycopg.Connection, at: datetime) -> Adopted:
    """Book what simulated and imported accounts had up to now; the caller commits."""
    customers = _customers(connection)
    with connection.cursor(row_factory=class_row(Held)) as cursor:
        held = cursor.execute(_SQL["adoptable"], {"origins": list(ORIGINS), "at": at}).fetchall()
    with connection.cursor(row_factory=class_row(TaxRate)) as cursor:
        rates = cursor.execute(_SQL["tax_rates"]).fetchall()
    bills = list(plan(held, rates, at))
    return Adopted(customers, *_write(connection, bills))


def plan(held: Iterable[Held], rates: Sequence[TaxRate], at: datetime) -> Iterator[Bill]:
    """The bills of periods, in order of customer and time; nothing after `at` is known. Pure."""
    known = sorted(held, key=lambda period: (period.customer_id, period.opened))
    billed: set[str] = set()
    for period, length in zip(known, _lengths(known), strict=True):
        for start in _starts(period, length, at):
            bill = _bill(period, start, length, rates, at, first=period.customer_id not in billed)
            if bill.invoice.total_minor:
                billed.add(period.customer_id)
                yield bill


def transactions(bill: Bill) -> Iterator[Transaction]:
    """What the ledger has of a bill."""
    invoice, at = bill.invoice, bill.invoice.issued_at
    yield facts.charge(invoice, at)
    if bill.void_at:
        yield facts.void(invoice, bill.void_at)
    if invoice.state != "paid":
        return
    paid = Money(invoice.total_minor, invoice.currency)
    yield facts.payment(bill.payment_id, invoice.customer_id, PROVIDER, paid, at)
    if bill.fee_minor:
        yield facts.fee(bill.payment_id, PROVIDER, Money(bill.fee_minor, invoice.currency), at)


def _lengths(held: Sequence[Held]) -> Iterator[int]:
    """Months that are paid at once: whoever pays ten twelfths of what others pay for a plan pays by the year."""
    dearest: dict[tuple[str, str], int] = {}
    for period in held:
        key = period.plan, period.currency
        dearest[key] = max(dearest.get(key, 0), period.monthly_minor)
    for period in held:
        yield 12 if 0 < period.monthly_minor == dearest[period.plan, period.currency] * 10 // 12 else 1


def _starts(period: Held, months: int, at: datetime) -> Iterator[datetime]:
    """When something was due."""
    if period.state == "past_due":
        yield period.opened
    elif period.state == "active":
        start, end = period.opened, min(period.closed or at, at)
        while start < end:
            yield start
            start += YEAR if months == 12 else MONTH


def _bill(period: Held, start: datetime, months: int, rates: Sequence[TaxRate], at: datetime, *, first: bool) -> Bill:
    covered = Range(start, start + (YEAR if months == 12 else MONTH))
    rate = next((r.rate_bp for r in rates if r.country == period.country and start.date() in r.valid), 0)
    net = period.monthly_minor * months
    gross = net + share(net, rate, 10_000)
    line = Line("plan", gross, names=period.names, plan_id=period.plan, months=months, period=covered)
    draft = finished(
        Draft(
            "subscription", "start" if first else "renewal", period.currency, (line,),
            tax_country=period.country if rate else "", tax_bp=rate, country=period.country, period=covered,
        )
    )  # fmt: skip
    state = "paid"
    if period.state == "past_due":
        state = "void" if period.closed and period.closed <= at else "open"
    invoice = Invoice(
        invoice_id="", number="", customer_id=period.customer_id, purpose=draft.purpose, credits=None,
        subscription_id=None, title_id=None, currency=draft.currency, total_minor=draft.total_minor, discount_minor=0,
        tax_minor=sum(line.tax_minor for line in draft.lines), tax_country=draft.tax_country, tax_bp=rate,
        from_balance=0, credited_minor=0, state=state, reason=draft.reason, period=covered, language="en",
        country=period.country, issued_at=start, paid_at=start if state == "paid" else None, lines=tuple(draft.lines),
    )  # fmt: skip
    invoice_id = _id(invoice, "invoice")
    return Bill(
        replace(invoice, invoice_id=invoice_id, number=f"S-{invoice_id}"), period.closed if state == "void" else None
    )


def _id(invoice: Invoice, what: str) -> str:
    """An account has one period at a moment, so the customer and the moment name a bill."""
    return content_uuid7(int(invoice.issued_at.timestamp() * 1000), invoice.customer_id, what)


def _customers(connection: psycopg.Connection) -> int:
    missing = connection.execute(_SQL["customers_to_adopt"], {"origins": list(ORIGINS)}).fetchall()
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY customer (customer_id, account_id, created_at) FROM STDIN") as copy,
    ):
        for account_id, created_at in missing:
            copy.write_row((uuid7(), account_id, created_at))
    return len(missing)


# -- writing -----------------------------------------------------------------------------------------------------------

_INVOICE = (
    "invoice_id", "number", "customer_id", "purpose", "currency", "total_minor", "tax_minor", "tax_country", "tax_bp",
    "state", "reason", "period", "country", "issued_at", "paid_at",
)  # fmt: skip
_LINE = ("invoice_id", "line", "kind", "plan_id", "months", "period", "amount_minor", "tax_minor", "names")
_PAYMENT = (
    "payment_id", "invoice_id", "customer_id", "provider", "provider_ref", "state", "amount_minor", "currency",
    "failure", "fee_minor", "created_at", "settled_at",
)  # fmt: skip
_POSTING = ("kind", "source", "occurred_at", "line", "ledger", "party", "currency", "amount_minor")
# Statements on temporary tables: no query of a file could be prepared without them.
_TABLES = """
CREATE TEMPORARY TABLE adopted_invoice (LIKE invoice INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE adopted_line (LIKE invoice_line INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE adopted_payment (LIKE payment INCLUDING DEFAULTS) ON COMMIT DROP;
CREATE TEMPORARY TABLE adopted_posting (
    kind text, source text, occurred_at timestamptz, line smallint, ledger text, party text, currency text,
    amount_minor bigint
) ON COMMIT DROP;
"""
_VOID = """
UPDATE invoice i SET state = a.state FROM adopted_invoice a
WHERE a.invoice_id = i.invoice_id AND a.state = 'void' AND i.state = 'open'
"""
# Of facts that are new, and no others.
_POST = """
WITH opened AS (
    INSERT INTO ledger_transaction (kind, source, occurred_at)
    SELECT DISTINCT kind, source, occurred_at FROM adopted_posting ORDER BY occurred_at, source, kind
    ON CONFLICT (kind, source) DO NOTHING
    RETURNING transaction_id, kind, source
), posted AS (
    INSERT INTO posting (transaction_id, line, ledger, party, currency, amount_minor)
    SELECT transaction_id, line, ledger, party, currency, amount_minor
    FROM adopted_posting JOIN opened USING (kind, source)
)
SELECT count(*) FROM opened
"""


def _write(connection: psycopg.Connection, bills: Sequence[Bill]) -> tuple[int, int]:
    """In bulk; returns how many invoices and facts were new."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_TABLES)
        _copy(cursor, "invoice", _INVOICE, (_invoice_row(bill.invoice) for bill in bills))
        _copy(cursor, "line", _LINE, (row for bill in bills for row in _line_rows(bill.invoice)))
        _copy(cursor, "payment", _PAYMENT, (_payment_row(bill) for bill in bills))
        _copy(cursor, "posting", _POSTING, (row for bill in bills for row in _posting_rows(bill)))
        invoices = _insert(cursor, "invoice", _INVOICE, "invoice")
        cursor.execute(_VOID)
        _insert(cursor, "invoice_line", _LINE, "line")
        _insert(cursor, "payment", _PAYMENT, "payment")
        ((opened,),) = cursor.execute(_POST).fetchall()
        for name in ("invoice", "line", "payment", "posting"):
            cursor.execute(sql.SQL("DROP TABLE {}").format(_temporary(name)))
    return invoices, opened


def _temporary(name: str) -> sql.Identifier:
    return sql.Identifier(f"adopted_{name}")


def _copy(cursor: psycopg.Cursor, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    target = sql.SQL("COPY {} ({}) FROM STDIN").format(_temporary(name), _listed(columns))
    with cursor.copy(target) as copy:
        for row in rows:
            copy.write_row(row)


def _insert(cursor: psycopg.Cursor, table: str, columns: Sequence[str], name: str) -> int:
    statement = sql.SQL("INSERT INTO {} ({columns}) SELECT {columns} FROM {} ON CONFLICT DO NOTHING")
    made = statement.format(sql.Identifier(table), _temporary(name), columns=_listed(columns))
    return cursor.execute(made).rowcount


def _listed(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _invoice_row(invoice: Invoice) -> Sequence[object]:
    return (
        invoice.invoice_id, invoice.number, invoice.customer_id, invoice.purpose, invoice.currency, invoice.total_minor,
        invoice.tax_minor, invoice.tax_country, invoice.tax_bp, invoice.state, invoice.reason, invoice.period,
        invoice.country, invoice.issued_at, invoice.paid_at,
    )  # fmt: skip


def _line_rows(invoice: Invoice) -> Iterator[Sequence[object]]:
    for number, line in enumerate(invoice.lines, 1):
        yield (
            invoice.invoice_id, number, line.kind, line.plan_id, line.months, line.period, line.amount_minor,
            line.tax_minor, Jsonb(dict(line.names)),
        )  # fmt: skip


def _payment_row(bill: Bill) -> Sequence[object]:
    """A renewal that was not paid was tried once, and refused."""
    invoice, paid = bill.invoice, bill.invoice.state == "paid"
    return (
        bill.payment_id, invoice.invoice_id, invoice.customer_id, PROVIDER, bill.payment_id,
        "succeeded" if paid else "failed", invoice.total_minor, invoice.currency, None if paid else "declined",
        bill.fee_minor, invoice.issued_at, invoice.issued_at,
    )  # fmt: skip


def _posting_rows(bill: Bill) -> Iterator[Sequence[object]]:
    for fact in transactions(bill):
        for number, posting in enumerate(fact.postings, 1):
            yield (
                fact.kind, fact.source, fact.occurred_at, number, posting.ledger, posting.party, posting.currency,
                posting.amount_minor,
            )  # fmt: skip
