"""A playback session as data, and its rows in PostgreSQL, which are its truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path

import orjson
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from matinee.db.queries import load
from serving.db import Row, rows

QUERIES = load(Path(__file__).parent)
HEARTBEAT_S = 30
TAKEN_OVER = "taken_over"
# A session that sends no heartbeat this long is over; its slot is free much earlier (`slots.SLOT_LIFE`).
SESSION_LIFE = timedelta(hours=1)
# An address is renewed by the first heartbeat after this; the one before then opens for as long again.
RENEW_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """A stream of an account. `browser`: the fingerprint of its cookie; `streams`: how many of the account may run.

    `issued_at`: since when the address holds; those from before `previous_at` hold no more. `max_height`: in lines.
    """

    playback_id: str
    account_id: str
    profile_id: str
    title_id: str
    package_id: str
    browser: bytes
    duration_ms: int
    streams: int
    created_at: datetime
    issued_at: datetime
    previous_at: datetime
    expires_at: datetime
    slot_until: datetime | None = None
    session_id: str | None = None
    region: str | None = None
    device_kind: str | None = None
    device_name: str | None = None
    max_height: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """A session that begins, and those of its account that end for it."""

    session: Session
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """What PostgreSQL says to a new session: what ended for it, and where its profile left the title (`position_ms`, of
    `duration_ms`; None: nowhere)."""

    ended: tuple[str, ...]
    position: Row


async def store(connection: AsyncConnection, openings: Sequence[Opening]) -> dict[str, Opened]:
    """Write new sessions in their order; returns by their ids what became of each."""
    opened: dict[str, Opened] = {}
    for part in parts(openings):
        given = [{**_columns(one.session), "others": one.others} for one in part]
        parameters = {"sessions": Jsonb(given, orjson.dumps), "reason": TAKEN_OVER}
        for one in await rows(connection, QUERIES["open_sessions"], parameters):
            opened[one["playback_id"]] = Opened(tuple(one["ended"]), one)
    return opened


def parts(openings: Sequence[Opening]) -> list[Sequence[Opening]]:
    """What one statement can write: it does not see what it writes, so what takes over from one of the same turn comes
    after it."""
    new = {one.session.playback_id for one in openings}
    at_once = [one for one in openings if new.isdisjoint(one.others)]
    return [at_once, *([one] for one in openings if not new.isdisjoint(one.others))]


_COLUMNS = tuple(name for name in Session.__slots__ if name not in ("duration_ms", "browser"))
_values = attrgetter(*_COLUMNS)


def _columns(session: Session) -> Row:
    return {**dict(zip(_COLUMNS, _values(session), strict=True)), "browser": session.browser.hex()}


async def living(connection: AsyncConnection, account_id: str, now: datetime) -> list[Session]:
    """The sessions of an account that are not over."""
    found = await rows(connection, QUERIES["living_sessions"], {"account_id": account_id, "now": now})
    return [Session(**one) for one in found]


async def end(
    connection: AsyncConnection, account_id: str, playback_ids: Sequence[str], reason: str, now: datetime
) -> list[str]:
    """Close those of the sessions that live and are of this account; returns their ids."""
    given = {"account_id": account_id, "playback_ids": list(playback_ids), "reason": reason, "now": now}
    return [one["playback_id"] for one in await rows(connection, QUERIES["end_sessions"], given)]


async def is_of(connection: AsyncConnection, account_id: str, playback_id: str, now: datetime) -> bool:
    """Whether the account has such a session, living or over."""
    asked = {"account_id": account_id, "playback_id": playback_id, "now": now}
    return bool(await rows(connection, QUERIES["ending"], asked))


async def end_others(
    connection: AsyncConnection, session_id: str, profile_id: str, now: datetime
) -> list[tuple[str, str, str]]:
    """Close what a sign-in plays in other profiles than this one.

    Returns (playback, account, reason) of each, for `Streams.ended` once the transaction is committed.
    """
    given = {"session_id": session_id, "profile_id": profile_id, "now": now}
    found: list[Row] = await rows(connection, QUERIES["end_others"], given)
    return [(one["playback_id"], one["account_id"], one["end_reason"]) for one in found]
