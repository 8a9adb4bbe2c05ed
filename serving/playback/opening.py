"""What those who ask to watch at once read and write: one statement for all of a turn of the event loop."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from matinee.clock import Clock
from serving.accounts.memo import Transaction
from serving.db import Read, Row, rows
from serving.gather import Gather
from serving.playback import sessions
from serving.playback.sessions import QUERIES, Opening


@dataclass(frozen=True, slots=True)
class Question:
    """Whether, and how, a profile of an account plays a title."""

    title_id: str
    account_id: str | None
    profile_id: str | None


class Openings:
    def __init__(self, read: Read, transaction: Transaction, clock: Clock) -> None:
        self.read, self.transaction = read, transaction
        self._clock = clock
        self._found: Gather[Question, Row | None] = Gather(self._find)
        self._stored: Gather[Opening, tuple[str, ...] | psycopg.IntegrityError] = Gather(self._store, one_by_one=True)

    async def found(self, question: Question) -> Row | None:
        """The row of `to_play`, read after the question was asked; None: there is no such title."""
        return await self._found.get(question)

    async def store(self, opening: Opening) -> tuple[str, ...]:
        """Write a session; returns what ended for it.

        Raises:
            psycopg.IntegrityError: its profile, title or package is gone by now.
        """
        stored = await self._stored.get(opening)
        if isinstance(stored, psycopg.IntegrityError):
            raise stored
        return stored

    async def _find(self, asked: Sequence[Question]) -> Sequence[Row | None]:
        given = {
            "title_ids": [one.title_id for one in asked],
            "account_ids": [one.account_id for one in asked],
            "profile_ids": [one.profile_id for one in asked],
            "now": self._clock.now(),
        }
        found = await self.read(lambda connection: rows(connection, QUERIES["to_play"], given))
        answers: list[Row | None] = [None] * len(asked)
        for one in found:
            answers[one["asker"] - 1] = one
        return answers

    async def _store(self, openings: Sequence[Opening]) -> Sequence[tuple[str, ...] | psycopg.IntegrityError]:
        try:
            async with self.transaction() as connection:
                ended = await sessions.store(connection, openings)
            return [ended[one.session.playback_id] for one in openings]
        except psycopg.IntegrityError as error:
            if len(openings) == 1:
                return [error]
            # One of them names what is gone: the others are not to suffer from it.
            return [(await self._store([one]))[0] for one in openings]
