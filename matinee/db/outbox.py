"""The outbox: side effects beyond PostgreSQL as rows of the transaction that wants them (transactional outbox pattern).

`put` writes a row; a `Consumer` reads the rows of its topics in the order of their transactions, at least once each.
Whoever must only know *that* something changed listens on `CHANNEL` instead, which names the topic at the commit.

A row is read when every transaction that began to write before its own has ended: a long one delays what comes after.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from matinee.errors import MatineeError

CHANNEL = "matinee_outbox"
PATIENCE = timedelta(days=1)  # a row that is set aside for now is tried again for so long
log = logging.getLogger("matinee.outbox")

_PUT = "INSERT INTO outbox (topic, key, payload) VALUES (%s, %s, %s)"
_PUT_MANY = "INSERT INTO outbox (topic, key, payload) SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[])"
_LOCK = "SELECT pg_try_advisory_lock(7228117, hashtext(%s))"
_JOIN = """
INSERT INTO outbox_consumer AS old (name, topics, transaction, id) VALUES (%s, %s, '0', 0)
ON CONFLICT (name) DO UPDATE SET topics = excluded.topics WHERE old.topics <> excluded.topics
"""
# After a restore into a new server numbers of transactions start again: what is above them would wait for ever.
_REBASE = (
    "UPDATE outbox SET transaction = pg_current_xact_id() WHERE transaction >= pg_snapshot_xmax(pg_current_snapshot())",
    "UPDATE outbox_consumer SET transaction = '0', id = 0 WHERE transaction >= pg_snapshot_xmax(pg_current_snapshot())",
)
_NEXT = """
SELECT o.id, o.transaction::text, o.topic, o.key, o.payload, o.created_at, c.tries
FROM outbox_consumer c JOIN outbox o ON o.topic = ANY (c.topics) AND (o.transaction, o.id) > (c.transaction, c.id)
WHERE c.name = %s AND o.transaction < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY o.transaction, o.id LIMIT 1
"""
_MOVE = "UPDATE outbox_consumer SET transaction = %s::xid8, id = %s, tries = 0, updated_at = now() WHERE name = %s"
_TRIED = "UPDATE outbox_consumer SET tries = tries + 1, updated_at = now() WHERE name = %s"
_FORGET = "DELETE FROM outbox WHERE transaction = %s::xid8 AND id = %s"
_GIVE_UP = """
INSERT INTO outbox_poison (consumer, id, topic, key, payload, reason, created_at, again_at)
VALUES (%(name)s, %(id)s, %(topic)s, %(key)s, %(payload)s, %(reason)s, %(created_at)s,
        CASE WHEN %(again)s AND now() < %(created_at)s::timestamptz + %(patience)s
             THEN now() + greatest(interval '1 minute', (now() - %(created_at)s::timestamptz) / 2) END)
ON CONFLICT DO NOTHING
"""
_AGAIN = """
WITH due AS (DELETE FROM outbox_poison WHERE consumer = %s AND again_at <= now()
             RETURNING topic, key, payload, created_at)
INSERT INTO outbox (topic, key, payload, created_at) SELECT topic, key, payload, created_at FROM due
"""
_PRUNE = """
DELETE FROM outbox o WHERE o.created_at < %s AND NOT EXISTS (
    SELECT FROM outbox_consumer c
    WHERE o.topic = ANY (c.topics) AND (c.transaction, c.id) < (o.transaction, o.id))
"""
_REPLAY = """
WITH gone AS (DELETE FROM outbox_poison WHERE consumer = %s RETURNING topic, key, payload, created_at, id)
INSERT INTO outbox (topic, key, payload) SELECT topic, key, payload FROM gone ORDER BY id
"""


class AsideError(MatineeError):
    """This row cannot be done, or (`again`) not now, but those behind it can: it is kept in `outbox_poison` at once."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


class LaterError(MatineeError):
    """What a row needs is away for now (a server that does not answer): tried again for as long as it takes."""


@dataclass(frozen=True)
class Entry:
    """A row of the outbox."""

    id: int
    transaction: str
    topic: str
    key: str
    payload: dict[str, Any]
    created_at: datetime


async def put(connection: psycopg.AsyncConnection, topic: str, key: str, payload: Mapping[str, Any]) -> None:
    """Add a row in the caller's transaction: it takes effect if and only if that commits."""
    await connection.execute(_PUT, (topic, key, Jsonb(dict(payload))))


