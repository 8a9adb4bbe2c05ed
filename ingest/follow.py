"""Reading along the event log: every entry after a position, also those that the collector has landed and trimmed.

The collector is the only one who takes entries away, and it does so after their files are in the ledger. So what the
log does not hold any more is read from the lake, and a reader may stand still for days without missing anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
import redis

from ingest import bodies, log
from matinee.db.queries import load

_QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True)
class Followed:
    """Events in log order, and the place to go on from.

    `arrived`: rows of `landing.ARRIVED`, with ids of people; `landed`: rows of `LANDED_EVENT`, with keys instead.
    """

    last_id: str
    arrived: pa.Table | None = None
    landed: pa.Table | None = None


def follow(
    client: redis.Redis,
    connection: psycopg.Connection,
    lake: Path,
    last_id: str,
    *,
    columns: Sequence[str],
    count: int,
    block_ms: int | None = None,
) -> Followed:
    """Up to `count` entries after `last_id` from the log, or one landed file where the log may begin later.

    A file is read whole: some of its events may have been read before. `client` comes from `log.connect`; `columns` are
    those read of a landed file.

    Raises:
        redis.RedisError: the log does not answer.
    """
    import pyarrow.parquet as pq

    found = log.read(client, last_id, count, block_ms)
    # Asked after the log was read: what was trimmed until then is in the ledger by now.
    if part := _landed_after(connection, last_id):
        path, end = part
        return Followed(end, landed=pq.read_table(lake / path, columns=list(columns)))
    if not found:
        return Followed(last_id)
    ids = [log_id.decode() for log_id, _ in found]
    return Followed(ids[-1], arrived=bodies.decode(ids, [values for _, values in found]).rows)


def landed_until(connection: psycopg.Connection) -> str:
    """The last entry of the log that is in the lake; `0-0` for none."""
    row = connection.execute(_QUERIES["log_offset"], (log.STREAM,)).fetchone()
    return row[0] if row else "0-0"


def _landed_after(connection: psycopg.Connection, last_id: str) -> tuple[str, str] | None:
    """The next landed file with entries after this one, and its last."""
    if log.position(landed_until(connection)) <= log.position(last_id):
        return None
    return connection.execute(_QUERIES["part_after"], log.position(last_id)).fetchone()
