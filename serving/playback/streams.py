"""The streams of one API process: Redis first, PostgreSQL where Redis is away or does not know.

Heartbeats change Redis alone; their positions and times go to PostgreSQL in batches: at once where nothing was written
for a second, else within that second. Lost is at most that second, and only where this process and Redis die together.
Once a second the process looks for sessions that others ended (a sign-in that is over, a profile that was left); every
`JUDGED_S` one process judges all that live anew.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import psycopg_pool
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from redis.asyncio import Redis

from matinee.clock import Clock
from serving import tasks
from serving.accounts.memo import Memo, Transaction
from serving.db import Read, Row, execute, row, rows
from serving.gather import Gather
from serving.playback import judge, sessions
from serving.playback.sessions import QUERIES, RENEW_AFTER, SESSION_LIFE, Session
from serving.playback.slots import (
    SESSION_MS,
    SLOT_LIFE,
    SLOT_MS,
    Beat,
    Beaten,
    ColdError,
    GoneError,
    Playing,
    Slots,
    State,
    Taken,
    at,
    ms,
)
from serving.rights.known import Known

Noted = tuple[Beat, Beaten]
WRITTEN_S = 1.0
JUDGED_S = 15.0
STATE_S = 5.0  # files of a session that ended are given out so long at most
CONFIRMED_S = 0.5  # and keys so long after a right ended; of a session that ended not at all
CLOSING_S = 4.0  # so long closing writes at most
_BATCH = 500
_ORPHANED = timedelta(seconds=5)
_LATELY = timedelta(seconds=10)
_AWAY = (psycopg.OperationalError, psycopg_pool.PoolTimeout)
log = logging.getLogger("matinee.api")


class Streams:
    def __init__(
        self,
        read: Read,
        transaction: Transaction,
        client: Redis,
        clock: Clock,
        known: Known,
        forget_home: Callable[[str], None],
    ) -> None:
        self._read, self._transaction, self._clock, self._forget_home = read, transaction, clock, forget_home
        self._known = known
        self.slots = Slots(client, clock)
        self._states: Memo[str, State] = Memo(clock, life_s=STATE_S)
        self._judged: Gather[str, str | None] = Gather(self._judge, one_by_one=True)
        self._stored: Gather[str, State | None] = Gather(self._stored_states)
        self._unwritten: dict[str, dict[str, Noted]] = {}  # account -> playback -> its newest heartbeat
        self._told: set[str] = set()
        self._heard_at = clock.now()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.ensure_future(work()) for work in (self._write_on, self._watch_over, self._judge_on)]

    async def close(self) -> None:
        """Write what waits, and stop: all to PostgreSQL before Redis is told, for that may be gone."""
        await tasks.end(self._tasks)
        noted = [one for waiting in self._unwritten.values() for one in waiting.values()]
        batches = [[_row(*one) for one in noted[first : first + _BATCH]] for first in range(0, len(noted), _BATCH)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                for batch in batches:
                    with _quietly():
                        await self._store(batch)
                for batch in batches:
                    with _quietly():
                        await self.slots.written(batch)
        await self.slots.close()

    async def acquire(self, session: Session, take_over: str | None) -> Taken:
        """Take a slot for a session that is about to be stored. Without Redis nobody counts: it is granted."""

        async def ask() -> Taken:
            return await self.slots.acquire(session, session.created_at, take_over)

        try:
            try:
                return await ask()
            except ColdError:
                await self._warm(session.account_id)
                return await ask()
        except (GoneError, ColdError):
            return Taken(True, ())

    async def beat(self, beat: Beat) -> Beaten:
        """A heartbeat: the session and its slot live on, the position is remembered."""
        try:
            try:
                beaten = await self.slots.beat(beat)
            except ColdError:
                await self._warm(beat.account_id)
                beaten = await self.slots.beat(beat)
        except (GoneError, ColdError):
            return await self._beat_in_postgres(beat)
        if beaten.state == "ok":
            self._note(beat, beaten)
        return beaten

    def _note(self, beat: Beat, beaten: Beaten) -> None:
        """Let PostgreSQL hear of a heartbeat with the next batch."""
        waiting = self._unwritten.setdefault(beat.account_id, {})
        known = waiting.get(beat.playback_id)
        newest = known[0] if known is not None and known[0].at_ms > beat.at_ms else beat
        waiting[beat.playback_id] = (newest, beaten)
        self._wake.set()

    async def playing(self, browser: bytes, title_id: str) -> Playing | None:
        """The living stream in which a browser plays a title, with a slot where Redis knows."""
        try:
            return await self.slots.playing(browser, title_id)
        except (GoneError, ColdError) as error:
            asked = {"browser": browser, "title_id": title_id, "now": self._clock.now()}
            async with self._transaction() as connection:
                found = await row(connection, QUERIES["plays_in"], asked)
            if found is None:
                return None
            if isinstance(error, ColdError):
                with contextlib.suppress(GoneError):
                    await self._warm(found["account_id"])
                    with contextlib.suppress(ColdError):
                        return await self.slots.playing(browser, title_id)
                    # Redis hears first of a take-over, and alone where it could not be stored.
                    known = await self.slots.state(found["playback_id"])
                    if known is not None and known.over:
                        return None
            return Playing(found["playback_id"], found["account_id"])

    async def refusal(self, playing: Playing) -> str | None:
        """Why a stream may not go on by rights and sign-ins, judged now by facts that are `CONFIRMED_S` old at most.

        What is kept only allows: who is refused by it may have paid since.
        """
        if not self._known.is_fresh(CONFIRMED_S):
            await self._known.confirm()
        known: judge.Facts | None = self._known.of(playing.account_id, playing.playback_id)
        if known is not None:
            now = self._clock.now()
            if not judge.is_shrunk(known, now) and judge.verdict(known, now) is None:
                return None
        return await self._judged.get(playing.playback_id)

    async def state(self, playback_id: str) -> State | None:
        """What files of a session are given out by, `STATE_S` old at most; None: there is no such session."""
        known = self._states.get(playback_id)
        if known is None:
            try:
                known = await self.slots.state(playback_id)
            except GoneError:
                known = None
            known = known or await self._stored.get(playback_id)
            if known is not None:
                self._states.put(playback_id, known)
        return known

    async def ended(self, ended: Sequence[tuple[str, str, str]], heard: Collection[str] = ()) -> None:
        """Tell of sessions that PostgreSQL holds as ended: (playback, account, reason) each. Redis `heard` of some."""
        for playback_id, _, _ in ended:
            self._states.forget(playback_id)
            self._told.add(playback_id)
        if unheard := [one for one in ended if one[0] not in heard]:
            with contextlib.suppress(GoneError):
                await self.slots.end(unheard)

    async def release(self, playback_id: str, account_id: str) -> None:
        """Free the slot of a session that was not stored after all."""
        with contextlib.suppress(GoneError):
            await self.slots.drop(playback_id, account_id)

    async def settle(self, account_id: str | None) -> None:
        """Let PostgreSQL hear what this process knows of an account's positions, before they are read there."""
        if account_id is not None and account_id in self._unwritten:
            with contextlib.suppress(GoneError):
                await self._write_noted([account_id])

    async def _warm(self, account_id: str) -> None:
        async with self._transaction() as connection:
            living = await sessions.living(connection, account_id, self._clock.now())
        await self.slots.warm(account_id, living)

    async def _beat_in_postgres(self, beat: Beat) -> Beaten:
        now = self._clock.now()
        given = {
            "playback_id": beat.playback_id,
            "account_id": beat.account_id,
            "browser": beat.browser,
            "position_ms": beat.position_ms,
            "at": at(beat.at_ms),
            "now": now,
            "expires_at": now + SESSION_LIFE,
            "slot_until": now + SLOT_LIFE,
            "renew_before": now - RENEW_AFTER,
        }
        async with self._transaction() as connection:
            found = await row(connection, QUERIES["heartbeat"], given)
            if found is None:
                return Beaten(await self._why(connection, beat))
        self._forget_home(found["profile_id"])
        height = found["max_height"]
        return Beaten("ok", found["title_id"], found["package_id"], found["profile_id"], ms(found["issued_at"]), height)

    async def _why(self, connection: AsyncConnection, beat: Beat) -> str:
        asked = {"playback_id": beat.playback_id, "account_id": beat.account_id, "now": self._clock.now()}
        found = await row(connection, QUERIES["ending"], asked)
        if found is None:
            return "unknown"
        return found["end_reason"] or ("foreign" if found["lives"] else "unknown")

    async def _judge(self, playback_ids: Sequence[str]) -> Sequence[str | None]:
        now, turn = self._clock.now(), self._known.turn
        found = await self._read(lambda connection: judge.facts(connection, playback_ids, now))
        for playback_id, facts in found.items():
            self._known.keep(turn, facts.account_id, playback_id, facts)
        return [judge.verdict(found[one], now) if one in found else "unknown" for one in playback_ids]

    async def _stored_states(self, playback_ids: Sequence[str]) -> Sequence[State | None]:
        asked = {"playback_ids": list(playback_ids)}
        found = await self._read(lambda connection: rows(connection, QUERIES["session_state"], asked))
        states = {
            one["playback_id"]: State(one["over"], ms(one["issued_at"]), ms(one["previous_at"]), one["max_height"])
            for one in found
            if one["issued_at"] is not None
        }
        return [states.get(playback_id) for playback_id in playback_ids]

    async def _write_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            started = time.monotonic()
            with _quietly():
                await self._write_noted(list(self._unwritten))
            # What fails is tried again with the next.
            if self._unwritten:
                self._wake.set()
            await asyncio.sleep(max(0.0, started + WRITTEN_S - time.monotonic()))

    async def _write_noted(self, accounts: Sequence[str]) -> None:
        for first in range(0, len(accounts), _BATCH):
            noted = {account: dict(self._unwritten.get(account, {})) for account in accounts[first : first + _BATCH]}
            await self._write([_row(*one) for waiting in noted.values() for one in waiting.values()])
            for account, waiting in noted.items():
                left = {k: v for k, v in self._unwritten.get(account, {}).items() if waiting.get(k) is not v}
                if left:
                    self._unwritten[account] = left
                else:
                    self._unwritten.pop(account, None)

    async def _write(self, found: Sequence[Row]) -> None:
        if not found:
            return
        await self._store(found)
        # They stand in PostgreSQL, also where Redis is gone by now and will tell of them once more.
        with contextlib.suppress(GoneError):
            await self.slots.written(found)

    async def _store(self, found: Sequence[Row]) -> None:
        async with self._transaction() as connection:
            await execute(connection, QUERIES["write_beats"], {"beats": Jsonb(found, _json)})
        for profile_id in {one["profile_id"] for one in found}:
            self._forget_home(profile_id)

    async def _watch_over(self) -> None:
        while True:
            await asyncio.sleep(WRITTEN_S)
            with _quietly():
                await self.slots.look_after()
                orphans = await self.slots.orphans(self._clock.now() - _ORPHANED, _BATCH)
                await self._write(await self.slots.unwritten(orphans))
            with _quietly():
                await self.hear_of_endings()

    async def _judge_on(self) -> None:
        while True:
            await asyncio.sleep(JUDGED_S)
            with _quietly():
                await self.judge_all()

    async def hear_of_endings(self) -> None:
        """End what sign-ins that are over play, and tell Redis of all that others ended since this was last done."""
        now = self._clock.now()
        since = {"now": now, "since": min(now, self._heard_at) - _LATELY}
        async with self._transaction() as connection:
            await execute(connection, QUERIES["end_signed_out"], since)
            found = await rows(connection, QUERIES["lately_ended"], since)
        new = [one for one in found if one["playback_id"] not in self._told]
        self._told = {one["playback_id"] for one in found}
        await self.ended([(one["playback_id"], one["account_id"], one["end_reason"]) for one in new])
        self._heard_at = now

    async def judge_all(self) -> int:
        """End every stream that may not go on; returns how many. One process at a time."""
        ended, after = 0, ""
        while True:
            now = self._clock.now()
            async with self._transaction() as connection:
                locked = await row(connection, QUERIES["lock_judge"])
                if locked is None or not locked["locked"]:
                    return ended
                if not after:
                    await self._known.clear_up(connection)
                asked = {"now": now, "after": after, "count": _BATCH}
                ids = [one["playback_id"] for one in await rows(connection, QUERIES["living_after"], asked)]
                found = await judge.facts(connection, ids, now)
                judged = {playback_id: judge.verdict(facts, now) for playback_id, facts in found.items()}
                refused = {playback_id: code for playback_id, code in judged.items() if code is not None}
                if refused:
                    given = {"playback_ids": list(refused), "reasons": list(refused.values()), "now": now}
                    await execute(connection, QUERIES["end_refused"], given)
            await self.ended([(one, found[one].account_id, code) for one, code in refused.items()])
            ended += len(refused)
            if len(ids) < _BATCH:
                return ended
            after = ids[-1]


def _row(beat: Beat, beaten: Beaten) -> Row:
    """A heartbeat as `write_beats` takes it, as that of `Slots.unwritten`."""
    return {
        "playback_id": beat.playback_id,
        "marked": beaten.marked,
        "profile_id": beaten.profile_id,
        "title_id": beaten.title_id,
        "position_ms": min(beat.position_ms, beaten.duration_ms),
        "at": beat.at_ms,
        "duration_ms": beaten.duration_ms,
        "slot_until": beaten.marked + SLOT_MS,
        "expires_at": beaten.marked + SESSION_MS,
        "issued_at": beaten.issued_ms,
        "previous_at": beaten.previous_ms,
    }


def _json(found: Any) -> bytes:
    return orjson.dumps(found)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Both stores come and go; the work is done when they are back."""
    try:
        yield
    except (*_AWAY, GoneError):
        log.debug("streams wait for a store", exc_info=True)
    except Exception:
        log.exception("streams: a background step failed and is tried again")
