"""Payments: begun, charged, settled. Two transactions around each call of a provider, and none is open during it.

    created   written and committed; its id is the provider's idempotency key
    pending   the provider was asked; it or its buyer has not decided, or nobody heard the answer
    succeeded, failed   settled, with all that follows, in one transaction

A process may die anywhere: what is left `created` or `pending` is asked about by `sweep`, by return pages and webhooks,
and each of them settles it the same way.
"""

from dataclasses import asdict, replace
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.payments import disputes, refunds
from serving.billing.payments.asking import asked, charged, closed_page, order_of, own_page
from serving.billing.payments.desk import Desk
from serving.billing.payments.forward import Heard
from serving.billing.payments.fulfilment import closed, fulfil, payers
from serving.billing.payments.ids import Way, by_owner, payment_id_of
from serving.billing.payments.refunds import refund
from serving.billing.payments.rows import QUERIES, Method, Payment, PaymentError
from serving.billing.payments.settling import apply, as_json, together
from serving.billing.providers.base import SILENCE, ProviderAwayError, ProviderRefusedError, State
from serving.db import row, rows
from serving.problems import Problem

PAGE_LIFE = timedelta(hours=24)  # of a hosted page on which nobody pays

__all__ = ["begin", "charge", "closed", "fulfil", "get", "of_invoice", "refund", "settle"]


def planned(
    invoice: Invoice, provider: str, way: Way, attempt: int, at: datetime, method_id: str | None = None
) -> Payment:
    """An attempt to be paid what is due, as it is before anybody heard of it."""
    return Payment(
        payment_id=payment_id_of(invoice, way, attempt),
        invoice_id=invoice.invoice_id, customer_id=invoice.customer_id,
        provider=provider, state="created", amount_minor=invoice.due_minor, currency=invoice.currency,
        created_at=at, method_id=method_id, attempt=attempt, asked_at=at,
    )  # fmt: skip


async def begin(
    desk: Desk, invoice: Invoice, *, return_url: str, save_method: bool, at: datetime, provider: str | None = None
) -> Payment:
    """A hosted page for an open invoice, at `checkout_url`. Begun again, it is the same page; begun with another word
    on whether the way to pay is kept, it is another one, and the one before is closed.

    `return_url` may hold `{payment_id}`.

    Raises:
        Problem: 409, nothing is to be paid for the invoice, or too little; 502 or 503, the provider refused or does not
            answer (then the same call goes on with it).
    """
    async with desk.transaction() as connection:
        payment, others = await _page_of(connection, desk, invoice, save_method, at, provider)
        email = await _email(connection, invoice.customer_id)
    for other in others:
        if (done := await _left(desk, other, at)).state == "succeeded":
            return done
    if payment.state == "pending" and payment.checkout_url:
        return payment
    asking = desk.provider(payment.provider)
    order = order_of(invoice, payment, email=email, return_url=return_url)
    heard = await asked(asking, payment, lambda: asking.open(order))
    done = await _applied(desk, heard, at)
    if heard.outcome is None and heard.failure is None:
        raise _away(payment)
    if done.failure == "amount_too_small":
        raise Problem(
            409, "amount_too_small", f"{payment.provider} takes no payment as small as this: nothing was charged"
        )
    if done.state == "failed":
        raise Problem(502, "provider_refused", f"{payment.provider} does not take this payment: {done.failure}")
    return done


async def charge(
    desk: Desk, invoice: Invoice, method: Method, attempt: int, at: datetime, *, present: bool = False
) -> Payment:
    """Charge a saved way to pay; `present`: its owner is here and may be sent to `checkout_url` to confirm.

    The same attempt again is the same charge (owners' and the clock's are counted apart). Where another charge of the
    invoice is under way, it is settled and comes back: money is taken once. A provider that does not answer leaves it
    pending.

    Raises:
        Problem: 409, nothing is to be paid for the invoice, or the method's provider is not used any more.
    """
    if not desk.uses(method.provider):
        raise Problem(409, "method_not_usable", f"{method.label} cannot be charged any more: choose another way to pay")
    new = planned(invoice, method.provider, "present" if present else "charge", attempt, at, method.method_id)
    async with desk.transaction() as connection:
        payment = await _charge_of(connection, invoice, new)
        email = await _email(connection, invoice.customer_id)
    if payment.settled:
        return payment
    if payment.payment_id != new.payment_id:
        try:
            return await settle(desk, payment.payment_id, at)
        except ProviderAwayError:
            return payment
    if method.provider_ref is None:
        return await _applied(desk, Heard(payment.payment_id, failure="method_removed"), at)
    order = order_of(invoice, payment, email=email, return_url=own_page(desk), method_ref=method.provider_ref)
    return await _applied(desk, await charged(desk.provider(payment.provider), payment, order, present=present), at)


async def settle(desk: Desk, payment_id: str, at: datetime) -> Payment:
    """Ask the provider what became of a payment and draw the conclusions; safe at any time, by any number at once.

    Raises:
        PaymentError: there is no such payment, or the provider took another amount.
        ProviderAwayError: the provider does not answer; nothing changed.
        Problem: 502, the provider refuses to tell; nothing changed.
    """
    async with desk.transaction() as connection:
        payment = await get(connection, payment_id)
    provider = desk.provider(payment.provider)
    try:
        outcome = await provider.look(payment.payment_id, payment.provider_ref, since=payment.created_at)
    except ProviderRefusedError as error:  # our key is wrong there, or of another account: nothing is known
        raise Problem(
            502, "provider_refused", f"{payment.provider} does not tell about this payment: {error}"
        ) from None
    if outcome is None:
        return await _unheard_of(desk, payment, at)
    heard = Heard(payment_id, outcome)
    if outcome.state is State.action and _is_over(payment, at):
        failure = "expired" if payment.method_id is None else "authentication_required"
        heard = await closed_page(provider, payment, outcome.ref, failure)
    return await _applied(desk, heard, at)


