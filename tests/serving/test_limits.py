"""Rate limits: the same moving window in Redis and, without it, in memory."""

import asyncio
import uuid
from collections import deque
from datetime import timedelta

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as profile

from matinee.clock import ManualClock
from serving.limits import LOGIN_ACCOUNT, PIN, SECOND_FACTOR, Limits
from serving.metrics import Metrics
from serving.problems import Problem

NOWHERE = "redis://127.0.0.1:9/0"


@pytest.fixture
async def limits(settings):
    """Limits by URL of Redis, with a movable clock each."""
    clients = []

    def make(url: str | None = None, scale: float = 1.0) -> tuple[Limits, ManualClock, Metrics]:
        clients.append(redis.asyncio.Redis.from_url(url or settings.redis(), socket_timeout=1))
        clock, metrics = ManualClock(), Metrics()
        return Limits(clients[-1], clock, metrics, b"k" * 32, scale), clock, metrics

    yield make
    for client in clients:
        await client.aclose()


async def refused(call) -> int | None:
    """After how many seconds to come again; None where it was let through."""
    try:
        await call
    except Problem as problem:
        return int(problem.headers["Retry-After"]) if problem.code == "too_many_attempts" else -1
    return None


@pytest.mark.parametrize("url", [None, NOWHERE], ids=["redis", "memory"])
async def test_a_window_fills_refuses_and_moves(limits, url):
    limits, clock, metrics = limits(url)
    for _ in range(5):
        assert await refused(limits.spend(PIN, "kid")) is None
        clock.advance(timedelta(seconds=10))
    assert await refused(limits.spend(PIN, "kid")) == 250
    assert await refused(limits.spend(PIN, "other")) is None
    await limits.refund(PIN, "kid")
    assert await refused(limits.spend(PIN, "kid")) is None
    clock.advance(timedelta(seconds=251))
    assert await refused(limits.spend(PIN, "kid")) is None
    assert metrics.registry.get_sample_value("matinee_limits_refused_total", {"purpose": "pin"}) == 1


async def test_every_window_of_a_purpose_counts(limits):
    limits, clock, _ = limits()
    for _ in range(4):
        for _ in range(5):
            await limits.spend(SECOND_FACTOR, "ada")
        clock.advance(timedelta(minutes=6))
    wait = await refused(limits.spend(SECOND_FACTOR, "ada"))
    assert wait == 3_600 - 4 * 360, "the hour is full, though the last five minutes are empty"


async def test_guesses_at_once_do_not_slip_through(limits):
    limits, _, _ = limits()
    answers = await asyncio.gather(*(refused(limits.spend(LOGIN_ACCOUNT, "ada")) for _ in range(50)))
    assert answers.count(None) == 10


async def test_a_scale_multiplies_and_nought_lifts_them(limits):
    twice, _, _ = limits(scale=2)
    assert [await refused(twice.spend(PIN, "kid")) for _ in range(11)].count(None) == 10
    lifted, _, _ = limits(scale=0)
    assert [await refused(lifted.spend(PIN, "kid")) for _ in range(50)].count(None) == 50


async def test_no_key_is_kept_readable(limits, settings):
    made, _, _ = limits()
    await made.spend(LOGIN_ACCOUNT, "ada@example.org")
    async with redis.asyncio.Redis.from_url(settings.redis()) as store:
        keys = [key.decode() async for key in store.scan_iter("limit:*")]
    assert len(keys) == 1
    assert "ada" not in keys[0]


@profile(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pauses=strategies.lists(strategies.integers(0, 120), max_size=30))
async def test_both_counts_follow_the_definition(limits, pauses):
    """A model of one line: at most five within the last 300 s."""
    made, name = [limits(), limits(NOWHERE)], uuid.uuid4().hex
    taken: deque[float] = deque()
    for pause in pauses:
        verdicts = []
        for each, clock, _ in made:
            clock.advance(timedelta(seconds=pause))
            verdicts.append(await refused(each.spend(PIN, name)) is None)
        now = made[0][1].now().timestamp()
        expected = sum(moment >= now - 300 for moment in taken) < 5
        if expected:
            taken.append(now)
        assert verdicts == [expected, expected]
