"""Who sends events: how many a client may send, and whether it is a person.

All of it lives in the memory of one API process. With several, each lets a client send that much: a limit protects the
process, it is no account of anything, and a round trip to Redis would cost a request more than all else here does.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Generic, TypeVar

from starlette.requests import Request

from matinee.clock import Clock
from matinee.settings import Settings
from serving.limits import address
from serving.problems import Problem

V = TypeVar("V")
_SIZE = 20_000
# A window of a client's time is looked at in so many steps.
_STEPS = 6
_MINUTE_S, _HOUR_S = 60, 3_600
# Whatever times a client tells, so much came from it within an hour: a device that was offline as long as the intake
# takes events (three days) and played all the time brings 8,640, two a minute, and more than the burst waits its turn.
_RECEIVED_AN_HOUR = 12_000
_AGENT_LENGTH = 512


class Recent(Generic[V]):
    """Values by key; the key that was longest not written goes when there are too many."""

    def __init__(self, size: int = _SIZE) -> None:
        self._size = size
        self._values: dict[str, V] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> V | None:
        return self._values.get(key)

    def put(self, key: str, value: V) -> None:
        self._values.pop(key, None)
        if len(self._values) >= self._size:
            del self._values[next(iter(self._values))]
        self._values[key] = value


class Allowance:
    """A token bucket a client: so many events a minute, and so many at once after a while of silence."""

    def __init__(self, a_minute: int, burst: int) -> None:
        self._a_second, self._burst = a_minute / 60, burst
        self._left: Recent[tuple[float, float]] = Recent()

    def take(self, key: str, count: int, now: float) -> float:
        """Take `count` events at Unix time `now`; returns 0, or after how many seconds they would be there."""
        if not self._a_second:
            return 0.0
        left, since = self._left.get(key) or (self._burst, now)
        left = min(self._burst, left + max(0.0, now - since) * self._a_second)
        wait = max(0.0, (min(count, self._burst) - left) / self._a_second)
        self._left.put(key, (left if wait else left - count, now))
        return wait


class Pace:
    """How many events of a client fall into one window of time: a minute, where nothing else is said."""

    def __init__(self, limit: int, window_s: int = _MINUTE_S) -> None:
        self._limit, self._step_s = limit, window_s // _STEPS
        self._steps: Recent[dict[int, int]] = Recent()

    def is_too_fast(self, key: str, moments: Iterable[float]) -> bool:
        """Count events at these Unix times; whether some window among them holds more than a person can do."""
        if not self._limit:
            return False
        came = Counter(int(moment // self._step_s) for moment in moments)
        steps = {**(self._steps.get(key) or {})}
        for step, count in came.items():
            steps[step] = steps.get(step, 0) + count
        # A window that came ends at the latest so many steps after one that came.
        ends = {step + later for step in came for later in range(_STEPS)} if len(came) < _STEPS else set(steps)
        fastest = max((sum(steps.get(end - back, 0) for back in range(_STEPS)) for end in ends), default=0)
        self._steps.put(key, dict(sorted(steps.items())[-2 * _STEPS :]))
        return fastest > self._limit


@lru_cache(maxsize=_SIZE)
def is_crawler(agent: str) -> bool:
    """Whether a user agent is known as a crawler's, a script's or a headless browser's (some 80 µs, so remembered)."""
    from crawleruseragents import is_crawler

    return is_crawler(agent)


class Senders:
    """The clients of `POST /api/events` and `POST /api/cmcd`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._allowance = Allowance(settings.events_per_minute, settings.events_burst)
        # By the client's clock, so that a device that was offline is no bot; and by ours, as clients may tell any time.
        self._pace = Pace(settings.bot_events_per_minute)
        self._received = Pace(_RECEIVED_AN_HOUR if settings.bot_events_per_minute else 0, _HOUR_S)
        self._apps = re.compile(settings.app_user_agents) if settings.app_user_agents else None

    def admit(self, request: Request, account_id: str | None, count: int) -> None:
        """Let so many events of a client in, or none of them.

        Raises:
            Problem: 429, it sent too many; `Retry-After` says when the same batch may come again.
        """
        wait = self._allowance.take(account_id or address(request), count, self._clock.now().timestamp())
        if wait:
            raise Problem(
                429,
                "too_many_events",
                "this client sends more events than it may: none of these was taken, send them again later",
                headers={"Retry-After": str(math.ceil(wait))},
            )

    def bot(self, request: Request, account_id: str | None, events: Sequence[object]) -> str | None:
        """Why the sender counts as a bot; None for people."""
        agent = request.headers.get("user-agent", "")[:_AGENT_LENGTH]
        if is_crawler(agent) and not (self._apps and self._apps.search(agent)):
            return "user_agent"
        now = self._clock.now().timestamp()
        key = account_id or f"{address(request)} {agent}"
        came = self._received.is_too_fast(key, [now] * len(events))
        happened = self._pace.is_too_fast(key, [_moment(event, now) for event in events])
        return "rate" if came or happened else None


def _moment(event: object, now: float) -> float:
    """When the client says that it happened, as Unix time; now where it says nothing that can be understood."""
    try:
        return datetime.fromisoformat(event["ts_client"]).timestamp()  # pyright: ignore[reportIndexIssue] - may be anything
    except (TypeError, KeyError, ValueError, OverflowError, OSError):
        return now
