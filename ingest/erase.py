"""Ingest's part in forgetting people: what waits in the event log, dead letters, and the landed files.

A landed file keeps its name when it is written again without some rows, and the ledger's count follows. A file and a
row in PostgreSQL cannot change at one moment, so what is about to happen is written down first (`landed_rewrite`): a
file that was replaced has the rows that stand there, one that was not has more, and `finish` tells which.
"""

import os
from collections.abc import Callable, Set
from pathlib import Path
from typing import cast

import orjson
import psycopg
import redis
from psycopg.rows import class_row

from ingest import deadletters, log
from ingest.deadletters import DeadLetter
from matinee.db.queries import load
from matinee.erasing import Finder, People
from matinee.settings import Settings
from warehouse.files import sync
from warehouse.forgotten import DRAFT, Keys, draft_without, holding, rows_of

_QUERIES = load(Path(__file__).parent)
_CHUNK = 2_000
# Copies what is left of the stream, for a deleted entry stays in memory and file as long as its neighbours do.
_COPY = """
local last = redis.call('XINFO', 'STREAM', KEYS[1])
local id = nil
for i = 1, #last, 2 do if last[i] == 'last-generated-id' then id = last[i + 1] end end
redis.call('DEL', KEYS[2])
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
    redis.call('XADD', KEYS[2], entry[1], unpack(entry[2]))
end
if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('XADD', KEYS[2], id, 'x', '')
    redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)
end
redis.call('XSETID', KEYS[2], id)
redis.call('RENAME', KEYS[2], KEYS[1])
return redis.call('XLEN', KEYS[1])
"""

Loaded = Callable[[str, int], None]


def forget_waiting(client: redis.Redis, people: People) -> int:
    """Delete these people's entries from the event log; returns how many there were."""
    named = Finder({*people.accounts, *people.emails, *people.profiles})
    visits = Finder({*people.key("session_id"), *people.key("playback_id")})
    removed, last = 0, "-"
    while found := _entries(client, last):
        if mine := [log_id for log_id, fields in found if _is_of(fields, people.accounts, named, visits)]:
            removed += int(client.xdel(log.STREAM, *mine))  # pyright: ignore[reportArgumentType] - a number, not awaited
        last = f"({found[-1][0].decode()}"
    return removed


def _entries(client: redis.Redis, after: str) -> list[tuple[bytes, log.Fields]]:
    return cast("list[tuple[bytes, log.Fields]]", client.xrange(log.STREAM, min=after, count=_CHUNK))


def _is_of(fields: log.Fields, accounts: Set[str], named: Finder, visits: Finder) -> bool:
    body = fields.get(b"event", b"")
    owner = fields.get(b"account_id", b"").decode(errors="replace") or _owner(body)
    return owner in accounts or named.found(body) or (owner is None and visits.found(body))


def _owner(body: bytes) -> str | None:
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    owner = sent.get("account_id") if isinstance(sent, dict) else None
    return owner if isinstance(owner, str) else None


def rewrite_log(client: redis.Redis) -> int:
    """Write the event log anew in one step, so that deleted entries are in it no more; returns how many wait."""
    if not client.exists(log.STREAM):
        return 0
    return int(client.eval(_COPY, 2, log.STREAM, f"{log.STREAM}:copy"))  # pyright: ignore[reportArgumentType] - not awaited


def forget_letters(connection: psycopg.Connection, settings: Settings, people: People) -> int:
    """Delete these people's dead letters, and those of others that name them; returns how many there were.

    Their files keep the sealed bytes until `purge_dead`; nothing opens what has no row.
    """
    removed = connection.execute(_QUERIES["forget_letters"], (list(people.accounts),)).rowcount
    with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        others = cursor.execute(_QUERIES["letters_that_may_name"]).fetchall()
    finder = Finder({*people.accounts, *people.emails, *people.profiles, *people.key("playback_id")})
    bodies = deadletters.bodies(connection, settings, others)
    naming = [log_id for log_id, body in bodies.items() if finder.found(body)]
    return removed + connection.execute(_QUERIES["forget_letters_by_id"], (naming,)).rowcount


def purge_landed(connection: psycopg.Connection, settings: Settings, keys: Keys, loaded: Loaded) -> tuple[int, int]:
    """Write the landed files anew without these people's rows: (files, rows removed).

    The caller has claimed the build file; `connection` commits each statement. `loaded(path, rows)` is told how many
    rows a file has now, before the ledger is.
    """
    paths = [path for (path,) in connection.execute(_QUERIES["landed_events"])]
    root = settings.lake.root
    held = holding([root / path for path in paths], keys)
    for path in held:
        _rewrite(connection, root, path.relative_to(root).as_posix(), rows_of(path, keys), loaded)
    return len(held), sum(held.values())


def purge_dead(connection: psycopg.Connection, settings: Settings) -> tuple[int, int]:
    """Write the files of dead letters anew without those that have no row any more: (files, letters removed)."""
    import pyarrow.parquet as pq

    files = letters = 0
    for (path,) in connection.execute(_QUERIES["dead_files_with_strangers"]).fetchall():
        known = {log_id for (log_id,) in connection.execute(_QUERIES["letters_of_file"], (path,))}
        ids = pq.read_table(settings.lake.root / path, columns=["log_id"])["log_id"].to_pylist()
        leaving = {row for row, log_id in enumerate(ids) if log_id not in known}
        if leaving:
            _rewrite(connection, settings.lake.root, path, leaving, lambda _path, _rows: None)
            files, letters = files + 1, letters + len(leaving)
    return files, letters


def finish(connection: psycopg.Connection, settings: Settings, loaded: Loaded) -> int:
    """End what a killed `purge_landed` or `purge_dead` began; returns how many files that were."""
    import pyarrow.parquet as pq

    root = settings.lake.root
    begun = connection.execute(_QUERIES["rewrites"]).fetchall()
    for path, rows in begun:
        replaced = pq.read_metadata(root / path).num_rows == rows
        if replaced:
            _settle(connection, path, rows, loaded)
        else:
            connection.execute(_QUERIES["forget_rewrite"], (path,))
    for folder in ("landing", "dead"):
        for draft in (root / folder).rglob(f"{DRAFT}*"):
            draft.unlink()
    return len(begun)


def _rewrite(connection: psycopg.Connection, root: Path, path: str, leaving: set[int], loaded: Loaded) -> None:
    import pyarrow.parquet as pq

    draft = draft_without(root / path, leaving)
    rows = pq.read_metadata(draft).num_rows
    connection.execute(_QUERIES["begin_rewrite"], (path, rows))
    os.replace(draft, root / path)
    sync((root / path).parent)
    _settle(connection, path, rows, loaded)


def _settle(connection: psycopg.Connection, path: str, rows: int, loaded: Loaded) -> None:
    loaded(path, rows)
    with connection.transaction():
        connection.execute(_QUERIES["set_landed_rows"], (rows, path))
        connection.execute(_QUERIES["forget_rewrite"], (path,))
