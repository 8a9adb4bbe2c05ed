"""HTTP for admins: /api/admin/billing."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Path, Query, Request, Response

from matinee.ids import uuid7
from serving import limits
from serving.accounts.types import Line
from serving.admin.billing import core
from serving.admin.billing.types import (
    Books,
    Cancelled,
    CodeMade,
    CodeRow,
    CodeRows,
    DisputeRow,
    DisputeRows,
    Fact,
    Listed,
    NewCode,
    NewRefund,
    OnePayment,
    PaymentRow,
    PaymentRows,
    PriceList,
    RefundRow,
)
from serving.auth import Admin
from serving.billing import idempotency
from serving.billing.idempotency import Answer, Asked, Claim
from serving.billing.payments.core import refund as give_back
from serving.billing.products import core as products
from serving.billing.promo import core as promos
from serving.billing.promo.codes import written
from serving.billing.views import amount, language_of, price_view
from serving.context import Ctx
from serving.db import Row

router = APIRouter(prefix="/api/admin/billing", tags=["admin"])
Cursor = Annotated[str | None, Query(max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=100)]
Id = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z-]+$")]
_AMOUNTS = {"amount_minor": "amount", "refunded_minor": "refunded", "fee_minor": "fee"}


@router.get("/payments")
async def find_payments(
    request: Request,
    context: Ctx,
    _: Admin,
    q: Annotated[Line | None, Query(description="a payment, the number of an invoice, an account, an e-mail")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> PaymentRows:
    """Payments, the newest first."""
    purpose, language = f"payments {q}", language_of(request)
    before = context.cursors.open(purpose, cursor)[0] if cursor else None
    async with context.transaction() as connection:
        found = await core.payments(connection, q, before, limit)
    items = [PaymentRow(**_told(one, language)) for one in found]
    more = len(items) == limit
    return PaymentRows(items=items, cursor=context.cursors.seal(purpose, [items[-1].payment_id]) if more else None)


@router.get("/payments/{payment_id}")
async def one_payment(payment_id: Id, request: Request, context: Ctx, _: Admin) -> OnePayment:
    """A payment with its refunds."""
    language = language_of(request)
    async with context.transaction() as connection:
        found, refunds = await core.payment(connection, payment_id)
    return OnePayment(**_told(found, language), refunds=[RefundRow(**_told(one, language)) for one in refunds])


@router.post("/payments/{payment_id}/refunds", response_model=RefundRow)
async def refund(
    payment_id: Id,
    body: NewRefund,
    request: Request,
    context: Ctx,
    claims: Admin,
    idempotency_key: Annotated[str | None, Header(description="Of one refund, however often it is asked for")] = None,
) -> Response:
    """Give a payment back, all that is left of it or a part. What it paid for ends when all of it went back."""
    key = idempotency.key_of(idempotency_key)
    await context.limits.spend(limits.ADMIN, claims.account_id)

    async def work(claim: Claim) -> Answer:
        at, refund_id = context.clock.now(), claim.subject or uuid7()
        if claim.subject is None:
            async with context.transaction() as connection:
                await claim.made(connection, refund_id)
                await core.refund_asked(connection, claims.account_id, payment_id, refund_id, body, at)
        done = await give_back(
            context.billing, payment_id, body.amount_minor, body.reason, at, asked_by=claims.account_id,
            keeps_right=body.keeps_right, refund_id=refund_id,
        )  # fmt: skip
        shown = {
            name: getattr(done, name)
            for name in (*RefundRow.model_fields, "currency", "amount_minor")
            if name != "amount"
        }
        told = RefundRow(**_told(shown, language_of(request)))
        return Answer(200, orjson.dumps(told.model_dump(mode="json")))

    route = f"{request.method} {request.url.path}"
    asked = Asked(claims.account_id, route, key, await request.body())
    return (await idempotency.once(context.billing, asked, work)).response()


@router.get("/disputes")
async def list_disputes(
    request: Request,
    context: Ctx,
    _: Admin,
    state: Literal["open", "won", "lost"] | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> DisputeRows:
    """Disputes, the newest first."""
    purpose, language = f"disputes {state}", language_of(request)
    before = context.cursors.open(purpose, cursor)[0] if cursor else None
    async with context.transaction() as connection:
        found = await core.disputes(connection, state, before, limit)
    items = [DisputeRow(**_told(one, language)) for one in found]
    more = len(items) == limit
    return DisputeRows(items=items, cursor=context.cursors.seal(purpose, [items[-1].dispute_id]) if more else None)


@router.get("/promo-codes")
async def list_codes(context: Ctx, _: Admin, cursor: Cursor = None, limit: Limit = 50) -> CodeRows:
    """Promo codes with their uses, the newest first."""
    after = context.cursors.open("codes", cursor)[0] if cursor else None
    async with context.transaction() as connection:
        found = await promos.listed(connection, limit, after)
    items = [CodeRow(**{name: one[name] for name in CodeRow.model_fields}) for one in found]
    more = len(items) == limit
    return CodeRows(items=items, cursor=context.cursors.seal("codes", [items[-1].promo_id]) if more else None)


@router.post("/promo-codes", status_code=201)
async def add_code(body: NewCode, context: Ctx, claims: Admin) -> CodeMade:
    """Make a promo code."""
    await context.limits.spend(limits.ADMIN, claims.account_id)
    async with context.transaction() as connection:
        promo_id = await core.add_code(connection, claims.account_id, body, context.clock.now())
    return CodeMade(promo_id=promo_id, code=written(body.code))


@router.delete("/promo-codes/{promo_id}", status_code=204)
async def withdraw_code(promo_id: Id, context: Ctx, claims: Admin) -> Response:
    """Let nobody use a code any more; who has it keeps it."""
    await context.limits.spend(limits.ADMIN, claims.account_id)
    async with context.transaction() as connection:
        await core.withdraw_code(connection, claims.account_id, promo_id, context.clock.now())
    return Response(status_code=204)


@router.get("/accounts/{account_id}/ledger")
async def books(
    account_id: Annotated[str, Path(max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")],
    request: Request,
    context: Ctx,
    _: Admin,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Books:
    """What was written on an account's side of the ledger, the last first, and what it comes to."""
    purpose, language = f"books {account_id}", language_of(request)
    before = context.cursors.open(purpose, cursor)[0] if cursor else None
    async with context.transaction() as connection:
        found, balances = await core.books(connection, account_id, before, limit)
    items = [Fact(**_told(one, language)) for one in found]
    last = items[-1].transaction_id if len(items) == limit else None
    return Books(
        items=items,
        balances=[amount(one["amount_minor"], one["currency"], language) for one in balances],
        cursor=context.cursors.seal(purpose, [last]) if last is not None else None,
    )


