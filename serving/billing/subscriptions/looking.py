"""Looking ahead: what an order, a change or the next renewal would come to. Nothing is kept."""

from dataclasses import dataclass, replace
from datetime import datetime

from psycopg import AsyncConnection

from serving.billing.invoices import core as invoices
from serving.billing.invoices.lines import Draft, Line, spent
from serving.billing.ledger.money import least
from serving.billing.products.core import Price
from serving.billing.subscriptions import drafts
from serving.billing.subscriptions.changing import changed_to, paid_for, planned
from serving.billing.subscriptions.clock import drafted
from serving.billing.subscriptions.machine import Event, State
from serving.billing.subscriptions.moves import book
from serving.billing.subscriptions.ordering import first_draft, sold_in
from serving.billing.subscriptions.rows import QUERIES, Subscription, end_at, live, start_at, subscription
from serving.db import row
from serving.problems import Problem


@dataclass(frozen=True, slots=True)
class Preview:
    """What a start or a change would come to: `credit_minor` goes to the balance, `due_minor` is to be paid."""

    lines: tuple[Line, ...]
    currency: str
    total_minor: int
    from_balance: int
    credit_minor: int
    since: datetime
    until: datetime

    @property
    def due_minor(self) -> int:
        return self.total_minor - self.from_balance


async def of_customer(connection: AsyncConnection, customer: str) -> Subscription | None:
    """The customer's subscription: a trial, or one that is paid, owed or paused."""
    return await live(connection, customer)


async def preview(
    connection: AsyncConnection,
    customer: str,
    price_id: str,
    at: datetime,
    *,
    language: str,
    country: str,
    promo: str | None = None,
) -> Preview:
    """What `start`, or `change` now, would come to; nothing is kept.

    Raises:
        Problem: as those do.
    """
    there = await live(connection, customer)
    credit = 0
    if there is not None and there.paid_until is not None and there.state in (State.TRIALING, State.ACTIVE):
        price = await changed_to(connection, there, price_id, at)
        paid_for(there, at)
        known = await book(connection, [there.country], at)
        plan = await planned(connection, there, price, known, at)
        lines, total, credit, period = plan.lines, plan.made.due, plan.made.credit, plan.period
    elif there is None or there.state is State.TRIALING:
        price = await sold_in(connection, price_id, country, at)
        whose = there or _nobody(customer, price, at)
        order, _ = await first_draft(connection, whose, price, at, country, 0, language, promo, looking=True)
        lines, total, period = tuple(order.lines), order.total_minor, order.period
    else:
        raise Problem(409, "subscribed", f"your subscription is {there.state}: change, resume or cancel that one")
    balance = await invoices.balance(connection, customer, price.money.currency)
    currency = price.money.currency
    used = spent(total, balance, least(currency))
    return Preview(lines, currency, total, used, credit, start_at(period), end_at(period))


def _nobody(customer: str, price: Price, at: datetime) -> Subscription:
    """A subscription that is not there."""
    return Subscription(
        subscription_id="",
        customer_id=customer,
        state=State.INCOMPLETE,
        price_id=price.price_id,
        next_price_id=None,
        zone="UTC",
        country="",
        anchor=None,
        elapsed=0,
        period=None,
        paid_until=None,
        ends=False,
        pauses=False,
        resumes_at=None,
        attempts=0,
        due_at=None,
        method_id=None,
        created_at=at,
        ended_at=None,
        worth_minor=0,
        worth_from=None,
        moved_at=None,
    )


async def upcoming(connection: AsyncConnection, subscription_id: str, at: datetime) -> Draft | None:
    """What is billed next, and for which period; None: nothing, as things stand."""
    found = await row(connection, QUERIES["one"], {"subscription_id": subscription_id})
    whose = subscription(found) if found else None
    if whose is None or whose.ends or (whose.paid_until is None and whose.state is not State.PAUSED):
        return None
    if whose.state is State.TRIALING:
        whose = replace(
            whose,
            state=State.ACTIVE,
            price_id=whose.paid_price_id,
            next_price_id=None,
            period=drafts.paid_period(whose),
        )
    event = Event.RESUMING if whose.state is State.PAUSED or whose.pauses else Event.RENEWING
    if whose.state not in (State.ACTIVE, State.PAUSED):
        return None
    when = max(at, whose.resumes_at or at) if event is Event.RESUMING else at
    known = await book(connection, [whose.country], at)
    ((draft, _),) = await drafted(connection, [(whose, event)], known, when)
    return draft
