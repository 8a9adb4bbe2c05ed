"""Landed files into the build file, each exactly once.

A file belongs to the lake if PostgreSQL's `landed_file` names it, and to the warehouse if `raw.loaded_file` does. The
latter is written in the transaction that writes the rows, so a crash at any moment leaves a file loaded or not loaded,
and running again does what is left.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.clock import Clock, SystemClock
from matinee.console import progress
from matinee.db.connect import connect
from matinee.db.queries import load as load_queries
from matinee.pseudonyms import erased_keys
from matinee.settings import Settings
from warehouse import build_file, gate, held
from warehouse.forgotten import Keys, delete_rows
from warehouse.gate import GateResult, LandedFile

if TYPE_CHECKING:
    import duckdb
    import psycopg

_SQL = load_queries(Path(__file__).parent)

_INSERT = f"""
    INSERT INTO raw.events BY NAME
    SELECT * EXCLUDE (filename) REPLACE ({build_file.EVENT_ID} AS event_id),
           substr(filename, length($root) + 2) AS source_file, CAST(event_ts AS DATE) AS event_date
    FROM read_parquet($paths, filename = true, hive_partitioning = false, union_by_name = true)
"""  # noqa: S608 - a constant
# The day of a row that comes in now changes, and so do those of the receipts of its event that it comes before, since
# the first receipt counts. None of these was received before the oldest of the new rows: only what was received since
# then is looked through, which is nothing else where files come in order.
_OLDEST = "SELECT min(received_at) FROM read_parquet($paths, hive_partitioning = false)"
_TOUCH = f"""
    INSERT INTO raw.touched_days
    SELECT DISTINCT event_date, now() FROM raw.events
    WHERE received_at >= $oldest
        AND event_id IN (SELECT {build_file.EVENT_ID} FROM read_parquet($paths, hive_partitioning = false))
