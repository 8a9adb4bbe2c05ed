"""What the tests of this room share: a connection, a client of the event log, events as a player sends them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from ingest import log
from matinee.db.connect import connect
from matinee.ids import uuid7
from matinee.settings import Settings

NOW = datetime(2026, 3, 14, 20, 0, tzinfo=UTC)


@pytest.fixture
def connection(settings: Settings) -> Iterator[psycopg.Connection]:
    with connect(settings, autocommit=True) as connection:
        yield connection


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    client = log.connect(settings.events())
    yield client
    client.close()


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """Makes an event like the ones that players send; fields by name override, None as a value removes."""

    def make(**changes: Any) -> dict[str, Any]:
        made = {
            "event_id": uuid7(),
            "schema": "viewer-event/1.0",
            "session_id": "visit-1",
            "profile_id": "profile-1",
            "playback_id": "playback-1",
            "seq": 3,
            "title_id": "film-1",
            "device": "web",
            "country": "DE",
            "ts_client": (NOW - timedelta(seconds=5)).isoformat(),
            "ts_sent": (NOW - timedelta(seconds=2)).isoformat(),
            "type": "heartbeat",
            "position_ms": 30_000,
            "played_ms": 30_000,
            "rendition": "720p",
            "experiments": {"home_order": "treatment"},
            **changes,
        }
        return {name: value for name, value in made.items() if value is not None}

    return make


@pytest.fixture
def landed(settings: Settings, connection: psycopg.Connection) -> Callable[[str], pa.Table]:
    """All rows of a stream, read from the files that the ledger names."""

    def read(stream: str) -> pa.Table:
        paths = connection.execute(
            "SELECT path, rows FROM landed_file WHERE stream = %s ORDER BY path", (stream,)
        ).fetchall()
        tables = [pq.read_table(settings.lake.root / path) for path, _ in paths]
        assert [table.num_rows for table in tables] == [rows for _, rows in paths]
        return pa.concat_tables(tables)

    return read
