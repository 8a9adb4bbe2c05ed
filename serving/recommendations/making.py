"""One making of a page at a time for each viewer, and beside the requests where these may do without it for a moment.

When an event of a viewer who is here changes what is known of them, their page is made anew at once, in the background;
until it is there, at most `STALE_S`, the page of before may be shown. Several events make one page. Whoever may not be
shown the old one waits for the making, and it stops waiting for further events.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from models.experiments.assignment import Experiment
from serving.profiles.core import Viewer
from serving.recommendations.pages import Kept, Key

STALE_S = 0.5  # an event is in the page so long after it reached Redis at most
GATHER_S = 0.1  # what happens within it makes one page
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
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    again: float | None = None
    task: "asyncio.Task[Kept] | None" = None

    @property
    def may_be_waited_for(self) -> bool:
        """Whether the page of before may be shown meanwhile."""
        return time.monotonic() < self.began + STALE_S

    async def page(self) -> Kept:
        """The page, as soon as it can be made."""
        self.hurry.set()
        assert self.task is not None
        return await asyncio.shield(self.task)


class Makings:
    """`make` makes the page of an asker as of now."""

    def __init__(self, make: Callable[[Asker], Awaitable[Kept]]) -> None:
        self._make = make
        self._running: dict[Key, Making] = {}
        self._here: dict[str, tuple[float, Asker]] = {}

    def here(self, asker: Asker) -> None:
        """The asker is shown a page: what happens to them from now on makes the next one."""
        key = asker.viewer.profile_key
        if key is not None:
            if len(self._here) >= _MOST:
                self._here.clear()
            self._here[key] = time.monotonic(), asker

    def of(self, asker: Asker) -> tuple[Making, bool]:
        """The making that runs, or a new one; and whether it is new."""
        running = self._running.get(asker.key)
        return (running, False) if running is not None else (self._start(asker, float("-inf")), True)

    def changed(self, profile_key: str) -> None:
        """Something is known of this profile that was not known before."""
        asked, asker = self._here.get(profile_key, (float("-inf"), None))
        now = time.monotonic()
        if asker is None or now > asked + ACTIVE_S:
            self._here.pop(profile_key, None)
        elif (running := self._running.get(asker.key)) is None:
            self._start(asker, now)
        elif running.again is None:
            running.again = now

    async def close(self) -> None:
        self._here.clear()
        tasks = [making.task for making in self._running.values() if making.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, asker: Asker, began: float) -> Making:
        making = self._running[asker.key] = Making(began)
        making.task = asyncio.ensure_future(self._run(asker, making))
        making.task.add_done_callback(lambda task: self._end(task, asker, making))
        return making

    async def _run(self, asker: Asker, making: Making) -> Kept:
        if making.may_be_waited_for:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(making.hurry.wait(), GATHER_S)
        making.again = None  # what happened before the state is read will be in the page
        return await self._make(asker)

    def _end(self, task: "asyncio.Task[Kept]", asker: Asker, making: Making) -> None:
        del self._running[asker.key]
        if task.cancelled() or task.exception() is not None:
            return  # the next request tries for itself, and hears why
        if making.again is not None:
            self._start(asker, making.again)
