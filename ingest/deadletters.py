"""Dead letters: refused entries of the event log, kept whole and sealed, and a second chance for them.

Codes are those of `ingest.intake.Code`, which a replay judges again, and those of other rules, of which nothing is
known here: `profile_mismatch` comes from the API (the event names a profile of another account). A replay refuses
what has such a code again.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import psycopg
import redis
from cryptography.exceptions import InvalidTag
from psycopg.rows import class_row

from ingest import log
from ingest.collector import service_salt
from ingest.errors import IngestError
from ingest.intake import Code, Entry, accept
from matinee.contracts.events import Origin
from matinee.db.queries import load
from matinee.pseudonyms import Salt
from matinee.settings import Settings

_QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True)
class DeadLetter:
    """One refused entry; `path` is its file below the lake's root. `replayed_as`: its new log id once accepted.

    `code` is one of `ingest.intake.Code` or of another rule's own, so plain text.
    """

    log_id: str
    path: str
    code: str
    reason: str
    origin: str
    account_id: str | None
    received_at: datetime
    attempts: int
    replayed_at: datetime | None
    replayed_as: str | None
    stamp: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Dead letters of one code and reason: how many, since when, and the newest one's id.

    `summary` is the reason with `N` for numbers and `'…'` for what it quotes.
    """

    code: str
    summary: str
    waiting: int
    replayed: int
    first_seen: datetime
    last_seen: datetime
    newest: str


@dataclass(frozen=True)
class ReplaySummary:
    """`refused`: still wrong, they stay dead. `unreadable`: sealed with a key that is destroyed or lost."""

    accepted: int
    refused: int
    unreadable: int


def counts(connection: psycopg.Connection) -> list[tuple[str, int, int]]:
    """(code, how many wait, how many were replayed), by code."""
    return connection.execute(_QUERIES["dead_letter_counts"]).fetchall()


def groups(connection: psycopg.Connection, *, code: str | None = None, reason: str | None = None) -> list[Group]:
    """Dead letters by code and reason, those of which most wait first; `reason` is any part of one, in any case."""
    with connection.cursor(row_factory=class_row(Group)) as cursor:
        return cursor.execute(_QUERIES["dead_letter_groups"], {"code": code, "reason": reason}).fetchall()


def newest(
    connection: psycopg.Connection,
    *,
    code: str | None = None,
    reason: str | None = None,
    waiting: bool = True,
    limit: int = 20,
) -> list[DeadLetter]:
    """The latest dead letters, newest first; `waiting` leaves out those that were replayed."""
    wanted = {"code": code, "reason": reason, "waiting": waiting, "limit": limit}
    with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(_QUERIES["dead_letters"], wanted).fetchall()


def show(connection: psycopg.Connection, settings: Settings, log_id: str) -> tuple[DeadLetter, bytes]:
    """One dead letter and the bytes that came.

    Raises:
        IngestError: there is none with this id, or its key is destroyed.
    """
    with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        letter = cursor.execute(_QUERIES["dead_letter"], (log_id,)).fetchone()
    if letter is None:
        raise IngestError(f"no dead letter {log_id!r}: `matinee deadletters list` names them")
    body = bodies(connection, settings, [letter]).get(log_id)
    if body is None:
        raise IngestError(
            f"dead letter {log_id} cannot be opened: the key of its account is destroyed or its file is gone"
        )
    return letter, body


def replay(
    connection: psycopg.Connection,
    settings: Settings,
    client: redis.Redis,
    *,
    code: str | None = None,
    reason: str | None = None,
) -> ReplaySummary:
    """Judge the waiting dead letters once more, as of when they were received, and append those that pass to the log.

    Those with a code of another rule than the intake's are refused again. An event keeps its id, so a replay that is
    interrupted and repeated counts once in the warehouse.

    Raises:
        LogUnavailableError: the event log does not take entries; nothing is marked.
    """
    accepted, refused, unreadable = 0, 0, 0
    with connection.transaction(), connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        waiting = cursor.execute(_QUERIES["dead_letters_to_replay"], {"code": code, "reason": reason}).fetchall()
        found = bodies(connection, settings, waiting)
        passed: list[tuple[DeadLetter, Entry]] = []
        for letter in waiting:
            body = found.get(letter.log_id)
            if body is None:
                unreadable += 1
                continue
            entry = judge_again(letter, body)
            if entry.code is None:
                passed.append((letter, entry))
            else:
                refused += 1
                connection.execute(_QUERIES["mark_attempted"], (entry.code, entry.reason, letter.log_id))
        for (letter, _), new_id in zip(passed, log.append(client, [entry for _, entry in passed]), strict=True):
            connection.execute(_QUERIES["mark_replayed"], (new_id, letter.log_id))
            accepted += 1
    return ReplaySummary(accepted, refused, unreadable)


def pretty(body: bytes) -> str:
    """The payload for a person: indented where it is JSON, else as text."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body.decode(errors="backslashreplace")


def judge_again(letter: DeadLetter, body: bytes) -> Entry:
    """The verdict on a dead letter as of when it was received, with what was known of its sender then."""
    origin = cast(Origin, letter.origin)
    if letter.code not in get_args(Code):  # refused by a rule of the sender's, of which nothing is known here
        code = cast(Code, letter.code)
        return Entry(body, letter.received_at, origin, letter.account_id, code, letter.reason)
    stamp = {name: value for name, value in letter.stamp.items() if name != "bot"}
    again = accept(
        [body],
        received_at=letter.received_at,
        origin=origin,
        account_id=letter.account_id,
        stamp=stamp,
        bot=letter.stamp.get("bot"),
    )
    return again.entries[0]


def bodies(connection: psycopg.Connection, settings: Settings, letters: Sequence[DeadLetter]) -> dict[str, bytes]:
    """Log id -> opened payload, for those that can be opened."""
    import pyarrow.parquet as pq

    accounts = [letter.account_id for letter in letters if letter.account_id]
    # Read, never made: a destroyed key stays destroyed.
    known = {account: Salt(salt) for account, salt in connection.execute(_QUERIES["salts_left"], (accounts,))}
    service = service_salt(settings)
    owners = {letter.log_id: letter.account_id for letter in letters}
    opened: dict[str, bytes] = {}
    for path in sorted({letter.path for letter in letters}):
        file = settings.lake.root / path
        if not file.exists():
            continue
        table = pq.read_table(file, columns=["log_id", "sealed"])
        for row in table.to_pylist():
            if row["log_id"] not in owners:
                continue
            account = owners[row["log_id"]]
            salt = known.get(account) if account else service
            with suppress(InvalidTag):  # sealed with an earlier key
                if salt:
                    opened[row["log_id"]] = salt.open(row["sealed"])
    return opened
