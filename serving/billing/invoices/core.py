"""Invoices: issued, paid or void, and given back by credit notes; each with its fact in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from matinee.db.queries import load
from matinee.ids import uuid7
from serving.billing.errors import BilledAlreadyError, InvoiceError, VoidInvoiceError
from serving.billing.invoices.lines import Draft, Line, Period, finished, returned, spent
from serving.billing.ledger import core as ledger
from serving.billing.ledger import facts
from serving.billing.ledger.money import least
from serving.db import row, rows
from serving.problems import Problem

QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice, or a credit note (`credits` names the invoice); amounts include tax, in minor units of `currency`."""

    invoice_id: str
    number: str
    customer_id: str
    purpose: str
    credits: str | None
    subscription_id: str | None
    title_id: str | None
    currency: str
    total_minor: int
    discount_minor: int
    tax_minor: int
    tax_country: str
    tax_bp: int
    from_balance: int
    credited_minor: int
    state: str
    reason: str
    period: Period | None
    language: str
    country: str
    issued_at: datetime
    paid_at: datetime | None
    lines: tuple[Line, ...]

    @property
    def due_minor(self) -> int:
        """What is left to be paid for it, after the customer's credit."""
        return self.total_minor - self.from_balance


async def issue(connection: AsyncConnection, customer_id: str, draft: Draft, at: datetime) -> Invoice:
    """Issue one invoice: see `issue_many`."""
    return (await issue_many(connection, [(customer_id, draft)], at))[0]


async def issue_many(connection: AsyncConnection, drafts: Sequence[tuple[str, Draft]], at: datetime) -> list[Invoice]:
    """Issue invoices of (customer, draft), in a handful of statements; they come back in the same order, open.

    Each uses what credit its customer has, and the customers stay locked until the transaction ends, so that no credit
    is spent twice. One of which nothing is due is for the caller to pay at once.

    Raises:
        InvoiceError, MoneyError: a draft is not one (see `lines.finished`), or there is no such customer.
        BilledAlreadyError: a renewal's period has an invoice. Roll back: others of them were written.
        Problem: 409 `no_account`, a customer's account is disabled.
    """
    ready = [(customer_id, finished(draft)) for customer_id, draft in drafts]
    credit = await _credits(connection, {(customer_id, draft.currency) for customer_id, draft in ready})
    numbers = await rows(connection, QUERIES["numbers"], {"count": len(ready)})
    made: list[Invoice] = []
    for (customer_id, draft), number in zip(ready, numbers, strict=True):
        used = spent(draft.total_minor, credit[customer_id, draft.currency], least(draft.currency))
        credit[customer_id, draft.currency] -= used
        made.append(_invoice(customer_id, draft, number["number"], used, at))
    await _write(connection, made)
    charges = [facts.charge(invoice, at) for invoice in made]
    await ledger.post(connection, [charge for charge in charges if charge.postings])
    return made


def _invoice(customer_id: str, draft: Draft, number: int, used: int, at: datetime) -> Invoice:
    return Invoice(
        invoice_id=uuid7(),
        number=_number(number),
        customer_id=customer_id,
        purpose=draft.purpose,
        credits=None,
        subscription_id=draft.subscription_id,
        title_id=draft.title_id,
        currency=draft.currency,
        total_minor=draft.total_minor,
        discount_minor=-sum(line.amount_minor for line in draft.lines if line.kind == "discount"),
        tax_minor=sum(line.tax_minor for line in draft.lines),
        tax_country=draft.tax_country if draft.tax_bp else "",
        tax_bp=draft.tax_bp,
        from_balance=used,
        credited_minor=0,
        state="open",
        reason=draft.reason,
        period=draft.period,
        language=draft.language,
        country=draft.country,
        issued_at=at,
        paid_at=None,
        lines=tuple(draft.lines),
    )


def _number(number: int) -> str:
    return f"M-{number:07d}"


