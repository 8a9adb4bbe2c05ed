"""HTTP of money: /api/billing. What costs money takes an `Idempotency-Key`; nobody spends from a child's profile."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from psycopg import AsyncConnection

from serving import limits
from serving.accounts.tokens import Claims
from serving.auth import SignedIn, Visitor
from serving.billing import checkout, customers, webhooks
from serving.billing.checkout import How, Till
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Line, spent
from serving.billing.ledger.money import least
from serving.billing.overview import overview
from serving.billing.payments import core as payments
from serving.billing.payments import methods
from serving.billing.payments.rows import PaymentError
from serving.billing.products import core as products
from serving.billing.promo import core as promos
from serving.billing.promo.terms import apply
from serving.billing.providers.base import ProviderAwayError
from serving.billing.purchases import core as purchases
from serving.billing.subscriptions import core as subscriptions
from serving.billing.types import (
    Change,
    Checkout,
    MethodChosen,
    Order,
    Overview,
    Pause,
    Pay,
    PaymentView,
    Plans,
    Preview,
    Purchase,
    Wanted,
)
from serving.billing.views import amount, language_of, line, plans
from serving.context import Context, Ctx
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights.welcome import trial_of

Move = Callable[[AsyncConnection, str, datetime], Awaitable[object]]  # connection, subscription, at
router = APIRouter(prefix="/api/billing", tags=["billing"])
Key = Annotated[str | None, Header(description="Of one attempt to do this, however often it is sent: a UUID")]
Id = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z-]+$")]


@router.get("/plans")
async def list_plans(request: Request, context: Ctx, claims: Visitor) -> Plans:
    """Plans and prices of the viewer's region, the smallest plan first."""
    who, language = await checkout.viewer(request, context, claims), language_of(request)
    async with context.transaction() as connection:
        sold = await products.on_sale(connection, who.region, context.clock.now())
    trial = trial_of(context.settings)
    return Plans(
        region=who.region,
        items=plans(sold, language),
        trial_plan=trial.plan if trial else None,
        trial_days=trial.days if trial else 0,
    )


@router.get("")
async def my_billing(request: Request, context: Ctx, claims: SignedIn) -> Overview:
    """The account's subscription, what is charged next, ways to pay, and balance."""
    await checkout.adult(context, claims)
    async with context.transaction() as connection:
        return await overview(connection, claims.account_id, language_of(request), context.clock.now())


@router.post("/preview")
async def preview(body: Wanted, request: Request, context: Ctx, claims: SignedIn) -> Preview:
    """What a plan, a change of plan, or a title would cost now; nothing is kept, a code is not used up."""
    await checkout.adult(context, claims)
    if body.promo is not None:
        await context.limits.spend(limits.PROMO, claims.account_id)
    who, language, at = await checkout.viewer(request, context, claims), language_of(request), context.clock.now()
    async with context.transaction() as connection:
        customer_id = await customers.of_account(connection, claims.account_id, at)
        if body.price_id is not None:
            seen = await subscriptions.preview(
                connection, customer_id, body.price_id, at, language=language, country=who.region or "",
                promo=body.promo,
            )  # fmt: skip
        else:
            seen = await _title_preview(connection, customer_id, who, body, at)
    if body.promo is not None:
        await context.limits.refund(limits.PROMO, claims.account_id)
    return Preview(
        lines=[line(each, seen.currency, language) for each in seen.lines],
        total=amount(seen.total_minor, seen.currency, language),
        from_balance=amount(seen.from_balance, seen.currency, language),
        due=amount(seen.due_minor, seen.currency, language),
        credit=amount(seen.credit_minor, seen.currency, language),
        since=seen.since if body.price_id is not None else None,
        until=seen.until if body.price_id is not None else None,
    )


