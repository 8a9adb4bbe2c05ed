"""Rate limits, each for a purpose: so many attempts within a moving window, counted in Redis for all API processes.

Where Redis does not answer, one process counts for itself in memory: limits are then looser by the number of processes,
but never open (ASVS 5.0, 2.4.1 and 6.3.1). Keys are hashed: they may be e-mails and addresses of people.
"""

import hashlib
import math
import time
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any, Protocol, cast

import redis
import redis.asyncio
from limits.aio.storage import RedisStorage
from starlette.requests import Request

from matinee.clock import Clock
from serving.metrics import Metrics
from serving.problems import Problem

if TYPE_CHECKING:
    from limits.aio.storage.redis.redispy import RedispyBridge

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_KEYS_IN_MEMORY = 50_000
# After Redis failed it is left alone for so long: else each request would wait for it again.
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Window:
    """At most `count` within any `seconds`."""

    count: int
    seconds: int


@dataclass(frozen=True)
class Purpose:
    """What is limited; all of its windows must have room. `what` ends the sentence that the client hears."""

    name: str
    what: str
    windows: tuple[Window, ...]


def _purpose(name: str, what: str, *windows: tuple[int, int]) -> Purpose:
    return Purpose(name, what, tuple(Window(*window) for window in windows))


# fmt: off
LOGIN_ACCOUNT = _purpose("login_account", "attempts to sign in", (10, 5 * _MINUTE))
LOGIN_ADDRESS = _purpose("login_address", "attempts to sign in", (10, 5 * _MINUTE))
LOGIN_CROWDED = _purpose("login_crowded", "attempts to sign in", (1, 5 * _MINUTE))
LOGIN_ALL = _purpose("login_all", "attempts to sign in", (1_000, 5 * _MINUTE))
REAUTHENTICATE = _purpose("reauthenticate", "attempts to confirm who you are", (10, 5 * _MINUTE))
SECOND_FACTOR = _purpose("second_factor", "codes", (5, 5 * _MINUTE), (20, _HOUR), (50, _DAY))
RECOVERY = _purpose("recovery", "letters to this e-mail", (5, _DAY))
RECOVERY_ADDRESS = _purpose("recovery_address", "letters asked for", (20, _HOUR))
CONFIRM = _purpose("confirm", "codes from letters", (20, 5 * _MINUTE))
REGISTER = _purpose("register", "new accounts", (10, _HOUR))
REFRESH = _purpose("refresh", "renewals of sessions", (600, _MINUTE))
TV_START = _purpose("tv_start", "codes for televisions", (20, 5 * _MINUTE))
TV_CODE = _purpose("tv_code", "codes of televisions", (10, 5 * _MINUTE))
PIN = _purpose("pin", "PINs", (5, 5 * _MINUTE))
PROFILES = _purpose("profiles", "changes of profiles", (60, _MINUTE))
SEARCH = _purpose("search", "searches", (20, 4))  # five a second, twenty at once
WATCH = _purpose("watch", "films opened", (60, _MINUTE))
CHECKOUT = _purpose("checkout", "payments begun", (10, _MINUTE))
PROMO = _purpose("promo", "promo codes", (10, 5 * _MINUTE), (50, _DAY))
PAYMENT = _purpose("payment", "questions what became of a payment", (60, _MINUTE))
EXPORT = _purpose("export", "exports of personal data", (5, _HOUR))
ADMIN = _purpose("admin", "changes by staff", (600, _MINUTE))
# fmt: on


class _Counts(Protocol):
    async def take(self, key: str, window: Window, cost: int, now: float) -> bool: ...

    async def give_back(self, key: str, cost: int) -> None: ...

    async def look(self, key: str, window: Window, now: float) -> tuple[float, int]:
        """When the oldest attempt within the window was (Unix seconds), and how many there are."""
        ...


