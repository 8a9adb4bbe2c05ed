"""What hot routes remember of profiles for some seconds, so that they need no query of their own.

An entry holds everything of one account; it is dropped at once where this process changes a profile, a PIN or where a
sign-in is, and within a second where another process does (topic `account` of the outbox).
"""

from dataclasses import dataclass

from matinee.clock import Clock
from serving.accounts.memo import Memo, Transaction
from serving.db import Read
from serving.profiles import core
from serving.profiles.core import Viewer


@dataclass(frozen=True, slots=True)
class Owner:
    """A sign-in as the sender of events: the profiles that are open to it, and where its account lives."""

    profiles: frozenset[str]
    country: str | None


NOBODY = Owner(frozenset(), None)


class Owners:
    """The senders behind (account, session)."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction, self._clock = transaction, clock
        self._memo: Memo[str, dict[str | None, Owner]] = Memo(clock)
        self._turn = 0

    async def of(self, account_id: str | None, session_id: str | None, named: frozenset[str]) -> Owner:
        """The sender; looked up anew when it lacks a profile that is named (it may be new).

        Raises:
            Problem: 401, the account of the token is gone.
        """
        if account_id is None:
            return NOBODY
        kept = self._memo.get(account_id)
        known = kept.get(session_id) if kept is not None else None
        if known is None or named - known.profiles:
            turn = self._turn
            async with self._transaction() as connection:
                found = await core.profiles(connection, account_id, session_id, self._clock.now())
            profiles = frozenset(one["profile_id"] for one in found if one["open"])
            known = Owner(profiles, found[0]["country"] if found else None)
            if turn == self._turn:  # what was read before somebody forgot is not kept after it
                (self._memo.put(account_id, {}) if kept is None else kept)[session_id] = known
        return known

    def forget(self, account_id: str | None) -> None:
        """Drop what is known of an account; None: of all."""
        self._turn += 1
        if account_id is None:
            self._memo.clear()
        else:
            self._memo.forget(account_id)


class Viewers:
    """The viewers behind (account, session, profile)."""

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._memo: Memo[str, dict[tuple[str | None, str | None], Viewer]] = Memo(clock)
        self._turn = 0

    async def of(
        self, account_id: str, session_id: str | None, profile_id: str | None, *, keyed: bool = False
    ) -> Viewer:
        """As `core.viewer`, at most some seconds old. The key in the lake comes with the first event: `keyed` looks
        for one that is new."""
        kept = self._memo.get(account_id)
        known = kept.get((session_id, profile_id)) if kept is not None else None
        if known is None or (keyed and known.profile_key is None):
            turn, now = self._turn, self._clock.now()
            known = await self._read(
                lambda connection: core.viewer(connection, account_id, profile_id, session_id=session_id, now=now)
            )
            if turn == self._turn:
                (self._memo.put(account_id, {}) if kept is None else kept)[session_id, profile_id] = known
        return known

    def forget(self, account_id: str | None) -> None:
        """Drop what is known of an account; None: of all."""
        self._turn += 1
        if account_id is None:
            self._memo.clear()
        else:
            self._memo.forget(account_id)