async def _title_preview(
    connection: AsyncConnection, customer_id: str, who: Viewer, body: Wanted, at: datetime
) -> subscriptions.Preview:
    assert body.title_id is not None, "the body's model says so"
    sale = await purchases.offered(connection, who, body.title_id, body.kind or "rent", at)
    lines: tuple[Line, ...] = (sale.line,)
    currency = sale.price.currency
    if body.promo is not None:
        promo = await promos.look(connection, body.promo, customer_id, lines, currency, at)
        lines = apply(promo, lines, least(currency))
    total = sum(each.amount_minor for each in lines)
    used = spent(total, await invoices.balance(connection, customer_id, currency), least(currency))
    return subscriptions.Preview(lines, currency, total, used, 0, at, at)


@router.post("/checkout", response_model=Order)
async def begin_checkout(
    body: Checkout, request: Request, context: Ctx, claims: SignedIn, idempotency_key: Key = None
) -> Response:
    """Subscribe to a plan: 409 `subscribed` where there is a subscription, which is changed instead. `payment` says
    where it is paid; `paid` that it is open already."""
    who, language = await checkout.viewer(request, context, claims), language_of(request)

    async def order(connection: AsyncConnection, customer_id: str, at: datetime) -> Invoice:
        return await subscriptions.start(
            connection, customer_id, body.price_id, at, language=language, country=who.region or "",
            promo=body.promo, zone=body.zone,
        )  # fmt: skip

    how = How(body.method_id, body.save_method, body.expected_minor)
    return await Till(request, context, claims, idempotency_key).once(order, how, body.promo)


@router.post("/purchase", response_model=Order)
async def purchase(
    body: Purchase, request: Request, context: Ctx, claims: SignedIn, idempotency_key: Key = None
) -> Response:
    """Rent or buy a title at the price of the viewer's region."""
    who = await checkout.viewer(request, context, claims, body.profile_id)

    async def order(connection: AsyncConnection, customer_id: str, at: datetime) -> Invoice:
        return await purchases.order(connection, customer_id, who, body.title_id, body.kind, at, promo=body.promo)

    how = How(body.method_id, body.save_method, body.expected_minor)
    return await Till(request, context, claims, idempotency_key).once(order, how, body.promo)


@router.post("/invoices/{invoice_id}/pay", response_model=Order)
async def pay_invoice(
    invoice_id: Id, body: Pay, request: Request, context: Ctx, claims: SignedIn, idempotency_key: Key = None
) -> Response:
    """Pay an open invoice now, such as that of a renewal that was refused."""

    async def order(connection: AsyncConnection, _: str, __: datetime) -> Invoice:
        invoice = await checkout.owned(connection, claims, invoice_id)
        if invoice.state != "open":
            raise Problem(409, "invoice_settled", f"invoice {invoice.number} is {invoice.state}: nothing is to be paid")
        return invoice

    return await Till(request, context, claims, idempotency_key).once(order, How(None, body.save_method))


@router.get("/payments/{payment_id}")
async def payment(payment_id: Id, request: Request, context: Ctx, claims: SignedIn) -> PaymentView:
    """What became of a payment: the provider is asked while nobody knows."""
    await checkout.adult(context, claims)
    async with context.transaction() as connection:
        try:
            found = await payments.get(connection, payment_id)
        except PaymentError:
            raise _unknown_payment() from None
        if await customers.account_of(connection, found.customer_id) != claims.account_id:
            raise _unknown_payment()
        invoice = await invoices.get(connection, found.invoice_id)
    if not found.settled:
        await context.limits.spend(limits.PAYMENT, claims.account_id)
        with suppress(ProviderAwayError):  # it is asked again, by the next request or the sweep
            found = await payments.settle(context.billing, payment_id, context.clock.now())
    return checkout.payment_view(found, invoice, language_of(request))


def _unknown_payment() -> Problem:
    return Problem(404, "unknown_payment", "this account has no such payment")


@router.post("/subscription/change", response_model=Order)
async def change(
    body: Change, request: Request, context: Ctx, claims: SignedIn, idempotency_key: Key = None
) -> Response:
    """Change the plan or the interval: at once, charged by the way to pay that it renews by (on the provider's page
    where there is none), or from the next period on."""
    how = How(await _renews_by(context, claims), True, body.expected_minor)

    async def order(connection: AsyncConnection, customer_id: str, at: datetime) -> Invoice | None:
        subscription_id = await _mine(connection, customer_id)
        return await subscriptions.change(connection, subscription_id, body.price_id, at, now=body.now)

    return await Till(request, context, claims, idempotency_key).once(order, how)


