"""From what somebody wants to a payment under way: an order in one transaction, then the provider, then the answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import orjson
from fastapi import Request, Response
from psycopg import AsyncConnection

from serving import limits
from serving.accounts.tokens import Claims
from serving.billing import customers, idempotency
from serving.billing.idempotency import Answer, Asked, Claim
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.payments import core as payments
from serving.billing.payments import methods
from serving.billing.payments.rows import Method, Payment
from serving.billing.types import Order, PaymentView
from serving.billing.views import amount, language_of
from serving.context import Context
from serving.links import site
from serving.problems import Problem
from serving.profiles import core as profiles
from serving.profiles.core import ANONYMOUS, Viewer
from serving.rights.region import placed

# (connection, customer, at) -> what is to be paid; None: nothing
Ordering = Callable[[AsyncConnection, str, datetime], Awaitable[Invoice | None]]


@dataclass(frozen=True, slots=True)
class How:
    """By a saved way to pay, or (None) on the provider's page, which may keep one; for no more than `most` (minor
    units)."""

    method_id: str | None = None
    save_method: bool = False
    most: int | None = None


async def adult(context: Context, claims: Claims) -> None:
    """Let pass who may spend the account's money.

    Raises:
        Problem: 403 `pin_required` or `childs_profile`.
    """
    async with context.transaction() as connection:
        await profiles.adult(connection, claims.account_id, claims.session_id)


async def viewer(request: Request, context: Context, claims: Claims | None, profile_id: str | None = None) -> Viewer:
    """Who looks at prices: of the region that a trusted gateway names, else of the account's country."""
    found = ANONYMOUS
    if claims is not None:
        found = await context.viewers.of(claims.account_id, claims.session_id, profile_id)
    return placed(found, request, context.settings)


@dataclass(frozen=True, slots=True)
class Till:
    """A request that costs money: whose it is, and the value of its `Idempotency-Key`."""

    request: Request
    context: Context
    claims: Claims
    key: str | None

    async def once(self, order: Ordering, how: How, promo: str | None = None) -> Response:
        """Order and have it paid, once for a key; the same request again hears the same answer.

        Raises:
            Problem: 403, a child; 409 `price_changed`; 429; and as `idempotency.once`.
        """
        context, claims = self.context, self.claims
        await adult(context, claims)
        key = idempotency.key_of(self.key)
        await context.limits.spend(limits.CHECKOUT, claims.account_id)
        if promo is not None:
            await context.limits.spend(limits.PROMO, claims.account_id)

        async def work(claim: Claim) -> Answer:
            at = context.clock.now()
            invoice = await self._ordered(claim, order, how, at)
            if promo is not None:
                await context.limits.refund(limits.PROMO, claims.account_id)
            return _answer(await _paid(context, invoice, how, language_of(self.request), at))

        route = f"{self.request.method} {self.request.url.path}"
        asked = Asked(claims.account_id, route, key, await self.request.body())
        return (await idempotency.once(context.billing, asked, work)).response()

    async def _ordered(self, claim: Claim, order: Ordering, how: How, at: datetime) -> Invoice | None:
        """The order, or that of a try before that died; paid already, and answered, where nothing of it is due."""
        async with self.context.transaction() as connection:
            if claim.subject is not None:
                return await invoices.get(connection, claim.subject)
            customer_id = await customers.of_account(connection, self.claims.account_id, at)
            if how.method_id is not None:
                await methods.get(connection, customer_id, how.method_id)
            invoice = await order(connection, customer_id, at)
            if invoice is not None:
                self._agreed(how, invoice)
                await claim.made(connection, invoice.invoice_id)
                if invoice.state == "open" and not invoice.due_minor:
                    invoice = await payments.closed(connection, invoice, at)
            if invoice is None or invoice.state == "paid":
                # Here: a process that dies after this leaves nothing by which another could tell that it was done.
                await claim.done(connection, _answer(_shown(invoice, None, language_of(self.request))), at)
            return invoice

    def _agreed(self, how: How, invoice: Invoice) -> None:
        if how.most is not None and invoice.due_minor > how.most:
            due = amount(invoice.due_minor, invoice.currency, language_of(self.request)).text
            raise Problem(409, "price_changed", f"{due} is due by now: look at it again, nothing was ordered")


