"""What an invoice is made of, before anybody is asked to pay it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from psycopg.types.range import Range

from serving.billing.errors import InvoiceError
from serving.billing.ledger.money import LARGEST, digits, split

Period = Range[datetime]
KINDS = ("plan", "unused", "rent", "buy", "discount")


@dataclass(frozen=True, slots=True)
class Line:
    """`amount_minor` includes the tax and is below zero for what is set off (`unused`) or taken off (`discount`).

    `names`: language -> what the line is called. `months` only of a whole period of a plan.
    """

    kind: str
    amount_minor: int
    tax_minor: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    plan_id: str | None = None
    price_id: str | None = None
    title_id: str | None = None
    months: int | None = None
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An invoice to be. `purpose`: subscription, rent or buy; `reason`: start, renewal, change, resume, purchase, …

    `tax_bp`: the rate of the tax that the amounts include, in hundredths of a percent, owed to `tax_country`.
    """

    purpose: str
    reason: str
    currency: str
    lines: Sequence[Line]
    tax_country: str = ""
    tax_bp: int = 0
    country: str = ""
    language: str = "en"
    subscription_id: str | None = None
    title_id: str | None = None
    period: Period | None = None

    @property
    def total_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines)


def taxed(lines: Sequence[Line], rate_bp: int) -> tuple[Line, ...]:
    """The lines with the tax that each includes; the taxes add up to that of the total, to the minor unit."""
    taxes = split([line.amount_minor for line in lines], rate_bp, 10_000 + rate_bp)
    return tuple(replace(line, tax_minor=tax) for line, tax in zip(lines, taxes, strict=True))


def finished(draft: Draft) -> Draft:
    """The draft with its taxes, as it is issued.

    Raises:
        InvoiceError: it has no lines, one of an unknown kind, tax of no country, or a total below zero or too large.
        MoneyError: its currency is none.
    """
    digits(draft.currency)
    if not draft.lines:
        raise InvoiceError("an invoice without lines is none")
    if unknown := {line.kind for line in draft.lines} - set(KINDS):
        raise InvoiceError(f"lines of kind {', '.join(sorted(unknown))} do not exist: choose among {', '.join(KINDS)}")
    if not 0 <= draft.total_minor <= LARGEST:
        raise InvoiceError(
            f"an invoice of {draft.total_minor} {draft.currency} cannot be: credit the old one, then issue a new one"
        )
    if draft.tax_bp and not draft.tax_country:
        raise InvoiceError("tax is owed to a country: the draft names none")
    return replace(draft, lines=taxed(draft.lines, draft.tax_bp))


def spent(total_minor: int, credit_minor: int, least_minor: int) -> int:
    """How much of a customer's credit an invoice uses: as much as it can, but what is left to pay is never less than
    providers take (`money.least`)."""
    most = max(0, min(total_minor, credit_minor))
    if 0 < total_minor - most < least_minor:
        return max(0, total_minor - least_minor)
    return most


def returned(lines: Sequence[Line], before: int, amount: int) -> tuple[Line, ...]:
    """The lines of a credit note of `amount`, after `before` of the same invoice was given back.

    Every line gives its part, list price and discount alike, and so does its tax; all notes of an invoice add up, line
    by line, to the invoice.
    """
    total = sum(line.amount_minor for line in lines)
    amounts, taxes = (
        [
            until - done
            for until, done in zip(split(parts, before + amount, total), split(parts, before, total), strict=True)
        ]
        for parts in ([line.amount_minor for line in lines], [line.tax_minor for line in lines])
    )
    given = (
        replace(line, amount_minor=minor, tax_minor=tax) for line, minor, tax in zip(lines, amounts, taxes, strict=True)
    )
    return tuple(line for line in given if line.amount_minor or line.tax_minor)
