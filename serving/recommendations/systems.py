"""Which system serves: the exported one that `$MATINEE_HOME/models/current` points to, checked before it may answer.

The link is looked at each second. What it points to is loaded in a thread and asked its golden requests; if it does not
load or answers wrongly, the last good one goes on serving (after a start: the newest good one that is kept), and it is
tried again after ever longer pauses. Titles that came after the fit are added by their content.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from matinee.home import Home
from serving import tasks
from serving.db import Row
from serving.garbage import settle
from serving.metrics import Metrics
from serving.recommendations.catalogue import Catalogue, Catalogues

if TYPE_CHECKING:
    from models.recommenders.system import System
    from serving.recommendations.served import Served

log = logging.getLogger("matinee.api")
POLL_S = 1.0
FIRST_S = 5.0  # a page that is asked for before the first look waits so long at most
RETRY_S, MOST_RETRY_S = 5.0, 300.0  # what was refused is tried again: the reason may have been the machine's
_FILES = ("model.npz", "model.json", "golden.json")

_MOST_NEW = 1_000  # titles that are added at once; the next build knows them all


class Systems:
    """`current` is what serves, None as long as nothing good was found."""

    def __init__(self, home: Home, metrics: Metrics, catalogues: Catalogues) -> None:
        self.current: Served | None = None
        self.looked = asyncio.Event()
        self._home, self._metrics, self._catalogues = home, metrics, catalogues
        self._base: System | None = None
        self._mark: object = None
        self._retry_at, self._retry_s = float("inf"), RETRY_S
        self._grown_by: Catalogue | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        await tasks.end([self._task])

    async def found(self) -> None:
        """Wait until a model was looked for once, as whoever asks right after the start does."""
        if not self.looked.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.looked.wait(), FIRST_S)

    async def look(self) -> None:
        """Take what is new: another system, or titles that the system does not know."""
        mark = _mark(self._home)
        is_new = mark is not None and mark != self._mark
        if is_new:
            self._mark, self._retry_s = mark, RETRY_S
        if is_new or (mark is not None and time.monotonic() >= self._retry_at):
            await self._load(is_new=is_new)
        self.looked.set()
        catalogue = self._catalogues.current
        if self._base is not None and catalogue is not None and catalogue is not self._grown_by:
            await self._grow(self._base, catalogue)
            self._grown_by = catalogue

    async def _follow(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                # Whatever it is (PostgreSQL is gone, a file vanished): what serves goes on, the next look tries again.
                log.exception("looking for a new model failed")
            self.looked.set()
            await asyncio.sleep(POLL_S)

    async def _load(self, *, is_new: bool) -> None:
        self._retry_at = float("inf")
        try:
            base, served = await asyncio.to_thread(_loaded, self._home)
        except Exception as error:
            self._retry_at, self._retry_s = time.monotonic() + self._retry_s, min(2 * self._retry_s, MOST_RETRY_S)
            if is_new:
                self._metrics.model_failures.inc()
            if self.current is None and (older := await asyncio.to_thread(_older, self._home)):
                self._take(*older)
            kept = self.current.about.version if self.current else None
            line = {"event": "model_refused", "reason": str(error)[:300], "serving": kept}
            log.exception(orjson.dumps(line).decode())
            return
        self._take(base, served)

    def _take(self, base: "System", served: "Served") -> None:
        self._base, self.current, about = base, served, served.about
        self._grown_by = None
        self._metrics.model_loads.inc()
        self._metrics.model_info(about.name, about.version, about.snapshot_id)
        line = {"event": "model_loaded", "name": about.name, "version": about.version, "snapshot_id": about.snapshot_id}
        log.info(orjson.dumps(line).decode())
        settle()

    async def _grow(self, base: "System", catalogue: Catalogue) -> None:
        known = set(base.items)
        titles = [title for title in catalogue.titles if title.kind != "episode" and title.title_id not in known]
        titles.sort(key=lambda title: title.created, reverse=True)
        missing = [title.title_id for title in titles[:_MOST_NEW]]
        if self.current is not None and self.current.numbers.keys() >= set(missing):
            return
        self.current = await asyncio.to_thread(_grown, base, await self._catalogues.contents(missing))


def _mark(home: Home) -> object:
    """What changes whenever another system is exported, a copy under the same name included; None: there is none."""
    link = home.models / "current"
    inode = _stat(link, follow=False)
    return inode and (inode, *(_stat(link / name) for name in _FILES))


def _stat(path: Path, *, follow: bool = True) -> tuple[int, int, int] | None:
    try:
        found = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _loaded(home: Home) -> "tuple[System, Served]":
    from models.errors import ModelError
    from models.recommenders.export import current

    folder = current(home)
    if folder is None:
        raise ModelError(f"{home.models / 'current'} points nowhere: run `matinee build`")
    return _checked(folder)


def _older(home: Home) -> "tuple[System, Served] | None":
    """The newest kept one that answers as it should; None where there is none."""
    from models.recommenders.export import current

    refused = current(home)
    folders = [path for path in home.models.resolve().iterdir() if path.name[0] != "." and not path.is_symlink()]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
        if folder == refused:
            continue
        try:
            return _checked(folder)
        except Exception:
            log.exception("the kept model %s does not serve either", folder.name)
    return None


def _checked(folder: Path) -> "tuple[System, Served]":
    from models.recommenders.system import System
    from serving.recommendations.served import Served

    system = System.load(folder)
    system.check()
    return system, Served(system)


def _grown(base: "System", found: Sequence[Row]) -> "Served":
    from models.recommenders.content import content_of
    from serving.recommendations.served import Served

    grown = base.with_titles([content_of(row["title_id"], row) for row in found])
    return Served(grown, fitted=len(base.items))
