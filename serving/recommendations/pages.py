"""Pages as bytes, by surface and profile; the oldest go when they take too much memory together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.db import Row
from serving.recommendations.catalogue import Shelf

if TYPE_CHECKING:
    from serving.recommendations.served import Served

MOST_BYTES = 128 * 2**20
MOST_DONE = 500_000  # titles, of all profiles together
_OBJECT_BYTES = 2_000  # of a page beside its body, about
Key = tuple[str, str]
MadeOf = tuple[bytes | None, Shelf, "Served | None", int, Sequence[Row], str | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """`made_of`: the viewer's version, the shelf, the system, the day, the positions, the viewer's region; `differs`:
    with the other order of rows it would be another page; `discovered`: the titles of all rows but `continue`."""

    made_of: MadeOf
    body: bytes
    differs: bool
    discovered: tuple[str, ...] = ()

    @property
    def positions(self) -> Sequence[Row]:
        return self.made_of[4]

    def is_of(self, now: MadeOf) -> bool:
        """Whether it would be the same if it was made now. Shelves and the like are compared as objects."""
        return self.made_of[0] == now[0] and self.is_but_for_version(now)

    def is_but_for_version(self, now: MadeOf) -> bool:
        """Whether nothing but the viewer's state in Redis may be another by now."""
        _, shelf, served, day, positions, region = self.made_of
        is_same = shelf is now[1] and served is now[2] and positions is now[4]
        return is_same and (day, region) == (now[3], now[5])


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


class Done:
    """What profiles had finished or rated when Redis last told it, to be left out of every page while Redis is gone."""

    def __init__(self, most: int = MOST_DONE) -> None:
        self._most, self._titles = most, 0
        self._done: dict[str, frozenset[str]] = {}

    def get(self, profile_id: str) -> frozenset[str]:
        """Empty where nothing is known."""
        return self._done.get(profile_id, frozenset())

    def put(self, profile_id: str, done: frozenset[str]) -> None:
        """Keep it; those that were put longest ago go when it is too much."""
        self._drop(profile_id)
        if done:
            self._done[profile_id] = done
            self._titles += len(done)
        while self._titles > self._most:
            self._drop(next(iter(self._done)))

    def _drop(self, profile_id: str) -> None:
        self._titles -= len(self._done.pop(profile_id, ()))
