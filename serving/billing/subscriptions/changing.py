"""Changing plan or interval: now, prorated, or with the next period."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Line
from serving.billing.ledger.money import least
from serving.billing.products import core as products
from serving.billing.products.core import Price
from serving.billing.promo import core as promos
from serving.billing.promo.terms import Promo, apply, covers, stands_off
from serving.billing.subscriptions import drafts
from serving.billing.subscriptions.fulfilment import switched
from serving.billing.subscriptions.machine import Event, State
from serving.billing.subscriptions.moves import Book, book, moment_of, moved, save
from serving.billing.subscriptions.proration import Change
from serving.billing.subscriptions.rows import QUERIES, Move, Period, Subscription, hold_one, start_at
from serving.billing.subscriptions.settling import Given, give_credit, void_all
from serving.db import rows
from serving.problems import Problem


async def change(
    connection: AsyncConnection, subscription_id: str, price_id: str, at: datetime, *, now: bool
) -> Invoice | None:
    """Change the plan or the interval.

    `now`: what the new plan costs for the rest of the period, less what is unused of the old one, is the invoice, and
    the change happens when that is paid; where the old one was worth more, it happens at once and the rest is credit
    for what is billed next. Of another interval a new period begins. Not `now`: with the next period; nothing is due.

    A code that the period was paid with prices the rest of it too; a new period is priced as a renewal would be, and
    takes one of the code's. Where nothing would be left to pay it keeps its list price, as it could take none.

    Raises:
        Problem: 404 `no_subscription`; 422 `not_sold`, `currency`; 409 `same_plan`, `not_now`.
    """
    whose = await hold_one(connection, subscription_id)
    price = await changed_to(connection, whose, price_id, at)
    known = await book(connection, [whose.country], at)
    if not now or whose.state is State.PAUSED:
        await _change_later(connection, whose, price, known, at)
        return None
    paid_for(whose, at)
    await _drop_changes(connection, whose, at)
    plan = await planned(connection, whose, price, known, at)
    if plan.made.due:
        billed = drafts.draft(
            "change", price, plan.lines, plan.period, country=whose.country,
            rate_bp=known.rate(whose.country), language=whose.language or "en", subscription_id=subscription_id,
        )  # fmt: skip
        invoice = await invoices.issue(connection, whose.customer_id, billed, at)
        if plan.takes is not None:
            await promos.attach(connection, plan.takes, invoice, at)
        return invoice
    given = await give_credit(connection, whose, plan.made.credit, "change", at)
    await _change_now(connection, whose, price, plan, known, at, given)
    return None


@dataclass(frozen=True, slots=True)
class Plan:
    """A change that takes effect now. `takes`: the code of which the new period takes one use."""

    made: Change
    period: Period
    lines: tuple[Line, ...]
    takes: Promo | None = None


async def planned(connection: AsyncConnection, whose: Subscription, price: Price, known: Book, at: datetime) -> Plan:
    """What a change now comes to, with what a code takes off; nothing is written."""
    ran, moment = known.price(whose), moment_of(whose, at)
    line = drafts.whole(price, drafts.change(whose, ran, price, moment)[1])
    promo, off, takes = None, 0, None
    if price.months != ran.months:
        promo = takes = await promos.carried(connection, whose.subscription_id, changing=True)
        if promo is not None and covers(promo, (line,), price.money.currency):
            applied = apply(promo, (line,), least(price.money.currency))
            off = line.amount_minor - sum(each.amount_minor for each in applied)
        takes = takes if off else None
    else:
        since = start_at(drafts.paid_period(whose))
        stands = await promos.standing(connection, whose.subscription_id, since, price.months)
        if stands is not None:
            promo, off = stands.promo, stands_off(stands, line, price.money.currency)
    made, period = drafts.change(whose, ran, price, moment, off)
    if takes is not None and not made.due:  # no invoice takes its use: it would price such periods for ever
        promo = takes = None
        made, period = drafts.change(whose, ran, price, moment)
    return Plan(made, period, drafts.changing(ran, price, made, period, promo), takes)


async def changed_to(connection: AsyncConnection, whose: Subscription, price_id: str, at: datetime) -> Price:
    try:
        price = await products.price(connection, price_id, at)
        current = await products.price(connection, whose.paid_price_id, at)
    except products.ProductError as error:
        raise Problem(422, "not_sold", str(error)) from error
    if not price.is_sold:
        raise Problem(422, "not_sold", f"the price {price_id!r} is not sold any more")
    if price.money.currency != current.money.currency:
        raise Problem(
            422, "currency", f"you pay in {current.money.currency}: cancel, and begin anew in {price.money.currency}"
        )
    if price_id not in {each.price_id for each in await products.on_sale(connection, whose.country, at)}:
        raise Problem(422, "not_sold", f"the price {price_id!r} is not sold in your region")
    if price.price_id == current.price_id and whose.next_price_id in (None, price.price_id):
        raise Problem(409, "same_plan", "that is what you have")
    return price


def paid_for(whose: Subscription, at: datetime) -> None:
    """Raises: Problem 409 `not_now`, where nothing is paid for that could be changed."""
    is_paid = whose.paid_until is not None and whose.state in (State.TRIALING, State.ACTIVE)
    if not is_paid or whose.worth_from is None:
        raise Problem(409, "not_now", f"your subscription is {whose.state}: pay for it first, then change it")
    if whose.paid_until is not None and at >= whose.paid_until:
        raise Problem(409, "not_now", "your subscription is being renewed: change it in a moment")


async def _change_later(
    connection: AsyncConnection, whose: Subscription, price: Price, known: Book, at: datetime
) -> None:
    if whose.ends or whose.state not in (State.ACTIVE, State.PAUSED):
        what = "cancelled" if whose.ends else str(whose.state)
        raise Problem(409, "not_now", f"your subscription is {what}: there is no next period to change")
    after = moved(whose, Event.CHANGED, at, next_price_id=price.price_id if price.price_id != whose.price_id else None)
    details = {"from": whose.price_id, "to": price.price_id, "when": "next_period"}
    await save(connection, [Move(whose, after, Event.CHANGED, details=details)], known, at)


async def _change_now(
    connection: AsyncConnection, whose: Subscription, price: Price, plan: Plan, known: Book, at: datetime,
    given: Given,
) -> None:  # fmt: skip
    made = plan.made
    after = switched(whose, known.price(whose), price, made.charged, plan.period, at)
    details = {
        "from": whose.paid_price_id, "to": price.price_id, "when": "now",
        "unused": made.unused, "worth": whose.worth_minor, "credited": given.credited, "withheld": given.withheld,
    }  # fmt: skip
    await save(connection, [Move(whose, after, Event.CHANGED, "plan_change", details)], known, at)


async def _drop_changes(connection: AsyncConnection, whose: Subscription, at: datetime) -> None:
    """Take back earlier changes that were not paid: what they set off would be set off twice."""
    asked = {"subscription_ids": [whose.subscription_id]}
    found = await rows(connection, QUERIES["open_invoices"], asked)
    if any(each["in_flight"] and each["reason"] == "change" for each in found):
        raise Problem(409, "not_now", "an earlier change is being paid: wait until that is done, or try again")
    await void_all(connection, [each["invoice_id"] for each in found if each["reason"] == "change"], at)
