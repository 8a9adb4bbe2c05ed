"""What was read from Redis and is still true: versions of viewers, kept here until Redis says that one changed.

Server-assisted caching (CLIENT TRACKING in broadcasting mode, RESP3; Redis 6 and later): one connection is told of
every write to a key with our prefixes, in order. A ping that is answered proves that nothing before it is missing;
without an answer that is young enough nothing is believed any more, and each page asks Redis for itself again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import redis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from features.keys import SEEDED, VERSION
from serving import tasks

PING_S, BELIEVED_S = 0.15, 0.5
RETRY_S = 1.0
_MOST = 100_000  # versions


class Tracking:
    """A cache in front of `read`, which gives the versions of profiles by key."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._kept: dict[str, tuple[bytes | None] | object] = {}  # else the turn that reads it
        self._believed_until = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self.on_change: Callable[[str], None] = lambda _key: None

    @property
    def works(self) -> bool:
        """Whether every change that is older than `BELIEVED_S` is known here."""
        return time.monotonic() < self._believed_until

    def get(self, profile_key: str) -> tuple[bytes | None] | None:
        """The version in a tuple; None: it has to be read."""
        found = self._kept.get(profile_key) if self.works else None
        return found if isinstance(found, tuple) else None

    def reading(self, profile_keys: Sequence[str]) -> object:
        """Call before these versions are asked for, so that what is written from then on is not missed."""
        if len(self._kept) + len(profile_keys) > _MOST:
            self._kept.clear()
        turn = object()
        self._kept.update(dict.fromkeys(profile_keys, turn))
        return turn

    def read(self, turn: object, profile_keys: Sequence[str], versions: Sequence[bytes | None]) -> None:
        """Keep what was read, but for those that were written, or asked for again, meanwhile."""
        for key, version in zip(profile_keys, versions, strict=True):
            if self._kept.get(key) is turn:
                self._kept[key] = (version,)

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        await tasks.end([self._task])
        self._forget()

    def _forget(self) -> None:
        self._believed_until = float("-inf")
        self._kept.clear()

    async def _follow(self) -> None:
        while True:
            connection = self._connection()
            try:
                await self._listen(connection)
            except (redis.RedisError, OSError, TimeoutError):
                self._forget()
            finally:
                with contextlib.suppress(redis.RedisError, OSError):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(RETRY_S)

    def _connection(self) -> AbstractConnection:
        pool = self._client.connection_pool
        return pool.connection_class(**{**pool.connection_kwargs, "protocol": 3})

    async def _listen(self, connection: AbstractConnection) -> None:
        """Until the connection breaks, or is silent for too long."""
        # Without it the client throws away what it is told of.
        connection._parser.set_invalidation_push_handler(_as_it_is)  # pyright: ignore[reportAttributeAccessIssue] of RESP3
        await connection.connect()
        asked = time.monotonic()
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", VERSION, "PREFIX", SEEDED)
        await connection.read_response()
        self._kept.clear()
        self._believed_until = asked + BELIEVED_S
        waits, due = False, asked
        while True:
            now = time.monotonic()
            if waits and now > asked + BELIEVED_S:
                raise TimeoutError
            if not waits and now >= due:
                await connection.send_command("PING")
                waits, asked, due = True, now, now + PING_S
            found = await connection.read_response(timeout=PING_S, push_request=True, disable_decoding=True)
            if isinstance(found, list):
                self._changed(found[1])
            elif found is not None:
                waits, self._believed_until = False, asked + BELIEVED_S

    def _changed(self, names: Sequence[bytes] | None) -> None:
        if names is None or SEEDED.encode() in names:
            self._kept.clear()  # Redis was emptied, or a build came online: every version is another
        for name in names or ():
            key = name.decode().removeprefix(VERSION)
            self._kept.pop(key, None)
            self.on_change(key)


async def _as_it_is(message: list) -> list:
    return message
