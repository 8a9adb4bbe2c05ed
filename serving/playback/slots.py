"""Streams in Redis: who holds a slot, atomically, and what a heartbeat changes. PostgreSQL keeps the sessions.

Each step is one Lua script over one Redis (not a cluster). `pb:s:<playback>` is a session, `pb:n:<account>` slots of
an account with their ends, `pb:k:<browser>:<title>` what a browser plays, `pb:dirty` what PostgreSQL has to hear yet.
All holds for one epoch (`pb:epoch`): after a time without Redis a new one begins, in which each account is read from
PostgreSQL once (`pb:r:<account>`) before its slots are believed.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

import redis
from redis.asyncio import Redis

from matinee.clock import Clock
from matinee.ids import uuid7
from serving.db import Row
from serving.gather import Gather
from serving.playback.script import Script
from serving.playback.sessions import HEARTBEAT_S, RENEW_AFTER, SESSION_LIFE, Session

# Three heartbeats may be missed; then the slot is free for others.
SLOT_LIFE = timedelta(seconds=3 * HEARTBEAT_S + 10)
SLOT_MS, SESSION_MS, _RENEW_MS = (int(life.total_seconds() * 1000) for life in (SLOT_LIFE, SESSION_LIFE, RENEW_AFTER))
TIMEOUT_S = 0.5  # where the client has none of its own
PAUSE_S = 1.0  # so long after a failure nobody asks Redis
_HERE = Path(__file__).parent
_FIELDS = ("x", "i", "j", "h")


class GoneError(Exception):
    """Redis does not answer. Raised and caught within this domain: PostgreSQL is asked instead."""


class ColdError(Exception):
    """Redis does not know: the account's sessions must be read from PostgreSQL first."""


class Beat(NamedTuple):
    """A heartbeat: where the film is (ms), and when it was there (ms since 1970)."""

    playback_id: str
    account_id: str
    browser: bytes
    position_ms: int
    at_ms: int


class Beaten(NamedTuple):
    """What became of a heartbeat. `state`: `ok`, `unknown`, `foreign` (another browser's), `full`, or why it ended.

    `marked`: what Redis marked it with, until PostgreSQL has heard of it (ms since 1970).
    """

    state: str
    title_id: str = ""
    package_id: str = ""
    profile_id: str = ""
    issued_ms: int = 0
    max_height: int | None = None
    previous_ms: int = 0
    duration_ms: int = 0
    marked: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What files are given out by: `over` is why the session ended, times are milliseconds since 1970."""

    over: str
    issued_ms: int
    previous_ms: int
    max_height: int | None


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether a slot was taken; the others that hold one, or (taken) that were ended for it."""

    granted: bool
    others: tuple[str, ...]


class Playing(NamedTuple):
    """A living stream, and whose it is."""

    playback_id: str
    account_id: str


