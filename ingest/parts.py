"""Files of the lake and the ledger that says which of them count.

A part is written beside its place, flushed to disk, renamed, and only then gets its row in `landed_file`. A file
without a row is what a crash left behind.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from ingest.errors import IngestError
from matinee.db.queries import load

if TYPE_CHECKING:
    import pyarrow as pa

_QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True)
class Part:
    """One Parquet file of the lake; `path` is relative to the lake's root."""

    path: str
    stream: str
    first_id: str
    last_id: str
    rows: int
    landed_on: date


def write(root: Path, path: str, table: "pa.Table") -> None:
    """Put a table at `path` below the lake's root: whole and on disk, or not at all.

    Raises:
        IngestError: the disk is full or cannot be written.
    """
    import pyarrow.parquet as pq

    target = root / path
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        made = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, draft, compression="zstd")
        sync(draft)
        os.replace(draft, target)
        sync(target.parent)
        if made:
            sync(target.parent.parent)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise IngestError(
            f"cannot write {target}: {error.strerror or error}; free some space or mend the folder"
        ) from error


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def record(connection: psycopg.Connection, parts: Sequence[Part]) -> None:
    """Make these files part of the lake."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _QUERIES["record_part"],
            [(p.path, p.stream, p.first_id, p.last_id, p.rows, p.landed_on) for p in parts],
        )


def recorded(connection: psycopg.Connection, stream: str) -> set[str]:
    """The paths of a stream's files."""
    return {path for (path,) in connection.execute(_QUERIES["recorded_parts"], (stream,))}


def strays(root: Path, folder: Path, known: set[str]) -> Iterable[Path]:
    """Files below `folder` that are not in the ledger, drafts of a killed writer among them."""
    for path in sorted(folder.glob("date=*/*part-*.parquet*")):
        if path.relative_to(root).as_posix() not in known:
            yield path
