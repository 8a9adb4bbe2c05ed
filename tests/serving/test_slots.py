"""Slots: never more streams than the plan allows, whatever the order of what happens, also at once."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from matinee.clock import ManualClock
from matinee.ids import uuid7
from serving.playback.sessions import SESSION_LIFE, Session
from serving.playback.slots import SLOT_LIFE, Beat, ColdError, Slots, ms

START = datetime(2026, 5, 1, tzinfo=UTC)
BROWSERS = [bytes([number]) * 32 for number in range(4)]

step = st.one_of(
    st.tuples(st.just("watch"), st.integers(0, 3), st.none() | st.integers(0, 4)),
    st.tuples(st.just("beat"), st.integers(0, 4), st.just(0)),
    st.tuples(st.just("stop"), st.integers(0, 4), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([30, 99, 100, 101, 3601]), st.just(0)),
    st.tuples(st.just("forget"), st.just(0), st.just(0)),
)


@dataclass
class Held:
    """A stream as the rules have it."""

    session: Session
    browser: bytes
    slot_until: datetime
    expires_at: datetime
    over: str = ""


@dataclass
class Account:
    """What should be so, in Python and without Redis."""

    streams: int
    opened: list[Held] = field(default_factory=list)

    def holders(self, now: datetime) -> list[Held]:
        held = [h for h in self.opened if not h.over and h.slot_until > now]
        return sorted(held, key=lambda h: (h.slot_until, h.session.playback_id))

    def watch(self, browser: bytes, from_: Held | None, now: datetime) -> list[Held] | None:
        """The streams that end for a new one; None: it is refused."""
        held = self.holders(now)
        going = [h for h in held if h is from_]
        for other in held:
            if len(held) - len(going) >= self.streams and other not in going and other.browser == browser:
                going.append(other)
        return None if len(held) - len(going) >= self.streams else going


def session_of(account: str, browser: bytes, streams: int, now: datetime) -> Session:
    return Session(
        uuid7(), account, "profile", "title", "package", browser, 20_000, streams, now, now, now, now + SESSION_LIFE,
        now + SLOT_LIFE,
    )  # fmt: skip


async def play(url: str, streams: int, steps: list[tuple]) -> None:
    client, clock, account = Redis.from_url(url), ManualClock(START), f"account {uuid7()}".replace(" ", "-")
    slots, model = Slots(client, clock), Account(streams)
    await slots.warm(account, [])
    for what, which, other in steps:
        now = clock.now()
        if what == "wait":
            clock.advance(timedelta(seconds=which))
        elif what == "forget":
            # As after a time without Redis: a new epoch, and PostgreSQL tells what lives.
            await client.set("pb:epoch", uuid7())
            with pytest.raises(ColdError):
                await slots.acquire(session_of(account, BROWSERS[0], streams, now), now, None)
            living = [h for h in model.opened if not h.over and h.expires_at > now]
            known = [replace(h.session, slot_until=h.slot_until, expires_at=h.expires_at) for h in living]
            await slots.warm(account, known)
        elif what == "watch":
            from_ = model.opened[other] if other is not None and other < len(model.opened) else None
            session = session_of(account, BROWSERS[which], streams, now)
            taken = await slots.acquire(session, now, from_.session.playback_id if from_ else None)
            going = model.watch(BROWSERS[which], from_, now)
            assert taken.granted == (going is not None)
            for ended in going or []:
                ended.over = "taken_over"
            if going is not None:
                assert set(taken.others) == {h.session.playback_id for h in going}
                model.opened.append(Held(session, BROWSERS[which], now + SLOT_LIFE, now + SESSION_LIFE))
        elif which < len(model.opened):
            held = model.opened[which]
            if what == "stop":
                if not held.over and held.expires_at > now:
                    held.over = "stopped"
                    await slots.end([(held.session.playback_id, account, "stopped")])
            else:
                await beat(slots, model, held, account, now)
        assert await client.zcount(f"pb:n:{account}", f"({ms(clock.now())}", "+inf") <= streams
        assert len(model.holders(clock.now())) <= streams
    await client.aclose()


async def beat(slots: Slots, model: Account, held: Held, account: str, now: datetime) -> None:
    free = len(model.holders(now)) < model.streams or held.slot_until > now
    lives = held.expires_at > now
    expected = held.over or (("ok" if free else "full") if lives else "unknown")
    asked = Beat(held.session.playback_id, account, held.browser, 1_000, ms(now))
    try:
        assert (await slots.beat(asked)).state == expected
    except ColdError:
        # Redis forgot it, and PostgreSQL did not name it: it was over before.
        assert held.over or not lives
        return
    if expected == "ok":
        held.slot_until, held.expires_at = now + SLOT_LIFE, now + SESSION_LIFE


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 3), st.lists(step, min_size=10, max_size=40))
def test_the_scripts_do_what_the_rules_say(base, streams, steps):
    asyncio.run(play(base.redis(), streams, steps))


async def test_at_once_only_so_many_get_in(base):
    client, clock = Redis.from_url(base.redis()), ManualClock(START)
    account = uuid7()
    slots = [Slots(client, clock) for _ in range(3)]
    await asyncio.gather(*(each.look_after() for each in slots))
    await slots[0].warm(account, [])
    asked = [session_of(account, uuid7().encode(), 3, START) for _ in range(60)]
    taken = await asyncio.gather(*(slots[n % 3].acquire(session, START, None) for n, session in enumerate(asked)))
    assert sum(t.granted for t in taken) == 3
    # All take over from one that holds a slot, at once: one of them gets it.
    holder = next(s.playback_id for s, t in zip(asked, taken, strict=True) if t.granted)
    again = [session_of(account, uuid7().encode(), 3, START) for _ in range(20)]
    taken = await asyncio.gather(*(slots[n % 3].acquire(session, START, holder) for n, session in enumerate(again)))
    assert sum(t.granted for t in taken) == 1
    assert await client.zcard(f"pb:n:{account}") == 3
    await client.aclose()


async def test_what_the_epoch_did_not_hear_of_is_told_without_more_slots(base):
    client, clock, account = Redis.from_url(base.redis()), ManualClock(START), uuid7()
    slots = Slots(client, clock)
    first, second, ended = (session_of(account, browser, 1, START) for browser in BROWSERS[:3])
    await slots.warm(account, [])
    assert (await slots.acquire(second, START, None)).granted
    await slots.end([(ended.playback_id, account, "stopped")])
    await slots.warm(account, [first, second, ended])

    async def state(session: Session) -> str:
        return (await slots.beat(Beat(session.playback_id, account, session.browser, 1_000, ms(START)))).state

    assert [await state(session) for session in (first, second, ended)] == ["full", "ok", "stopped"]
    await slots.drop(second.playback_id, account)
    assert await state(first) == "ok"
    assert not await client.exists(f"pb:s:{second.playback_id}")
    await client.aclose()