class Slots:
    def __init__(self, client: Redis, clock: Clock) -> None:
        self._client, self._clock = client, clock
        timeout_s = client.connection_pool.connection_kwargs.get("socket_timeout") or TIMEOUT_S
        texts = {name: (_HERE / f"{name}.lua").read_text() for name in ("acquire", "beat", "look", "warm", "clean")}
        self._scripts = {name: client.register_script(texts[name]) for name in ("warm", "clean")}
        self._busy = {name: Script(client, texts[name], timeout_s) for name in ("acquire", "beat", "look")}
        self._acquires: Gather[tuple[Session, datetime, str | None], Taken | ColdError] = Gather(
            self._send_acquires, one_by_one=True
        )
        self._beats: Gather[Beat, Beaten | ColdError] = Gather(self._send_beats, one_by_one=True)
        self._looks: Gather[str, Playing | ColdError | None] = Gather(self._send_looks, one_by_one=True)
        self._states: Gather[str, State | None] = Gather(self._read_states)
        self._next_try = 0.0
        self._is_away, self._failures = False, 0
        # What happened before this process began is not known.
        self._is_stale = True
        self._renewing = asyncio.Lock()
        self._run_id: str | None = None

    async def acquire(self, session: Session, now: datetime, take_over: str | None) -> Taken:
        """Take a slot for a new session of an account, which holds at most `session.streams`; one command a turn.

        Raises:
            GoneError, ColdError: see there.
        """
        return _warm(await self._acquires.get((session, now, take_over)))

    async def beat(self, beat: Beat) -> Beaten:
        """Keep a session and its slot, and remember the position. Those of one turn of the event loop share a command.

        Raises:
            GoneError, ColdError: see there.
        """
        return _warm(await self._beats.get(beat))

    async def playing(self, browser: bytes, title_id: str) -> Playing | None:
        """The living stream in which this browser plays the title, as `beat`."""
        return _warm(await self._looks.get(f"{browser.hex()} {title_id}"))

    async def state(self, playback_id: str) -> State | None:
        """What files of a session are given out by; None: Redis does not know it."""
        return await self._states.get(playback_id)

    async def warm(self, account_id: str, sessions: Sequence[Session]) -> None:
        """Tell Redis the living sessions of an account."""
        given: list[Any] = [account_id, ms(self._clock.now()), uuid7()]
        for session in sessions:
            fields = _hash(session)
            given += [session.playback_id, ms(session.slot_until) if session.slot_until else 0, len(fields), *fields]
        await self._run("warm", given)

    async def end(self, ended: Sequence[tuple[str, str, str]]) -> None:
        """Close sessions, each (playback, account, reason), and free their slots."""
        with self._watched():
            await self._ready()
            pipeline = self._client.pipeline(transaction=True)
            for playback_id, account_id, reason in ended:
                pipeline.zrem(f"pb:n:{account_id}", playback_id)
                pipeline.hset(f"pb:s:{playback_id}", "x", reason)
                pipeline.expire(f"pb:s:{playback_id}", 86400)
            await pipeline.execute()

    async def close(self) -> None:
        """Leave Redis; the client stays its owner's."""
        for script in self._busy.values():
            await script.close()

    async def drop(self, playback_id: str, account_id: str) -> None:
        """Forget a session that did not come to be, and free its slot."""
        with self._watched():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.zrem(f"pb:n:{account_id}", playback_id)
            pipeline.delete(f"pb:s:{playback_id}")
            await pipeline.execute()

    async def unwritten(self, playback_ids: Sequence[str]) -> list[Row]:
        """What PostgreSQL has to hear of these sessions: times (ms since 1970), `at` is that of the position."""
        with self._watched():
            pipeline = self._client.pipeline(transaction=False)
            for playback_id in playback_ids:
                pipeline.hmget(f"pb:s:{playback_id}", ["p", "t", "q", "w", "d", "e", "i", "j"])
                pipeline.zscore("pb:dirty", playback_id)
            found = await pipeline.execute()
        return [
            _row(playback_id, values, score)
            for playback_id, values, score in zip(playback_ids, found[::2], found[1::2], strict=True)
            if values[0] is not None and score is not None
        ]

    async def written(self, found: Sequence[Row]) -> None:
        """Forget what `unwritten` read, but for what changed since."""
        await self._run("clean", [part for row in found for part in (row["playback_id"], row["marked"])])

    async def orphans(self, before: datetime, count: int) -> list[str]:
        """Sessions that nobody has written for so long, for the process that heard of them is gone."""
        with self._watched():
            found = await self._client.zrangebyscore("pb:dirty", "-inf", ms(before), start=0, num=count)
        return [playback_id.decode() for playback_id in found]

    async def look_after(self) -> None:
        """Begin a new epoch where Redis was restarted, for it may have forgotten the last moments."""
        with self._watched():
            run_id = (await self._client.info("server"))["run_id"]
            if self._run_id not in (None, run_id):
                self._is_stale = True
            self._run_id = run_id
            await self._ready()

    async def _ready(self) -> None:
        if self._is_stale:
            # One epoch for all who wait: what is opened in one must not be forgotten by the next.
            failures = self._failures
            async with self._renewing:
                if self._failures != failures:  # those who waited need not wait once more
                    raise GoneError
                if self._is_stale:
                    await self._client.set("pb:epoch", uuid7())
                    self._is_stale = False

    @contextmanager
    def _watched(self) -> Iterator[None]:
        if time.monotonic() < self._next_try:
            raise GoneError
        if self._is_away:
            # One request waits for it; the others go to PostgreSQL at once.
            self._next_try = time.monotonic() + PAUSE_S
        try:
            yield
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._next_try = time.monotonic() + PAUSE_S
            # Whatever is opened until Redis is back stands in PostgreSQL only.
            self._is_away = self._is_stale = True
            self._failures += 1
            raise GoneError from error
        self._is_away, self._next_try = False, 0.0

    async def _run(self, script: str, given: Sequence[Any]) -> Any:
        with self._watched():
            await self._ready()
            return await cast("Awaitable[Any]", self._scripts[script](args=given))

    async def _ask(self, script: str, given: Sequence[str | int]) -> Any:
        with self._watched():
            await self._ready()
            return await self._busy[script](given)

    async def _send_acquires(
        self, asked: Sequence[tuple[Session, datetime, str | None]]
    ) -> Sequence[Taken | ColdError]:
        given: list[Any] = []
        for session, now, take_over in asked:
            given += [session.account_id, session.playback_id, ms(now), ms(now + SLOT_LIFE), session.streams]
            given += [take_over or "", session.browser.hex(), session.title_id, *_hash(session)]
        return [_taken(answer) for answer in await self._ask("acquire", [len(given) // len(asked), *given])]

    async def _send_beats(self, beats: Sequence[Beat]) -> Sequence[Beaten | ColdError]:
        now = ms(self._clock.now())
        given: list[str | int] = [now, now + SLOT_MS, now + SESSION_MS, _RENEW_MS]
        for beat in beats:
            given += (beat.playback_id, beat.account_id, beat.browser.hex(), beat.position_ms, beat.at_ms)
        return [_beaten(answer, now) for answer in await self._ask("beat", given)]

    async def _send_looks(self, keys: Sequence[str]) -> Sequence[Playing | ColdError | None]:
        now = self._clock.now()
        given = [ms(now), ms(now + SLOT_LIFE), *(part for key in keys for part in key.split(" "))]
        return [_looked(answer) for answer in await self._ask("look", given)]

    async def _read_states(self, playback_ids: Sequence[str]) -> Sequence[State | None]:
        with self._watched():
            await self._ready()
            pipeline = self._client.pipeline(transaction=False)
            pipeline.get("pb:epoch")
            for playback_id in playback_ids:
                pipeline.hmget(f"pb:s:{playback_id}", ["o", *_FIELDS])
            epoch, *found = await pipeline.execute()
        return [_state(values[1:]) if epoch and values[0] == epoch else None for values in found]


def ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def at(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _hash(session: Session) -> list[Any]:
    fields = {
        "a": session.account_id,
        "p": session.profile_id,
        "t": session.title_id,
        "k": session.package_id,
        "b": session.browser.hex(),
        "h": session.max_height or "",
        "m": session.streams,
        "d": session.duration_ms,
        "i": ms(session.issued_at),
        "j": ms(session.previous_at),
        "e": ms(session.expires_at),
        "x": "",
        "w": 0,
    }
    return [part for field in fields.items() for part in field]


def _warm(answer: Any) -> Any:
    if isinstance(answer, ColdError):
        raise answer
    return answer


def _taken(answer: Sequence[bytes]) -> Taken | ColdError:
    said, *others = (part.decode() for part in answer)
    return ColdError() if said == "cold" else Taken(said == "ok", tuple(others))


def _beaten(answer: Sequence[bytes], marked: int) -> Beaten | ColdError:
    said, *rest = (part.decode() for part in answer)
    if said == "cold":
        return ColdError()
    if said == "over":
        return Beaten(rest[0])
    if said != "ok":
        return Beaten(said)
    title_id, package_id, profile_id, issued, height, previous, duration = rest
    limit = int(height) if height else None
    return Beaten("ok", title_id, package_id, profile_id, int(issued), limit, int(previous), int(duration), marked)


def _looked(answer: Sequence[bytes]) -> Playing | ColdError | None:
    if answer[0] == b"cold":
        return ColdError()
    return Playing(answer[1].decode(), answer[2].decode()) if answer[0] == b"ok" else None


def _state(values: Sequence[bytes]) -> State:
    over, issued, previous, height = (value.decode() for value in values)
    return State(over, int(issued), int(previous), int(height) if height else None)


def _row(playback_id: str, values: Sequence[bytes], score: float) -> Row:
    profile_id, title_id, position, moment, duration, expires, issued, previous = values
    return {
        "playback_id": playback_id,
        "marked": int(score),
        "profile_id": profile_id.decode(),
        "title_id": title_id.decode(),
        "position_ms": int(position or 0),
        "at": int(moment) if position is not None else None,
        "duration_ms": int(duration),
        "slot_until": int(score) + SLOT_MS,
        "expires_at": int(expires),
        "issued_at": int(issued),
        "previous_at": int(previous),
    }
