import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest

from matinee.db.connect import connect
from warehouse import held
from warehouse.errors import WarehouseError
from warehouse.load import Batch, LandedFile, _Known, load_days, load_imports, plan, waiting_days


def test_plan_takes_what_is_new_day_by_day_and_leaves_out_what_is_held():
    states = {"c": "new", "b": "new", "a": "new", "done": "new", "bad": "held", "let": "accepted"}
    known = [_Known("d2" if path == "c" else "d1", LandedFile(path, 1), state) for path, state in states.items()]
    planned = list(plan(known, {"done"}, recheck=False))
    assert [(b.name, [f.path for f in b.files], b.trusted) for b in planned] == [
        ("d1", ["a", "b"], False),
        ("d1", ["let"], True),
        ("d2", ["c"], False),
    ]
    assert Batch("d1", (LandedFile("a", 1), LandedFile("b", 1), LandedFile("bad", 1))) in plan(
        known, {"done"}, recheck=True
    )


def test_loads_each_file_of_the_ledger_once(settings, landing, event, rows):
    first = landing.land([event(), event()])
    landing.land([event()], ledger=False)  # written, but the collector died before it was counted
    assert (load_days(settings).files, load_days(settings).files) == (1, 0)
    second = landing.land([event()])
    summary = load_days(settings)
    assert (summary.files, summary.rows) == (1, 1)
    loaded = rows(settings, "SELECT source_file, count(*) FROM raw.events GROUP BY 1 ORDER BY 1")
    assert loaded == [(first, 2), (second, 1)]
    assert rows(settings, "SELECT path, rows FROM raw.loaded_file ORDER BY 1") == loaded


def test_takes_the_days_that_were_asked_for(settings, landing, event, rows):
    for day in (1, 2, 3):
        at = datetime(2026, 3, day, 12, tzinfo=UTC)
        landing.land([event(at=at)], date(2026, 3, day))
    assert waiting_days(settings) == [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)]
    load_days(settings, [date(2026, 3, 1), date(2026, 3, 3)])
    assert waiting_days(settings) == [date(2026, 3, 2)]
    assert rows(settings, "SELECT DISTINCT CAST(event_ts AS DATE) FROM raw.events ORDER BY 1") == [
        (date(2026, 3, 1),),
        (date(2026, 3, 3),),
    ]


def test_touches_the_days_of_new_events_and_those_of_their_other_receipts(settings, landing, event, rows):
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    twice = event(at=noon, late_s=7200)
    landing.land([twice, event(at=noon - timedelta(days=5), origin="import")])
    load_days(settings)
    import duckdb

    with duckdb.connect(str(settings.lake.build_file)) as connection:
        connection.execute("DELETE FROM raw.touched_days")
    earlier_day = {**twice, "event_ts": noon - timedelta(days=1), "received_at": noon - timedelta(hours=20)}
    landing.land([earlier_day])
    load_days(settings)
    touched = rows(settings, "SELECT event_date FROM raw.touched_days ORDER BY 1")
    assert touched == [(date(2026, 3, 1),), (date(2026, 3, 2),)]


def test_a_bad_batch_is_held_whole_with_its_reason_and_the_rest_goes_on(settings, landing, event, rows):
    bad = landing.land([event(), event(played_ms=-5)])
    companion = landing.land([event()])
    next_day = landing.land([event(at=datetime(2026, 3, 3, 12, tzinfo=UTC))], date(2026, 3, 3))
    summary = load_days(settings)
    assert [result.batch for result in summary.held] == ["events/2026-03-02"]
    assert rows(settings, "SELECT path FROM raw.loaded_file") == [(next_day,)]
    with connect(settings) as connection:
        files = held.held(connection)
    assert [file.path for file in files] == [bad, companion]
    assert [(r["check"], r["column"], r["unexpected"], r["sample"]) for r in files[0].reasons] == [
        ("expect_column_values_to_be_between", "played_ms", 1, ["-5"])
    ]
    assert files[1].reasons == files[0].reasons


def test_held_files_wait_until_checked_again_or_accepted(settings, landing, event, rows):
    bad = landing.land([event(played_ms=-5)])
    load_days(settings)
    assert waiting_days(settings) == []
    good = landing.land([event()])
    assert load_days(settings).files == 1  # a later good file of the day is not held up
    assert load_days(settings, recheck=True).held[0].files == (bad,)
    with connect(settings) as connection:
        assert held.accept(connection, "events/2026-03-02", datetime.now(UTC)) == [bad]
    assert load_days(settings).files == 1
    assert rows(settings, "SELECT path FROM raw.loaded_file ORDER BY 1") == [(bad,), (good,)]
    with connect(settings) as connection:
        assert held.held(connection) == []
        with pytest.raises(WarehouseError, match="nothing is held"):
            held.accept(connection, "events/2026-03-02", datetime.now(UTC))


def test_imports_may_be_as_old_as_they_are(settings, landing, event, rows):
    at = datetime(1999, 1, 1, tzinfo=UTC)
    old = event(
        at=at, received_at=datetime(2026, 3, 2, tzinfo=UTC), origin="import", type="rate", title_id="t", rate_value=4.0
    )
    landing.land([old], stream="import:movielens")
    assert load_imports(settings).files == 1
    assert load_imports(settings).files == 0
    assert rows(settings, "SELECT event_date FROM raw.touched_days") == [(date(1999, 1, 1),)]


CRASH = """
import os, sys
import duckdb
from matinee.settings import Settings

class Dying:
    '''A connection whose process dies before its n-th statement after the raw tables are there.'''
    def __init__(self, real, left):
        self.real, self.left = real, left
    def _count(self):
        if self.left == 0:
            os._exit(9)
        self.left -= 1
    def execute(self, *args):
        self._count()
        return self.real.execute(*args)
    def executemany(self, *args):
        self._count()
        return self.real.executemany(*args)

from warehouse import load
from warehouse.gate import LandedFile
from warehouse.build_file import writing
home, steps, *paths = sys.argv[1:]
settings = Settings.load(home=home)
with writing(settings) as connection:
    load._insert(Dying(connection, int(steps)), settings.lake.root, [LandedFile(path, 2) for path in paths])
"""


def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(settings, landing, event, rows, tmp_path):
    """BEGIN, rows, touched days, ledger, COMMIT: the process dies before each of them in turn, and then does not."""
    path = landing.land([event(), event()])
    script = tmp_path / "crash.py"
    script.write_text(CRASH)
    for steps in range(5):
        died = subprocess.run(
            [sys.executable, script, settings.home.root, str(steps), path], capture_output=True, text=True
        )
        assert died.returncode == 9, died.stderr
        assert rows(settings, "SELECT (SELECT count(*) FROM raw.events), (SELECT count(*) FROM raw.loaded_file)") == [
            (0, 0)
        ]
    assert load_days(settings).rows == 2
    assert load_days(settings).rows == 0
    assert rows(settings, "SELECT count(*), count(DISTINCT event_id) FROM raw.events") == [(2, 2)]