@router.post("/subscription/resume", response_model=Order)
async def resume(request: Request, context: Ctx, claims: SignedIn, idempotency_key: Key = None) -> Response:
    """End a pause: a new period begins as soon as it is paid; a pause that has not begun is taken back."""
    how = How(await _renews_by(context, claims), save_method=True)

    async def order(connection: AsyncConnection, customer_id: str, at: datetime) -> Invoice | None:
        return await subscriptions.resume(connection, await _mine(connection, customer_id), at)

    return await Till(request, context, claims, idempotency_key).once(order, how)


@router.post("/subscription/cancel")
async def cancel(request: Request, context: Ctx, claims: SignedIn) -> Overview:
    """End the subscription with its period: what is paid for stays open till then. What is owed or paused ends now."""
    return await _moved(request, context, claims, subscriptions.cancel)


@router.post("/subscription/keep")
async def keep(request: Request, context: Ctx, claims: SignedIn) -> Overview:
    """Take back a cancellation, a pause or a change that is to come."""
    return await _moved(request, context, claims, subscriptions.keep)


@router.post("/subscription/pause")
async def pause(body: Pause, request: Request, context: Ctx, claims: SignedIn) -> Overview:
    """Pause from the end of the period on."""

    async def paused(connection: AsyncConnection, subscription_id: str, at: datetime) -> object:
        return await subscriptions.pause(connection, subscription_id, at, days=body.days)

    return await _moved(request, context, claims, paused)


@router.put("/subscription/method")
async def choose_method(body: MethodChosen, request: Request, context: Ctx, claims: SignedIn) -> Overview:
    """Renew by another of the saved ways to pay."""

    async def chosen(connection: AsyncConnection, subscription_id: str, at: datetime) -> object:
        customer_id = await customers.of_account(connection, claims.account_id, at)
        await methods.get(connection, customer_id, body.method_id)
        return await subscriptions.change_method(connection, subscription_id, body.method_id, at)

    return await _moved(request, context, claims, chosen)


@router.delete("/methods/{method_id}", status_code=204)
async def remove_method(method_id: Id, context: Ctx, claims: SignedIn) -> Response:
    """Forget a way to pay, here and at the provider. A subscription that renews by it ends with what is paid for."""
    await checkout.adult(context, claims)
    at = context.clock.now()
    async with context.transaction() as connection:
        customer_id = await customers.of_account(connection, claims.account_id, at)
        await methods.get(connection, customer_id, method_id)
    await methods.remove(context.billing, customer_id, method_id, at)
    return Response(status_code=204)


@router.post("/webhooks/{provider}", status_code=200)
async def webhook(provider: Annotated[str, Path(max_length=40)], request: Request, context: Ctx) -> Response:
    """What a payment provider tells; believed only after the provider was asked."""
    address = limits.address(request)
    await webhooks.receive(context.billing, provider, request.headers, await request.body(), address)
    return Response(status_code=200)


async def _moved(request: Request, context: Context, claims: Claims, move: Move) -> Overview:
    await checkout.adult(context, claims)
    await context.limits.spend(limits.CHECKOUT, claims.account_id)
    at = context.clock.now()
    async with context.transaction() as connection:
        customer_id = await customers.of_account(connection, claims.account_id, at)
        await move(connection, await _mine(connection, customer_id), at)
        return await overview(connection, claims.account_id, language_of(request), at)


async def _mine(connection: AsyncConnection, customer_id: str) -> str:
    found = await subscriptions.of_customer(connection, customer_id)
    if found is None:
        raise Problem(404, "no_subscription", "there is no subscription: choose a plan")
    return found.subscription_id


async def _renews_by(context: Context, claims: Claims) -> str | None:
    async with context.transaction() as connection:
        customer_id = await customers.of_account(connection, claims.account_id, context.clock.now())
        found = await subscriptions.of_customer(connection, customer_id)
    return found.method_id if found else None
