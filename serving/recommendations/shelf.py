"""What viewers with the same maturity limit and region may see: cards of titles, and the newest that play.

Kept in the process for some seconds; a generation number tells whether anything in it changed.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from serving.accounts.core import Viewer
from serving.accounts.memo import Transaction
from serving.catalog.core import scope, visible_cards
from serving.db import Row, rows
from serving.recommendations.rows import Pick

LIFE = timedelta(seconds=5)
_NEWEST = 40
_SIZE = 20_000
_QUERIES = load(Path(__file__).parent)


@dataclass
class Shelf:
    """`known` holds every title that was asked for, with its card, or None where it may not be seen."""

    generation: int
    checked_at: datetime
    newest: list[Pick]
    known: dict[str, Row | None] = field(default_factory=dict)

    def missing(self, title_ids: Iterable[str]) -> list[str]:
        """Those of the titles that nobody asked for yet."""
        return [title_id for title_id in title_ids if title_id not in self.known]

    async def learn(self, connection: AsyncConnection, viewer: Viewer, title_ids: Sequence[str], now: datetime) -> None:
        """Look titles up."""
        found = await visible_cards(connection, viewer, title_ids, now)
        self.known.update({title_id: found.get(title_id) for title_id in title_ids})

    def cards_of(self, title_ids: Iterable[str]) -> dict[str, Row]:
        """The cards of those of the titles that may be seen."""
        return {title_id: card for title_id in title_ids if (card := self.known[title_id]) is not None}


class Shelves:
    """The shelves by (maturity, region). One request renews a shelf, the others take it as it was meanwhile."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._shelves: dict[tuple[int, str | None], Shelf] = {}
        self._locks: dict[tuple[int, str | None], asyncio.Lock] = {}

    async def of(self, viewer: Viewer, now: datetime) -> Shelf:
        """The shelf of this viewer, checked within the last seconds."""
        key = (viewer.maturity, viewer.region)
        shelf = self._shelves.get(key)
        if shelf is not None and now - shelf.checked_at < LIFE:
            return shelf
        lock = self._locks.setdefault(key, asyncio.Lock())
        if shelf is not None and lock.locked():
            return shelf
        async with lock:
            if self._shelves.get(key) is shelf:
                self._shelves[key] = await self._renewed(viewer, shelf, now)
            return self._shelves[key]

    async def _renewed(self, viewer: Viewer, old: Shelf | None, now: datetime) -> Shelf:
        async with self._transaction() as connection:
            found = await rows(connection, _QUERIES["newest"], {**scope(viewer, now), "limit": _NEWEST})
            known = list(old.known) if old and len(old.known) < _SIZE else []
            cards = await visible_cards(connection, viewer, known, now) if known else {}
        reason = {"code": "new", "params": {}}
        fresh = Shelf(0, now, [Pick(title["title_id"], "catalogue", reason) for title in found])
        fresh.known = {title_id: cards.get(title_id) for title_id in known}
        if old is not None:
            same = fresh.newest == old.newest and fresh.known == old.known
            fresh.generation = old.generation + (not same)
        return fresh
