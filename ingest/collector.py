"""The collector: moves the event log into the lake, each entry exactly once as far as the ledger can say.

Single writer by an advisory lock that lives on the very connection that commits: who loses the connection can commit
nothing more. A batch is written to Parquet, flushed and renamed; then one transaction adds the files to the ledger and
moves the offset; then the log is trimmed. A crash in between leaves files without a row (removed at the next start) or
entries that are landed already (trimmed at the next start).
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pyarrow as pa
import redis
from psycopg.types.json import Jsonb

from ingest import bodies, bulk, landing, log, parts
from ingest.bodies import Decoded
from ingest.errors import IngestError
from ingest.landing import Dead
from matinee import secrets
from matinee.db.connect import connect
from matinee.db.queries import load
from matinee.errors import StackError
from matinee.pseudonyms import Salt, destroyed, salts
from matinee.settings import Settings

LOCK = 7_228_114  # any constant: it names the collector's lock in the database
BATCH_ROWS = 50_000
BATCH_BYTES = 64 * 2**20
BATCH_SECONDS = 5.0
CHUNK = 2_000
_PATIENCE_S = 120.0

_QUERIES = load(Path(__file__).parent)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrainSummary:
    """What a drain added to the lake; `last_id` is the last log entry that is landed."""

    events: int
    dead: int
    files: int
    last_id: str


@dataclass
class Batch:
    """Entries that will land together: their ids, and what each holds.

    Of most that is a body alone, kept without the list around it, which the garbage collector would have to look at.
    """

    log_ids: list[str] = field(default_factory=list)
    values: list[bytes | list[bytes]] = field(default_factory=list)
    size: int = 0

    def add(self, found: list[log.Raw]) -> None:
        self.log_ids += [log_id.decode() for log_id, _ in found]
        self.values += [bodies.body_of(values) or values for _, values in found]
        self.size += sum([sum(map(len, values)) for _, values in found])

    @property
    def last_id(self) -> str:
        return self.log_ids[-1] if self.log_ids else ""

    @property
    def full(self) -> bool:
        return len(self.log_ids) >= BATCH_ROWS or self.size >= BATCH_BYTES


class Collector:
    """Owns the lock, the position in the log and the next file. Make it with `collector(settings)`."""

    def __init__(self, connection: psycopg.Connection, client: redis.Redis, lake: Path, service: Salt) -> None:
        self._connection = connection
        self._client = client
        self._lake = lake
        self._service = service
        self.last_id = "0-0"

    def start(self) -> None:
        """Find the place to go on from, and clear what a crash left behind."""
        self._connection.execute(_QUERIES["start_offset"], (log.STREAM,))
        row = self._connection.execute(_QUERIES["log_offset"], (log.STREAM,)).fetchone()
        self.last_id = row[0] if row else "0-0"
        self.check_log()
        self._clear_strays()
        log.trim(self._client, self.last_id)

    def check_log(self) -> None:
        """Go back to the log's beginning if it ends before what is landed already: then Redis lost or replaced it."""
        end = log.end(self._client)
        if log.position(end) >= log.position(self.last_id) or end == "0-0":
            return
        _log.error(
            "the event log ends at %s but the lake has it up to %s: Redis lost or replaced its data. "
            "What the log holds now is landed from its beginning; the warehouse removes what comes twice",
            end,
            self.last_id,
        )
        self._move("0-0")

    def step(self, until: str | None = None, wait: Callable[[], bool] = lambda: False) -> int:
        """Land one batch: what is there now, or as much as comes while `wait()` says so. Returns its entries."""
        batch = Batch()
        while not batch.full:
            found = log.read(self._client, batch.last_id or self.last_id, CHUNK, 500 if wait() else None)
            batch.add(found)
            reached = until is not None and batch.last_id and log.position(batch.last_id) >= log.position(until)
            if reached or (not found and not wait()):
                break
        if batch.log_ids:
            self._land(bodies.decode(batch.log_ids, batch.values), batch.last_id)
        return len(batch.log_ids)

    def _land(self, found: Decoded, last_id: str) -> None:
        accounts = {*found.rows["account_id"].unique().to_pylist(), *(letter.account_id for letter in found.dead)}
        with self._connection.transaction():
            known = salts(self._connection, accounts - {None, ""})
        made = self._write_events(landing.of_accounts(found.rows, known), known)
        letters = self._write_dead([d for d in found.dead if d.account_id is None or d.account_id in known], known)
        written = made + list(dict.fromkeys(part for part, _ in letters))
        if gone := found.rows.num_rows + len(found.dead) - sum(part.rows for part in written):
            # Who was erased has no salt any more: what still comes of them is let go.
            _log.info("%d entries of erased accounts were let go", gone)
        with self._connection.transaction():
            if again := bool(destroyed(self._connection, known)):
                _discard(self._lake, written)
            else:
                parts.record(self._connection, written)
                _record_letters(self._connection, letters)
                self._move(last_id)
        if again:  # somebody was erased while the files were written
            self._land(found, last_id)
        else:
            log.trim(self._client, self.last_id)

    def _write_events(self, rows: pa.Table, known: Mapping[str, Salt]) -> list[parts.Part]:
        made = []
        for day, received in landing.by_day(rows).items():
            first, last = received["log_id"][0].as_py(), received["log_id"][-1].as_py()
            path = f"landing/events/date={day}/part-{first}-{last}.parquet"
            made.append(parts.Part(path, "events", first, last, received.num_rows, day))
            parts.write(self._lake, path, landing.event_table(received, known))
        return made

    def _write_dead(self, dead: Sequence[Dead], known: Mapping[str, Salt]) -> list[tuple[parts.Part, Dead]]:
        letters = []
        for day, received in landing.received_on(dead).items():
            first, last = received[0].log_id, received[-1].log_id
            part = parts.Part(f"dead/date={day}/part-{first}-{last}.parquet", "dead", first, last, len(received), day)
            parts.write(self._lake, part.path, landing.dead_table(received, known, self._service))
            letters += [(part, letter) for letter in received]
        return letters

    def _move(self, last_id: str) -> None:
        moved = self._connection.execute(_QUERIES["move_offset"], (last_id, log.STREAM, self.last_id)).rowcount
        if moved != 1:
            raise IngestError(f"the offset of the event log is not {self.last_id} any more: another collector moved it")
        self.last_id = last_id

    def _clear_strays(self) -> None:
        """Remove files without a row, but only if the log can still give their entries once more."""
        for stream, folder in (("events", self._lake / "landing" / "events"), ("dead", self._lake / "dead")):
            for stray in parts.strays(self._lake, folder, parts.recorded(self._connection, stream)):
                first_id = "-".join(stray.name.partition("part-")[2].split("-")[:2])
                if stray.name.startswith(".") or log.has(self._client, first_id):
                    stray.unlink()
                else:
                    _log.warning("%s is in no ledger and the log has it no more: left as it is, and not counted", stray)
        bulk.clear(self._connection, self._lake)


