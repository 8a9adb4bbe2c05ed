"""Pages as bytes, by surface and profile; the oldest go when they take too much memory together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.db import Row
from serving.recommendations.catalogue import Shelf

if TYPE_CHECKING:
    from serving.recommendations.served import Served

MOST_BYTES = 128 * 2**20
_OBJECT_BYTES = 1_000  # of a page beside its body, about
Key = tuple[str, str]
MadeOf = tuple[bytes | None, Shelf, "Served | None", int, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Kept:
    """`made_of`: the viewer's version, the shelf, the system, the day, the positions; `done`: what the viewer had
    finished or rated then, to be left out while Redis is gone."""

    made_of: MadeOf
    body: bytes
    done: frozenset[str]

    @property
    def positions(self) -> Sequence[Row]:
        return self.made_of[4]

    def is_of(self, now: MadeOf) -> bool:
        """Whether it would be the same if it was made now. Shelves and the like are compared as objects."""
        version, shelf, served, day, positions = self.made_of
        return version == now[0] and shelf is now[1] and served is now[2] and day == now[3] and positions is now[4]


class Pages:
    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._pages: dict[Key, Kept] = {}

    def get(self, key: Key) -> Kept | None:
        return self._pages.get(key)

    def put(self, key: Key, page: Kept) -> Kept:
        """Keep a page as the newest."""
        self._drop(key)
        self._pages[key] = page
        self._bytes += len(page.body) + _OBJECT_BYTES
        while self._bytes > self._most and len(self._pages) > 1:
            self._drop(next(iter(self._pages)))
        return page

    def _drop(self, key: Key) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._bytes -= len(page.body) + _OBJECT_BYTES
