"""Work of many requests in one command: whoever asks within a turn of the event loop shares it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Gather(Generic[K, V]):
    """Wraps `read`, which answers many keys at once, in their order, so that it is called once a turn.

    `one_by_one`: the next call begins when the last has ended, with all who came meanwhile, as commits are grouped.
    """

    def __init__(self, read: Callable[[Sequence[K]], Awaitable[Sequence[V]]], *, one_by_one: bool = False) -> None:
        self._read, self._one_by_one = read, one_by_one
        self._asked: dict[K, list[asyncio.Future[V]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def get(self, key: K) -> asyncio.Future[V]:
        """The value of a key; the future carries the error of the read where it fails.

        Each who asks has a future of its own: one that leaves cancels it, and takes nothing from the others.
        """
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._start)
        waiting = loop.create_future()
        self._asked.setdefault(key, []).append(waiting)
        return waiting

    def _start(self) -> None:
        if self._one_by_one and self._running:
            return
        asked, self._asked = self._asked, {}
        task = asyncio.ensure_future(self._answer(asked))
        self._running.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._one_by_one and self._asked:
            self._start()

    async def _answer(self, asked: dict[K, list[asyncio.Future[V]]]) -> None:
        try:
            values = await self._read(list(asked))
            answers = list(zip(asked.values(), values, strict=True))
        except asyncio.CancelledError:
            for waiting in chain.from_iterable(asked.values()):
                waiting.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - every request that waits hears of it and decides
            for waiting in chain.from_iterable(asked.values()):
                if not waiting.done():
                    waiting.set_exception(error)
                    waiting.exception()  # a request may have left: nobody else has to look at it
            return
        for same, value in answers:
            for waiting in same:
                if not waiting.done():
                    waiting.set_result(value)
