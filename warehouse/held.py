"""Batches that the gate held back: the record, and what a person decides about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from matinee.db.queries import load
from warehouse.errors import WarehouseError

_SQL = load(Path(__file__).parent)


@dataclass(frozen=True)
class HeldFile:
    """A landed file outside the warehouse, and why: `reasons` are `{check, column, unexpected, sample}`."""

    path: str
    batch: str
    state: str
    reasons: tuple[dict[str, Any], ...]
    held_at: datetime


def held(connection: psycopg.Connection) -> list[HeldFile]:
    """What is held back, and what was accepted but is not loaded yet."""
    rows = connection.execute(_SQL["held"]).fetchall()
    return [HeldFile(path, batch, state, tuple(reasons), at) for path, batch, state, reasons, at in rows]


def hold(
    connection: psycopg.Connection, batch: str, paths: Sequence[str], reasons: Sequence[dict[str, Any]], at: datetime
) -> None:
    """Record that these files stay outside; a file that was held before gets the new reasons."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _SQL["hold"], [{"path": p, "batch": batch, "reasons": Jsonb(list(reasons)), "at": at} for p in paths]
        )


def release(connection: psycopg.Connection, paths: Sequence[str]) -> None:
    """Forget about files that are in the warehouse now."""
    connection.execute(_SQL["release"], {"paths": list(paths)})


def accept(connection: psycopg.Connection, batch: str, at: datetime) -> list[str]:
    """Let a held batch in as it is: the next load takes it without checking. Returns its paths.

    Raises:
        WarehouseError: nothing of this batch is held.
    """
    paths = [path for (path,) in connection.execute(_SQL["accept"], {"batch": batch, "at": at})]
    if not paths:
        raise WarehouseError(f"nothing is held under the name {batch!r}: see `matinee held list`")
    return paths
