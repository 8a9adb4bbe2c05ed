"""What those who ask to watch at once read and write: one statement for all of a turn of the event loop.

Titles, and what accounts may watch by, are kept until they change; each question asks anew whether they did.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psycopg

from matinee.clock import Clock
from serving.accounts.memo import Transaction
from serving.db import Read, Row, rows
from serving.gather import Gather
from serving.playback import sessions
from serving.playback.sessions import QUERIES, Opened, Opening
from serving.rights.core import Terms, terms_of
from serving.rights.entitlements import Entitlements, parse
from serving.rights.known import Known

_HELD = "held"  # facts of accounts under other names are those of playbacks, by their ids


class Question(NamedTuple):
    """Whether, and how, an account plays a title."""

    title_id: str
    account_id: str


@dataclass(frozen=True, slots=True)
class Film:
    """A title as players need it: its row of `to_play`, and the terms that decide about it."""

    row: Row
    terms: Terms


class Openings:
    def __init__(self, read: Read, transaction: Transaction, clock: Clock, known: Known) -> None:
        self.read, self.transaction = read, transaction
        self._clock, self._known = clock, known
        self._found: Gather[Question, tuple[Film, Entitlements] | None] = Gather(self._find)
        self._stored: Gather[Opening, Opened | psycopg.IntegrityError] = Gather(self._store, one_by_one=True)

    async def found(self, question: Question) -> tuple[Film, Entitlements] | None:
        """The title, and what the account may watch by, as they are after the question was asked; None: there is no
        such title."""
        await self._known.confirm()
        film: Film | None = self._known.title(question.title_id)
        held: Entitlements | None = self._known.of(question.account_id, _HELD)
        return await self._found.get(question) if film is None or held is None else (film, held)

    async def store(self, opening: Opening) -> Opened:
        """Write a session; returns what became of it.

        Raises:
            psycopg.IntegrityError: its profile, title or package is gone by now.
        """
        stored = await self._stored.get(opening)
        if isinstance(stored, psycopg.IntegrityError):
            raise stored
        return stored

    async def _find(self, asked: Sequence[Question]) -> Sequence[tuple[Film, Entitlements] | None]:
        turn = self._known.turn
        given = {
            "title_ids": [one.title_id for one in asked],
            "account_ids": [one.account_id for one in asked],
            "now": self._clock.now(),
        }
        answers: list[tuple[Film, Entitlements] | None] = [None] * len(asked)
        for one in await self.read(lambda connection: rows(connection, QUERIES["to_play"], given)):
            number = one["asker"] - 1
            held = parse(one.pop("entitlements"))
            film = Film(one, terms_of(one))
            self._known.keep_title(turn, asked[number].title_id, film)
            self._known.keep(turn, asked[number].account_id, _HELD, held)
            answers[number] = film, held
        return answers

    async def _store(self, openings: Sequence[Opening]) -> Sequence[Opened | psycopg.IntegrityError]:
        try:
            async with self.transaction() as connection:
                if len(sessions.parts(openings)) == 1:
                    # One statement is a transaction by itself: to begin and end one costs two more ways.
                    await connection.set_autocommit(True)
                try:
                    opened = await sessions.store(connection, openings)
                finally:
                    if connection.autocommit and not connection.closed:
                        await connection.set_autocommit(False)
            return [opened[one.session.playback_id] for one in openings]
        except psycopg.IntegrityError as error:
            if len(openings) == 1:
                return [error]
            # One of them names what is gone: the others are not to suffer from it.
            return [(await self._store([one]))[0] for one in openings]
