"""The audit log: who did what to whom, as a chain of hashes in PostgreSQL (table `audit`).

A row is written in the transaction of its deed: neither is there without the other. Accounts are told by their ids and
stand in the chain under random names, which are forgotten with the account. So `details` hold nothing of a person: no
address, no id of a session, profile or playback; what changed, how many, why.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

_RECORD = "SELECT audit_record(%s, %s, %s, %s, %s)"
_FIRST_HASH = hashlib.sha256(b"matinee audit").digest()
_BATCH = 5_000


@dataclass(frozen=True)
class Entry:
    """A row for people: `actor` and `subject` by account id, or by a name that leads nowhere once it was erased."""

    position: int
    at: datetime
    actor: str | None
    action: str
    subject: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Broken:
    """The first place where the chain does not hold, and what is wrong there."""

    position: int
    reason: str


@dataclass(frozen=True)
class Checked:
    """What `verify` found: how many rows hold, the hash of the last one, and the first break if there is one."""

    rows: int
    head: str
    broken: Broken | None


async def record(
    connection: psycopg.AsyncConnection,
    *,
    actor: str | None,
    action: str,
    subject: str | None,
    details: Mapping[str, Any] | None = None,
    at: datetime,
) -> None:
    """Append a row in the caller's transaction. `action` reads `thing.done`, for example `account.role_changed`.

    Until the transaction ends no other one can append: call it last.
    """
    await connection.execute(_RECORD, (actor, action, subject, Jsonb(dict(details or {})), at))


def record_now(
    connection: psycopg.Connection,
    *,
    actor: str | None,
    action: str,
    subject: str | None,
    details: Mapping[str, Any] | None = None,
    at: datetime,
) -> None:
    """`record` for commands and workers."""
    connection.execute(_RECORD, (actor, action, subject, Jsonb(dict(details or {})), at))


def check(connection: psycopg.Connection) -> Checked:
    """Walk the whole chain and compute every hash anew, here and not in the database that is in question."""
    place, link = 0, _FIRST_HASH
    with connection.transaction():
        # One snapshot, so that the head belongs to the rows.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        with connection.cursor(name="audit_chain") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(
                "SELECT position, audit_text(position, at, actor, action, subject, details), hash FROM audit "
                "ORDER BY position"
            )
            for position, text, claimed in cursor:
                if position != place + 1:
                    return Checked(place, link.hex(), Broken(place + 1, f"missing: the next row is {position}"))
                computed = hashlib.sha256(link + text.encode()).digest()
                if computed != bytes(claimed):
                    return Checked(place, link.hex(), Broken(position, "changed: its hash is of another content"))
                place, link = position, computed
        head = connection.execute("SELECT position, hash FROM audit_head").fetchone()
    if head is None or (head[0], bytes(head[1])) != (place, link):
        last = head[0] if head else "unknown"
        return Checked(place, link.hex(), Broken(place + 1, f"missing: the log once went up to {last}"))
    return Checked(place, link.hex(), None)


def verify(connection: psycopg.Connection) -> Broken | None:
    """The first broken place of the chain; None where it holds."""
    return check(connection).broken


def tail(connection: psycopg.Connection, count: int) -> list[Entry]:
    """The newest rows, the oldest of them first."""
    rows = connection.execute(
        "SELECT position, at, actor, action, subject, details FROM audit_entry ORDER BY position DESC LIMIT %s",
        (count,),
    )
    return [Entry(*row) for row in reversed(rows.fetchall())]
