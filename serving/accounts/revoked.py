"""Which access tokens open nothing any more although they have not expired: of sessions that were ended, of accounts
that were disabled or erased.

Every API process keeps the list in memory, asked at each request, and reads what is new from PostgreSQL twice a second:
an ended session opens nothing within a second, in any process. While PostgreSQL is away nothing can be ended either.
"""

import asyncio
import contextlib
import hashlib
import logging
from datetime import datetime, timedelta

import psycopg
import psycopg_pool

from matinee.clock import Clock
from serving import tasks
from serving.accounts.memo import Transaction
from serving.accounts.queries import QUERIES
from serving.accounts.tokens import ACCESS_LIFE, Claims, refused
from serving.db import row, rows
from serving.problems import unavailable

PERIOD_S = 0.5
_FIRST_S = 0.5
# Ended longer ago, its last token has expired; a token of the command line may live a month.
_MEMORY = ACCESS_LIFE + timedelta(minutes=1)
LONGEST_TOKEN = timedelta(days=30)
# Rows become visible when their transaction commits, some time after the moment that they bear.
_LATE = timedelta(minutes=1)
log = logging.getLogger("matinee.api")


class Revoked:
    """Asked by `serving.auth` for every token."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction, self._clock = transaction, clock
        self._names: frozenset[str] = frozenset()
        self._pepper = b""
        self._erased: set[bytes] = set()
        self._erased_up_to: datetime | None = None
        self._known = False
        self._task: asyncio.Task[None] | None = None
        # One reading at a time: an older one that ends later would bring the ended back to life.
        self._turn = asyncio.Lock()

    @property
    def known(self) -> bool:
        """Whether the list was ever read; until then no token opens anything."""
        return self._known

    def check(self, claims: Claims) -> None:
        """Refuse the claims of who was shut out.

        Raises:
            Problem: 401 `session_over`; 503, PostgreSQL has not answered since the process started.
        """
        if not self._known:
            raise unavailable("postgres")
        names = self._names
        if (names and (claims.session_id in names or claims.account_id in names)) or (
            self._erased and self._digest(claims.account_id) in self._erased
        ):
            raise refused("session_over", "this session was ended: sign in again")

    def _digest(self, account_id: str) -> bytes:
        return hashlib.sha256(self._pepper + account_id.encode()).digest()

    async def refresh(self) -> None:
        """Read the list anew.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL does not answer.
        """
        async with self._turn:
            now = self._clock.now()
            async with self._transaction() as connection:
                names = await rows(connection, QUERIES["revoked"], {"since": now - _MEMORY, "now": now})
                if not self._pepper:
                    pepper = await row(connection, QUERIES["erasure_pepper"])
                    self._pepper = bytes(pepper["value"]) if pepper else b""
                erased = await rows(
                    connection, QUERIES["erased_since"], {"since": self._erased_up_to, "life": LONGEST_TOKEN}
                )
            self._names = frozenset(found["name"] for found in names)
            self._erased |= {bytes(found["digest"]) for found in erased}
            if erased:
                self._erased_up_to = max(found["erased_at"] for found in erased) - _LATE
            self._known = True

    async def open(self) -> None:
        """Read the list, and go on reading it. Where PostgreSQL is away the process starts all the same."""
        with contextlib.suppress(psycopg.OperationalError, psycopg_pool.PoolTimeout, TimeoutError):
            await asyncio.wait_for(self.refresh(), _FIRST_S)
        self._task = asyncio.create_task(self._follow(), name="revoked")

    async def close(self) -> None:
        await tasks.end([self._task])

    async def _follow(self) -> None:
        said = False
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.refresh()
                said = False
            except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
                if not said:
                    log.warning("cannot read which sessions were ended (%s): trying again", type(error).__name__)
                said = True
