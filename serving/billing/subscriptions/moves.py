"""Writing moves: the subscription, its event, what it opens, and who has to hear of it, in the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from matinee.db import outbox
from matinee.ids import uuid7
from serving.billing.ledger.money import show
from serving.billing.products import core as products
from serving.billing.products.core import Price
from serving.billing.subscriptions.machine import Event, State, move
from serving.billing.subscriptions.periods import zone_of
from serving.billing.subscriptions.rows import QUERIES, Letter, Move, Subscription, json, write
from serving.billing.subscriptions.standing import Rewriting, Stretch, rewritten, standing
from serving.db import Row, rows


@dataclass(frozen=True, slots=True)
class Book:
    """Prices by id, and the tax of countries in hundredths of a percent, at a moment."""

    prices: Mapping[str, Price]
    rates: Mapping[str, int]

    def rate(self, country: str) -> int:
        return self.rates.get(country, 0)

    def price(self, subscription: Subscription) -> Price:
        """Of what is, or was last, paid for."""
        return self.prices[subscription.paid_price_id]


async def book(connection: AsyncConnection, countries: Sequence[str], at: datetime) -> Book:
    return Book(await products.prices(connection, at), await products.taxes(connection, countries, at))


def moment_of(subscription: Subscription, at: datetime) -> datetime:
    """The moment of a move: a clock that was put back does not put a life back."""
    return max(at, subscription.moved_at or subscription.created_at)


def told(subscription: Subscription, moment: datetime) -> str:
    """A moment as a letter is given it (ISO 8601), on the subscriber's own clocks: its day is theirs."""
    return moment.astimezone(zone_of(subscription.zone)).isoformat()


def moved(subscription: Subscription, event: Event, at: datetime, **changes: Any) -> Subscription:
    """The subscription after an event, by the table of moves.

    Raises:
        MoveError: its state knows no such event.
    """
    became = move(subscription.state, event)
    return replace(subscription, state=became, moved_at=moment_of(subscription, at), **changes)


def expired(subscription: Subscription, event: Event, at: datetime) -> Subscription:
    """The subscription after an event that ends it."""
    moment = moment_of(subscription, at)
    return moved(
        subscription, event, at, ended_at=moment, due_at=None, ends=False, pauses=False, resumes_at=None,
        next_price_id=None, worth_minor=0,
    )  # fmt: skip


def announced(subscription: Subscription, price_id: str, known: Book) -> Letter | None:
    """What was written to everybody who paid a price when its end was announced, for who comes to it afterwards."""
    price = known.prices[price_id]
    if price.succeeded_by is None or price.succeeds_at is None:
        return None
    becomes, language = known.prices[price.succeeded_by].money, subscription.language or "en"
    if becomes == price.money:
        return None
    data = {
        "was": show(price.money, language),
        "becomes": show(becomes, language),
        "from": told(subscription, price.succeeds_at),
    }
    return Letter("price_change", price_id, data)


async def save(connection: AsyncConnection, moves: Sequence[Move], known: Book, at: datetime) -> None:
    """Write moves of different subscriptions, in a handful of statements however many they are."""
    moment = {each.after.subscription_id: moment_of(each.before, at) for each in moves}
    await write(connection, moves, moment)
    touched = await _open(connection, moves, known, moment)
    heard = [
        ("account", each.after.account_id, {"why": "subscription"})
        for each in moves
        if each.after.account_id is not None and each.after.subscription_id in touched
    ]
    await outbox.put_many(connection, [*heard, *(letter for each in moves if (letter := _letter(each, known)))])


async def _open(
    connection: AsyncConnection, moves: Sequence[Move], known: Book, moment: Mapping[str, datetime]
) -> set[str]:
    """Bring what subscriptions open in line with what they are; returns those that open something else now."""
    wanted: dict[str, tuple[Move, tuple[Stretch, ...]]] = {}
    for each in moves:
        when = moment[each.after.subscription_id]
        opens = _standing(each.after, known, when)
        if each.after.account_id is not None and opens != _standing(each.before, known, when):
            wanted[each.after.subscription_id] = each, opens
    if not wanted:
        return set()
    there: dict[str, list[Stretch]] = {subscription_id: [] for subscription_id in wanted}
    for found in await rows(connection, QUERIES["periods"], {"subscription_ids": list(wanted)}):
        there[found["subscription_id"]].append(_stretch(found))
    done = {
        subscription_id: rewritten(there[subscription_id], opens, moment[subscription_id], each.why)
        for subscription_id, (each, opens) in wanted.items()
    }
    await _rewrite(connection, done, {key: each.after.account_id or "" for key, (each, _) in wanted.items()})
    return set(wanted)


async def _rewrite(connection: AsyncConnection, done: Mapping[str, Rewriting], accounts: Mapping[str, str]) -> None:
    """First what goes, then what ends, then what begins: at no moment has an account two at once."""
    if gone := [row.period_id for each in done.values() for row in each.gone]:
        await connection.execute(QUERIES["drop_periods"], {"period_ids": gone})
    if ended := [row for each in done.values() for row in each.ended]:
        asked = {
            "period_ids": [row.period_id for row in ended],
            "closed": [row.closed for row in ended],
            "reasons": [row.end_reason for row in ended],
        }
        await connection.execute(QUERIES["end_periods"], asked)
    begun = [
        {
            "period_id": uuid7(),
            "subscription_id": subscription_id,
            "account_id": accounts[subscription_id],
            "plan": row.plan,
            "plan_version": row.version,
            "state": row.state,
            "monthly_minor": row.monthly_minor,
            "currency": row.currency,
            "opened": row.opened,
            "closed": row.closed,
            "end_reason": row.end_reason,
        }
        for subscription_id, each in done.items()
        for row in each.begun
    ]
    if begun:
        await connection.execute(QUERIES["add_periods"], {"rows": json(begun)})


def _standing(subscription: Subscription, known: Book, moment: datetime) -> tuple[Stretch, ...]:
    if subscription.state in (State.INCOMPLETE, State.EXPIRED):
        return ()
    price = known.prices[subscription.price_id]
    return standing(subscription, price, known.price(subscription), known.rate(subscription.country), moment)


def _stretch(found: Row) -> Stretch:
    return Stretch(
        state=found["state"],
        plan=found["plan"],
        version=found["plan_version"],
        monthly_minor=found["monthly_minor"],
        currency=found["currency"],
        opened=found["opened"],
        closed=found["closed"],
        end_reason=found["end_reason"],
        period_id=found["period_id"],
    )


def _letter(each: Move, known: Book) -> tuple[str, str, Mapping[str, Any]] | None:
    letter, whose = each.letter, each.after
    if letter is None or whose.account_id is None or whose.email is None:
        return None
    language = whose.language or "en"
    data = {"plan": known.prices[letter.price_id].name(language), **letter.data}
    payload = {"to": whose.email, "template": letter.template, "language": language, "data": data}
    return "mail", whose.account_id, payload