async def _paid(context: Context, invoice: Invoice | None, how: How, language: str, at: datetime) -> Order:
    if invoice is None:
        return _shown(None, None, language)
    if invoice.state == "open":
        return _shown(invoice, await pay(context, invoice, how, at), language)
    async with context.transaction() as connection:  # of a try before: by what it was paid, or why it is void
        tried = await payments.of_invoice(connection, invoice.invoice_id)
    last = max(tried, key=lambda payment: (payment.state == "succeeded", payment.created_at), default=None)
    return _shown(invoice, last, language)


def _answer(order: Order) -> Answer:
    return Answer(200, orjson.dumps(order.model_dump(mode="json")))


def _shown(invoice: Invoice | None, payment: Payment | None, language: str) -> Order:
    """No invoice: nothing was to be paid."""
    if invoice is None:
        return Order(invoice_id=None, total=None, paid=True, payment=None)
    total = amount(invoice.total_minor, invoice.currency, language)
    is_paid = invoice.state == "paid" or (payment is not None and payment.state == "succeeded")
    shown = payment_view(payment, invoice, language) if payment else None
    return Order(invoice_id=invoice.invoice_id, total=total, paid=is_paid, payment=shown)


async def pay(context: Context, invoice: Invoice, how: How, at: datetime) -> Payment:
    """Have an open invoice paid: charge a saved way to pay, or send its owner to the provider's page.

    Raises:
        Problem: 404, the customer has no such way to pay; 409, nothing is to be paid; 502 or 503, the provider.
    """
    if how.method_id is None:
        return_url = f"{site(context.settings)}/#/paid/{{payment_id}}"
        return await payments.begin(context.billing, invoice, return_url=return_url, save_method=how.save_method, at=at)
    async with context.transaction() as connection:
        method = await methods.get(connection, invoice.customer_id, how.method_id)
        attempt = _attempt(await payments.of_invoice(connection, invoice.invoice_id), method)
    return await payments.charge(context.billing, invoice, method, attempt, at, present=True)


def _attempt(known: list[Payment], method: Method) -> int:
    """The one under way by this way to pay, else the next."""
    for payment in known:
        if payment.method_id == method.method_id and not payment.settled:
            return payment.attempt
    return max((payment.attempt for payment in known), default=0) + 1


def payment_view(payment: Payment, invoice: Invoice, language: str) -> PaymentView:
    """A payment as its payer sees it."""
    return PaymentView(
        payment_id=payment.payment_id,
        invoice_id=payment.invoice_id,
        state=payment.state,  # pyright: ignore[reportArgumentType] - the column's check constraint names the same states
        amount=amount(payment.amount_minor, payment.currency, language),
        checkout_url=payment.checkout_url if payment.state == "pending" else None,
        failure=payment.failure,
        purpose=invoice.purpose,  # pyright: ignore[reportArgumentType] - as above
        reason=invoice.reason,
        title_id=invoice.title_id,
        price_id=next((line.price_id for line in invoice.lines if line.kind == "plan"), None),
    )


async def owned(connection: AsyncConnection, claims: Claims, invoice_id: str) -> Invoice:
    """An invoice of the account.

    Raises:
        Problem: 404, it has no such invoice.
    """
    try:
        invoice = await invoices.get(connection, invoice_id)
    except invoices.InvoiceError:
        raise _unknown() from None
    if await customers.account_of(connection, invoice.customer_id) != claims.account_id:
        raise _unknown()
    return invoice


def _unknown() -> Problem:
    return Problem(404, "unknown_invoice", "this account has no such invoice")
