"""Every accepted master whose title has no package that is up to date gets one; what fails is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from matinee.db.connect import connect
from matinee.settings import Settings
from transcoding import markers, package, queue
from transcoding.collect import collect
from transcoding.errors import TransientError
from transcoding.progress import OnProgress, TitleProgress, shown
from transcoding.queue import SQL
from transcoding.worker import Worker, check_space

__all__ = ["OnProgress", "Outcome", "TitleProgress", "enqueue", "notice_lost", "outcomes", "transcode_pending"]

_MASTERS = "~masters"  # where ingest keeps them


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
    priority: int = 0,
    *,
    look: bool = True,
    back_off: bool = False,
) -> int:
    """Queue a job for every title whose newest accepted master has no package that is up to date; returns how many.

    What was decided for a title (also by `treatments.set_by_hand`) wins over the settings. Jobs of a higher `priority`
    come first. `look`: at every package first, for one whose files are gone counts as none. `back_off`: what failed by
    no fault of its own waits, the longer the more often it did.

    Raises:
        StackError: PostgreSQL does not answer.
        TransientError: with `look`, the media store is not there.
    """
    if look:
        notice_lost(settings)
    with connect(settings, autocommit=True) as connection, connection.transaction():
        return queue.enqueue(
            connection,
            package.tools(),
            default=settings.transcode_treatment,
            titles=titles,
            watermark=settings.watermark,
            priority=priority,
            back_off=back_off,
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
    of the outcomes is that of completion. What nobody needs any more is removed first, to make room.

    Raises:
        TransientError: the media store is not there, or its disk is nearly full; what is done stays published.
        StackError: PostgreSQL does not answer.
    """
    notice_lost(settings)
    collect(settings)
    check_space(settings)
    enqueue(settings, titles, look=False)
    with connect(settings, autocommit=True) as connection:
        jobs = queue.active_jobs(connection, titles, package.tools())
    if jobs:
        with shown(settings, jobs, on_progress):
            Worker(settings, drain=True, lanes=lanes, titles=titles).run()
    markers.update_left(settings, titles)
    return outcomes(settings, jobs)


def outcomes(settings: Settings, jobs: Sequence[str]) -> list[Outcome]:
    """What became of those of the jobs that have ended."""
    with connect(settings) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["outcomes"], {"jobs": list(jobs)}).fetchall()
    return [Outcome(**{**row, "rungs": tuple(row["rungs"])}) for row in rows]


def notice_lost(settings: Settings) -> None:
    """A package whose folder is gone does not play: its master is to be packaged again.

    Raises:
        TransientError: nothing that the database knows is in the media store, which is rather not mounted than
            emptied: nothing is written then.
        StackError: PostgreSQL does not answer.
    """
    media = settings.media
    with connect(settings, autocommit=True) as connection:
        published = connection.execute(SQL["published"]).fetchall()
        lost = [name for name, title_id in published if not package.is_whole(media / title_id / name)]
        known = bool(published) or connection.execute(SQL["has_masters"]).fetchone() == (True,)
        if known and len(lost) == len(published) and not (media / _MASTERS).is_dir():
            raise TransientError(
                f"nothing that the database knows is in the media store {media}: mount it, set MATINEE_MEDIA_URL, or, "
                f"where it is lost for good, make {media / _MASTERS} and bring the films in again"
            )
        for name in lost:
            connection.execute(SQL["lost"], {"package_id": name})