async def put_many(connection: psycopg.AsyncConnection, rows: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
    """`put` for rows of (topic, key, payload), in one statement."""
    if rows:
        topics, keys, payloads = zip(*rows, strict=True)
        await connection.execute(_PUT_MANY, (list(topics), list(keys), [Jsonb(dict(each)) for each in payloads]))


def put_now(connection: psycopg.Connection, topic: str, key: str, payload: Mapping[str, Any]) -> None:
    """`put` for a synchronous connection."""
    connection.execute(_PUT, (topic, key, Jsonb(dict(payload))))


async def forget(connection: psycopg.AsyncConnection, keys: Sequence[str]) -> None:
    """Remove every row of these keys, what was kept aside too: for erasing."""
    for table in ("DELETE FROM outbox WHERE key = ANY (%s)", "DELETE FROM outbox_poison WHERE key = ANY (%s)"):
        await connection.execute(table, (list(keys),))


def prune(connection: psycopg.Connection, before: datetime) -> int:
    """Remove rows older than `before` that every consumer of their topic has passed; returns how many."""
    return connection.execute(_PRUNE, (before,)).rowcount


def replay(connection: psycopg.Connection, consumer: str) -> int:
    """Put what a consumer gave up on into the outbox again; returns how many rows."""
    return connection.execute(_REPLAY, (consumer,)).rowcount


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


class Consumer:
    """One reader with a place of its own in the outbox; of several processes under a name, one reads at a time.

    `handle` is called with each row, maybe again with the same one. It raises `LaterError` while something is
    away, and `AsideError` where the row alone cannot be done; any other error counts as a try, and after `tries` of
    them the row is kept in `outbox_poison` with the reason.
    `once` removes rows that were handled (they may hold what should not stay).
    """

    def __init__(
        self, name: str, topics: Sequence[str], handle: Callable[[Entry], None], *, tries: int = 5, once: bool = False
    ) -> None:
        self.name, self.topics, self._handle = name, list(topics), handle
        self._tries, self._once = tries, once

    def join(self, connection: psycopg.Connection) -> bool:
        """Become the reader, for as long as the connection lives; False while another process is.

        A new consumer starts with the oldest row there is.
        """
        found = connection.execute(_LOCK, (self.name,)).fetchone()
        if not found or not found[0]:
            return False
        with connection.transaction():
            connection.execute(_JOIN, (self.name, self.topics))
            for statement in _REBASE:
                connection.execute(statement)
        return True

    def step(self, connection: psycopg.Connection) -> bool | None:
        """Handle the next row: True done (or given up on), False it failed and is tried again, None there is none.

        The connection is in autocommit: no transaction stays open while the handler works.
        """
        found = connection.execute(_NEXT, (self.name,)).fetchone()
        if found is None:
            return None
        entry, tries = Entry(*found[:-1]), found[-1]
        error = self._tried(entry)
        if error is not None and not isinstance(error, AsideError) and tries + 1 < self._tries:
            connection.execute(_TRIED, (self.name,))
            return False
        with connection.transaction():
            if error is not None:
                self._set_aside(connection, entry, error)
            connection.execute(_MOVE, (entry.transaction, entry.id, self.name))
            if self._once:
                connection.execute(_FORGET, (entry.transaction, entry.id))
        return True

    def again(self, connection: psycopg.Connection) -> int:
        """Put rows that were set aside for now into the outbox again, when it is time; returns how many.

        The pauses grow with the row's age, up to `PATIENCE`: then it stays aside.
        """
        return connection.execute(_AGAIN, (self.name,)).rowcount

    def _set_aside(self, connection: psycopg.Connection, entry: Entry, error: Exception) -> None:
        log.error("outbox row %d (%s) set aside: %s", entry.id, entry.topic, _reason(error))
        row = {
            "name": self.name, "id": entry.id, "topic": entry.topic, "key": entry.key, "payload": Jsonb(entry.payload),
            "reason": _reason(error), "created_at": entry.created_at, "patience": PATIENCE,
            "again": isinstance(error, AsideError) and error.again,
        }  # fmt: skip
        connection.execute(_GIVE_UP, row)

    def _tried(self, entry: Entry) -> Exception | None:
        """Why the handler failed; None where it did not.

        Raises:
            LaterError: as the handler did.
        """
        try:
            self._handle(entry)
        except LaterError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler stumbles over must not stop those behind it
            log.warning("outbox row %d (%s) failed: %s", entry.id, entry.topic, _reason(error))
            return error
        return None

    def drain(self, connection: psycopg.Connection) -> int:
        """Handle what waits until nothing does or a row fails; returns how many rows were done.

        Raises:
            LaterError: as the handler did.
        """
        done = 0
        while self.step(connection):
            done += 1
        return done
