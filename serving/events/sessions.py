"""What is remembered of the sessions of foreign players: their reports (Redis), and whose playback they are."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import orjson
from redis.asyncio import Redis

from matinee.clock import Clock
from matinee.contracts.events import MAX_LATENESS
from matinee.db.queries import load
from serving.accounts.memo import Memo, Transaction
from serving.db import row
from serving.events.cmcd import Report, restore

QUERIES = load(Path(__file__).parent)
# Players report every ten to thirty seconds and when their state changes: five hours at the least, each counted anew
# with every report that comes.
MAX_REPORTS = 2_000
# A player has one session, a page with several players a few.
MAX_SESSIONS = 10
# What is older is too late for the intake.
_LIFE_S = int(MAX_LATENESS.total_seconds())


class Sessions:
    """The reports so far of players' sessions, one hash each, for as long as late ones may come.

    Fields are only added, so two requests at once lose nothing of each other; but they know nothing of each other
    either, and a player sends several at once. So those of one session take turns, within this process.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, owner: str, sids: Iterable[str]) -> AsyncIterator[None]:
        """Be alone with these sessions of an owner."""
        async with AsyncExitStack() as stack:
            for key in sorted(_key(owner, sid) for sid in set(sids)):
                await stack.enter_async_context(self._turns.setdefault(key, asyncio.Lock()))
            yield

    async def sizes(self, owner: str, sids: Iterable[str]) -> dict[str, int]:
        """How many reports there are, by session of this owner."""
        wanted = sorted(set(sids))
        async with self._client.pipeline(transaction=False) as pipeline:
            for sid in wanted:
                pipeline.hlen(_key(owner, sid))
            return dict(zip(wanted, await pipeline.execute(), strict=True))

    async def read(self, owner: str, sids: Iterable[str]) -> dict[str, list[Report]]:
        """The reports by session, of those of this owner."""
        wanted = sorted(set(sids))
        async with self._client.pipeline(transaction=False) as pipeline:
            for sid in wanted:
                pipeline.hgetall(_key(owner, sid))
            found = await pipeline.execute()
        kept: Iterable[tuple[str, Mapping[bytes, bytes]]] = zip(wanted, found, strict=True)
        return {sid: [restore(sid, orjson.loads(value)) for value in reports.values()] for sid, reports in kept}

    async def add(self, owner: str, reports: Iterable[Report]) -> None:
        """Keep reports; one that is there already stays as it came first."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for report in reports:
                key = _key(owner, report.sid)
                pipeline.hsetnx(key, report.key, orjson.dumps(report.kept()).decode())
                pipeline.expire(key, _LIFE_S)
            await pipeline.execute()


class Playbacks:
    """Which profile and title a playback of an account is of, by its id: what `POST /api/watch` opened."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._memo: Memo[tuple[str, str], Mapping[str, str]] = Memo(clock, life_s=60.0)

    async def of(self, account_id: str | None, sid: str) -> Mapping[str, str]:
        """`profile_id` and `title_id`; nothing where the session is not one that we opened for this account."""
        if account_id is None:
            return {}
        known = self._memo.get((account_id, sid))
        if known is None:
            async with self._transaction() as connection:
                query = QUERIES["playback_of_session"]
                known = await row(connection, query, {"playback_id": sid, "account_id": account_id}) or {}
            self._memo.put((account_id, sid), known)
        return known


def _key(owner: str, sid: str) -> str:
    """Names neither the account nor the session, so that erasing an account leaves nothing of it here."""
    return "cmcd:" + hashlib.sha256(f"{owner}\0{sid}".encode(errors="replace")).hexdigest()[:40]
