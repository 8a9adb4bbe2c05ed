"""What ingest forgets, and how it ends what a killed run began."""

from datetime import UTC, date, datetime
from typing import cast

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from ingest import log, parts
from ingest.erase import finish, forget_waiting, rewrite_log
from ingest.intake import Entry
from matinee.erasing import People
from matinee.settings import Settings

PATH = "landing/events/date=2026-03-02/part-1-0-3-0.parquet"


@pytest.mark.parametrize(("replaced", "rows"), [(False, 3), (True, 2)])
def test_a_rewrite_that_was_killed_is_ended_by_what_lies_there(settings: Settings, replaced: bool, rows: int) -> None:
    lake = settings.lake.root
    parts.write(lake, PATH, pa.table({"account_key": ["a", "b", "b"]}))
    told = []
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        parts.record(connection, [parts.Part(PATH, "events", "1-0", "3-0", 3, date(2026, 3, 2))])
        connection.execute("INSERT INTO landed_rewrite (path, rows) VALUES (%s, 2)", (PATH,))
        draft = (lake / PATH).with_name(".erase.1")
        pq.write_table(pa.table({"account_key": ["b", "b"]}), draft)
        if replaced:
            draft.rename(lake / PATH)
        assert finish(connection, settings, lambda path, left: told.append((path, left))) == 1
        assert connection.execute("SELECT rows FROM landed_file").fetchone() == (rows,)
        assert connection.execute("SELECT count(*) FROM landed_rewrite").fetchone() == (0,)
    assert pq.read_metadata(lake / PATH).num_rows == rows
    assert told == ([(PATH, 2)] if replaced else [])
    assert not draft.exists()


def test_the_log_loses_what_waits_of_the_erased_and_keeps_its_place(settings: Settings) -> None:
    client = redis.Redis.from_url(settings.redis())
    bodies = [b'{"account_id":"ml:5"}', b'{"account_id":"ml:55"}', b'{"session_id":"a-visit-of-theirs"}', b"not JSON"]
    log.append(client, [Entry(body, datetime.now(UTC), "live") for body in bodies])
    last = log.end(client)
    people = People(accounts=frozenset({"ml:5"}), keys={"session_id": frozenset({"a-visit-of-theirs"})})
    assert forget_waiting(client, people) == 2
    assert rewrite_log(client) == 2
    left = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(log.STREAM))
    assert [fields[b"event"] for _, fields in left] == [bodies[1], bodies[3]]
    assert log.end(client) == last
    client.xtrim(log.STREAM, maxlen=0)
    assert rewrite_log(client) == 0
    assert log.end(client) == last
    assert b"ml:55" not in cast(bytes, client.dump(log.STREAM))