async def _credits(connection: AsyncConnection, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """What customers have to spend in currencies; they are locked from here on."""
    customers = sorted({customer_id for customer_id, _ in wanted})
    locked = await rows(connection, QUERIES["lock_customers"], {"customers": customers})
    if missing := set(customers) - {each["customer_id"] for each in locked}:
        raise InvoiceError(f"there is no customer {min(missing)!r}: make it by customers.of_account")
    if any(each["shut"] for each in locked):
        raise Problem(409, "no_account", "the account is shut: nothing can be bought for it")
    asked = {"customers": [each for each, _ in wanted], "currencies": [currency for _, currency in wanted]}
    read = await rows(connection, QUERIES["credits"], asked)
    return {(each["customer_id"], each["currency"]): each["credit_minor"] for each in read}


async def balance(connection: AsyncConnection, customer_id: str, currency: str) -> int:
    """The customer's credit, that the next invoice uses; below zero: what is owed beyond open invoices."""
    asked = {"customers": [customer_id], "currencies": [currency]}
    read = await row(connection, QUERIES["credits"], asked)
    return read["credit_minor"] if read else 0


async def _write(connection: AsyncConnection, invoices: Sequence[Invoice]) -> None:
    written = await rows(
        connection, QUERIES["add_invoices"], {"invoices": _json([_columns(each) for each in invoices])}
    )
    if len(written) < len(invoices):
        known = {each["invoice_id"] for each in written}
        first = next(each for each in invoices if each.invoice_id not in known)
        raise BilledAlreadyError(f"subscription {first.subscription_id}: this period has an invoice")
    lines = [
        {**_columns(line), "invoice_id": invoice.invoice_id, "line": number}
        for invoice in invoices
        for number, line in enumerate(invoice.lines, 1)
    ]
    await connection.execute(QUERIES["add_lines"], {"lines": _json(lines)})


def _columns(record: Invoice | Line) -> dict[str, Any]:
    # Not by `asdict`, which copies whole lines and cannot copy ranges.
    return {name: _text(getattr(record, name)) for name in type(record).__slots__ if name != "lines"}


def _text(value: Any) -> Any:
    return f"[{value.lower or ''},{value.upper or ''})" if isinstance(value, Range) else value


def _json(records: list[dict[str, Any]]) -> Jsonb:
    return Jsonb(records, dumps=orjson.dumps)


async def get(connection: AsyncConnection, invoice_id: str) -> Invoice:
    """Raises: InvoiceError where there is none."""
    return (await get_many(connection, [invoice_id]))[0]


async def get_many(connection: AsyncConnection, invoice_ids: Sequence[str]) -> list[Invoice]:
    """Invoices with their lines, in the order asked for.

    Raises:
        InvoiceError: there is no such invoice.
    """
    asked = {"invoices": list(invoice_ids)}
    lines: dict[str, list[Line]] = {}
    for line in await rows(connection, QUERIES["lines"], asked):
        lines.setdefault(line.pop("invoice_id"), []).append(Line(**line))
    found = {
        each["invoice_id"]: Invoice(**each, lines=tuple(lines.get(each["invoice_id"], ())))
        for each in await rows(connection, QUERIES["invoices"], asked)
    }
    if missing := [each for each in invoice_ids if each not in found]:
        raise InvoiceError(f"there is no invoice {missing[0]!r}")
    return [found[each] for each in invoice_ids]


async def _locked(connection: AsyncConnection, invoice_ids: Sequence[str]) -> list[Invoice]:
    await rows(connection, QUERIES["lock_invoices"], {"invoices": list(invoice_ids)})
    return await get_many(connection, invoice_ids)


async def paid(connection: AsyncConnection, invoice_id: str, at: datetime) -> Invoice:
    """Mark one as paid: see `paid_many`."""
    return (await paid_many(connection, [invoice_id], at))[0]


async def paid_many(connection: AsyncConnection, invoice_ids: Sequence[str], at: datetime) -> list[Invoice]:
    """Mark invoices as paid, in the transaction that posts the payments; those that were paid before stay as they are.

    Raises:
        VoidInvoiceError: one was taken back; nothing was written.
        InvoiceError: there is no such invoice.
    """
    known = await _locked(connection, invoice_ids)
    for invoice in known:
        if invoice.state == "void":
            raise VoidInvoiceError(f"invoice {invoice.number} is void: money for it is the customer's credit")
    await connection.execute(QUERIES["set_paid"], {"invoices": list(invoice_ids), "at": at})
    return [replace(each, state="paid", paid_at=at) if each.state == "open" else each for each in known]


async def void(connection: AsyncConnection, invoice_id: str, at: datetime) -> Invoice:
    """Take an open invoice back: nothing is owed for it, and the credit that it used is the customer's again.

    Raises:
        InvoiceError: it is paid (credit it instead), or there is none.
    """
    (invoice,) = await _locked(connection, [invoice_id])
    if invoice.state == "paid":
        raise InvoiceError(f"invoice {invoice.number} is paid: give it back by a credit note")
    if invoice.state == "void":
        return invoice
    await connection.execute(QUERIES["set_void"], {"invoice_id": invoice_id})
    fact = facts.void(invoice, at)
    await ledger.post(connection, [fact] if fact.postings else [])
    return replace(invoice, state="void")


async def credit(
    connection: AsyncConnection,
    invoice_id: str,
    amount_minor: int,
    reason: str,
    at: datetime,
    *,
    refund_id: str | None = None,
) -> Invoice:
    """Give some of a paid invoice back to the customer's balance; returns the credit note, with tax in proportion.

    What refunds on their way will take is kept for them; `refund_id`: the one that this note is for.

    Raises:
        InvoiceError: the invoice is not paid, or has less than that left.
    """
    (invoice,) = await _locked(connection, [invoice_id])
    if invoice.state != "paid" or invoice.credits:
        raise InvoiceError(f"{invoice.number} is no paid invoice: only those are credited")
    asked = {"invoice_id": invoice_id, "refund_id": refund_id}
    going = await row(connection, QUERIES["going_back"], asked)
    left = invoice.total_minor - invoice.credited_minor - (going["amount_minor"] if going else 0)
    if not 0 < amount_minor <= left:
        raise InvoiceError(
            f"invoice {invoice.number} has {left} {invoice.currency} (minor units) to give back, not {amount_minor}"
        )
    await connection.execute(QUERIES["add_credited"], {"invoice_id": invoice_id, "amount": amount_minor})
    (number,) = await rows(connection, QUERIES["numbers"], {"count": 1})
    note = _note(invoice, amount_minor, reason, number["number"], at)
    await _write(connection, [note])
    await ledger.post(connection, [facts.credit(note, at)])
    return note


def _note(invoice: Invoice, amount: int, reason: str, number: int, at: datetime) -> Invoice:
    lines = returned(invoice.lines, invoice.credited_minor, amount)
    return replace(
        invoice,
        invoice_id=uuid7(),
        number=_number(number),
        purpose="credit",
        credits=invoice.invoice_id,
        total_minor=amount,
        discount_minor=-sum(line.amount_minor for line in lines if line.kind == "discount"),
        tax_minor=sum(line.tax_minor for line in lines),
        from_balance=0,
        credited_minor=0,
        reason=reason,
        period=None,
        issued_at=at,
        paid_at=at,
        lines=lines,
    )
