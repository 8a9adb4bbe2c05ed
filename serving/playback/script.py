"""A Lua script on a connection of its own: through the client's layers a call takes three times the CPU."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError


class Script:
    """Asked by one caller at a time; answers within `timeout_s` or not at all."""

    def __init__(self, client: Redis, text: str, timeout_s: float) -> None:
        self._pool, self._text, self._timeout_s = client.connection_pool, text, timeout_s
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._connection: AbstractConnection | None = None

    async def __call__(self, given: Sequence[str | int]) -> Any:
        """What the script answers.

        Raises:
            redis.RedisError, OSError, TimeoutError: Redis does not answer.
        """
        connection = self._connection
        if connection is None:
            connection = self._connection = self._pool.make_connection()
            connection.socket_timeout = None  # one limit for all of it, below
        # A connection that lay idle may be dead: that is met once.
        was_connected = connection.is_connected
        async with asyncio.timeout(self._timeout_s):
            try:
                return await self._ask(connection, given)
            except Disconnected:
                if not was_connected:
                    raise
                return await self._ask(connection, given)

    async def _ask(self, connection: AbstractConnection, given: Sequence[str | int]) -> Any:
        if not connection.is_connected:
            await connection.connect()
        await connection.send_packed_command(_packed("EVALSHA", self._sha, 0, *given), False)
        try:
            return await connection.read_response()
        except NoScriptError:
            await connection.send_packed_command(_packed("EVAL", self._text, 0, *given), False)
            return await connection.read_response()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.disconnect()
            self._connection = None


def _packed(*parts: str | int) -> bytes:
    return hiredis.pack_command(parts)  # pyright: ignore[reportArgumentType] - its stub says one part
