"""What an increment may touch, and that it ends where a full refresh does."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from warehouse import dbt
from warehouse.export import export_tables
from warehouse.load import load_days

BUILT = (
    "intermediate.int_event_repeated",
    "intermediate.int_events",
    "intermediate.int_playback_session",
    "intermediate.int_session_slice",
    "marts.fct_session",
    "marts.fct_playback_minute",
)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def run_incremental(settings, *flags):
    result = dbt.run(settings, ["run", *flags, "--select", "+config.materialized:incremental"])
    assert result.success, result.failed


def mark(settings):
    """Mark every row, so that those that are built anew are known by having no mark."""
    with duckdb.connect(str(settings.lake.build_file)) as connection:
        for name in ("int_event_repeated", "int_playback_session"):
            connection.execute(f"UPDATE intermediate.{name} SET device = 'untouched'")


@pytest.mark.parametrize(("seed", "days"), [(7, 3), pytest.param(11, 5, marks=pytest.mark.slow)])
def test_an_increment_is_a_full_refresh_row_for_row(settings, landing, viewing, add_catalogue, rows, seed, days):
    """Days come in the wrong order, repetitions reach into other days, and nothing of it shows."""
    add_catalogue(settings)
    export_tables(settings)
    received = viewing(seed=seed, days=days)
    for day in sorted(received, key=lambda d: (d.day % 2, d)):
        landing.land(received[day], day)
        load_days(settings)
        run_incremental(settings)
    queries = [f"SELECT * FROM {name} ORDER BY ALL" for name in BUILT]
    incremental = [rows(settings, query) for query in queries]
    assert len(incremental[1]) == rows(settings, "SELECT count(DISTINCT event_id) FROM raw.events")[0][0]
    assert rows(settings, "SELECT count(*) FROM raw.touched_days") == [(0,)]
    run_incremental(settings, "--full-refresh")
    assert [rows(settings, query) for query in queries] == incremental


def test_late_events_touch_only_their_days(settings, landing, viewing, event, rows):
    for day, batch in viewing(seed=3, days=3).items():
        landing.land(batch, day)
    load_days(settings)
    run_incremental(settings)
    mark(settings)
    late = event(at=datetime(2026, 3, 1, 12, tzinfo=UTC), playback_id="late", title_id="t1", late_s=2 * 86_400)
    landing.land([late], date(2026, 3, 3))
    load_days(settings)
    run_incremental(settings)
    days = rows(settings, "SELECT DISTINCT event_date, device FROM intermediate.int_event_repeated ORDER BY ALL")
    assert days == [(date(2026, 3, 1), None), (date(2026, 3, 2), "untouched"), (date(2026, 3, 3), "untouched")]
    first_day = "event_date = DATE '2026-03-01' AND playback_id IS NOT NULL"
    of_that_day = f"SELECT playback_id FROM intermediate.int_events WHERE {first_day}"
    rebuilt = "SELECT playback_id FROM intermediate.int_playback_session WHERE device IS DISTINCT FROM 'untouched'"
    assert sorted(rows(settings, rebuilt)) == sorted(set(rows(settings, of_that_day)))


def test_the_first_receipt_wins_across_days_and_what_it_replaces_goes(settings, landing, event, rows):
    """The later receipt is loaded first, with another payload on another day; then the earlier one turns up."""
    later = event(at=NOON, late_s=5, playback_id="wrong", title_id="t1", played_ms=9)
    alone_on_its_day = event(at=NOON + timedelta(days=3), late_s=5, playback_id="q", title_id="t1")
    landing.land([later, alone_on_its_day])
    load_days(settings)
    run_incremental(settings)
    assert rows(settings, "SELECT playback_id FROM intermediate.int_playback_session ORDER BY 1") == [
        ("q",),
        ("wrong",),
    ]
    earlier = {
        **later,
        "event_ts": NOON - timedelta(days=1),
        "received_at": NOON - timedelta(hours=23),
        "playback_id": "right",
    }
    landing.land([earlier])
    load_days(settings)
    run_incremental(settings)
    assert rows(settings, "SELECT event_date, playback_id FROM intermediate.int_events ORDER BY 1") == [
        (date(2026, 3, 1), "right"),
        (date(2026, 3, 5), "q"),
    ]
    assert rows(settings, "SELECT playback_id FROM intermediate.int_playback_session ORDER BY 1") == [
        ("q",),
        ("right",),
    ]
    landing.land([{**later, "received_at": NOON + timedelta(hours=1)}])
    load_days(settings)
    run_incremental(settings)
    assert rows(settings, "SELECT playback_id FROM intermediate.int_playback_session ORDER BY 1") == [
        ("q",),
        ("right",),
    ]


def test_touched_days_stay_until_all_incremental_models_are_built(settings, landing, event, rows):
    landing.land([event(at=NOON, playback_id="p", title_id="t1")])
    load_days(settings)
    assert dbt.run(settings, ["run", "--select", "+int_event_repeated"]).success
    assert rows(settings, "SELECT event_date FROM raw.touched_days") == [(date(2026, 3, 2),)]
    run_incremental(settings)
    assert rows(settings, "SELECT event_date FROM raw.touched_days") == []
