"""What an operator sees in Dagster and in the terminal when a check fails."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from matinee.db.connect import connect
from matinee.settings import Settings
from matinee.stack.postgres import NEIGHBOURS, ensure_databases
from orchestration.build import BuildError, build
from orchestration.defs.warehouse.assets import _gate
from warehouse.held import hold

CHECK = dg.AssetCheckKey(
    dg.AssetKey(["transforms", "stg_events"]),
    "accepted_values_stg_events_event_type__"
    "impression__play__heartbeat__stop__error__rate__search__favourite__exposure",
)


@pytest.fixture
def home(settings: Settings) -> Iterator[Settings]:
    """A home in which Dagster can run; what that leaves in the environment goes with the test."""
    before = dict(os.environ)
    ensure_databases(settings)
    yield settings
    os.environ.clear()
    os.environ.update(before)
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        for name in NEIGHBOURS:
            database = urlsplit(settings.database(name)).path[1:]
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


def latest(check: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
    with dg.DagsterInstance.get() as instance:
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
        assert record.event
        assert record.event.dagster_event
        return record.event.dagster_event.asset_check_evaluation_data


def test_a_failed_test_shows_its_rows_and_stops_the_build(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestration.show import show_what_failed
    from warehouse import build_file

    with build_file.writing(home) as warehouse:
        warehouse.execute(
            "INSERT INTO raw.events (event_id, origin, type, received_at, event_ts, event_date, source_file) "
            "SELECT uuid(), 'live', 'dance', now(), now(), CAST(now() AS DATE), 'f' FROM range(7)"
        )
    with pytest.raises(BuildError, match=r"^transforms failed: .*event_type.* \(1 rows\)") as raised:
        build(home, 'key:"transforms/stg_events"')
    show_what_failed(home, raised.value)
    assert "dance" in capsys.readouterr().out
    evaluation = latest(CHECK)
    assert not evaluation.passed
    assert evaluation.metadata["rows"].value == 1
    assert evaluation.metadata["first rows"].value == "| value_field | n_records |\n| --- | --- |\n| dance | 7 |"


def test_the_gate_says_which_batch_which_expectation_and_which_values(settings: Settings) -> None:
    reasons = [
        {"check": "expect_column_values_to_be_in_set", "column": "type", "unexpected": 7, "sample": ["dance", "a|b"]}
    ]
    with connect(settings) as connection:
        path = "landing/events/date=2026-03-02/part-1-2.parquet"
        connection.execute(
            "INSERT INTO landed_file (path, stream, first_id, last_id, rows, landed_on) "
            "VALUES (%s, 'events', '1', '2', 9, '2026-03-02')",
            (path,),
        )
        hold(connection, "events/2026-03-02", [path], reasons, datetime(2026, 3, 2, tzinfo=UTC))
    check = _gate(settings, imports=False)
    assert not check.passed
    (found,) = check.metadata["found"].value
    assert (found["batch"], found["expectation"], found["column"], found["wrong"], found["values"]) == (
        "events/2026-03-02", "expect_column_values_to_be_in_set", "type", 7, "dance, a|b",
    )  # fmt: skip
    assert "dance, a\\|b |" in str(check.metadata["reasons"].value)
    assert _gate(settings, imports=True).passed
