"""Ordering a subscription: at what price, from when, and what becomes of orders that nobody pays."""

from datetime import datetime, timedelta

from psycopg import AsyncConnection
from psycopg.types.range import Range

from matinee.ids import uuid7
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Draft, Line
from serving.billing.ledger.money import least
from serving.billing.products import core as products
from serving.billing.products.core import Price
from serving.billing.promo import core as promos
from serving.billing.promo.terms import Promo, apply
from serving.billing.subscriptions import drafts
from serving.billing.subscriptions.machine import Event, State
from serving.billing.subscriptions.moves import Book, expired, save
from serving.billing.subscriptions.periods import PeriodError, zone_of
from serving.billing.subscriptions.rows import QUERIES, Move, Subscription, held, hold, live
from serving.billing.subscriptions.settling import void_all
from serving.db import Row, execute, row, rows
from serving.problems import Problem

TO_PAY = timedelta(hours=24)  # an order that nobody paid is dropped


async def start(
    connection: AsyncConnection,
    customer: str,
    price_id: str,
    at: datetime,
    *,
    language: str,
    country: str,
    promo: str | None = None,
    zone: str | None = None,
) -> Invoice:
    """Order a subscription; `customer` is the customer's id, `country` (ISO 3166-1) decides about prices and tax.

    Who tries Matinee pays in advance: the paid period begins when the trial ends. Periods are counted by the clocks of
    `zone` (IANA). An order for the same that is still open is given back.

    Raises:
        Problem: 422 `not_sold`, no such price there; 409 `subscribed`, there is a subscription: change or resume it;
            what `promos.reserve` refuses.
    """
    price = await sold_in(connection, price_id, country, at)
    there = await _free(connection, customer, at)
    if there is None:
        open_orders = await _orders(connection, customer)
    else:
        open_orders = await rows(connection, QUERIES["open_invoices"], {"subscription_ids": [there.subscription_id]})
    for order in open_orders:
        if order["price_id"] == price_id and promo is None and not order["has_discount"]:
            return await invoices.get(connection, order["invoice_id"])
    await _drop(connection, [order for order in open_orders if not order["in_flight"]], at)
    whose = there or await _ordered(connection, customer, price, at, country=country, zone=_zone(zone))
    rate = await products.tax(connection, country, at)
    made, promotion = await first_draft(connection, whose, price, at, country, rate, language, promo)
    invoice = await invoices.issue(connection, customer, made, at)
    if promotion is not None:
        await promos.attach(connection, promotion, invoice, at)
    return invoice


async def first_draft(
    connection: AsyncConnection, whose: Subscription, price: Price, at: datetime, country: str, rate: int,
    language: str, promo: str | None, *, looking: bool = False,
) -> tuple[Draft, Promo | None]:  # fmt: skip
    begins = max(at, whose.until) if whose.period is not None else at
    period = drafts.first(price, begins, whose.zone)
    lines: tuple[Line, ...] = (drafts.whole(price, period),)
    promotion = None
    if promo is not None:
        ask = promos.look if looking else promos.reserve
        promotion = await ask(connection, promo, whose.customer_id, lines, price.money.currency, at)
        lines = apply(promotion, lines, least(price.money.currency))
    made = drafts.draft(
        "start", price, lines, period, country=country, rate_bp=rate, language=language,
        subscription_id=whose.subscription_id,
    )  # fmt: skip
    return made, promotion


async def sold_in(connection: AsyncConnection, price_id: str, country: str, at: datetime) -> Price:
    for price in await products.on_sale(connection, country, at):
        if price.price_id == price_id:
            return price
    raise Problem(422, "not_sold", f"the price {price_id[:60]!r} is not sold in {country or 'your region'} now")


async def _free(connection: AsyncConnection, customer: str, at: datetime) -> Subscription | None:
    """The customer's trial, if there is one to pay for; None: nothing runs.

    Raises:
        Problem: 409 `subscribed`.
    """
    there = await live(connection, customer)
    if there is None:
        return await _adopted(connection, customer, at)
    locked = (await hold(connection, there.subscription_id)) or there
    if locked.state is State.TRIALING and locked.paid_until is None:
        return locked
    if locked.state in (State.EXPIRED, State.INCOMPLETE):
        return None
    raise Problem(409, "subscribed", f"your subscription is {locked.state}: change, resume or cancel that one")


async def _adopted(connection: AsyncConnection, customer: str, at: datetime) -> Subscription | None:
    """A trial that has no subscription (of an import, or of earlier days) as one; None: there is none."""
    whose = await row(connection, QUERIES["customer"], {"customer_id": customer})
    if whose is None or whose["account_id"] is None:
        raise Problem(409, "no_account", "the account is gone: nothing can be bought for it")
    asked = {"account_id": whose["account_id"], "at": at}
    others = await rows(connection, QUERIES["elsewhere"], asked)
    if not others:
        return None
    trial = others[0]
    if len(others) > 1 or trial["state"] != "trial" or trial["closed"] is None:
        raise Problem(409, "subscribed", "your subscription was not made here: it has to end before a new one begins")
    known = await products.on_sale(connection, None, at)
    price = next((each for each in known if each.plan_id == trial["plan"]), known[0])
    given = {
        "subscription_id": trial["subscription_id"],
        "customer_id": customer,
        "state": State.TRIALING,
        "price_id": price.price_id,
        "event": "tried",
        "zone": "UTC",
        "country": "",
        "anchor": trial["closed"],
        "period": Range(trial["opened"], trial["closed"]),
        "due_at": trial["closed"],
        "at": at,
    }
    await execute(connection, QUERIES["add"], given)
    return await hold(connection, trial["subscription_id"])


async def _orders(connection: AsyncConnection, customer: str) -> list[Row]:
    found = await rows(connection, QUERIES["orders_of"], {"customer_id": customer})
    asked = {"subscription_ids": [each["subscription_id"] for each in found]}
    return await rows(connection, QUERIES["open_invoices"], asked) if found else []


async def _drop(connection: AsyncConnection, orders: list[Row], at: datetime) -> None:
    """Take back orders that nobody is paying."""
    await void_all(connection, [order["invoice_id"] for order in orders], at)
    subscriptions = await held(connection, [order["subscription_id"] for order in orders])
    gone = [each for each in subscriptions.values() if each.state is State.INCOMPLETE]
    moves = [Move(each, expired(each, Event.ABANDONED, at), Event.ABANDONED) for each in gone]
    await save(connection, moves, Book({}, {}), at)


async def _ordered(
    connection: AsyncConnection, customer: str, price: Price, at: datetime, *, country: str, zone: str
) -> Subscription:
    given = {
        "subscription_id": uuid7(), "customer_id": customer, "state": State.INCOMPLETE, "price_id": price.price_id,
        "event": "ordered", "zone": zone, "country": country, "anchor": None, "period": None,
        "due_at": at + TO_PAY, "at": at,
    }  # fmt: skip
    await execute(connection, QUERIES["add"], given)
    made = await hold(connection, given["subscription_id"])
    assert made is not None, "it was written a statement ago"
    return made


def _zone(name: str | None) -> str:
    """The zone, or UTC where it is none: no reason to refuse somebody's money."""
    try:
        return zone_of(name).key if name else "UTC"
    except PeriodError:
        return "UTC"
