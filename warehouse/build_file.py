"""The one DuckDB file that builds happen in: one writer at a time, behind a lock file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from matinee.settings import Settings
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

_LEAST_MB, _MOST_MB = 500, 4_000


def _memory() -> str:
    """A quarter of the machine's memory within bounds, or what `MATINEE_BUILD_MEMORY` says (`2GB`).

    Groups whose values are text are kept in memory by DuckDB while they are made: the visits and playbacks of a million
    events fit into the least, those of ten million need more.
    """
    share = psutil.virtual_memory().total // 4_000_000
    return os.environ.get("MATINEE_BUILD_MEMORY") or f"{min(_MOST_MB, max(_LEAST_MB, share))}MB"


# What DuckDB may hold in memory before it works on disk.
MEMORY = _memory()
# The same for a load, whose rows only pass through: with more, DuckDB keeps what is written already. Loading a million
# events takes a process of 720 MB with the least and of 1,250 MB with eight times that, and no longer.
LOAD_MEMORY = os.environ.get("MATINEE_BUILD_MEMORY") or f"{_LEAST_MB}MB"
_WAIT_S = 600
_SCHEMA = Path(__file__).parent / "raw.sql"

# An id is a UUID; one that a person let in although it is none gets a UUID of its own, always the same.
EVENT_ID = "coalesce(TRY_CAST(event_id AS UUID), CAST(md5(event_id) AS UUID))"
# `raw.events`: the landing contract with the id in 16 bytes instead of 36, the file that the row came in, and the day
# of the event, so that a day's rows are found without reading the others.
_EVENTS = f"""
    SELECT * REPLACE ({EVENT_ID} AS event_id),
           CAST(NULL AS VARCHAR) AS source_file, CAST(event_ts AS DATE) AS event_date
    FROM landed
"""  # noqa: S608 - a constant


@contextmanager
def claim(settings: Settings) -> Iterator[Path]:
    """Be the only one who uses the build file; waits for whoever does now. Not re-entrant.

    Raises:
        WarehouseError: it stays in use for ten minutes.
    """
    from filelock import FileLock, Timeout

    path = settings.lake.build_file
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=_WAIT_S):
            yield path
    except Timeout:
        raise WarehouseError(f"{path} has been in use for {_WAIT_S} s: see which `matinee` process builds") from None


@contextmanager
def writing(settings: Settings, memory: str = MEMORY) -> Iterator["duckdb.DuckDBPyConnection"]:
    """The build file, claimed and open, with its `raw` tables in place."""
    with claim(settings) as path, opened(path, memory) as connection:
        yield connection


@contextmanager
def opened(path: Path, memory: str = MEMORY) -> Iterator["duckdb.DuckDBPyConnection"]:
    """The file at `path`, open for a caller who has claimed it."""
    import duckdb

    try:
        connection = duckdb.connect(str(path))
    except duckdb.Error as error:
        raise WarehouseError(f"{path} cannot be opened ({_first_line(error)}): close what reads it") from None
    with connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET memory_limit = '{memory}'")
        connection.execute("SET preserve_insertion_order = false")
        prepare(connection)
        yield connection


@contextmanager
def transaction(connection: "duckdb.DuckDBPyConnection") -> Iterator[None]:
    """All of the block or nothing of it."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def prepare(connection: "duckdb.DuckDBPyConnection") -> None:
    """Create the `raw` tables that are missing; columns that the landing contract has gained are added."""
    from matinee.contracts.landing import LANDED_EVENT
    from warehouse.tables import TABLES

    connection.execute(_SCHEMA.read_text())
    for name, table in {"events": LANDED_EVENT, **{name: table.schema for name, table in TABLES.items()}}.items():
        connection.register("landed", table.empty_table())
        shape = _EVENTS if name == "events" else "FROM landed"
        connection.execute(f"CREATE TABLE IF NOT EXISTS raw.{name} AS {shape}")
        known = {column: kind for column, kind, *_ in connection.execute(f"DESCRIBE raw.{name}").fetchall()}
        for column, kind, *_ in connection.execute(f"DESCRIBE {shape}").fetchall():
            if column not in known:
                connection.execute(f'ALTER TABLE raw.{name} ADD COLUMN "{column}" {kind}')
        connection.unregister("landed")
        if name == "events" and known["event_id"] == "VARCHAR":
            _make_narrow(connection)


def _make_narrow(connection: "duckdb.DuckDBPyConnection") -> None:
    """Bring `raw.events` of an earlier version, whose ids were text, into the present form."""
    connection.execute(f"ALTER TABLE raw.events ALTER event_id SET DATA TYPE UUID USING {EVENT_ID}")
    connection.execute("UPDATE raw.events SET event_date = CAST(event_ts AS DATE)")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
