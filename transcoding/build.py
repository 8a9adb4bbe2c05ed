"""Every accepted master that has no package gets one; what fails is written down and the rest goes on."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from filelock import FileLock
from psycopg.types.json import Jsonb

from matinee.db import queries
from matinee.db.connect import connect
from matinee.settings import Settings
from transcoding import ffmpeg, package
from transcoding.encode import EncodeProgress, encode
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import plan_ladder
from transcoding.source import read_source
from transcoding.verify import verify

_SQL = queries.load(Path(__file__).parent)
_WORKERS = 2
_SHARE_OF_ENCODING = 0.9  # of a title's progress bar; packaging and the verifying decode take the rest


@dataclass(frozen=True)
class Job:
    master_id: str
    title_id: str
    master: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a master. `seconds` of work; `reason` where the state is 'failed'."""

    title_id: str
    master_id: str
    package_id: str
    state: str  # 'published' or 'failed'
    reason: str | None
    duration_ms: int | None
    rungs: tuple[dict[str, Any], ...]
    seconds: float
    retry: bool = False  # it failed for a reason that is not the master's own


@dataclass(frozen=True)
class TitleProgress:
    """How far a title is, 0 to 1, and about how many seconds of encoding are left (None: nobody knows yet)."""

    title_id: str
    fraction: float
    seconds_left: float | None = None


OnProgress = Callable[[TitleProgress], None]


def transcode_pending(
    settings: Settings, on_progress: OnProgress | None = None, *, workers: int = _WORKERS
) -> list[Outcome]:
    """Package every accepted master that belongs to a title and has no package of its own yet.

    A master that failed before is tried again only when the plan or the encoder has changed, or when it was not its
    fault. One run at a time in a home; a second caller waits and then finds nothing left to do. `on_progress` is called
    from several threads. The order of the outcomes is that of completion.

    Raises:
        TranscodingError: the disk is nearly full; the titles that are done stay published.
        StackError: PostgreSQL does not answer.
    """
    media = settings.media
    with FileLock(settings.home.run / "transcode.lock"), connect(settings, autocommit=True) as connection:
        package.clear_drafts(media)
        _notice_lost(connection, media)
        rows = connection.execute(_SQL["pending"], {"tools": package.tools()}).fetchall()
        jobs = [Job(master_id, title_id, media / stored) for master_id, title_id, stored in rows]
        outcomes = []
        with _shown(len(jobs), on_progress) as (report, done):
            for outcome in _run(jobs, settings, report, min(workers, len(jobs))):
                _record(connection, outcome)
                done(outcome)
                outcomes.append(outcome)
        return outcomes


def _run(jobs: list[Job], settings: Settings, report: OnProgress, workers: int) -> Iterator[Outcome]:
    """Outcomes as they come. Whatever goes wrong out here, no encoder is left running."""
    if not jobs:
        return
    cancel = threading.Event()
    with ThreadPoolExecutor(workers, thread_name_prefix="transcode") as pool:
        futures = [pool.submit(_attempt, job, settings, report, cancel, workers) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _attempt(job: Job, settings: Settings, report: OnProgress, cancel: threading.Event, workers: int) -> Outcome:
    started = time.monotonic()
    _check_space(settings)
    try:
        outcome = transcode(job, settings.media, report, cancel, threads=max(1, (os.cpu_count() or 1) // workers))
    except TranscodingError as error:
        if cancel.is_set():
            raise
        name = package.package_id(job.title_id, job.master_id, None)
        outcome = Outcome(
            job.title_id, job.master_id, name, "failed", str(error), None, (), time.monotonic() - started,
            retry=isinstance(error, TransientError),
        )  # fmt: skip
    return outcome


def transcode(
    job: Job, media: Path, report: OnProgress, cancel: threading.Event | None = None, *, threads: int = 0
) -> Outcome:
    """One master to one published package: look, plan, encode, package, verify, publish.

    Raises:
        TranscodingError: it cannot be done; nothing is published.
    """
    started = time.monotonic()
    if not job.master.is_file():
        raise TransientError(f"the master is not in the media store: {job.master}")
    source = read_source(job.master)
    plan = plan_ladder(source, tone_mapper=not source.hdr or ffmpeg.has_tone_mapper())
    name = package.package_id(job.title_id, job.master_id, plan)
    destination = media / job.title_id / name
    if not destination.exists():

        def on_encode(progress: EncodeProgress) -> None:
            report(TitleProgress(job.title_id, _SHARE_OF_ENCODING * progress.fraction, progress.seconds_left))

        draft = package.new_draft(media, uuid4().hex)
        encode(plan, source, draft, on_progress=on_encode, cancel=cancel, threads=threads)
        renditions = package.measure(draft, plan)
        package.write_manifests(draft, renditions)
        package.write_poster(draft, renditions)
        verify(draft, source, plan, renditions)
        facts = package.describe(name, job.title_id, job.master_id, plan, renditions)
        (draft / "package.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))
        package.publish(draft, destination)
    report(TitleProgress(job.title_id, 1.0, 0.0))
    made = json.loads((destination / "package.json").read_text())
    rungs, spent = tuple(made["video"]), time.monotonic() - started
    return Outcome(job.title_id, job.master_id, name, "published", None, made["duration_ms"], rungs, spent)


def _check_space(settings: Settings) -> None:
    disk = os.statvfs(settings.media)
    free_mb = disk.f_bavail * disk.f_frsize // 1_000_000
    if free_mb < settings.disk_watermark_mb:
        raise TransientError(
            f"only {free_mb} MB free at {settings.media}, fewer than {settings.disk_watermark_mb} MB: make room or set "
            "MATINEE_DISK_WATERMARK_MB"
        )


def _notice_lost(connection: psycopg.Connection, media: Path) -> None:
    """A package whose folder is gone does not play: its master becomes pending again."""
    for name, title_id in connection.execute(_SQL["published"]).fetchall():
        if not (media / title_id / name / "package.json").is_file():
            connection.execute(_SQL["lost"], {"package_id": name})


def _record(connection: psycopg.Connection, outcome: Outcome) -> None:
    connection.execute(
        _SQL["record"],
        {
            "package_id": outcome.package_id,
            "title_id": outcome.title_id,
            "master_id": outcome.master_id,
            "state": outcome.state,
            "reason": outcome.reason,
            "duration_ms": outcome.duration_ms,
            "rungs": Jsonb(list(outcome.rungs)),
            "tools": None if outcome.retry else package.tools(),
        },
    )


@contextmanager
def _shown(total: int, listener: OnProgress | None) -> Iterator[tuple[OnProgress, Callable[[Outcome], None]]]:
    """A bar for the whole run and one for each title under way; `listener` hears of every step too."""
    from matinee.console import progress

    with progress() as bars:
        whole = bars.add_task("transcoding", total=total)
        tasks: dict[str, Any] = {}
        lock = threading.Lock()

        def report(step: TitleProgress) -> None:
            left = "" if step.seconds_left is None else f", {step.seconds_left:.0f} s left"
            with lock:
                if step.title_id not in tasks:
                    tasks[step.title_id] = bars.add_task(step.title_id, total=100)
                bars.update(
                    tasks[step.title_id], completed=round(100 * step.fraction), description=f"{step.title_id}{left}"
                )
            if listener is not None:
                listener(step)

        def done(outcome: Outcome) -> None:
            with lock:
                if outcome.title_id in tasks:
                    bars.remove_task(tasks.pop(outcome.title_id))
            bars.advance(whole)

        yield report, done
