"""Every accepted master whose title has no package that is up to date gets one; what fails is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from matinee.db.connect import connect
from matinee.settings import Settings
from transcoding import package, queue
from transcoding.progress import OnProgress, TitleProgress, shown
from transcoding.queue import SQL
from transcoding.worker import Worker, check_space

__all__ = ["OnProgress", "Outcome", "TitleProgress", "enqueue", "outcomes", "transcode_pending"]


@dataclass(frozen=True)
class Outcome:
    """What became of a master. `seconds` from being queued to the end; `reason` where the state is 'failed'."""

    title_id: str
    master_id: str
    package_id: str
    state: str  # 'published' or 'failed'
    reason: str | None
    duration_ms: int | None
    rungs: tuple[dict[str, Any], ...]
    seconds: float
    retry: bool = False  # it failed for a reason that is not the master's own


def enqueue(
    settings: Settings,
    titles: Sequence[str] | None = None,
    treatment: str | None = None,
    priority: int = 0,
) -> int:
    """Queue a job for every title whose newest accepted master has no package that is up to date; returns how many.

    `treatment` wins over what was decided for a title, which wins over the settings. Jobs of a higher `priority` come
    first. A package whose files are gone counts as none.

    Raises:
        StackError: PostgreSQL does not answer.
    """
    with connect(settings, autocommit=True) as connection:
        _notice_lost(connection, settings.media)
        with connection.transaction():
            return queue.enqueue(
                connection,
                package.tools(),
                default=settings.transcode_treatment,
                treatment=treatment,
                titles=titles,
                watermark=settings.watermark,
                priority=priority,
            )


def transcode_pending(
    settings: Settings,
    on_progress: OnProgress | None = None,
    *,
    lanes: int | None = None,
    titles: Sequence[str] | None = None,
) -> list[Outcome]:
    """Package every accepted master (of `titles`) that has no up-to-date package, and return when nothing is left.

    Work that others have begun is waited for, and taken over where they died. A master that failed is tried again only
    when the plan or the encoder has changed, or when it was not its fault. `on_progress` hears of each title. The order
    of the outcomes is that of completion.

    Raises:
        TransientError: the disk is nearly full; the titles that are done stay published.
        StackError: PostgreSQL does not answer.
    """
    check_space(settings)
    enqueue(settings, titles)
    with connect(settings, autocommit=True) as connection:
        jobs = queue.active_jobs(connection, titles)
    if jobs:
        with shown(settings, jobs, on_progress):
            Worker(settings, drain=True, lanes=lanes, titles=titles).run()
    return outcomes(settings, jobs)


def outcomes(settings: Settings, jobs: Sequence[str]) -> list[Outcome]:
    """What became of those of the jobs that have ended."""
    with connect(settings) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["outcomes"], {"jobs": list(jobs)}).fetchall()
    return [Outcome(**{**row, "rungs": tuple(row["rungs"])}) for row in rows]


def _notice_lost(connection: psycopg.Connection, media: Path) -> None:
    """A package whose folder is gone does not play: its master is to be packaged again."""
    for name, title_id in connection.execute(SQL["published"]).fetchall():
        if not (media / title_id / name / "package.json").is_file():
            connection.execute(SQL["lost"], {"package_id": name})