async def get(connection: AsyncConnection, payment_id: str) -> Payment:
    """Raises: PaymentError, there is none."""
    found = await row(connection, QUERIES["payments"], {"payments": [payment_id]})
    if found is None:
        raise PaymentError(f"there is no payment {payment_id!r}")
    return Payment(**found)


async def of_invoice(connection: AsyncConnection, invoice_id: str) -> list[Payment]:
    """Every attempt to be paid for it, the first one first."""
    return [Payment(**each) for each in await rows(connection, QUERIES["of_invoice"], {"invoice_id": invoice_id})]


async def _applied(desk: Desk, heard: Heard, at: datetime) -> Payment:
    """Settle by what was heard, then make the refunds that follow from it."""
    done = await together(desk, lambda connection: apply(connection, [heard], at))
    if heard.outcome is not None and done.payments[0].state == "succeeded":
        await disputes.heard(desk, done.payments[0], heard.outcome, at)
    for refund_id in done.refunds:
        await refunds.push(desk, refund_id, at)
    return done.payments[0]


async def _unheard_of(desk: Desk, payment: Payment, at: datetime) -> Payment:
    """The provider knows nothing of it: the process died before it asked. A charge is made now; a page that nobody
    was sent to waits for its buyer's next try, and ends with its day."""
    if payment.settled:
        return payment
    if payment.method_id is None:
        if _is_over(payment, at):
            return await _applied(desk, Heard(payment.payment_id, failure="expired"), at)
        return payment
    async with desk.transaction() as connection:
        invoice = await invoices.get(connection, payment.invoice_id)
        found = await row(connection, QUERIES["methods"], {"methods": [payment.method_id]})
    if invoice.state != "open" or found is None or found["removed_at"] is not None:
        if at - payment.created_at < SILENCE:  # it may be at work on what it was asked
            return payment
        return await _applied(desk, Heard(payment.payment_id, failure="not_asked"), at)
    return await charge(desk, invoice, Method(**found), payment.attempt, at, present=by_owner(invoice, payment))


def _is_over(payment: Payment, at: datetime) -> bool:
    return at - payment.created_at >= PAGE_LIFE


async def _page_of(
    connection: AsyncConnection, desk: Desk, invoice: Invoice, save_method: bool, at: datetime, provider: str | None
) -> tuple[Payment, list[Payment]]:
    """The payment under way by such a hosted page, else a new one (one at a time, as the invoice is locked); and those
    under way that keep a way to pay, or keep none, against the buyer's last word."""
    await _lock_open(connection, invoice)
    pages = [each for each in await of_invoice(connection, invoice.invoice_id) if each.method_id is None]
    open_ = [each for each in pages if not each.settled and (provider or each.provider) == each.provider]
    others = [each for each in open_ if each.save_method != save_method]
    for payment in open_:
        if payment.save_method == save_method:
            return payment, others
    name = provider or desk.provider().name
    new = replace(planned(invoice, name, "page", len(pages) + 1, at), save_method=save_method)
    await connection.execute(QUERIES["add"], {"payments": as_json([asdict(new)])})
    return new, others


async def _left(desk: Desk, page: Payment, at: datetime) -> Payment:
    """Close a page that its buyer left for another one; it may be paid by now.

    Raises:
        Problem: 503, its provider does not answer.
    """
    provider = desk.provider(page.provider)
    try:
        found = await provider.look(page.payment_id, page.provider_ref, since=page.created_at)
        heard = Heard(page.payment_id, failure="canceled")
        if found is not None:
            heard = await closed_page(provider, page, found.ref, "canceled")
    except ProviderAwayError:
        raise _away(page) from None
    if heard.outcome is None and heard.failure is None:
        raise _away(page)
    return await _applied(desk, heard, at)


def _away(payment: Payment) -> Problem:
    return Problem(
        503, "provider_unavailable", f"{payment.provider} does not answer: try again", headers={"Retry-After": "2"}
    )


async def _charge_of(connection: AsyncConnection, invoice: Invoice, new: Payment) -> Payment:
    """The charge as it is written, now at the latest; or one by a saved way to pay that may still take the money."""
    if not await rows(connection, QUERIES["payments"], {"payments": [new.payment_id]}):
        await _lock_open(connection, invoice)
        if other := await row(connection, QUERIES["charging"], {"invoices": [invoice.invoice_id]}):
            return Payment(**other)
        await connection.execute(QUERIES["add"], {"payments": as_json([asdict(new)])})
    return await get(connection, new.payment_id)


async def _lock_open(connection: AsyncConnection, invoice: Invoice) -> None:
    found = await row(connection, QUERIES["lock_invoice"], {"invoice_id": invoice.invoice_id})
    if found is None or found["state"] != "open":
        state = found["state"] if found else "gone"
        raise Problem(409, "invoice_settled", f"invoice {invoice.number} is {state}: nothing is to be paid for it")


async def _email(connection: AsyncConnection, customer_id: str) -> str | None:
    known = await payers(connection, [customer_id])
    return known[customer_id].email if customer_id in known else None
