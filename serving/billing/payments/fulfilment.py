"""What was paid for is opened, and what was not is given up, in the transaction that says so."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from psycopg import AsyncConnection

from matinee.db import outbox
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.ledger.money import Money, show
from serving.billing.payments.ids import by_owner
from serving.billing.payments.rows import QUERIES, Payer, Payment
from serving.billing.promo import core as promo
from serving.billing.purchases import core as purchases
from serving.billing.subscriptions import core as subscriptions
from serving.db import rows

Paid = tuple[Invoice, Payment | None]


async def fulfil(connection: AsyncConnection, invoice: Invoice, payment: Payment | None, at: datetime) -> None:
    """Open what a paid invoice is for: see `fulfil_many`."""
    await fulfil_many(connection, [(invoice, payment)], at)


async def fulfil_many(connection: AsyncConnection, paid: Sequence[Paid], at: datetime) -> None:
    """Open what these invoices are for: periods of subscriptions, titles; use their codes up; write receipts."""
    if plans := [each for each in paid if each[0].purpose == "subscription"]:
        await subscriptions.paid_many(connection, plans, at)
    if titles := [invoice for invoice, _ in paid if invoice.purpose in ("rent", "buy")]:
        await purchases.paid_many(connection, titles, at)
    await promo.redeemed_many(connection, [invoice.invoice_id for invoice, _ in paid], at)
    receipts = [(invoice, payment.amount_minor) for invoice, payment in paid if payment is not None]
    await _letters(connection, "receipt", receipts)


async def closed(connection: AsyncConnection, invoice: Invoice, at: datetime) -> Invoice:
    """Pay an invoice of which nothing is due, in the caller's transaction; returns it as it is then."""
    return (await closed_many(connection, [invoice], at))[0]


async def closed_many(connection: AsyncConnection, free: Sequence[Invoice], at: datetime) -> list[Invoice]:
    """`closed` for many."""
    if not free:
        return []
    done = await invoices.paid_many(connection, [invoice.invoice_id for invoice in free], at)
    await fulfil_many(connection, [(invoice, None) for invoice in done], at)
    return done


async def refused_many(connection: AsyncConnection, refused: Sequence[Paid], at: datetime) -> None:
    """Payments came to nothing. Renewals are tried again by their subscriptions, all else is taken back: the invoice
    is void and its code free. What the clock charges otherwise (a renewal, the end of a pause) and its owner failed to
    pay by hand stays as it was: it is tried when it would have been."""
    plans = [
        (invoice, payment)
        for invoice, payment in refused
        if invoice.purpose == "subscription"
        and (invoice.reason not in ("renewal", "resume") or payment is None or not by_owner(invoice, payment))
    ]
    if plans:
        await subscriptions.refused_many(connection, plans, at)
    await given_up(connection, [invoice.invoice_id for invoice, _ in refused if invoice.reason != "renewal"], at)


async def told_refund(connection: AsyncConnection, invoice: Invoice, amount_minor: int, number: str) -> None:
    """Write to the customer that money is on its way back; `number`: of the credit note, or of the invoice."""
    await _letters(connection, "refunded", [(replace(invoice, number=number), amount_minor)])


async def payers(connection: AsyncConnection, customers: Iterable[str]) -> dict[str, Payer]:
    found = await rows(connection, QUERIES["payers"], {"customers": sorted(set(customers))})
    return {each["customer_id"]: Payer(**each) for each in found}


async def given_up(connection: AsyncConnection, invoice_ids: Sequence[str], at: datetime) -> None:
    """Void what is open still and has no other payment under way."""
    if not invoice_ids:
        return
    asked = {"invoices": list(invoice_ids)}
    states = {each["invoice_id"]: each["state"] for each in await rows(connection, QUERIES["lock_invoices"], asked)}
    busy = {each["invoice_id"] for each in await rows(connection, QUERIES["under_way"], asked)}
    over = [each for each in invoice_ids if states.get(each) == "open" and each not in busy]
    for invoice_id in over:
        await invoices.void(connection, invoice_id, at)
    await promo.released_many(connection, over, at)


async def _letters(connection: AsyncConnection, template: str, told: Sequence[tuple[Invoice, int]]) -> None:
    known = await payers(connection, (invoice.customer_id for invoice, _ in told)) if told else {}
    letters = []
    for invoice, amount_minor in told:
        payer = known.get(invoice.customer_id)
        if payer is None or payer.account_id is None or payer.email is None:
            continue
        language = payer.language or invoice.language
        data = {
            "number": invoice.number,
            "what": dict(invoice.lines[0].names) if invoice.lines else "",
            "amount": show(Money(amount_minor, invoice.currency), language),
        }
        letter = {"to": payer.email, "template": template, "language": language, "data": data}
        letters.append(("mail", payer.account_id, letter))
    await outbox.put_many(connection, letters)
