"""What was made of the catalogue, kept for as long as PostgreSQL says that nothing in it changed.

Every request asks, in one small select for all of a moment, which begins after they came: whoever withdrew a title
finds it gone in the next answer of every process.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from matinee.clock import Clock
from serving.catalog.core import QUERIES
from serving.db import Read
from serving.gather import Gather

_MOST, _BYTES = 1_000, 64 * 2**20  # anyone may ask for any page


class Sized(Protocol):
    @property
    def size(self) -> int:
        """How many bytes it holds at most."""
        ...


T = TypeVar("T", bound=Sized)


@dataclass(frozen=True, slots=True)
class Mark:
    """`name` differs after every commit that touched a title, and beyond every moment at which an offer opens or ends;
    `moment`: when it was asked."""

    name: Hashable
    moment: datetime


class Listings:
    """Values by key, of the last mark alone; of too many those go that were not asked for the longest."""

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._marks: Gather[None, Mark] = Gather(self._ask, one_by_one=True)
        self._name: Hashable = None
        self._made: OrderedDict[Hashable, asyncio.Task[Any]] = OrderedDict()
        self._held = 0  # bytes of what is done

    async def mark(self) -> Mark:
        """How the catalogue stands, asked after this call began.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL does not answer.
        """
        mark = await self._marks.get(None)
        if mark.name != self._name:
            self._name, self._made, self._held = mark.name, OrderedDict(), 0
        return mark

    def find(self, mark: Mark, key: Hashable) -> Any:
        """What is kept; None: nothing."""
        made = self._made.get((mark.name, key))
        if made is None or not made.done():
            return None
        self._made.move_to_end((mark.name, key))
        return made.result()

    async def make(self, mark: Mark, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, once for all who need it; its error is that of all who wait, and is not kept."""
        found = (mark.name, key)
        made = self._made.get(found)
        if made is None:
            made = self._made[found] = asyncio.ensure_future(make())
            made.add_done_callback(partial(self._end, found))
        return await asyncio.shield(made)

    def _end(self, found: Hashable, made: asyncio.Task[Any]) -> None:
        if self._made.get(found) is not made:
            return
        if made.cancelled() or made.exception() is not None:
            del self._made[found]
            return
        self._held += made.result().size
        while self._held > _BYTES or len(self._made) > _MOST:
            _, oldest = self._made.popitem(last=False)
            if oldest.done():
                self._held -= oldest.result().size

    async def _ask(self, keys: Sequence[None]) -> Sequence[Mark]:
        now = self._clock.now()

        async def ask(connection: Any) -> Hashable:
            return await (await connection.execute(QUERIES["mark"], {"now": now}, prepare=True)).fetchone()

        return [Mark(await self._read(ask), now)] * len(keys)
