"""Searching behind one small interface: `Engine`. The embedded one asks PostgreSQL's index of words."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from matinee.db.queries import load
from serving.catalog.core import scope
from serving.db import Row, rows
from serving.profiles.core import Viewer

QUERIES = load(Path(__file__).parent)


class Engine(Protocol):
    """What finds; each answer holds only what the viewer may see at the moment."""

    async def titles(
        self, connection: AsyncConnection, viewer: Viewer, now: datetime, text: str, limit: int
    ) -> Sequence[TupleRow]:
        """Films and series, the best match first, as rows of `catalog.lists.items`."""
        ...

    async def people(
        self, connection: AsyncConnection, viewer: Viewer, now: datetime, text: str, limit: int
    ) -> Sequence[Row]:
        """`person_id`, `name` and how many `titles`, those with most first."""
        ...


class PostgresEngine:
    """Words by their beginnings, in any order; е is ё, in Russian and English alike; no typing errors.

    First what is called so or begins so; where that is not enough, what has the words anywhere.
    """

    async def titles(
        self, connection: AsyncConnection, viewer: Viewer, now: datetime, text: str, limit: int
    ) -> Sequence[TupleRow]:
        asked = {**scope(viewer, now), "text": text, "limit": limit}
        called = await (await connection.execute(QUERIES["called"], asked, prepare=True)).fetchall()
        found = {row[2]: row for row in called}
        if len(found) < limit:
            worded = await connection.execute(QUERIES["worded"], asked, prepare=False)
            for row in await worded.fetchall():
                found.setdefault(row[2], row)
        return list(found.values())[:limit]

    async def people(
        self, connection: AsyncConnection, viewer: Viewer, now: datetime, text: str, limit: int
    ) -> Sequence[Row]:
        return await rows(connection, QUERIES["people"], {**scope(viewer, now), "text": text, "limit": limit})
