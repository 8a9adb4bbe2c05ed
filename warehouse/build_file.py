"""The one DuckDB file that builds happen in: one writer at a time, behind a lock file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.settings import Settings
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

# What DuckDB may hold in memory before it works on disk; with Python around it, a build stays below 1 GB.
MEMORY = "500MB"
_WAIT_S = 600
_SCHEMA = Path(__file__).parent / "raw.sql"


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
def writing(settings: Settings) -> Iterator["duckdb.DuckDBPyConnection"]:
    """The build file, claimed and open, with its `raw` tables in place."""
    with claim(settings) as path, opened(path) as connection:
        yield connection


@contextmanager
def opened(path: Path) -> Iterator["duckdb.DuckDBPyConnection"]:
    """The file at `path`, open for a caller who has claimed it."""
    import duckdb

    try:
        connection = duckdb.connect(str(path))
    except duckdb.Error as error:
        raise WarehouseError(f"{path} cannot be opened ({_first_line(error)}): close what reads it") from None
    with connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET memory_limit = '{MEMORY}'")
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
    empty = {
        "events": LANDED_EVENT.empty_table(),
        **{name: table.schema.empty_table() for name, table in TABLES.items()},
    }
    for name, columns in empty.items():
        connection.register("landed", columns)
        connection.execute(f"CREATE TABLE IF NOT EXISTS raw.{name} AS FROM landed")
        known = {row[0] for row in connection.execute(f"DESCRIBE raw.{name}").fetchall()}
        for column, kind, *_ in connection.execute("DESCRIBE landed").fetchall():
            if column not in known:
                connection.execute(f'ALTER TABLE raw.{name} ADD COLUMN "{column}" {kind}')
        connection.unregister("landed")
    connection.execute("ALTER TABLE raw.events ADD COLUMN IF NOT EXISTS source_file VARCHAR")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
