"""What staff may do about money; every deed is a row of the audit log."""

from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db import audit
from matinee.db.queries import load
from serving.admin.billing.types import NewCode, NewRefund
from serving.billing.promo import core as promos
from serving.billing.subscriptions import core as subscriptions
from serving.billing.subscriptions.core import Subscription
from serving.db import Row, row, rows
from serving.problems import Problem

QUERIES = load(Path(__file__).parent)


async def payments(connection: AsyncConnection, q: str | None, before: str | None, limit: int) -> list[Row]:
    """Payments, the newest first: all, or those of an account (id or e-mail), of an invoice (number), or the one."""
    if q is None:
        return await rows(connection, QUERIES["payments"], {"before": before, "limit": limit})
    named = await rows(connection, QUERIES["payments_named"], {"q": q.strip()}) if before is None else []
    asked = {"q": q.strip(), "before": before, "limit": limit}
    return named or await rows(connection, QUERIES["payments_of"], asked)


async def payment(connection: AsyncConnection, payment_id: str) -> tuple[Row, list[Row]]:
    """A payment and its refunds.

    Raises:
        Problem: 404.
    """
    found = await rows(connection, QUERIES["payments_named"], {"q": payment_id})
    if not found or found[0]["payment_id"] != payment_id:
        raise Problem(404, "unknown_payment", "there is no such payment")
    return found[0], await rows(connection, QUERIES["refunds"], {"payment_id": payment_id})


async def refund_asked(
    connection: AsyncConnection, admin_id: str, payment_id: str, refund_id: str, wanted: NewRefund, at: datetime
) -> None:
    """Check what is asked against the payment, and write down who asks.

    Raises:
        Problem: 404; 422 `currency`, the payment was of another.
    """
    found, _ = await payment(connection, payment_id)
    if (wanted.amount_minor is None) != (wanted.currency is None):
        raise Problem(422, "invalid_request", "give an amount and its currency, or neither for all of it")
    if wanted.currency is not None and wanted.currency != found["currency"]:
        raise Problem(422, "currency", f"the payment was in {found['currency']}, not in {wanted.currency}")
    # The reason stands with the refund, whence it can be erased: nothing leaves this log.
    details = {"payment": payment_id, "refund": refund_id, **wanted.model_dump(exclude={"reason"})}
    await audit.record(
        connection, actor=admin_id, action="payment.refund_asked", subject=found["account_id"], details=details, at=at
    )


async def cancel_subscription(
    connection: AsyncConnection, admin_id: str, account_id: str, at: datetime
) -> Subscription:
    """End a customer's subscription as its owner would: what is paid for lasts, nothing more is charged.

    Raises:
        Problem: 404 `no_subscription`.
    """
    done = await subscriptions.cancel_of(connection, account_id, at)
    if done is None:
        raise Problem(404, "no_subscription", "the account has no subscription")
    details = {"subscription": done.subscription_id, "state": done.state}
    await audit.record(
        connection, actor=admin_id, action="subscription.cancelled", subject=account_id, details=details, at=at
    )
    return done


async def add_code(connection: AsyncConnection, admin_id: str, wanted: NewCode, at: datetime) -> str:
    """Make a promo code; returns its id.

    Raises:
        PromoError: 422 `promo_invalid`, 409 `promo_taken`.
    """
    promo_id = await promos.add(connection, promos.NewPromo(**wanted.model_dump()), at)
    details = {**wanted.model_dump(mode="json"), "promo_id": promo_id}
    await audit.record(connection, actor=admin_id, action="promo.added", subject=None, details=details, at=at)
    return promo_id


async def withdraw_code(connection: AsyncConnection, admin_id: str, promo_id: str, at: datetime) -> None:
    """Let nobody use a code any more; who has it keeps it.

    Raises:
        Problem: 404, there is no such open code.
    """
    known = await row(connection, QUERIES["open_code"], {"promo_id": promo_id})
    if known is None:
        raise Problem(404, "promo_unknown", "there is no such open code")
    found = await promos.withdraw(connection, known["code"], at)
    details = {"promo_id": found["promo_id"], "code": found["code"], "used": found["used"]}
    await audit.record(connection, actor=admin_id, action="promo.withdrawn", subject=None, details=details, at=at)


async def disputes(connection: AsyncConnection, state: str | None, before: str | None, limit: int) -> list[Row]:
    """Disputes, the newest first."""
    return await rows(connection, QUERIES["disputes"], {"state": state, "before": before, "limit": limit})


async def books(
    connection: AsyncConnection, account_id: str, before: int | None, limit: int
) -> tuple[list[Row], list[Row]]:
    """What was written on the account's side of the ledger, the last first, and what it comes to per currency.

    Raises:
        Problem: 404, there is no such account.
    """
    found = await row(connection, QUERIES["customer"], {"account_id": account_id})
    if found is None:
        raise Problem(404, "unknown_account", "there is no such account")
    asked = {"customer_id": found["customer_id"], "before": before, "limit": limit}
    return await rows(connection, QUERIES["books"], asked), await rows(connection, QUERIES["balances"], asked)
