"""Events that land in bulk, past the event log: histories of millions, made or moved by us.

Each received day gets files of its own, written as rows come in and part of the lake only at the end, all at once: a
crash before that leaves drafts, which the next attempt replaces. Landing under a name that has landed changes nothing.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import make_conninfo

from ingest import parts
from ingest.errors import IngestError
from matinee.contracts.landing import LANDED_EVENT
from matinee.pseudonyms import Salt, destroyed

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_log = logging.getLogger(__name__)
_ASK_S = 10
_LOCK = 7_228_117  # landing in bulk (shared) against clearing what killed landings left
STREAM = "events"
ROWS_PER_FILE = 2_000_000


@dataclass
class _File:
    """A file that is being written, and what the ledger will say of it."""

    path: str
    draft: Path
    writer: "pq.ParquetWriter"
    rows: int = 0
    first_id: str = ""
    last_id: str = ""


@dataclass
class Bulk:
    """Takes rows with `add`. Make it with `landing`."""

    root: Path
    name: str
    _open: dict[date, _File] = field(default_factory=dict)
    _full: dict[date, list[_File]] = field(default_factory=dict)
    _salts: dict[str, Salt] = field(default_factory=dict)

    def add(self, events: "pa.Table", salts: Mapping[str, Salt]) -> None:
        """Append rows in the columns of the landing contract. `salts`: those that the keys in them were made with.

        Raises:
            IngestError: the disk is full or cannot be written.
        """
        import numpy as np

        self._salts |= salts
        days = events["received_at"].cast("timestamp[us]").to_numpy().astype("datetime64[D]")
        order = np.argsort(days, kind="stable")
        ordered, sorted_days = events.take(order), days[order]
        starts = np.flatnonzero(np.r_[True, sorted_days[1:] != sorted_days[:-1]]) if len(days) else []
        for start, end in zip(starts, [*starts[1:], len(days)], strict=True):
            try:
                self._write(sorted_days[start].astype(object), ordered.slice(start, end - start))
            except OSError as error:
                raise _unwritable(self.root, error) from error

    def _write(self, day: date, rows: "pa.Table") -> None:
        import pyarrow.parquet as pq

        file = self._open.get(day)
        if file is None:
            number = len(self._full.get(day, ()))
            path = f"landing/events/date={day}/bulk-{self.name}-{number:04}.parquet"
            draft = (self.root / path).with_name(f".bulk-{self.name}-{number:04}.draft")
            draft.parent.mkdir(parents=True, exist_ok=True)
            file = self._open[day] = _File(path, draft, pq.ParquetWriter(draft, LANDED_EVENT, compression="zstd"))
            file.first_id = rows["log_id"][0].as_py()
        file.writer.write_table(rows)
        file.rows, file.last_id = file.rows + rows.num_rows, rows["log_id"][-1].as_py()
        if file.rows >= ROWS_PER_FILE:
            file.writer.close()
            self._full.setdefault(day, []).append(self._open.pop(day))

    def finish(self, connection: psycopg.Connection) -> list[parts.Part]:
        """Put the files in their places and make them part of the lake."""
        made = []
        for day, file in [*((d, f) for d, files in self._full.items() for f in files), *self._open.items()]:
            file.writer.close()
            parts.sync(file.draft)
            os.replace(file.draft, self.root / file.path)
            parts.sync(file.draft.parent)
            made.append(parts.Part(file.path, STREAM, file.first_id, file.last_id, file.rows, day))
        parts.sync(self.root / "landing" / "events")
        with connection.transaction():
            if gone := destroyed(connection, self._salts):
                raise IngestError(f"{len(gone)} accounts were erased while their events landed: land them again")
            parts.record(connection, made)
        return made

    def drop(self, dsn: str) -> None:
        """Leave nothing behind but what counts: whoever heard no answer to a commit may have made files count.

        Where the database at `dsn` cannot be asked, files that have their names stay for `clear`.
        """
        files = [*self._open.values(), *(f for files in self._full.values() for f in files)]
        for file in files:
            with suppress(OSError):
                file.writer.close()
            file.draft.unlink(missing_ok=True)
        placed = [file.path for file in files if (self.root / file.path).exists()]
        if not placed:
            return
        try:
            with psycopg.connect(dsn, connect_timeout=_ASK_S, options=f"-c lock_timeout={_ASK_S}s") as fresh:
                fresh.execute("LOCK TABLE landed_file IN SHARE MODE")  # a commit that is under way ends first
                counting = parts.recorded(fresh, STREAM)
        except psycopg.Error as error:
            _log.warning("cannot ask whether files landed, so %s and others stay: %s", placed[0], error)
            return
        for path in placed:
            if path not in counting:
                (self.root / path).unlink()


def clear(connection: psycopg.Connection, root: Path) -> None:
    """Remove the files of killed landings, unless one is at work now."""
    (free,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchall()[0]
    if not free:
        return
    try:
        known, folder = parts.recorded(connection, STREAM), root / "landing" / "events"
        for path in [*folder.glob("date=*/.bulk-*.draft"), *folder.glob("date=*/bulk-*.parquet")]:
            if path.relative_to(root).as_posix() not in known:
                path.unlink()
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def has_landed(connection: psycopg.Connection, name: str) -> bool:
    """Whether something of this name is part of the lake."""
    return any(Path(path).name.startswith(f"bulk-{name}-") for path in parts.recorded(connection, STREAM))


@contextmanager
def landing(connection: psycopg.Connection, root: Path, name: str) -> Iterator[Bulk]:
    """`with landing(...) as bulk: bulk.add(...)`: at its end everything is part of the lake, after an error nothing.

    `name`: letters, digits and hyphens; it names what lands, so that it lands once.

    Raises:
        IngestError: the disk is full or cannot be written, or an account was erased meanwhile.
    """
    bulk = Bulk(root, name)
    dsn = _dsn(connection)
    clear(connection, root)
    connection.execute("SELECT pg_advisory_lock_shared(%s)", (_LOCK,))
    try:
        yield bulk
        try:
            bulk.finish(connection)
        except ConnectionError:  # an OSError that no disk is to blame for
            raise
        except OSError as error:
            raise _unwritable(root, error) from error
    except BaseException:
        bulk.drop(dsn)
        raise
    finally:
        with suppress(psycopg.Error):  # else it ends with the connection
            connection.execute("SELECT pg_advisory_unlock_shared(%s)", (_LOCK,))


def _dsn(connection: psycopg.Connection) -> str:
    """Where it leads, for a second connection when this one is lost."""
    return make_conninfo(connection.info.dsn, password=connection.info.password or None)


def _unwritable(root: Path, error: OSError) -> IngestError:
    return IngestError(f"cannot write below {root}: {error.strerror or error}; free some space or mend the folder")
