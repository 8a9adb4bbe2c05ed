import csv
import io

import pytest
from typer.testing import CliRunner

from matinee.lake import NoSnapshotError
from warehouse.commands import app
from warehouse.errors import WarehouseError
from warehouse.load import load_days
from warehouse.publish import publish


@pytest.fixture
def matinee(monkeypatch):
    def run(settings, *arguments):
        for name, value in settings.environment().items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, list(arguments))

    return run


def test_sql_prints_a_table_or_all_rows_as_csv(copy_of_built, matinee):
    made = publish(copy_of_built)
    shown = matinee(copy_of_built, "sql", "SELECT title_id, runtime_s FROM dim_title ORDER BY title_id")
    assert shown.exit_code == 0
    assert made.snapshot_id in shown.output
    query = "SELECT playback_id, started_at, item_id FROM fct_playback_session ORDER BY playback_id"
    found = list(csv.DictReader(io.StringIO(matinee(copy_of_built, "sql", query, "--csv").output)))
    assert len(found) == made.tables["fct_playback_session"].rows
    assert found[0]["playback_id"] == "b0-0"
    assert found[0]["started_at"].endswith("+00:00")


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT * FROM no_such_table", "DELETE FROM dim_title"])
def test_a_wrong_query_is_one_clear_line(copy_of_built, matinee, query):
    publish(copy_of_built)
    error = matinee(copy_of_built, "sql", query).exception
    assert isinstance(error, WarehouseError)
    assert "\n" not in str(error)
    assert "SHOW TABLES" in str(error)


def test_sql_before_the_first_build_says_what_to_do(copy_of_built, matinee):
    error = matinee(copy_of_built, "sql", "SELECT 1").exception
    assert isinstance(error, NoSnapshotError)


def test_held_batches_are_listed_accepted_and_checked_again(settings, landing, event, matinee):
    landing.land([event(stalls=-3)])
    load_days(settings)
    listed = matinee(settings, "held", "list").output
    assert "events/2026-03-02" in listed
    assert "stalls" in listed
    assert "1 batches stay held" in matinee(settings, "held", "recheck").output
    assert matinee(settings, "held", "accept", "events/2026-03-02").exit_code == 0
    assert load_days(settings).rows == 1
    assert "0 files" in matinee(settings, "held", "list").output


def test_report_says_where_it_is(copy_of_built, matinee):
    publish(copy_of_built)
    shown = matinee(copy_of_built, "report").output.replace("\n", "")
    assert str(copy_of_built.home.reports / "index.html") in shown
