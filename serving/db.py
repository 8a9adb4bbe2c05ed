"""Rows as dictionaries; one connection, and so one transaction, a request."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, LiteralString, Protocol, TypeAlias, TypeVar

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

Row = dict[str, Any]
Parameters: TypeAlias = Mapping[str, Any] | None
T = TypeVar("T")
set_json_loads(orjson.loads)  # a tenth of what json.loads takes


class Read(Protocol):
    """`Context.read`: statements that change nothing, each for itself."""

    async def __call__(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T: ...


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
