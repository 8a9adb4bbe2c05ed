"""Connections to Matinee's database."""

import time
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg_pool import AsyncConnectionPool

from matinee.errors import StackError
from matinee.settings import Settings


def connect(settings: Settings, *, autocommit: bool = False) -> psycopg.Connection:
    """One synchronous connection, for commands, assets and workers.

    Raises:
        StackError: PostgreSQL does not answer.
    """
    try:
        return psycopg.connect(settings.database(), autocommit=autocommit, connect_timeout=5)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise StackError(f"PostgreSQL does not answer ({reason}): start it with `matinee up`") from None


def pool(
    settings: Settings,
    *,
    size: int = 8,
    reading: bool = False,
    cursor_factory: type[AsyncCursor[Any]] | None = None,
) -> AsyncConnectionPool:
    """A pool of the API process, not opened yet. Connections that nobody used for a second are checked when lent, so a
    restart of the server heals itself: of those in use at that moment each fails once.

    `reading`: for single statements, each its own transaction, on connections that nobody checks (that costs as much as
    a statement): who meets a dead one asks once more.

    Who gets no connection within 3 s hears `PoolTimeout`; back-off never grows beyond that, however long the outage.
    """
    return AsyncConnectionPool(
        settings.database(),
        min_size=1,
        max_size=size,
        open=False,
        kwargs={"autocommit": reading, **({"cursor_factory": cursor_factory} if cursor_factory else {})},
        timeout=3,
        reconnect_timeout=3,
        check=None if reading else _Checked(),
    )


class _Checked:
    """Whether a connection lives, asked once a second: a question costs as much as a statement."""

    LIFE_S = 1.0

    def __init__(self) -> None:
        self._lived: WeakKeyDictionary[AsyncConnection[Any], float] = WeakKeyDictionary()

    async def __call__(self, connection: AsyncConnection[Any]) -> None:
        now = time.monotonic()
        if now > self._lived.get(connection, -self.LIFE_S) + self.LIFE_S:
            await AsyncConnectionPool.check_connection(connection)
            self._lived[connection] = now
