"""Events whose time is over go, and what the marts said of them stays in the archive."""

from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pytest

from matinee.clock import ManualClock
from matinee.db.connect import connect
from matinee.settings import Settings
from warehouse import build_file, dbt
from warehouse.backfill import touch_event_days
from warehouse.errors import WarehouseError
from warehouse.export import export_tables
from warehouse.load import load_days
from warehouse.retention import archive, drop_events, drop_snapshots

NOW = ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))
BEFORE = date(2026, 3, 3)


def build(settings: Settings, *more: str) -> list[tuple[Any, ...]]:
    assert dbt.run(settings, ["run", "--select", "+mart_title_day", *more]).success
    with duckdb.connect(str(settings.lake.build_file), read_only=True) as connection:
        return connection.execute(
            "SELECT event_date, title_id, plays FROM marts.mart_title_day ORDER BY ALL"
        ).fetchall()


def test_events_go_by_the_day_they_were_received_and_the_marts_of_their_days_are_kept(
    settings: Settings, landing: Any, viewing: Any, add_catalogue: Any
) -> None:
    add_catalogue(settings)
    days = viewing(seed=3, days=5)
    for day, rows in days.items():
        landing.land(rows, day)
    load_days(settings)
    export_tables(settings)
    waiting = landing.land(days[min(days)], min(days))
    whole = build(settings)
    assert drop_events(settings, clock=NOW) is None  # nothing is set: everything is kept

    short = settings.model_copy(update={"retention_events_days": 7})
    dropped = drop_events(short, clock=NOW)
    assert dropped is not None
    old = [day for day in days if day < BEFORE]
    assert (dropped.before, dropped.files, dropped.waiting) == (BEFORE, len(old), 1)
    assert dropped.rows == sum(len(days[day]) for day in old) > 0
    (path,) = archive(settings.lake).values()
    with duckdb.connect() as reader:
        kept = reader.execute(f"SELECT event_date, title_id, plays FROM '{path}' ORDER BY ALL").fetchall()
    assert kept == [row for row in whole if row[0] < BEFORE] != []
    with connect(settings) as ledger:
        assert ledger.execute("SELECT path FROM landed_file WHERE landed_on < %s", [BEFORE]).fetchall() == [(waiting,)]
    with pytest.raises(WarehouseError, match=f"begin with {BEFORE}"):
        touch_event_days(settings, min(days), max(days))

    assert build(settings) == whole  # what was made of them stays
    left = build(settings, "--full-refresh")
    assert [row for row in left if row[0] > BEFORE] == [row for row in whole if row[0] > BEFORE]
    assert sum(row[2] for row in left) < sum(row[2] for row in whole)
    again = drop_events(short, clock=NOW)
    assert again is not None
    assert (again.rows, again.files, again.archived) == (0, 0, {})
    assert load_days(settings).files == 1, "what was acknowledged is loaded, however late"


def test_weeks_and_months_are_kept_once_they_are_whole_and_what_was_missed_later(settings: Settings) -> None:
    weeks = [date(2026, 2, 16), date(2026, 2, 23), date(2026, 3, 2)]
    cohorts = [(date(2026, 2, 1), 0), (date(2026, 2, 1), 1)]
    short = settings.model_copy(update={"retention_events_days": 7})
    with build_file.writing(settings) as warehouse:
        warehouse.execute("CREATE SCHEMA marts")
        warehouse.execute("CREATE TABLE marts.mart_item_week (week_start DATE)")
        warehouse.execute("CREATE TABLE marts.mart_cohort_retention (cohort_month DATE, month_n BIGINT)")
        warehouse.executemany("INSERT INTO marts.mart_item_week VALUES (?)", [[weeks[1]], [weeks[2]]])
        warehouse.executemany("INSERT INTO marts.mart_cohort_retention VALUES (?, ?)", cohorts)
    first = drop_events(short, clock=NOW)
    assert first is not None
    assert first.archived == {"mart_item_week": 1, "mart_cohort_retention": 1}
    with build_file.writing(settings) as warehouse:
        warehouse.execute("INSERT INTO marts.mart_item_week VALUES (?)", [weeks[0]])
    later = drop_events(short, clock=ManualClock(datetime(2026, 4, 10, tzinfo=UTC)))
    assert later is not None
    assert later.archived == {"mart_item_week": 2, "mart_cohort_retention": 1}
    with duckdb.connect() as reader:
        path = archive(settings.lake)["mart_item_week_archive"]
        assert reader.execute(f"FROM '{path}' ORDER BY 1").fetchall() == [(week,) for week in weeks]


def test_as_many_snapshots_are_kept_as_is_said(settings: Settings) -> None:
    for number in range(3):
        folder = settings.lake.published / f"2026010{number}T000000000000Z-abcdef00"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    settings.lake.current.symlink_to("20260102T000000000000Z-abcdef00")
    assert drop_snapshots(settings) == []
    assert len(drop_snapshots(settings.model_copy(update={"retention_snapshots": 1}))) == 2
    assert len(list(settings.lake.published.glob("*Z-*"))) == 1


@pytest.mark.parametrize("days", [0, 6])
def test_a_period_of_no_days_is_refused(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from matinee.errors import SettingsError

    monkeypatch.setenv("MATINEE_RETENTION_EVENTS_DAYS", str(days))
    with pytest.raises(SettingsError, match="MATINEE_RETENTION_EVENTS_DAYS"):
        Settings.load()
