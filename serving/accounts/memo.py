"""What is remembered for some seconds, so that hot routes need no query of their own."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from psycopg import AsyncConnection

from matinee.clock import Clock

K = TypeVar("K")
V = TypeVar("V")
LIFE_S = 10.0
_SIZE = 20_000
Transaction = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class Memo(Generic[K, V]):
    """Values by key that are forgotten after `life_s` seconds, all at once when there are too many."""

    def __init__(self, clock: Clock, life_s: float = LIFE_S, size: int = _SIZE) -> None:
        self._clock, self._life_s, self._size = clock, life_s, size
        self._values: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        found = self._values.get(key)
        if found is None or found[0] <= self._clock.now().timestamp():
            return None
        return found[1]

    def put(self, key: K, value: V) -> V:
        if len(self._values) >= self._size:
            self._values.clear()
        self._values[key] = (self._clock.now().timestamp() + self._life_s, value)
        return value

    def forget(self, key: K) -> None:
        self._values.pop(key, None)

    def clear(self) -> None:
        self._values.clear()
