"""A range that is built again equals what the increments made of it, and nothing else is built again."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from warehouse import build_file, dbt
from warehouse.backfill import touch_event_days, touch_received_days
from warehouse.errors import WarehouseError

DAY = date(2026, 3, 2)
PLAYBACKS = "intermediate.int_playback_session"


def run(settings):
    assert dbt.run(settings, ["run", "--exclude", "path:models/staging"]).success


def marts(settings):
    with duckdb.connect(str(settings.lake.build_file), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        names = connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts' ORDER BY 1")
        return {
            name: sorted(map(repr, connection.execute(f"FROM marts.{name}").fetchall())) for (name,) in names.fetchall()
        }


def test_a_backfilled_range_equals_the_increments_row_for_row(copy_of_built):
    before = marts(copy_of_built)
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:
        connection.execute(f"UPDATE {PLAYBACKS} SET played_ms = 1, max_position_ms = 1 WHERE event_date >= '{DAY}'")
        (damaged,) = connection.execute(f"SELECT count(*) FROM {PLAYBACKS} WHERE played_ms = 1").fetchall()
        assert damaged > (3,)
    run(copy_of_built)
    assert marts(copy_of_built) != before, "nobody builds unchanged days again by himself"
    assert touch_event_days(copy_of_built, DAY, date(2026, 3, 6)) == [DAY + timedelta(days=n) for n in range(5)]
    run(copy_of_built)
    after = marts(copy_of_built)
    assert [name for name in before if before[name] != after[name]] == []


def test_one_day_builds_only_what_depends_on_it(copy_of_built, rows):
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:
        connection.execute(f"UPDATE {PLAYBACKS} SET device = 'untouched'")
    touch_event_days(copy_of_built, DAY, DAY)
    assert dbt.run(copy_of_built, ["run", "--select", "int_events+1"]).success
    of_that_day = f"SELECT DISTINCT playback_id FROM staging.stg_events WHERE event_date = '{DAY}' AND playback_id > ''"
    built = f"SELECT playback_id FROM {PLAYBACKS} WHERE device IS DISTINCT FROM 'untouched'"
    assert len(rows(copy_of_built, of_that_day)) > 2
    assert sorted(rows(copy_of_built, built)) == sorted(rows(copy_of_built, of_that_day))
    assert rows(copy_of_built, f"SELECT count(*) > 2 FROM {PLAYBACKS} WHERE device = 'untouched'") == [(True,)]


def test_a_table_that_lacks_a_column_of_its_model_is_built_from_the_beginning(copy_of_built, rows):
    """A build file of an earlier version: nobody has to know that a full build is needed."""
    whole = rows(copy_of_built, f"FROM {PLAYBACKS} ORDER BY ALL")
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:
        connection.execute(f"ALTER TABLE {PLAYBACKS} DROP COLUMN is_bot")
    assert dbt.run(copy_of_built, ["run", "--select", "int_playback_session"]).success
    assert rows(copy_of_built, f"FROM {PLAYBACKS} ORDER BY ALL") == whole


def test_received_days_touch_the_days_of_their_events(copy_of_built):
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    with build_file.writing(copy_of_built) as warehouse:
        for days, origin in ((0, "live"), (2, "live"), (400, "import")):
            row = [at - timedelta(days=days), at, origin]
            warehouse.execute("INSERT INTO raw.events (event_ts, received_at, origin) VALUES (?, ?, ?)", row)
    assert touch_received_days(copy_of_built, at.date(), at.date()) == [date(2026, 4, 29), date(2026, 5, 1)]
    assert touch_received_days(copy_of_built, date(2026, 6, 1), date(2026, 6, 9)) == []
    with pytest.raises(WarehouseError, match="ends before it begins"):
        touch_event_days(copy_of_built, DAY, DAY - timedelta(days=1))
