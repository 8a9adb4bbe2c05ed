"""What decides about playing, in memory until it changes: facts of accounts, and of titles.

PostgreSQL notes whose rights change (`rights_change`) and when the catalogue does (`catalogue_version`). Before a fact
is used it is confirmed: a small query, shared by all who ask at once, tells what changed since the last one, and that
is forgotten. So a fact is never older than its user wants it, and costs a query of its own only after it changed.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from matinee.clock import Clock
from serving.db import Read, Row, execute, row
from serving.gather import Gather
from serving.rights.rentals import QUERIES

# So long facts of an account are kept at most, for ages grow; and so many accounts and titles, the newest.
LIFE_S = 60.0
_SIZE, _TITLES = 50_000, 5_000
# Who has not asked for so long forgets everything: the log of changes reaches back twice as far.
_REACH_S = 300.0


class Known:
    """Facts by account and key, and by title; a fact is kept with the `turn` at which its reading began."""

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read, self._clock = read, clock
        self.turn = 0
        self._accounts: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()  # the first to end first
        self._marks: dict[str, str] = {}
        self._titles: OrderedDict[str, Any] = OrderedDict()
        self._asked: Gather[None, None] = Gather(self._ask, one_by_one=True)
        self._since: str | None = None
        self._catalogue: object = None
        self._confirmed, self._confirmed_at = float("-inf"), 0.0
        self._cleared: tuple[float, str] | None = None  # when, and the oldest transaction that ran then

    def is_fresh(self, within_s: float) -> bool:
        """Whether everything was confirmed so lately."""
        return 0 <= self._clock.now().timestamp() - self._confirmed < within_s

    async def confirm(self) -> None:
        """Forget what changed until now.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL does not answer.
        """
        await self._asked.get(None)

    def of(self, account_id: str, key: str) -> Any:
        """A fact of an account, or None."""
        found = self._accounts.get(account_id)
        return None if found is None or found[0] < time.monotonic() else found[1].get(key)

    def title(self, title_id: str) -> Any:
        """A fact of a title, or None."""
        return self._titles.get(title_id)

    def keep(self, turn: int, account_id: str, key: str, fact: object) -> None:
        if turn != self.turn or self._since is None:
            return
        now = time.monotonic()
        while self._accounts and next(iter(self._accounts.values()))[0] < now:
            self._drop_oldest()
        found = self._accounts.get(account_id)
        if found is None:
            if len(self._accounts) >= _SIZE:
                self._drop_oldest()
            found = self._accounts[account_id] = (now + LIFE_S, {})
            self._marks[_mark(account_id)] = account_id
        found[1][key] = fact

    def keep_title(self, turn: int, title_id: str, fact: object) -> None:
        if turn == self.turn and self._since is not None:
            self._titles[title_id] = fact
            if len(self._titles) > _TITLES:
                self._titles.popitem(last=False)

    async def clear_up(self, connection: AsyncConnection) -> None:
        """Delete from the log what every process has heard of: what was over when this was done `2 * _REACH_S` ago.

        The time of a change would not do, for it is not known before its transaction commits.
        """
        now = time.monotonic()
        if self._cleared is not None:
            before, until = self._cleared
            if now < before + 2 * _REACH_S:
                return
            await execute(connection, QUERIES["forget_rights_changes"], {"until": until})
        oldest = await row(connection, QUERIES["oldest_running"])
        self._cleared = (now, (oldest or {})["xact"])

    def _drop_oldest(self) -> None:
        account_id, _ = self._accounts.popitem(last=False)
        self._marks.pop(_mark(account_id), None)

    def _forget(self) -> None:
        self.turn += 1
        self._accounts.clear()
        self._marks.clear()
        self._titles.clear()

    async def _ask(self, asked: Sequence[None]) -> Sequence[None]:
        moment, began = self._clock.now().timestamp(), time.monotonic()
        given = {"since": self._since}
        found = await self._read(lambda connection: row(connection, QUERIES["rights_changed"], given))
        self._learn(found or {}, began)
        self._confirmed, self._confirmed_at = moment, began
        return [None] * len(asked)

    def _learn(self, found: Row, began: float) -> None:
        new: list[str | None] = found["changes"]
        is_over = began > self._confirmed_at + _REACH_S or found["catalogue"] != self._catalogue
        if is_over or None in new:
            self._forget()
        elif new:
            self.turn += 1
            for mark in new:
                self._accounts.pop(self._marks.pop(mark or "", ""), None)
        self._since, self._catalogue = found["since"], found["catalogue"]


def _mark(account_id: str) -> str:
    """As the SQL function `account_mark`."""
    return hashlib.sha256(account_id.encode()).hexdigest()[:32]
