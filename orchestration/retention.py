"""What is older than its period goes: `MATINEE_RETENTION_*`. Where a period is unset, everything is kept."""

import time
from dataclasses import dataclass
from datetime import timedelta

import serving.erase
import warehouse.retention
from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.settings import Settings

_DAY_S = 86_400


@dataclass(frozen=True)
class Retained:
    """How much went of each kind; None: this kind is kept for ever."""

    events: int | None
    event_files: int | None
    event_files_waiting: int | None
    archived_rows: int | None
    dead_letters: int | None
    snapshots: int | None
    sessions: int | None
    logs: int | None


def enforce(settings: Settings, *, clock: Clock | None = None) -> Retained:
    """Drop what is older than the settings say; PostgreSQL must be running.

    Raises:
        WarehouseError: the build file stays in use.
    """
    clock = clock or SystemClock()
    events = warehouse.retention.drop_events(settings, clock=clock)
    letters = warehouse.retention.drop_dead_letters(settings, clock=clock)
    removed = warehouse.retention.drop_snapshots(settings)
    return Retained(
        events=events.rows if events else None,
        event_files=events.files if events else None,
        event_files_waiting=events.waiting if events else None,
        archived_rows=sum(events.archived.values()) if events else None,
        dead_letters=letters.rows if letters else None,
        snapshots=None if settings.retention_snapshots is None else len(removed),
        sessions=_drop_sessions(settings, clock),
        logs=_drop_logs(settings),
    )


def _drop_sessions(settings: Settings, clock: Clock) -> int | None:
    if settings.retention_sessions_days is None:
        return None
    with connect(settings) as connection:
        return serving.erase.drop_sessions(connection, clock.now() - timedelta(days=settings.retention_sessions_days))


def _drop_logs(settings: Settings) -> int | None:
    """Log files that nobody has written to for so long."""
    if settings.retention_logs_days is None:
        return None
    since = time.time() - settings.retention_logs_days * _DAY_S
    home = settings.home
    folders = (home.logs, home.root / "dbt" / "logs", home.dagster / "storage")
    old = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.stat().st_mtime < since]
    for path in old:
        path.unlink()
    return len(old)


def said(retained: Retained) -> dict[str, int | str]:
    """The same for people: what is kept for ever says so."""
    return {name.replace("_", " "): "kept" if n is None else n for name, n in vars(retained).items()}
