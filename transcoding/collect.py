"""What nobody needs any more leaves the media store: replaced packages, and folders and drafts left behind."""

import re
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
_PACKAGE = re.compile(r"[0-9a-f]{32}\Z")
_ASIDE = re.compile(r"~[0-9a-f]{32}-[0-9]+\Z")


def collect(settings: Settings, *, grace_s: float = GRACE_S, clock: Clock | None = None) -> list[str]:
    """Remove packages that were replaced more than `grace_s` ago and that no living playback session uses.

    Returns their ids. The row is marked first and the files go afterwards, so a crash leaves files that the next run
    finds; a row never says that files are there which are not. Also removes work folders of jobs that have ended, and
    packages without a row: the remains of a worker that died between its rename and its row. Only what lies below a
    title of this database and bears a package's name is touched, and nothing that is younger than `grace_s`.
    """
    now = (clock or SystemClock()).now().timestamp()
    with connect(settings, autocommit=True) as connection:
        ids = _mark(connection, grace_s)
        states = dict(connection.execute(SQL["package_states"]).fetchall())
        for folder in _folders(settings.media, connection):
            if not _older(folder, now - grace_s):
                continue
            if _ASIDE.match(folder.name):
                package.remove(folder)
            elif _PACKAGE.match(folder.name) and states.get(folder.name, "collected") == "collected":
                _take(connection, folder)
        clear_left(settings.media, connection)
    return ids


def _mark(connection: psycopg.Connection, grace_s: float) -> list[str]:
    with connection.transaction():
        ids = [row[0] for row in connection.execute(SQL["collectable"], {"grace_s": grace_s}).fetchall()]
        for name in ids:
            connection.execute(SQL["collect"], {"package_id": name})
    return ids


def _take(connection: psycopg.Connection, folder: Path) -> None:
    """Remove a package unless it is wanted by now: whoever publishes it again takes the same lock, and looks again."""
    with connection.transaction():
        connection.execute(SQL["lock_package"], {"package_id": folder.name})
        row = connection.execute(SQL["package_state"], {"package_id": folder.name}).fetchone()
        if not (row[0] == "collected" if row else package.is_whole(folder)):
            return
        aside = package.set_aside(folder)
    if aside:
        package.remove(aside)


def _folders(media: Path, connection: psycopg.Connection) -> Iterator[Path]:
    """What lies in the folders of this database's titles; another's folders are not even opened."""
    names = [path.name for path in media.iterdir()] if media.is_dir() else []
    for (title_id,) in connection.execute(SQL["known_titles"], {"names": names}).fetchall():
        if (media / title_id).is_dir():
            yield from list((media / title_id).iterdir())


def _older(folder: Path, moment: float) -> bool:
    try:
        return folder.is_dir() and folder.stat().st_mtime < moment
    except FileNotFoundError:  # another worker took it
        return False


def clear_left(media: Path, connection: psycopg.Connection) -> None:
    """Remove work folders of jobs that have ended, and drafts of nobody. Folders are listed before asking who works."""
    there = list((media / WORK).iterdir()) if (media / WORK).is_dir() else []
    living = {row[0] for row in connection.execute(SQL["living_jobs"]).fetchall()}
    for folder in there:
        if folder.name not in living and (aside := package.set_aside(folder)):
            package.remove(aside)
    package.clear_drafts(media, lambda: [row[0] for row in connection.execute(SQL["holders"]).fetchall()])