def _discard(lake: Path, made: Sequence[parts.Part]) -> None:
    for part in made:
        (lake / part.path).unlink()


def _record_letters(connection: psycopg.Connection, letters: list[tuple[parts.Part, Dead]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            _QUERIES["record_dead_letter"],
            [
                (
                    d.log_id,
                    part.path,
                    d.entry.code,
                    d.entry.reason,
                    d.entry.origin,
                    d.account_id,
                    d.received_at,
                    Jsonb(d.entry.stamp or {}),
                )
                for part, d in letters
            ],
        )


def service_salt(settings: Settings) -> Salt:
    """What seals dead letters of nobody in particular."""
    return Salt(secrets.secret(settings.home, "dead-letters"))


def drain(settings: Settings, on_batch: Callable[[int, int], None] = lambda _landed, _all: None) -> DrainSummary:
    """Land all that waits in the event log now; where another collector runs, wait until that one has done it.

    `on_batch` hears after each batch how many entries are landed, and of how many.

    Raises:
        IngestError: the log does not answer, or another collector holds the lock and makes no progress.
    """
    with _parties(settings) as (connection, client):
        before = _totals(connection)
        try:
            target = log.end(client)
            last_id = _drain(settings, connection, client, target, on_batch)
        except redis.RedisError as error:
            raise IngestError(f"the event log does not answer ({error}): start it with `matinee up`") from error
        after = _totals(connection)
    events, dead = (after.get(s, (0, 0))[1] - before.get(s, (0, 0))[1] for s in ("events", "dead"))
    files = sum(n for n, _ in after.values()) - sum(n for n, _ in before.values())
    return DrainSummary(events, dead, files, last_id)


def _drain(
    settings: Settings,
    connection: psycopg.Connection,
    client: redis.Redis,
    target: str,
    on_batch: Callable[[int, int], None],
) -> str:
    seen, since = "", time.monotonic()
    while not _lock(connection):
        last_id = _offset(connection)
        if log.position(last_id) >= log.position(target):
            return last_id
        if last_id != seen:
            seen, since = last_id, time.monotonic()
        if time.monotonic() - since > _PATIENCE_S:
            raise IngestError(
                f"another collector holds the lock and has stood at {last_id} for {_PATIENCE_S:.0f} s: "
                "see its log (`matinee status`) and restart it"
            )
        time.sleep(0.1)
    collector = Collector(connection, client, settings.lake.root, service_salt(settings))
    collector.start()
    waiting, landed = log.length(client), 0
    while log.position(collector.last_id) < log.position(target) and (entries := collector.step(until=target)):
        landed += entries
        on_batch(landed, max(waiting, landed))
    return collector.last_id


def run(settings: Settings, drain_only: bool = False) -> None:
    """The worker: collect until told to stop by SIGTERM or SIGINT. Redis may come and go; PostgreSQL may not.

    Raises:
        StackError: PostgreSQL is gone, and the lock with it; the supervisor starts the collector again.
    """
    if drain_only:
        drain(settings)
        return
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    try:
        with _parties(settings) as (connection, client):
            while not _lock(connection):
                if stop.wait(0.5):
                    return
            _collect(Collector(connection, client, settings.lake.root, service_salt(settings)), stop)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise StackError(f"PostgreSQL went away ({reason}): start the collector again when it is back") from error


def _collect(collector: Collector, stop: threading.Event) -> None:
    pause, started = 0.1, False
    while not stop.is_set():
        try:
            if not started:
                collector.start()
                started = True
            if not collector.step(wait=_until(time.monotonic() + BATCH_SECONDS, stop)):
                collector.check_log()
            pause = 0.1
        except redis.RedisError as error:
            # Start over afterwards: a log that was gone may have come back as another one.
            started = False
            _log.warning("the event log does not answer (%s): trying again in %.1f s", error, pause)
            stop.wait(pause)
            pause = min(pause * 2, 5.0)


def is_running(connection: psycopg.Connection) -> bool:
    """Whether some collector of this database holds the lock that makes it the only one."""
    row = connection.execute(_QUERIES["is_locked"], (LOCK,)).fetchone()
    return bool(row and row[0])


def _until(deadline: float, stop: threading.Event) -> Callable[[], bool]:
    return lambda: not stop.is_set() and time.monotonic() < deadline


@contextmanager
def _parties(settings: Settings) -> Iterator[tuple[psycopg.Connection, redis.Redis]]:
    client = log.connect(settings.events())
    try:
        with connect(settings, autocommit=True) as connection:
            yield connection, client
    finally:
        client.close()


def _lock(connection: psycopg.Connection) -> bool:
    row = connection.execute(_QUERIES["try_lock"], (LOCK,)).fetchone()
    return bool(row and row[0])


def _offset(connection: psycopg.Connection) -> str:
    row = connection.execute(_QUERIES["log_offset"], (log.STREAM,)).fetchone()
    return row[0] if row else "0-0"


def _totals(connection: psycopg.Connection) -> dict[str, tuple[int, int]]:
    rows = connection.execute(_QUERIES["totals"], (["events", "dead"],))
    return {stream: (files, total) for stream, files, total in rows}
