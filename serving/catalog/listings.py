"""What was made of the catalogue, kept for as long as PostgreSQL says that nothing in it changed.

Every request asks, in one small select for all of a moment, which begins after they came: whoever withdrew a title
finds it gone in the next answer of every process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from matinee.clock import Clock
from serving.catalog.core import QUERIES
from serving.db import Read
from serving.gather import Gather

T = TypeVar("T")
_SIZE = 1_000  # pages, of some ten kilobytes each


@dataclass(frozen=True, slots=True)
class Mark:
    """`name` differs after every commit that touched a title, and beyond every moment at which an offer opens or ends;
    `moment`: when it was asked."""

    name: Hashable
    moment: datetime


class Listings:
    """Values by key, of the last mark alone."""

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._marks: Gather[None, Mark] = Gather(self._ask, one_by_one=True)
        self._name: Hashable = None
        self._made: dict[Hashable, asyncio.Task[Any]] = {}

    async def mark(self) -> Mark:
        """How the catalogue stands, asked after this call began.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL does not answer.
        """
        mark = await self._marks.get(None)
        if mark.name != self._name:
            self._name, self._made = mark.name, {}
        return mark

    def find(self, mark: Mark, key: Hashable) -> Any:
        """What is kept; None: nothing."""
        made = self._made.get((mark.name, key))
        return made.result() if made is not None and made.done() else None

    async def make(self, mark: Mark, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, once for all who need it; its error is that of all who wait, and is not kept."""
        found = (mark.name, key)
        made = self._made.get(found)
        if made is None:
            if len(self._made) >= _SIZE:
                self._made.clear()
            made = self._made[found] = asyncio.ensure_future(make())
            made.add_done_callback(partial(self._end, found))
        return await asyncio.shield(made)

    def _end(self, found: Hashable, made: asyncio.Task[Any]) -> None:
        if (made.cancelled() or made.exception() is not None) and self._made.get(found) is made:
            del self._made[found]

    async def _ask(self, keys: Sequence[None]) -> Sequence[Mark]:
        now = self._clock.now()

        async def ask(connection: Any) -> Hashable:
            return await (await connection.execute(QUERIES["mark"], {"now": now}, prepare=True)).fetchone()

        return [Mark(await self._read(ask), now)] * len(keys)
