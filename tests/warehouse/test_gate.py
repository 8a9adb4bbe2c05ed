import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse.gate import LandedFile, check, check_batches

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def failed(result):
    return {(c.check, c.column) for c in result.checks if not c.success}


def test_a_good_batch_passes_and_its_result_is_kept(settings, landing, event, tmp_path):
    path = landing.land([event(), event(at=NOW, late_s=3 * 86_400 - 1), event(type="play", played_ms=0)])
    result = check(settings.lake.root, "events/2026-03-02", [LandedFile(path, 3)], tmp_path)
    assert result.success
    assert result.report is not None
    kept = json.loads(result.report.read_text())
    assert kept["success"]
    assert len(kept["validation"]["results"]) == len(result.checks) - 3


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"event_id": "not-a-uuid"}, "event_id"),
        ({"schema": "viewer-event/2.0"}, "schema"),
        ({"type": "dance"}, "type"),
        ({"origin": "elsewhere"}, "origin"),
        ({"stalls": -1}, "stalls"),
        ({"at": NOW, "late_s": 4 * 86_400}, "lateness_s"),
        ({"at": NOW, "late_s": -3600}, "lateness_s"),
    ],
)
def test_each_column_that_matters_is_looked_at(settings, landing, event, fields, column):
    path = landing.land([event(), event(**fields)])
    result = check(settings.lake.root, "b", [LandedFile(path, 2)])
    assert {name for _, name in failed(result)} == {column}
    broken = next(c for c in result.checks if not c.success)
    assert broken.unexpected == 1
    assert len(broken.sample) == 1


def test_batches_are_judged_each_by_itself_and_counted_whole(settings, landing, event):
    root = settings.lake.root
    good = landing.land([event(), event(type="play", played_ms=5)])
    bad = landing.land([event(stalls=-n) for n in range(1, 8)] + [event(), event(event_id="a"), event(event_id="b")])
    holey = landing.land([event(seq=1), event(seq=2), event(seq=3)])
    table = pq.read_table(root / holey)
    seq = pa.array([1, None, 3], pa.int64())
    pq.write_table(table.set_column(table.column_names.index("seq"), "seq", seq), root / holey)
    batches = [
        ("good", [LandedFile(good, 2)]),
        ("bad", [LandedFile(bad, 10)]),
        ("gone", [LandedFile("landing/gone.parquet", 1)]),
        ("holey and good", [LandedFile(holey, 3), LandedFile(good, 2)]),
    ]
    results = check_batches(root, batches)
    assert [result.batch for result in results] == [name for name, _ in batches]
    assert [len(result.checks) for result in results] == [len(results[0].checks)] * 2 + [3, len(results[0].checks)]
    told = [
        {c.column: (c.unexpected, c.sample if c.column else ()) for c in result.checks if not c.success}
        for result in results
    ]
    stalls = ("-1", "-2", "-3", "-4", "-5")
    assert told == [
        {},
        {"stalls": (7, stalls), "event_id": (2, ("a", "b"))},
        {None: (1, ())},
        {"seq": (1, ("None",))},
    ]


def test_imports_have_no_lateness_rule(settings, landing, event):
    old = event(at=NOW - timedelta(days=9000), received_at=NOW, origin="import")
    path = landing.land([old])
    assert check(settings.lake.root, "b", [LandedFile(path, 1)]).success


def test_an_older_file_lacks_a_column_that_may_be_empty(settings, landing, event):
    path = landing.land([event(), event()])
    whole = pq.read_table(settings.lake.root / path)
    pq.write_table(whole.drop_columns(["bot"]), settings.lake.root / path)
    assert check(settings.lake.root, "b", [LandedFile(path, 2)]).success
    pq.write_table(whole.drop_columns(["seq"]), settings.lake.root / path)
    assert failed(check(settings.lake.root, "b", [LandedFile(path, 2)])) == {("schema_is_landed_event", None)}


def test_files_that_are_not_what_the_ledger_says(settings, landing, event):
    root = settings.lake.root
    short = landing.land([event()])
    torn = landing.land([event()])
    (root / torn).write_bytes((root / torn).read_bytes()[:100])
    foreign = landing.land([event()])
    pq.write_table(pa.table({"event_id": ["x"]}), root / foreign)
    ledger = [LandedFile(short, 2), LandedFile(torn, 1), LandedFile("landing/gone.parquet", 1), LandedFile(foreign, 1)]
    result = check(root, "b", ledger)
    assert {c.check: c.unexpected for c in result.checks} == {
        "file_is_readable": 2,
        "schema_is_landed_event": 1,
        "rows_match_ledger": 1,
    }