"""  # noqa: S608 - a constant
# Batches that passed go in together up to this many rows: a transaction costs more than its rows.
_ROWS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Batch:
    """Files that are checked together: those of one received day or of one import. `trusted`: accepted by a person."""

    name: str
    files: tuple[LandedFile, ...]
    trusted: bool = False


@dataclass(frozen=True)
class LoadSummary:
    """What a load did. `results` has one entry for each batch that went through the gate."""

    files: int = 0
    rows: int = 0
    results: tuple[GateResult, ...] = ()

    @property
    def held(self) -> tuple[GateResult, ...]:
        return tuple(result for result in self.results if not result.success)


def load_days(
    settings: Settings, days: Iterable[date] | None = None, *, recheck: bool = False, clock: Clock | None = None
) -> LoadSummary:
    """Load the event files received on these days (all days if None) that are not in the warehouse yet.

    The new files of a day pass the gate together or are held back together; held files stay out until `recheck`
    or until `warehouse.held.accept` lets them in.
    """
    wanted = None if days is None else sorted(days)
    return _load(settings, lambda connection: _days(connection, wanted), recheck, clock or SystemClock())


def load_imports(settings: Settings, *, recheck: bool = False, clock: Clock | None = None) -> LoadSummary:
    """Load imported histories, all new files of a source as one batch."""
    return _load(settings, _imports, recheck, clock or SystemClock())


def waiting_days(settings: Settings) -> list[date]:
    """Received days, oldest first, with files that the next `load_days` takes."""
    with connect(settings, autocommit=True) as ledger, build_file.writing(settings) as warehouse:
        rows = ledger.execute(_SQL["landed"], {"stream": "events", "days": None}).fetchall()
        loaded = _loaded(warehouse)
    return sorted({day for path, _, day, state in rows if state != "held" and path not in loaded})


@dataclass(frozen=True)
class _Known:
    """A row of the ledger with its place in a batch and its state at the gate: new, held or accepted."""

    batch: str
    file: LandedFile
    state: str


def _days(connection: "psycopg.Connection", days: Sequence[date] | None) -> list[_Known]:
    rows = connection.execute(_SQL["landed"], {"stream": "events", "days": days}).fetchall()
    return [_Known(f"events/{day}", LandedFile(path, n), state) for path, n, day, state in rows]


def _imports(connection: "psycopg.Connection") -> list[_Known]:
    found = []
    for (stream,) in connection.execute(_SQL["import_streams"]).fetchall():
        rows = connection.execute(_SQL["landed"], {"stream": stream, "days": None}).fetchall()
        found += [_Known(stream, LandedFile(path, n), state) for path, n, _, state in rows]
    return found


def plan(known: Sequence[_Known], loaded: set[str], *, recheck: bool) -> Iterator[Batch]:
    """The batches to load: what is not loaded, without what is held (unless it is to be checked again)."""
    waiting = [k for k in known if k.file.path not in loaded and (recheck or k.state != "held")]
    waiting.sort(key=lambda k: (k.batch, k.state == "accepted", k.file.path))
    for (name, trusted), group in groupby(waiting, key=lambda k: (k.batch, k.state == "accepted")):
        yield Batch(name, tuple(k.file for k in group), trusted)


def _load(
    settings: Settings, find: "Callable[[psycopg.Connection], list[_Known]]", recheck: bool, clock: Clock
) -> LoadSummary:
    lake = settings.lake.root
    results: list[GateResult] = []
    writing = build_file.writing(settings, build_file.LOAD_MEMORY)
    with connect(settings, autocommit=True) as ledger, writing as warehouse:
        erased = erased_keys(ledger)
        loaded = _loaded(warehouse)
        known = find(ledger)
        passed: list[Batch] = []
        reports = settings.lake.build_file.parent / "gate"
        taken: list[LandedFile] = []

        def insert() -> None:
            inside, broken = _insert(warehouse, lake, passed, erased)
            for result in broken:
                held.hold(ledger, result.batch, result.files, result.reasons, clock.now())
            taken.extend(inside)
            later = {(result.batch, result.files): result for result in broken}
            # A batch that passed the gate and cannot be read after all has one verdict: the last.
            results[:] = [later.pop((result.batch, result.files), result) for result in results]
            results.extend(later.values())
            passed.clear()

        with progress() as bar:
            for batches in bar.track(list(_together(plan(known, loaded, recheck=recheck))), description="loading"):
                passed += [batch for batch in batches if batch.trusted]
                asked = [batch for batch in batches if not batch.trusted]
                for batch, result in zip(asked, _check(lake, asked, reports), strict=True):
                    results.append(result)
                    if result.success:
                        passed.append(batch)
                    else:
                        held.hold(ledger, result.batch, result.files, result.reasons, clock.now())
                insert()
        # Also what an earlier run loaded and had no time to strike off.
        inside = loaded | {file.path for file in taken}
        if struck := [k.file.path for k in known if k.state != "new" and k.file.path in inside]:
            held.release(ledger, struck)
    return LoadSummary(len(taken), sum(file.rows for file in taken), tuple(results))


def _together(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Batches that go through the gate and into the warehouse at once."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if sum(file.rows for each in group for file in each.files) >= _ROWS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _loaded(warehouse: "duckdb.DuckDBPyConnection") -> set[str]:
    return {path for (path,) in warehouse.execute("SELECT path FROM raw.loaded_file").fetchall()}


def _insert(
    warehouse: "duckdb.DuckDBPyConnection", lake: Path, batches: Sequence[Batch], erased: Keys
) -> tuple[list[LandedFile], list[GateResult]]:
    """Batches into the warehouse; returns the files that are in, and a verdict on each batch that cannot be read."""
    import duckdb

    files = [file for batch in batches for file in batch.files]
    try:
        _insert_files(warehouse, lake, files, erased)
    except duckdb.Error:
        broken = {batch: verdict for batch in batches if (verdict := _unreadable(lake, batch))}
        if not broken:
            raise
        inside, more = _insert(warehouse, lake, [batch for batch in batches if batch not in broken], erased)
        return inside, [*broken.values(), *more]
    return files, []


def _check(lake: Path, batches: Sequence[Batch], reports: Path) -> list[GateResult]:
    import duckdb

    try:
        return gate.check_batches(lake, [(batch.name, batch.files) for batch in batches], reports)
    except duckdb.Error:
        if len(batches) > 1:
            return [result for batch in batches for result in _check(lake, [batch], reports)]
        if verdict := _unreadable(lake, batches[0]):
            return [verdict]
        raise


def _insert_files(
    warehouse: "duckdb.DuckDBPyConnection", lake: Path, files: Sequence[LandedFile], erased: Keys
) -> None:
    """The rows, the days they touch and the names of their files: all or nothing.

    Rows of erased people, which a file holds until it is purged, stay outside.
    """
    if not files:
        return
    paths = [str(lake / file.path) for file in files]
    with build_file.transaction(warehouse):
        warehouse.execute(_INSERT, {"root": str(lake), "paths": paths})
        if erased:
            delete_rows(warehouse, "raw.events", erased)
        (oldest,) = warehouse.execute(_OLDEST, {"paths": paths}).fetchall()[0]
        warehouse.execute(_TOUCH, {"paths": paths, "oldest": oldest})
        rows = [[file.path, file.rows] for file in files]
        warehouse.executemany("INSERT INTO raw.loaded_file VALUES (?, ?, now())", rows)


def _unreadable(lake: Path, batch: Batch) -> GateResult | None:
    """The verdict on a batch with a file that is damaged where the gate does not look; None where all can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[str] = []
    for file in batch.files:
        try:
            with pq.ParquetFile(lake / file.path) as parquet:
                parquet.read()
        except (OSError, pa.ArrowException) as error:
            found.append(f"{file.path}: {str(error).splitlines()[0]}")
    if not found:
        return None
    check = gate.Check("file_is_readable", None, success=False, unexpected=len(found), sample=tuple(found[:5]))
    return GateResult(batch.name, tuple(file.path for file in batch.files), sum(f.rows for f in batch.files), (check,))