class Limits:
    """`scale` multiplies every count (2: twice as many; 0: no limits at all, for load tests)."""

    def __init__(
        self, client: redis.asyncio.Redis, clock: Clock, metrics: Metrics, secret: bytes, scale: float = 1.0
    ) -> None:
        self._clock, self._metrics, self._secret, self._scale = clock, metrics, secret, scale
        self._shared, self._own = _InRedis(client), _InMemory()
        self._pause_until = 0.0

    async def spend(self, purpose: Purpose, key: str, cost: int = 1) -> None:
        """Count an attempt of `key`, which may be an account, an address, a profile.

        What is limited by its failures is spent *before* it is tried and given back (`refund`) where it succeeded:
        of many guesses at once, none slips past a count that is written only afterwards.

        Raises:
            Problem: 429 `too_many_attempts`; `Retry-After` says in how many seconds one more may come.
        """
        for window, place, now in self._windows(purpose, key):
            counts = self._shared if self._shared_answers() else self._own
            try:
                taken = await counts.take(place, window, cost, now)
            except (redis.RedisError, OSError):
                counts = self._fallen()
                taken = await counts.take(place, window, cost, now)
            if not taken:
                raise await self._refusal(purpose, counts, place, window, now)

    async def refund(self, purpose: Purpose, key: str, cost: int = 1) -> None:
        """Take back the youngest attempts of `key`: they were none."""
        for _, place, _ in self._windows(purpose, key):
            counts = self._shared if self._shared_answers() else self._own
            try:
                await counts.give_back(place, cost)
            except (redis.RedisError, OSError):
                await self._fallen().give_back(place, cost)

    def _windows(self, purpose: Purpose, key: str) -> list[tuple[Window, str, float]]:
        if not self._scale:
            return []
        now = self._clock.now().timestamp()
        mark = hashlib.blake2b(key.encode(), key=self._secret[:32], digest_size=16).hexdigest()
        scaled = (Window(max(1, round(w.count * self._scale)), w.seconds) for w in purpose.windows)
        return [(window, f"limit:{purpose.name}:{window.seconds}:{mark}", now) for window in scaled]

    def _shared_answers(self) -> bool:
        return time.monotonic() >= self._pause_until

    def _fallen(self) -> "_InMemory":
        self._pause_until = time.monotonic() + _PAUSE_S
        self._metrics.limits_in_memory.inc()
        return self._own

    async def _refusal(self, purpose: Purpose, counts: _Counts, place: str, window: Window, now: float) -> Problem:
        self._metrics.limits_refused.labels(purpose.name).inc()
        try:
            oldest, _ = await counts.look(place, window, now)
        except (redis.RedisError, OSError):
            oldest = now
        wait = max(1, min(window.seconds, math.ceil(oldest + window.seconds - now)))
        detail = f"too many {purpose.what}: try again in {wait} s"
        return Problem(429, "too_many_attempts", detail, headers={"Retry-After": str(wait)})


class _InRedis:
    """The moving window of the library `limits`: its scripts, run at the injected clock's time."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            connection_pool=client.connection_pool,  # pyright: ignore[reportArgumentType] - documented, typed too narrowly
        )
        self._scripts: RedispyBridge = storage.bridge  # pyright: ignore[reportAttributeAccessIssue] - what "redispy" makes
        self._client = client

    async def take(self, key: str, window: Window, cost: int, now: float) -> bool:
        arguments = [now, window.count, window.seconds, cost]
        return bool(await cast(Awaitable[Any], self._scripts.lua_acquire_moving_window([key], arguments)))

    async def give_back(self, key: str, cost: int) -> None:
        await self._client.execute_command("LPOP", key, cost)

    async def look(self, key: str, window: Window, now: float) -> tuple[float, int]:
        arguments = [now - window.seconds, window.count]
        found = await cast(Awaitable[Any], self._scripts.lua_moving_window([key], arguments))
        return (float(found[0]), int(found[1])) if found else (now, 0)


class _InMemory:
    """The same within one process; of too many keys, those go that were not counted for the longest time."""

    def __init__(self) -> None:
        self._attempts: dict[str, deque[float]] = {}

    async def take(self, key: str, window: Window, cost: int, now: float) -> bool:
        attempts = self._within(key, window, now)
        if len(attempts) + cost > window.count:
            return False
        attempts.extend([now] * cost)
        self._attempts.pop(key, None)
        if len(self._attempts) >= _KEYS_IN_MEMORY:
            del self._attempts[next(iter(self._attempts))]
        self._attempts[key] = attempts
        return True

    async def give_back(self, key: str, cost: int) -> None:
        attempts = self._attempts.get(key, deque())
        for _ in range(min(cost, len(attempts))):
            attempts.pop()

    async def look(self, key: str, window: Window, now: float) -> tuple[float, int]:
        attempts = self._within(key, window, now)
        return (attempts[0] if attempts else now), len(attempts)

    def _within(self, key: str, window: Window, now: float) -> deque[float]:
        attempts = self._attempts.get(key, deque())
        while attempts and attempts[0] < now - window.seconds:
            attempts.popleft()
        return attempts


def address(request: Request) -> str:
    """The client's address, as uvicorn resolved it through the trusted proxies (`MATINEE_TRUSTED_PROXIES`).

    Of an IPv6 address the network that one connection usually has (64 bits). A socket for both families gives IPv4
    addresses mapped into one such network: of those, the address within.
    """
    host = request.client.host if request.client else ""
    try:
        found = ip_address(host)
    except ValueError:
        return host
    if isinstance(found, IPv4Address):
        return host
    return str(found.ipv4_mapped) if found.ipv4_mapped else found.exploded[:19]
