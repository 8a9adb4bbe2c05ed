import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from matinee.db.connect import connect
from warehouse import build_file, held
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


@pytest.fixture
def forget_touched(settings):
    def forget():
        import duckdb

        with duckdb.connect(str(settings.lake.build_file)) as connection:
            connection.execute("DELETE FROM raw.touched_days")

    return forget


def test_touches_the_days_of_new_events_and_those_of_their_later_receipts(
    settings, landing, event, rows, forget_touched
):
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    twice = event(at=noon, late_s=7200)
    landing.land([twice, event(at=noon - timedelta(days=5), origin="import")])
    load_days(settings)
    forget_touched()
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


def test_only_receipts_that_the_new_rows_come_before_are_touched(settings, landing, event, rows, forget_touched):
    """A repetition, also with another payload on another day, changes nothing where the first receipt stood."""
    first = event(at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    landing.land([first, event(at=datetime(2026, 2, 28, 12, tzinfo=UTC))], date(2026, 3, 1))
    load_days(settings)
    forget_touched()
    received = datetime(2026, 3, 4, 9, tzinfo=UTC)
    again = {**first, "event_ts": received - timedelta(days=1), "received_at": received, "fingerprint": "e" * 64}
    landing.land([again, event(at=received - timedelta(hours=50), received_at=received)], date(2026, 3, 4))
    load_days(settings)
    assert rows(settings, "SELECT event_date FROM raw.touched_days ORDER BY 1") == [
        (date(2026, 3, 2),),  # late by two days
        (date(2026, 3, 3),),  # where the repetition says that it happened
    ]


def test_files_that_are_cut_short_damaged_or_gone_are_held_and_the_rest_goes_on(settings, landing, event, rows):
    days = [date(2026, 3, day) for day in (1, 2, 3, 4)]
    cut, gone, damaged, good = [landing.land([event() for _ in range(2000)], day) for day in days]
    whole = (settings.lake.root / cut).read_bytes()
    (settings.lake.root / cut).write_bytes(whole[: len(whole) // 2])
    (settings.lake.root / gone).unlink()
    _damage(settings.lake.root / damaged, "fingerprint")  # a column that the gate does not look at
    summary = load_days(settings)
    assert [result.batch for result in summary.held] == [f"events/{day}" for day in days[:3]]
    assert [result.batch for result in summary.results] == [f"events/{day}" for day in days]
    assert rows(settings, "SELECT path, rows FROM raw.loaded_file") == [(good, 2000)]
    assert rows(settings, "SELECT count(*), count(DISTINCT source_file) FROM raw.events") == [(2000, 1)]
    with connect(settings) as connection:
        reasons = {file.path: file.reasons for file in held.held(connection)}
    assert {path: found[0]["check"] for path, found in reasons.items()} == dict.fromkeys(
        (cut, gone, damaged), "file_is_readable"
    )
    assert all(path in found[0]["sample"][0] for path, found in reasons.items())
    (settings.lake.root / cut).write_bytes(whole)
    assert load_days(settings, recheck=True).files == 1


def _damage(path, column):
    """Zeros over the pages of a column; the footer stays."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as parquet:
        group = parquet.metadata.row_group(0)
        names = [group.column(i).path_in_schema for i in range(group.num_columns)]
        chunk = group.column(names.index(column))
        start, length = chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(length))


# Forks for every point, so that imports are paid once. What dies is the real program: these wrappers only
# count its steps, across PostgreSQL and DuckDB, and send the signal before one of them.
CRASH = """
import os, signal, sys
import duckdb, psycopg, pyarrow.parquet  # before the forks
from matinee.settings import Settings
from warehouse import build_file, gate, held, load

left = 0

def step(function):
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*args, **kwargs)
    return counted

class Counted:
    def __init__(self, real):
        self.real = real
        self.execute, self.executemany = step(real.execute), step(real.executemany)

for module, name in ((gate, "check_batches"), (held, "hold"), (held, "release"), (load, "_insert_files")):
    setattr(module, name, step(getattr(module, name)))
inner = load._insert_files
load._insert_files = lambda warehouse, *rest: inner(Counted(warehouse), *rest)

settings = Settings.load(home=sys.argv[1])
for line in sys.stdin:
    child = os.fork()
    if not child:
        left = int(line)
        load.load_days(settings)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
"""


def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(settings, landing, event, rows, tmp_path):
    """A batch that is held and one that a person accepted: killed before each step in turn, in both databases."""
    script = tmp_path / "crash.py"
    script.write_text(CRASH)
    bad = "landing/events/date=2026-03-01/never-written.parquet"
    landing.note(bad, 3, date(2026, 3, 1))
    accepted = [landing.land([event(at=at), event(at=at)], at.date()) for at in [datetime(2026, 3, 2, tzinfo=UTC)] * 2]
    files = [(path,) for path in accepted]
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    with connect(settings, autocommit=True) as ledger, subprocess.Popen(
        [sys.executable, script, settings.home.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    ) as child:  # fmt: skip
        assert child.stdin
        assert child.stdout
        steps, died = -1, -signal.SIGKILL
        while died:
            steps += 1
            with build_file.writing(settings) as warehouse:
                for table in ("events", "loaded_file", "touched_days"):
                    warehouse.execute(f"DELETE FROM raw.{table}")
            ledger.execute("DELETE FROM held_file")
            held.hold(ledger, "events/2026-03-02", accepted, [], datetime.now(UTC))
            held.accept(ledger, "events/2026-03-02", datetime.now(UTC))
            child.stdin.write(f"{steps}\n")
            child.stdin.flush()
            died = int(child.stdout.readline())
            inside = rows(settings, "SELECT path FROM raw.loaded_file ORDER BY 1")
            assert inside in ([], files), steps
            assert rows(settings, "SELECT DISTINCT source_file FROM raw.events ORDER BY 1") == inside
            assert len(rows(settings, "SELECT DISTINCT event_date FROM raw.touched_days")) == len(inside) / 2
            load_days(settings)
            assert rows(settings, "SELECT path, rows FROM raw.loaded_file ORDER BY 1") == [
                (path, 2) for path in accepted
            ]
            assert rows(settings, "SELECT count(*), count(DISTINCT event_id) FROM raw.events") == [(4, 4)]
            assert [(file.path, file.state) for file in held.held(ledger)] == [(bad, "held")]
            assert died in (0, -signal.SIGKILL)
        child.stdin.close()
    assert steps == 10  # gate, hold, insert: BEGIN, rows, oldest, touch, ledger, COMMIT; release
