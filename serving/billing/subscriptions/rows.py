"""Subscriptions as their table holds them, and the one way to write a move: row, event, access, outbox, together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from matinee.db.queries import load
from serving.billing.subscriptions.machine import Event, State
from serving.db import Row, row, rows
from serving.problems import Problem

QUERIES = load(Path(__file__).parent)
Period = Range[datetime]


def start_at(period: Period | None) -> datetime:
    """The beginning of a period that is there and has one, as all of subscriptions do."""
    assert period is not None and period.lower is not None, "what has begun has a period"  # noqa: PT018
    return period.lower


def end_at(period: Period | None) -> datetime:
    assert period is not None and period.upper is not None, "what has begun has a period"  # noqa: PT018
    return period.upper


@dataclass(frozen=True, slots=True)
class Subscription:
    """The table's columns, and whose it is (None: the account was erased; `shut`: it is disabled).

    During a trial `price_id` is that of what is tried, and `next_price_id` of what was paid for (`paid_until` then is
    not None). `worth_minor` was paid for the time from `worth_from` to `paid_until`. `defaulted`: an earlier one of the
    customer ended past due, and this one was never renewed.
    """

    subscription_id: str
    customer_id: str
    state: State
    price_id: str
    next_price_id: str | None
    zone: str
    country: str
    anchor: datetime | None
    elapsed: int
    period: Period | None
    paid_until: datetime | None
    ends: bool
    pauses: bool
    resumes_at: datetime | None
    attempts: int
    due_at: datetime | None
    method_id: str | None
    created_at: datetime
    ended_at: datetime | None
    worth_minor: int
    worth_from: datetime | None
    moved_at: datetime | None
    defaulted: bool = False
    account_id: str | None = None
    email: str | None = None
    language: str | None = None
    shut: bool = False

    @property
    def until(self) -> datetime:
        """The end of the current period."""
        return end_at(self.period)

    @property
    def paid_price_id(self) -> str:
        """Of what is, or was last, paid for."""
        return self.next_price_id or self.price_id if self.state is State.TRIALING else self.price_id

    @property
    def chargeable(self) -> bool:
        """Whether there is somebody who can use it, and can say no: nobody else is charged."""
        return self.account_id is not None and not self.shut

    @property
    def renews(self) -> bool:
        """Whether it goes on by itself."""
        is_running = self.state in (State.ACTIVE, State.PAST_DUE) or (
            self.state is State.TRIALING and self.paid_until is not None
        )
        return is_running and not self.ends and not self.pauses and self.method_id is not None


@dataclass(frozen=True, slots=True)
class Letter:
    """`data` beside the plan's name; see the templates of billing."""

    template: str
    price_id: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """One subscription before and after an event; None: no event, but something to remember.

    `why`: the `end_reason` of what it had, where that ends by this.
    """

    before: Subscription
    after: Subscription
    event: Event | None = None
    why: str = "cancelled"
    details: Mapping[str, Any] = field(default_factory=dict)
    letter: Letter | None = None


def subscription(found: Row) -> Subscription:
    return Subscription(**{**{name: found[name] for name in Subscription.__slots__}, "state": State(found["state"])})


async def held(connection: AsyncConnection, subscription_ids: Iterable[str]) -> dict[str, Subscription]:
    """Subscriptions by their ids, locked until the transaction ends."""
    asked = {"subscription_ids": sorted(set(subscription_ids))}
    return {each["subscription_id"]: subscription(each) for each in await rows(connection, QUERIES["held"], asked)}


async def hold(connection: AsyncConnection, subscription_id: str) -> Subscription | None:
    """One subscription, locked after its open invoices: who settles a payment for one of them holds that already."""
    await rows(connection, QUERIES["lock_open_invoices"], {"subscription_id": subscription_id})
    return (await held(connection, [subscription_id])).get(subscription_id)


async def hold_one(connection: AsyncConnection, subscription_id: str) -> Subscription:
    """As `hold`.

    Raises:
        Problem: 404 `no_subscription`.
    """
    found = await hold(connection, subscription_id)
    if found is None:
        raise Problem(404, "no_subscription", "there is no such subscription")
    return found


async def live(connection: AsyncConnection, customer_id: str) -> Subscription | None:
    """The customer's subscription: at most one is neither expired nor a mere order."""
    found = await row(connection, QUERIES["live"], {"customer_id": customer_id})
    return subscription(found) if found else None


async def write(connection: AsyncConnection, moves: Sequence[Move], moment: Mapping[str, datetime]) -> None:
    """Write the rows and events of moves; `moment`: when each subscription's was."""
    changed = [move.after for move in moves if move.after != move.before]
    if changed:
        asked = {
            "subscription_ids": [each.subscription_id for each in changed],
            "rows": json([_columns(each) for each in changed]),
        }
        await connection.execute(QUERIES["update"], asked)
    events = [
        {
            "subscription_id": move.after.subscription_id,
            "at": moment[move.after.subscription_id],
            "event": move.event,
            "was": move.before.state,
            "became": move.after.state,
            "details": move.details,
        }
        for move in moves
        if move.event is not None
    ]
    if events:
        await connection.execute(QUERIES["add_events"], {"events": json(events)})


def _columns(record: Subscription) -> dict[str, Any]:
    skipped = ("account_id", "email", "language", "shut")
    return {name: _text(getattr(record, name)) for name in Subscription.__slots__ if name not in skipped}


def _text(value: Any) -> Any:
    if isinstance(value, Range):
        return f"[{start_at(value).isoformat()},{end_at(value).isoformat()})"
    return value


def json(records: Sequence[Mapping[str, Any]]) -> Jsonb:
    return Jsonb(records, dumps=orjson.dumps)
