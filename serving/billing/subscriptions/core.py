"""What people do with subscriptions: order, change, cancel, pause, come back. The clock and payments do the rest.

An invoice that comes back is to be paid: by `payments.begin`, or at once where nothing of it is due. Until it is paid
nothing has changed.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.products import core as products
from serving.billing.subscriptions.changing import change
from serving.billing.subscriptions.clock import Charge, Due, due, resuming, turn, turn_many
from serving.billing.subscriptions.fulfilment import (
    give_up_useless,
    paid,
    paid_many,
    reduced,
    refused,
    refused_many,
    withdrawn,
)
from serving.billing.subscriptions.looking import Preview, of_customer, preview, upcoming
from serving.billing.subscriptions.machine import Event, MoveError, State, move
from serving.billing.subscriptions.moves import announced, book, expired, moment_of, moved, save
from serving.billing.subscriptions.ordering import start
from serving.billing.subscriptions.rows import QUERIES, Move, Subscription, hold_one, live
from serving.billing.subscriptions.settling import give_withheld, void_all
from serving.db import row, rows
from serving.problems import Problem

LONGEST_PAUSE = timedelta(days=90)

__all__ = [
    "Charge", "Due", "Preview", "Subscription", "cancel", "cancel_of", "change", "change_method", "due",
    "give_up_useless", "give_withheld", "keep", "method_gone", "of_customer", "paid", "paid_many", "pause", "preview",
    "reduced", "refused", "refused_many", "resume", "start", "turn", "turn_many", "upcoming", "withdrawn",
]  # fmt: skip


async def cancel(connection: AsyncConnection, subscription_id: str, at: datetime) -> Subscription:
    """What is paid for, or tried, lasts to its end; what is owed or paused ends now, and nothing is owed any more.

    Raises:
        Problem: 404 `no_subscription`, 409 `not_now`, it has ended.
    """
    whose = await hold_one(connection, subscription_id)
    if whose.state in (State.TRIALING, State.ACTIVE):
        if whose.ends:
            return whose
        if whose.state is State.ACTIVE and at >= whose.until:  # what is being billed is not owed any more
            return await _cancel_now(connection, whose, Event.ENDED, at)
        scheduled = whose.next_price_id if whose.state is State.TRIALING else None
        after = _move(
            whose, Event.CANCELLED, at, ends=True, pauses=False, resumes_at=None, next_price_id=scheduled,
            due_at=_end(whose),
        )  # fmt: skip
        known = await book(connection, [whose.country], at)
        await save(connection, [Move(whose, after, Event.CANCELLED)], known, at)
        return after
    return await _cancel_now(connection, whose, Event.CANCELLED, at)


async def cancel_of(connection: AsyncConnection, account_id: str, at: datetime) -> Subscription | None:
    """Cancel what an account has; None: it has no subscription."""
    whose = await row(connection, QUERIES["customer_of"], {"account_id": account_id})
    there = await live(connection, whose["customer_id"]) if whose else None
    return await cancel(connection, there.subscription_id, at) if there else None


async def _cancel_now(connection: AsyncConnection, whose: Subscription, event: Event, at: datetime) -> Subscription:
    after = expired(_checked(whose, event), event, at)
    asked = {"subscription_ids": [whose.subscription_id]}
    found = await rows(connection, QUERIES["open_invoices"], asked)
    await void_all(connection, [each["invoice_id"] for each in found], at)
    known = await book(connection, [whose.country], at)
    await save(connection, [Move(whose, after, event)], known, at)
    return after


async def keep(connection: AsyncConnection, subscription_id: str, at: datetime) -> Subscription:
    """Take back a cancellation, a pause to come, or a change to come.

    Raises:
        Problem: 404 `no_subscription`, 409 `not_now`, it has ended or is paused.
    """
    whose = await hold_one(connection, subscription_id)
    after = _move(
        whose, Event.KEPT, at, ends=False, pauses=False, resumes_at=None,
        next_price_id=whose.next_price_id if whose.state is State.TRIALING else None,
    )  # fmt: skip
    known = await book(connection, [whose.country], at)
    dropped = whose.next_price_id is not None and after.next_price_id is None
    letter = announced(whose, whose.price_id, known) if dropped else None
    await save(connection, [Move(whose, after, Event.KEPT, letter=letter)], known, at)
    return after


async def pause(connection: AsyncConnection, subscription_id: str, at: datetime, *, days: int) -> Subscription:
    """Pause for `days` (at most 90) when the period ends; then it goes on, and is billed, by itself.

    Raises:
        Problem: 404 `no_subscription`, 422 `pause_too_long`, 409 `not_now`, it is not active, or cancelled.
    """
    if not timedelta(days=1) <= timedelta(days=days) <= LONGEST_PAUSE:
        raise Problem(422, "pause_too_long", f"a pause lasts 1 to {LONGEST_PAUSE.days} days, not {days}")
    whose = await hold_one(connection, subscription_id)
    if whose.ends or (whose.period is not None and at >= whose.until):
        raise Problem(409, "not_now", "it is cancelled, or being renewed: there is no next period to pause")
    after = _move(
        whose, Event.PAUSE_ASKED, at, pauses=True,
        resumes_at=whose.until + timedelta(days=days) if whose.period is not None else None,
    )  # fmt: skip
    known = await book(connection, [whose.country], at)
    await save(connection, [Move(whose, after, Event.PAUSE_ASKED, details={"days": days})], known, at)
    return after


async def resume(connection: AsyncConnection, subscription_id: str, at: datetime) -> Invoice | None:
    """End a pause: the invoice of a period that begins when it is paid; None where the pause had not begun.

    Raises:
        Problem: 404 `no_subscription`, 409 `not_now`, it is not paused.
    """
    whose = await hold_one(connection, subscription_id)
    if whose.state is State.ACTIVE and whose.pauses:
        await keep(connection, subscription_id, at)
        return None
    if whose.state is not State.PAUSED:
        raise Problem(409, "not_now", f"your subscription is {whose.state}: only a pause is ended")
    asked = {"subscription_ids": [subscription_id]}
    there = [each for each in await rows(connection, QUERIES["open_invoices"], asked) if each["reason"] == "resume"]
    known = await book(connection, [whose.country], at)
    price = products.kept(known.prices, whose.next_price_id or whose.price_id, at)
    for order in there:
        if order["in_flight"] or order["price_id"] == price.price_id:
            return await invoices.get(connection, order["invoice_id"])
    await void_all(connection, [order["invoice_id"] for order in there], at)
    invoice = await resuming(connection, whose, known, at)
    after = moved(whose, Event.RESUMING, at)
    details = {"invoice": invoice.invoice_id}
    await save(connection, [Move(whose, after, Event.RESUMING, details=details)], known, at)
    return invoice


async def change_method(
    connection: AsyncConnection, subscription_id: str, method_id: str | None, at: datetime
) -> Subscription:
    """Renew by another way to pay; None: not by itself any more.

    Raises:
        Problem: 404 `no_subscription`.
    """
    whose = await hold_one(connection, subscription_id)
    after = replace(whose, method_id=method_id, moved_at=moment_of(whose, at))
    known = await book(connection, [whose.country], at)
    await save(connection, [Move(whose, after)], known, at)
    return after


async def method_gone(connection: AsyncConnection, method_id: str, at: datetime) -> None:
    """A way to pay was removed: what was renewed by it ends with what is paid for."""
    for found in await rows(connection, QUERIES["of_method"], {"method_id": method_id}):
        await change_method(connection, found["subscription_id"], None, at)


def _checked(whose: Subscription, event: Event) -> Subscription:
    try:
        move(whose.state, event)
    except MoveError as error:
        raise Problem(409, "not_now", str(error)) from error
    return whose


def _move(whose: Subscription, event: Event, at: datetime, **changes: Any) -> Subscription:
    return moved(_checked(whose, event), event, at, **changes)


def _end(whose: Subscription) -> datetime | None:
    """When the clock looks at it again: at the end of what runs."""
    return whose.until if whose.period is not None else None
