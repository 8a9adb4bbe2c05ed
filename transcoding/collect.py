"""What nobody needs any more leaves the media store: replaced packages, and folders and drafts left behind."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.settings import Settings
from transcoding import package
from transcoding.chunks import WORK
from transcoding.queue import SQL

GRACE_S = 3600.0


def collect(settings: Settings, *, grace_s: float = GRACE_S, clock: Clock | None = None) -> list[str]:
    """Remove packages that were replaced more than `grace_s` ago and that no living playback session uses.

    Returns their ids. The row is marked first and the files go afterwards, so a crash leaves files that the next run
    finds; a row never says that files are there which are not. Also removes work folders of jobs that have ended, and
    folders without a row: the remains of a worker that died between its rename and its row (young ones are left alone).
    """
    now = (clock or SystemClock()).now().timestamp()
    with connect(settings, autocommit=True) as connection:
        ids = _mark(connection, grace_s)
        for name, title_id in connection.execute(SQL["collected"]).fetchall():
            _remove(settings.media / title_id / name)
        known = {row[0] for row in connection.execute(SQL["known_packages"]).fetchall()}
        for folder in _packages(settings.media):
            if folder.name not in known and now - folder.stat().st_mtime > grace_s:
                _remove(folder)
        clear_left(settings.media, connection)
    return ids


def _mark(connection: psycopg.Connection, grace_s: float) -> list[str]:
    with connection.transaction():
        ids = [row[0] for row in connection.execute(SQL["collectable"], {"grace_s": grace_s}).fetchall()]
        for name in ids:
            connection.execute(SQL["collect"], {"package_id": name})
    return ids


def _packages(media: Path) -> Iterator[Path]:
    """Folders of packages: names of titles never begin with a tilde."""
    for title in media.iterdir():
        if title.is_dir() and not title.name.startswith("~"):
            yield from (folder for folder in title.iterdir() if folder.is_dir())


def clear_left(media: Path, connection: psycopg.Connection) -> None:
    """Remove work folders of jobs that have ended, and drafts of nobody. Folders are listed before asking who works."""
    there = list((media / WORK).iterdir()) if (media / WORK).is_dir() else []
    living = {row[0] for row in connection.execute(SQL["living_jobs"]).fetchall()}
    for folder in there:
        if folder.name not in living:
            _remove(folder)
    package.clear_drafts(media, lambda: [row[0] for row in connection.execute(SQL["holders"]).fetchall()])


def _remove(folder: Path) -> None:
    """Out of sight by one rename, then file by file: nobody is served half a package."""
    if folder.is_dir():
        aside = folder.with_name(f"~{folder.name}-{time.time_ns()}")
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
