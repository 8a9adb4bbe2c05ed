"""What hot routes remember of accounts for some seconds, so that they need no query of their own."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from psycopg import AsyncConnection

from matinee.clock import Clock
from serving.accounts import core

K = TypeVar("K")
V = TypeVar("V")
LIFE_S = 10.0
_SIZE = 20_000
Transaction = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


@dataclass(frozen=True, slots=True)
class Owner:
    """An account as the sender of events."""

    profiles: frozenset[str]
    country: str | None


NOBODY = Owner(frozenset(), None)


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


class Owners:
    """The profiles and the country of accounts."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._memo: Memo[str, Owner] = Memo(clock)

    async def of(self, account_id: str | None, named: frozenset[str]) -> Owner:
        """The account's owner record; looked up anew when it lacks a profile that is named (it may be new).

        Raises:
            Problem: 401, the account of the token is gone.
        """
        if account_id is None:
            return NOBODY
        known = self._memo.get(account_id)
        if known is None or named - known.profiles:
            async with self._transaction() as connection:
                await core.account(connection, account_id)
                profiles = await core.profiles(connection, account_id)
                country = await core.country(connection, account_id)
            known = Owner(frozenset(p["profile_id"] for p in profiles), country)
            self._memo.put(account_id, known)
        return known


class Viewers:
    """The viewers behind (account, profile)."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._memo: Memo[tuple[str, str | None], core.Viewer] = Memo(clock)

    async def of(self, account_id: str, profile_id: str | None) -> core.Viewer:
        """As `core.viewer`, at most some seconds old; who has no key in the lake yet gets one with the first event."""
        known = self._memo.get((account_id, profile_id))
        if known is None:
            async with self._transaction() as connection:
                known = await core.viewer(connection, account_id, profile_id)
            if known.profile_key is not None:
                self._memo.put((account_id, profile_id), known)
        return known
