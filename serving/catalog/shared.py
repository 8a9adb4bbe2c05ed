"""One query for all who ask the same at the same time; what anybody hears was read after they asked."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """At most one reading of a key runs, and one waits for it, which all join who come meanwhile."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}
        self._waiting: dict[Hashable, asyncio.Task[T]] = {}

    async def read(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, called after this call began, by this caller or another; its error is everybody's."""
        if key not in self._running:
            self._running[key] = task = asyncio.ensure_future(self._run(key, make))
        elif (found := self._waiting.get(key)) is not None:
            task = found
        else:
            task = self._waiting[key] = asyncio.ensure_future(self._wait(key, self._running[key], make))
        return await asyncio.shield(task)

    async def _wait(self, key: Hashable, before: asyncio.Task[T], make: Callable[[], Awaitable[T]]) -> T:
        await asyncio.wait([before])
        mine = self._waiting.pop(key)
        self._running[key] = mine
        return await self._run(key, make)

    async def _run(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        mine = asyncio.current_task()
        try:
            return await make()
        finally:
            if self._running.get(key) is mine:
                del self._running[key]
