"""One making of a page at a time for each viewer, and beside the requests where these may do without it for a moment.

When an event of a viewer who is here changes what is known of them, their page is made anew at once, in the background;
until it is there, at most `STALE_S`, the page of before may be shown. Several events make one page. Whoever may not be
shown the old one waits for the making, and it stops waiting for further events.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from models.experiments.assignment import Experiment
from serving import tasks
from serving.profiles.core import Viewer
from serving.recommendations.pages import Kept, Key

log = logging.getLogger("matinee.recommendations")
STALE_S = 0.5  # an event is in the page so long after it reached Redis at most
GATHER_S = 0.05  # what happens within it makes one page
ACTIVE_S = 120.0  # who asked for a page longer ago is not here any more
_MOST = 20_000  # viewers that are here


@dataclass(frozen=True, eq=False)
class Asker:
    """Whose page, and what it is to show; `variants`: of the account, in each experiment."""

    surface: str
    viewer: Viewer
    variants: Mapping[Experiment, str]

    @property
    def key(self) -> Key:
        return self.surface, str(self.viewer.profile_id)


@dataclass(eq=False)
class Making:
    """`began`: since when the page that is kept is not the newest; `again`: since when the one that is made is not."""

    began: float
    task: "asyncio.Task[Kept]"
    again: float | None = None


class Makings:
    """`make` makes the page of an asker as of now."""

    def __init__(self, make: Callable[[Asker], Awaitable[Kept]]) -> None:
        self._make = make
        self._running: dict[Key, Making] = {}
        self._here: dict[str, tuple[float, Asker]] = {}
        self._waiting: dict[Key, tuple[float, Asker]] = {}  # what the background is to make, in this order
        self._background: asyncio.Task[None] | None = None

    def here(self, asker: Asker) -> None:
        """The asker is shown a page: what happens to them from now on makes the next one."""
        key = asker.viewer.profile_key
        if key is not None:
            if len(self._here) >= _MOST:
                self._here.clear()
            self._here[key] = time.monotonic(), asker

    def may_be_waited_for(self, asker: Asker) -> bool:
        """Whether the next page is on its way, and the one of before may be shown meanwhile."""
        running, waiting = self._running.get(asker.key), self._waiting.get(asker.key)
        began = running.began if running is not None else waiting[0] if waiting is not None else float("-inf")
        return time.monotonic() < began + STALE_S

    def of(self, asker: Asker) -> "tuple[asyncio.Task[Kept], bool]":
        """The making that runs, else one that begins at once; and whether it is new."""
        running = self._running.get(asker.key)
        if running is not None:
            return running.task, False
        began, _ = self._waiting.pop(asker.key, (float("-inf"), None))
        return self._start(asker, began), True

    def changed(self, profile_key: str) -> None:
        """Something is known of this profile that was not known before."""
        asked, asker = self._here.get(profile_key, (float("-inf"), None))
        now = time.monotonic()
        if asker is None or now > asked + ACTIVE_S:
            self._here.pop(profile_key, None)
        elif (running := self._running.get(asker.key)) is None:
            self._wait(asker, now)
        elif running.again is None:
            running.again = now

    async def close(self) -> None:
        self._here.clear()
        self._waiting.clear()
        await tasks.end([self._background, *(making.task for making in self._running.values())])

    def _wait(self, asker: Asker, began: float) -> None:
        self._waiting.setdefault(asker.key, (began, asker))
        if self._background is None or self._background.done():
            self._background = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        """One page after the other, and as long a pause after each: requests take what they need first."""
        while self._waiting:
            key, (began, asker) = next(iter(self._waiting.items()))
            await asyncio.sleep(began + GATHER_S - time.monotonic())
            if self._waiting.pop(key, None) is None:
                continue  # a request did not wait
            started = time.monotonic()
            try:
                await asyncio.shield(self._start(asker, began))
            except Exception as error:  # noqa: BLE001 - the next request tries for itself, and its viewer hears why
                log.warning("a page was not made in the background: %s: %s", type(error).__name__, error)
            await asyncio.sleep(min(time.monotonic() - started, GATHER_S))

    def _start(self, asker: Asker, began: float) -> "asyncio.Task[Kept]":
        task = asyncio.ensure_future(self._make(asker))
        making = self._running[asker.key] = Making(began, task)
        task.add_done_callback(lambda _: self._end(asker, making))
        return task

    def _end(self, asker: Asker, making: Making) -> None:
        del self._running[asker.key]
        if making.task.cancelled() or making.task.exception() is not None:
            return
        if making.again is not None:
            self._wait(asker, making.again)
