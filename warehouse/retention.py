"""How long the lake keeps what: events as they came, dead letters, snapshots. Unset periods keep everything.

Events go by the day on which they were received, files and rows alike; a file that was never loaded (held back, or
waiting) stays, however old. What was made of them (playbacks, visits) stays until a full build, which knows only the
events that are left. What the marts said of the days before is kept first, in `lake/archive`, a file a mart: figures
that name nobody. A day, week or month is kept once it is over as a whole.
"""

import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.db.queries import load as load_queries
from matinee.lake import Lake
from matinee.settings import Settings
from warehouse import build_file
from warehouse.files import write_whole
from warehouse.forgotten import literal, tables
from warehouse.publish import clear

if TYPE_CHECKING:
    import duckdb

_SQL = load_queries(Path(__file__).parent)
# What a row of a mart is about: its first of these columns, and the moment at which that is over.
_ENDS = {
    "event_date": "event_date + INTERVAL 1 DAY",
    "day": "day + INTERVAL 1 DAY",
    "hour": "hour + INTERVAL 1 HOUR",
    "week_start": "week_start + INTERVAL 7 DAY",
    "month": "month + INTERVAL 1 MONTH",
    "cohort_month": "cohort_month + to_months(CAST(month_n AS INTEGER) + 1)",
    "received_date": "received_date + INTERVAL 1 DAY",
}
SUFFIX = "_archive"


@dataclass(frozen=True)
class Dropped:
    """What went because its time was over.

    `archived`: mart -> rows that were kept of it. `waiting`: files as old that stay, since they were never loaded.
    """

    before: date
    files: int
    rows: int
    archived: dict[str, int]
    waiting: int = 0


def archive(lake: Lake) -> dict[str, Path]:
    """Name -> file of what is kept of marts whose events are gone, to be published beside them."""
    return {f"{path.stem}{SUFFIX}": path for path in sorted((lake.root / "archive").glob("*.parquet"))}


def drop_events(settings: Settings, *, clock: Clock | None = None) -> Dropped | None:
    """Drop the events that were received longer ago than `MATINEE_RETENTION_EVENTS_DAYS`; None where that is unset.

    Killed half way, the next call ends it: the ledger goes first, then the rows, then the files.
    """
    if settings.retention_events_days is None:
        return None
    before = (clock or SystemClock()).now().date() - timedelta(days=settings.retention_events_days)
    with build_file.writing(settings) as warehouse, connect(settings, autocommit=True) as ledger:
        kept = _archive(settings.lake, warehouse, before)
        loaded = [path for (path,) in warehouse.execute("SELECT path FROM raw.loaded_file").fetchall()]
        ledger.execute(_SQL["drop_loaded"], {"before": before, "loaded": loaded})
        waiting = ledger.execute(_SQL["landed_before"], {"before": before}).fetchall()
        rows = _drop_rows(warehouse, before)
    stay = frozenset(settings.lake.root / path for (path,) in waiting)
    files = _drop_days(settings.lake.landing_events, before, stay)
    reports = settings.lake.build_file.parent / "gate"
    held = frozenset(path for day in {path.parent.name for path in stay} for path in _reports(reports, day))
    _drop_days(reports, before, held, prefix="events-")
    return Dropped(before, files, rows, kept, len(stay))


def _reports(gate: Path, day: str) -> list[Path]:
    """What the gate said of the files of a folder `date=<day>`."""
    return list((gate / day.replace("date=", "events-")).glob("*"))


def drop_dead_letters(settings: Settings, *, clock: Clock | None = None) -> Dropped | None:
    """Drop dead letters that came longer ago than `MATINEE_RETENTION_DEAD_LETTERS_DAYS`; None where that is unset."""
    if settings.retention_dead_letters_days is None:
        return None
    before = (clock or SystemClock()).now().date() - timedelta(days=settings.retention_dead_letters_days)
    with connect(settings) as ledger:
        letters = ledger.execute(_SQL["drop_dead_letters"], {"before": before}).rowcount
        ledger.execute(_SQL["drop_landed"], {"stream": "dead", "before": before})
    return Dropped(before, _drop_days(settings.lake.dead, before), letters, {})


def drop_snapshots(settings: Settings) -> list[Path]:
    """Keep as many snapshots as `MATINEE_RETENTION_SNAPSHOTS` says, the current one among them."""
    if settings.retention_snapshots is None or not settings.lake.published.is_dir():
        return []
    return clear(settings.lake, keep=settings.retention_snapshots)


def _archive(lake: Lake, warehouse: "duckdb.DuckDBPyConnection", before: date) -> dict[str, int]:
    """Keep what marts of figures (`mart_*`) say of days before this one and the archive does not hold yet."""
    kept: dict[str, int] = {}
    for table, columns in tables(
        warehouse, str(warehouse.execute("SELECT current_database()").fetchall()[0][0])
    ).items():
        name = table.rpartition(".")[2].strip('"')
        day = next((column for column in _ENDS if column in columns), None)
        if '"marts"' not in table or not name.startswith("mart_") or day is None:
            continue
        path = lake.root / "archive" / f"{name}.parquet"
        known = f"read_parquet('{literal(path)}')" if path.exists() else None
        new = f"FROM {table} WHERE {_ENDS[day]} <= DATE '{before}'"
        if known:
            key = f"({day}, month_n)" if day == "cohort_month" else day
            new += f" AND {key} NOT IN (SELECT {key} FROM {known})"  # noqa: S608 - our own names
        (count,) = warehouse.execute(f"SELECT count(*) {new}").fetchall()[0]
        if not count:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        everything = f"FROM {known} UNION ALL BY NAME {new}" if known else new
        write_whole(
            path,
            lambda draft, query=everything: warehouse.execute(
                f"COPY ({query}) TO '{literal(draft)}' (FORMAT parquet, COMPRESSION zstd)"
            ),
        )
        kept[name] = count
    return kept


def _drop_rows(warehouse: "duckdb.DuckDBPyConnection", before: date) -> int:
    """Delete what came in files of these days, wherever it was loaded to; no day counts as touched."""
    old = [
        path
        for (path,) in warehouse.execute("SELECT path FROM raw.loaded_file").fetchall()
        if path.startswith("landing/events/date=") and path.split("=")[1][:10] < before.isoformat()
    ]
    if not old:
        return 0
    database = str(warehouse.execute("SELECT current_database()").fetchall()[0][0])
    rows = 0
    with build_file.transaction(warehouse):
        for table, columns in tables(warehouse, database).items():
            if "source_file" in columns:
                query = f"DELETE FROM {table} WHERE source_file IN (SELECT unnest($old))"  # noqa: S608 - our own names
                (count,) = warehouse.execute(query, {"old": old}).fetchall()[0]
                rows += count if table.endswith('"raw"."events"') else 0
        warehouse.execute("DELETE FROM raw.loaded_file WHERE path IN (SELECT unnest($old))", {"old": old})
        warehouse.execute("INSERT INTO raw.dropped_before VALUES (?)", [before])
    return rows


def _drop_days(folder: Path, before: date, stay: frozenset[Path] = frozenset(), *, prefix: str = "date=") -> int:
    """Remove the folders of days before this one but for files that stay; returns how many files were removed."""
    files = 0
    for day in sorted(folder.glob(f"{prefix}????-??-??")):
        if day.name.removeprefix(prefix) >= before.isoformat():
            continue
        gone = [path for path in day.rglob("*") if path.is_file() and path not in stay]
        files += len(gone)
        if any(path.parent == day for path in stay):
            for path in gone:
                path.unlink()
        else:
            shutil.rmtree(day)
    return files
