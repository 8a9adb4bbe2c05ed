"""`matinee worker marts`: new landed files become published marts within a minute, again and again.

One process that keeps dbt parsed. It uses the build file under the lock that everybody takes, so that Dagster and
`matinee build` work side by side with it. What fails stops nothing but its own publication: the snapshot before stays,
the log says what it was, and the next try waits longer. Marts that were built and not published, for whatever reason,
are published by the next try, also where nothing else has landed.
"""

import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from matinee.console import console
from matinee.db.connect import connect
from matinee.db.queries import load as load_queries
from matinee.lake import Lake, NoSnapshotError
from matinee.settings import Settings
from warehouse import build_file, dbt, snapshot
from warehouse.errors import WarehouseError
from warehouse.export import export_tables
from warehouse.load import load_days, load_imports
from warehouse.publish import publish
from warehouse.snapshot import Snapshot

if TYPE_CHECKING:
    import duckdb

_SQL = load_queries(Path(__file__).parent)
_LONGEST_WAIT_S = 600.0
_WAIT_OF_NEW_FILES_S = 60.0


@dataclass(frozen=True)
class Round:
    """What one round did; `made` is the current snapshot, none where nothing waited. `built`: whether dbt ran."""

    files: int
    rows: int
    held: tuple[str, ...]
    made: Snapshot | None
    built: bool = False


def run(settings: Settings, drain_only: bool = False) -> None:
    """The worker: a round as soon as files have landed, until told to stop by SIGTERM or SIGINT."""
    import duckdb

    if drain_only:
        _tell(one_round(settings, unit_tests=True), 0.0)
        return
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    tried: object = None
    failures, built, ended = 0, False, 0.0
    while not stop.is_set():
        now = _ledger(settings)
        if is_due(settings.marts_interval_s, failures, time.monotonic() - ended, new=now != tried):
            tried, started = now, time.monotonic()
            try:
                done = one_round(settings, unit_tests=not built)
            except (WarehouseError, psycopg.OperationalError, duckdb.Error, OSError) as error:
                failures += 1
                console.print(f"not published: {' '.join(str(error).split())}", markup=False, soft_wrap=True)
            else:
                failures, built = 0, built or done.built
                _tell(done, time.monotonic() - started)
            ended = time.monotonic()
        stop.wait(settings.marts_interval_s)


def is_due(interval_s: float, failures: int, since_s: float, *, new: bool) -> bool:
    """Whether a round is due, so long after the last one ended; `new`: files or decisions that it did not see.

    After so many failures one after the other the wait doubles each time; what is new shortens it to a minute.
    """
    if not failures:
        return new
    return since_s >= min(interval_s * 2**failures, _WAIT_OF_NEW_FILES_S if new else _LONGEST_WAIT_S)


def one_round(settings: Settings, *, unit_tests: bool) -> Round:
    """Load what has landed, build what it touches, audit and publish.

    Where nothing waits, nothing is built; what was built since the current snapshot is published all the same. Unit
    tests judge the models, not the data: a living process runs them with its first build.

    Raises:
        WarehouseError: the audit failed, or the build file stayed in use; the snapshot before stays.
        OSError, duckdb.Error: the disk is full or damaged; likewise.
    """
    loaded = [load_days(settings), load_imports(settings)]
    files, rows = sum(one.files for one in loaded), sum(one.rows for one in loaded)
    held = tuple(result.batch for one in loaded for result in one.held)
    waiting = files > 0 or _touched(settings)
    if waiting:
        export_tables(settings)
        dbt.build(settings, unit_tests=unit_tests)
    elif not _unpublished(settings):
        return Round(0, 0, held, None)
    made = publish(settings, lambda warehouse: _extra(settings.lake, warehouse))
    return Round(files, rows, held, made, built=waiting)


def _extra(lake: Lake, warehouse: "duckdb.DuckDBPyConnection") -> dict[str, Path]:
    """What the current snapshot holds beside the marts of dbt: results of experiments and archives stay as they are."""
    marts = warehouse.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts'").fetchall()
    try:
        current = snapshot.current(lake)
    except NoSnapshotError:
        return {}
    return {name: current.parquet(name) for name in current.tables.keys() - {name for (name,) in marts}}


def _unpublished(settings: Settings) -> bool:
    """Whether dbt built anything after the current snapshot was made."""
    with build_file.writing(settings) as warehouse:
        try:
            since = snapshot.current(settings.lake).created_at
        except NoSnapshotError:
            since = None
        query = "SELECT count(*) FROM audit.node_result WHERE $since IS NULL OR finished_at > $since"
        return warehouse.execute(query, {"since": since}).fetchone() != (0,)


def _touched(settings: Settings) -> bool:
    with build_file.writing(settings) as warehouse:
        return warehouse.execute("SELECT count(*) FROM raw.touched_days").fetchone() != (0,)


def _ledger(settings: Settings) -> object:
    """What changes when there is something to load: files, and what people decided about held ones."""
    try:
        with connect(settings) as connection:
            return connection.execute(_SQL["ledger_state"]).fetchone()
    except psycopg.OperationalError:
        return None


def _tell(done: Round, seconds: float) -> None:
    for batch in done.held:
        console.print(f"held back: {batch}, see `matinee held list`", markup=False)
    if done.made is None:
        return
    what = f"published {done.made.snapshot_id}" if done.made.changed else "nothing changed in the marts"
    console.print(f"{done.files} files, {done.rows:,} events: {what}, {seconds:.1f} s", markup=False)
