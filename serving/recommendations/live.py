"""What Redis knows of viewers now, behind a breaker: while it does not answer, nobody waits for it twice."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import redis

from features.online import Known, Online
from serving.gather import Gather
from serving.recommendations.tracking import Tracking

V = TypeVar("V")
PATIENCE_S = 0.2  # what one read may take
PAUSE_S = 1.0  # so long after a failure nobody asks


class GoneError(Exception):
    """Redis does not answer. Raised and caught within this domain: the page degrades and says so."""


class Breaker:
    """After a failure, lets one request a second find out whether Redis is back."""

    def __init__(self) -> None:
        self._next_try: float | None = None  # None: Redis answers

    def lets(self) -> bool:
        """Whether to ask Redis; who may try after a failure takes the turn of all others until it knows."""
        if self._next_try is None:
            return True
        if time.monotonic() < self._next_try:
            return False
        self.trip()
        return True

    def trip(self) -> None:
        self._next_try = time.monotonic() + PAUSE_S

    def reset(self) -> None:
        self._next_try = None


class Live:
    """The state of viewers. Reads of one turn of the event loop share a command; a version is read again when Redis
    told that it changed, or when `tracking` does not work."""

    def __init__(self, online: Online, tracking: Tracking) -> None:
        self._online, self.tracking = online, tracking
        self._breaker = Breaker()
        self._versions: Gather[str, bytes | None] = Gather(self._read_versions)
        self._done: Gather[str, frozenset[str]] = Gather(self._read_done)

    async def version(self, profile_key: str) -> bytes | None:
        """Differs from the last one when anything that is known of the profile changed.

        Raises:
            GoneError: Redis does not answer.
        """
        if (kept := self.tracking.get(profile_key)) is not None:
            return kept[0]
        if not self._breaker.lets():
            raise GoneError
        return await self._versions.get(profile_key)

    async def done(self, profile_key: str) -> frozenset[str]:
        """What a viewer has finished or rated.

        Raises:
            GoneError: Redis does not answer.
        """
        if not self._breaker.lets():
            raise GoneError
        return await self._done.get(profile_key)

    async def known(self, profile_key: str) -> Known:
        """What is known of a viewer.

        Raises:
            GoneError: Redis does not answer.
        """
        if not self._breaker.lets():
            raise GoneError
        return await self._patiently(self._online.viewer(profile_key))

    async def _read_versions(self, profile_keys: Sequence[str]) -> Sequence[bytes | None]:
        turn = self.tracking.reading(profile_keys)
        versions = await self._patiently(self._online.versions(profile_keys))
        self.tracking.read(turn, profile_keys, versions)
        return versions

    async def _read_done(self, profile_keys: Sequence[str]) -> Sequence[frozenset[str]]:
        return await self._patiently(self._online.done(profile_keys))

    async def _patiently(self, read: Awaitable[V]) -> V:
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await read
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._breaker.trip()
            raise GoneError from error
        self._breaker.reset()
        return found
