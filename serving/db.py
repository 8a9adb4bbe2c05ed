"""Rows as dictionaries; one connection, and so one transaction, a request."""

from collections.abc import Mapping
from typing import Any, LiteralString, TypeAlias

from psycopg import AsyncConnection
from psycopg.rows import dict_row

Row = dict[str, Any]
Parameters: TypeAlias = Mapping[str, Any] | None


async def rows(connection: AsyncConnection, query: LiteralString, parameters: Parameters = None) -> list[Row]:
    """Every row of the answer."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters or {})
        return await cursor.fetchall()


async def row(connection: AsyncConnection, query: LiteralString, parameters: Parameters = None) -> Row | None:
    """The first row of the answer, or None."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters or {})
        return await cursor.fetchone()


async def execute(connection: AsyncConnection, query: LiteralString, parameters: Parameters = None) -> int:
    """Run a statement; returns how many rows it touched."""
    return (await connection.execute(query, parameters or {})).rowcount