@router.post("/accounts/{account_id}/subscription/cancel")
async def cancel_subscription(
    account_id: Annotated[str, Path(max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")], context: Ctx, claims: Admin
) -> Cancelled:
    """End a customer's subscription: what is paid for stays open to its end, nothing more is charged."""
    await context.limits.spend(limits.ADMIN, claims.account_id)
    async with context.transaction() as connection:
        done = await core.cancel_subscription(connection, claims.account_id, account_id, context.clock.now())
    return Cancelled(
        subscription_id=done.subscription_id, state=done.state, until=done.ended_at or done.paid_until or done.until
    )


@router.get("/prices")
async def price_list(request: Request, context: Ctx, _: Admin) -> PriceList:
    """Every price there ever was: by which plan and version, where, and what succeeds it."""
    language = language_of(request)
    async with context.transaction() as connection:
        found = await products.prices(connection, context.clock.now())
    return PriceList(
        items=[
            Listed(
                **price_view(price, language).model_dump(),
                plan_id=price.plan_id,
                version=price.version,
                regions=list(price.regions),
                is_sold=price.is_sold,
                succeeded_by=price.succeeded_by,
                succeeds_at=price.succeeds_at,
            )
            for price in found.values()
        ]
    )


def _told(found: Row, language: str) -> dict[str, Any]:
    """A row with its amounts in words."""
    currency = found["currency"]
    said = {name: amount(found[column], currency, language) for column, name in _AMOUNTS.items() if column in found}
    return {name: value for name, value in found.items() if name not in _AMOUNTS and name != "currency"} | said
