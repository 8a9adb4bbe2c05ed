import json
from datetime import UTC, datetime, timedelta

import pytest
import redis
from typer.testing import CliRunner

from matinee.clock import ManualClock
from matinee.db.connect import connect
from matinee.settings import Settings
from simulation.commands import app, run_plan


@pytest.fixture
def catalogue(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    with connect(settings) as connection:
        for number in range(6):
            connection.execute(
                "INSERT INTO title (title_id, kind, runtime_s, maturity, genres) "
                "VALUES (%s, 'film', 1200, 12, '{drama}')",
                (f"film-{number}",),
            )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return settings


def test_the_command_sends_events_and_says_what_it_made(catalogue: Settings) -> None:
    words = ["--viewers", "20", "--days", "4", "--seed", "3", "--end", "2026-11-01", "--run", "typed"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    manifest = json.loads((catalogue.lake.truth / "typed" / "manifest.json").read_text())
    assert manifest["parameters"]["viewers"] == 20
    totals = json.loads((catalogue.lake.truth / "typed" / "totals.json").read_text())
    assert redis.Redis.from_url(catalogue.events()).xlen("events") == totals["sent"]
    for said in ("typed", f"{totals['sent']:,}".replace(",", ""), "home_order", "matinee drain"):
        assert said in done.output.replace(",", ""), said


def test_by_default_it_ends_at_the_last_midnight(catalogue: Settings) -> None:
    clock = ManualClock(datetime(2026, 6, 10, 15, 30, tzinfo=UTC))
    done = run_plan(catalogue, clock, viewers=5, days=3, seed=1, end=None, events=None, run=None)
    parameters = json.loads((done.truth / "manifest.json").read_text())["parameters"]
    assert parameters["end"] == "2026-06-10"


def test_viewers_follow_from_the_number_of_events_wanted(catalogue: Settings) -> None:
    clock = ManualClock(datetime(2026, 6, 10, tzinfo=UTC) + timedelta(hours=1))
    done = run_plan(catalogue, clock, viewers=5, days=5, seed=1, end=None, events=12_000, run=None)
    assert 0.7 < done.sent / 12_000 < 1.3


def test_wrong_usage_exits_with_2(catalogue: Settings) -> None:
    assert CliRunner().invoke(app, ["--end", "yesterday"]).exit_code == 2
