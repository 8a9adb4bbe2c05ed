"""An invoice, a receipt or a credit note: what stands on it (`Document`), and how that reads in a language (`Sheet`).

Pure: the same invoice is the same document, whenever and by whomever it is looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from serving.billing.documents.words import WORDS
from serving.billing.ledger.money import Money, show

Kind = Literal["invoice", "receipt", "credit"]
LANGUAGES = tuple(WORDS)


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sells, as the law wants it told."""

    name: str
    address: str = ""
    tax_id: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line: `names` by language; `months` of a plan, or the `period` that it is of."""

    kind: str
    names: Mapping[str, str]
    amount: Money
    period: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Amounts include tax. `due`: what the balance did not cover; `paid_by`: the method's label; `credits`: the number
    of the invoice that a credit note is of; `given_back`: what credit notes took off since."""

    kind: Kind
    number: str
    issued_at: datetime
    seller: Seller
    rows: Sequence[Row]
    total: Money
    tax: Money
    tax_bp: int
    from_balance: Money
    due: Money
    given_back: Money
    paid_at: datetime | None = None
    paid_by: str | None = None
    credits: str | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is printed: a heading, facts, the lines with a note below the name, sums (the strong one is the total).

    `others`: of each line what else it may be called where the name cannot be printed; the last one always can.
    """

    language: str
    heading: str
    seller: Sequence[str]
    facts: Sequence[tuple[str, str]]
    head: tuple[str, str]
    lines: Sequence[tuple[str, str, str]]
    sums: Sequence[tuple[str, str, bool]]
    foot: str
    issued_at: datetime
    number: str
    others: Sequence[Sequence[str]]


class _Line(Protocol):
    kind: Any
    amount_minor: Any
    names: Any
    period: Any


def document(invoice: Any, seller: Seller, *, paid_by: str | None = None, credited: str | None = None) -> Document:
    """The document of an invoice (`invoices.core.Invoice`): a receipt as soon as it is paid.

    `paid_by`: the label of the method; `credited`: the number of the invoice, where it is a credit note.
    """

    def money(minor: int) -> Money:
        return Money(minor, invoice.currency)

    is_credit = invoice.credits is not None
    return Document(
        kind="credit" if is_credit else "receipt" if invoice.state == "paid" else "invoice",
        number=invoice.number,
        issued_at=invoice.issued_at,
        seller=seller,
        rows=[_row(line, money) for line in invoice.lines],
        total=money(invoice.total_minor),
        tax=money(invoice.tax_minor),
        tax_bp=invoice.tax_bp,
        from_balance=money(0 if is_credit else invoice.from_balance),
        due=money(invoice.total_minor - invoice.from_balance),
        given_back=money(0 if is_credit else invoice.credited_minor),
        paid_at=None if is_credit else invoice.paid_at,
        paid_by=paid_by,
        credits=credited,
    )


def _row(line: _Line, money: Any) -> Row:
    period = line.period
    known = (period.lower, period.upper) if period and period.lower and period.upper else None
    return Row(line.kind, line.names, money(line.amount_minor), known)


def sheet(found: Document, language: str, zone: str = "UTC") -> Sheet:
    """The document in words of the language, its days as they were in the time zone."""
    language = language if language in WORDS else "en"
    said = WORDS[language]
    days = _Days(language, ZoneInfo(zone))
    facts = [(said["number"], found.number), (said["issued"], days.day(found.issued_at))]
    if found.credits:
        facts.append((said["credits"], found.credits))
    if found.paid_at:
        facts.append((said["paid_at"], days.day(found.paid_at)))
    if found.paid_by and found.paid_at:
        facts.append((said["paid_by"], found.paid_by))
    tax_id = [f"{said['tax_id']} {found.seller.tax_id}"] if found.seller.tax_id else []
    address = [found.seller.address] if found.seller.address else []
    return Sheet(
        language=language,
        heading=said[found.kind],
        seller=[found.seller.name, *address, *tax_id],
        facts=facts,
        head=(said["item"], said["amount"]),
        lines=[(_name(row, language), days.span(row.period), show(row.amount, language)) for row in found.rows],
        sums=list(_sums(found, language)),
        foot=said["foot"].format(seller=found.seller.name),
        issued_at=found.issued_at,
        number=found.number,
        others=[(*row.names.values(), said[row.kind]) for row in found.rows],
    )


def _sums(found: Document, language: str):
    said = WORDS[language]
    yield said["total"], show(found.total, language), True
    if found.tax_bp:
        yield said["tax"].format(rate=_percent(found.tax_bp, language)), show(found.tax, language), False
    if found.from_balance.minor:
        yield said["from_balance"], show(-found.from_balance, language), False
    if found.kind == "invoice":
        yield said["due"], show(found.due, language), True
    elif found.kind == "receipt":
        yield said["paid"], show(found.due, language), True
    if found.given_back.minor:
        yield said["given_back"], show(found.given_back, language), False


def _name(row: Row, language: str) -> str:
    return row.names.get(language) or row.names.get("en") or next(iter(row.names.values()), WORDS[language][row.kind])


def _percent(basis_points: int, language: str) -> str:
    from babel.numbers import format_percent

    return format_percent(basis_points / 10_000, "#,##0.##%" if language == "en" else "#,##0.## %", locale=language)


class _Days:
    def __init__(self, language: str, zone: ZoneInfo) -> None:
        self._language, self._zone = language, zone

    def day(self, at: datetime) -> str:
        from babel.dates import format_date

        return format_date(at.astimezone(self._zone), "long", locale=self._language)

    def span(self, period: tuple[datetime, datetime] | None) -> str:
        return "" if period is None else f"{self.day(period[0])} – {self.day(period[1])}"
