"""What an account's money looks like now: its subscription, what is charged next, ways to pay, balance."""

from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from serving.billing import customers
from serving.billing.invoices import core as invoices
from serving.billing.ledger.money import Money
from serving.billing.payments import methods
from serving.billing.products import core as products
from serving.billing.products.core import Price
from serving.billing.subscriptions import core as subscriptions
from serving.billing.subscriptions.machine import State
from serving.billing.subscriptions.rows import Subscription
from serving.billing.types import MethodView, Overview, SubscriptionView
from serving.billing.views import amount, money, priced
from serving.db import row, rows

QUERIES = load(Path(__file__).parent)


async def overview(connection: AsyncConnection, account_id: str, language: str, at: datetime) -> Overview:
    """The account's subscription, ways to pay and balance."""
    customer_id = await customers.of_account(connection, account_id, at)
    found = await subscriptions.of_customer(connection, customer_id)
    prices = await products.prices(connection, at)
    used = await rows(connection, QUERIES["currencies"], {"customer_id": customer_id})
    balances = [
        Money(await invoices.balance(connection, customer_id, one["currency"]), one["currency"]) for one in used
    ]
    return Overview(
        subscription=await _subscription(connection, found, prices, language, at) if found else None,
        methods=[
            MethodView(method_id=one.method_id, label=one.label, created_at=one.created_at)
            for one in await methods.listed(connection, customer_id)
        ],
        balance=[money(each, language) for each in balances if each.minor > 0],
    )


async def _subscription(
    connection: AsyncConnection, found: Subscription, prices: dict[str, Price], language: str, at: datetime
) -> SubscriptionView:
    following = prices[found.next_price_id] if found.next_price_id else None
    charge_at = _charged_at(found)
    asked = {"subscription_id": found.subscription_id}
    to_pay = await row(connection, QUERIES["to_pay"], asked)
    charge = None
    if charge_at is not None and to_pay is not None:
        charge = amount(to_pay["due_minor"], to_pay["currency"], language)
    elif charge_at is not None and (coming := await subscriptions.upcoming(connection, found.subscription_id, at)):
        charge = amount(coming.total_minor, coming.currency, language)
    since = found.period.lower if found.period else None
    return SubscriptionView(
        subscription_id=found.subscription_id,
        state=found.state.value,
        plan=priced(prices[found.price_id], language),
        next_plan=priced(following, language) if following else None,
        since=since or found.created_at,
        until=_until(found),
        ends=found.ends,
        pauses=found.pauses,
        resumes_at=found.resumes_at,
        next_charge=charge,
        next_charge_at=charge_at,
        method_id=found.method_id,
        to_pay=to_pay["invoice_id"] if to_pay else None,
    )


def _until(found: Subscription) -> datetime | None:
    """How long there is access for what was paid for, or is tried."""
    if found.state is State.PAUSED or found.period is None:
        return None
    return max(filter(None, (found.until, found.paid_until)), default=None)


def _charged_at(found: Subscription) -> datetime | None:
    """When money will be taken by itself, None: never."""
    if found.method_id is None:
        return None
    if found.pauses or found.state is State.PAUSED:
        return found.resumes_at
    if not found.renews:
        return None
    return found.due_at if found.state is State.PAST_DUE else found.paid_until or found.until
