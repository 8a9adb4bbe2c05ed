"""The form of `raw.events`, and how an older one becomes it."""

import uuid
from datetime import UTC, date, datetime

import duckdb

from matinee.clock import SystemClock
from matinee.contracts.landing import LANDED_EVENT
from matinee.db.connect import connect
from warehouse import held
from warehouse.build_file import writing
from warehouse.load import load_days


def test_events_of_an_earlier_version_become_narrow(settings, landing, event, rows):
    """Ids were text then, there was no day and no flag of bots; loading goes on as if nothing had been."""
    late, early = (event(at=datetime(2026, 3, day, 23, 59, tzinfo=UTC)) for day in (2, 1))
    settings.lake.build_file.parent.mkdir(parents=True)
    older = LANDED_EVENT.remove(LANDED_EVENT.get_field_index("bot")).empty_table()
    with duckdb.connect(str(settings.lake.build_file)) as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA raw")
        connection.execute("CREATE TABLE raw.events AS SELECT *, '' AS source_file FROM older")
        path = landing.land([late], ledger=False)
        landed = f"read_parquet('{settings.lake.root / path}', hive_partitioning = false)"
        connection.execute(f"INSERT INTO raw.events BY NAME SELECT * EXCLUDE (bot), 'f' AS source_file FROM {landed}")
    assert len(older.schema) == len(LANDED_EVENT) - 1
    landing.land([early])
    assert load_days(settings).rows == 1
    found = rows(settings, "SELECT event_id, event_date, bot FROM raw.events ORDER BY event_date")
    assert found == [
        (uuid.UUID(early["event_id"]), date(2026, 3, 1), None),
        (uuid.UUID(late["event_id"]), date(2026, 3, 2), None),
    ]


def test_an_id_that_is_none_gets_one_that_is_always_the_same(settings, landing, event, rows):
    """A person let the batch in: no row of it is lost, and a repetition is still known as one."""
    landing.land([event(event_id="strange"), event(event_id="strange"), event(event_id="other")])
    load_days(settings)
    with connect(settings) as connection:
        held.accept(connection, "events/2026-03-02", SystemClock().now())
    assert load_days(settings).rows == 3
    assert rows(settings, "SELECT count(*), count(DISTINCT event_id) FROM raw.events") == [(3, 2)]
    with writing(settings):
        pass  # opening again changes nothing
    assert rows(settings, "SELECT count(*) FROM raw.events WHERE event_date = DATE '2026-03-02'") == [(3,)]
