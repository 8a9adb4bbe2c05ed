"""One film and a few viewers through the whole graph, by the commands that a person types."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import httpx
import psycopg
import pytest

from matinee.settings import Settings
from simulation.catalogue import write_feed

MATINEE = Path(sys.executable).with_name("matinee")
TITLE = "film-glass-harbour"


def matinee(settings: Settings, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **settings.environment(), "COLUMNS": "160", **more}
    return subprocess.run([MATINEE, *words], env=env, capture_output=True, text=True, timeout=480)


def done(settings: Settings, *words: str, **more: str) -> str:
    finished = matinee(settings, *words, **more)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


async def home_page(settings: Settings, viewer: str) -> dict:
    """What this viewer is recommended, over HTTP with a token of `matinee token`."""
    from serving.app import create_app

    token = done(settings, "token", "--account", viewer).strip()
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://matinee") as client,
    ):
        answer = await client.get(
            "/api/recommendations",
            params={"profile_id": viewer, "surface": "home"},
            headers={"authorization": f"Bearer {token}"},
        )
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.timeout(900)
async def test_from_a_feed_and_a_film_to_recommendations(settings: Settings, clip: Path, tmp_path: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    titles = {title.id for title in write_feed(feed)}
    films = tmp_path / "films"
    films.mkdir()
    shutil.copy(clip, films / f"{TITLE}.mp4")
    assert TITLE in titles
    done(settings, "ingest", "catalog", str(feed))
    done(settings, "ingest", "masters", str(films))
    done(settings, "simulate", "--viewers", "80", "--days", "14", "--seed", "3", "--run", "small")

    shown = done(settings, "build")
    manifest = json.loads((settings.lake.current / "manifest.json").read_text())
    with duckdb.connect(str(settings.lake.current / "marts.duckdb"), read_only=True) as marts:
        counts = dict(marts.execute("SELECT kind, count(*) FROM fct_interaction GROUP BY kind").fetchall())
        playable = marts.execute("SELECT title_id FROM dim_title WHERE is_playable").fetchall()
        readouts = marts.execute("SELECT DISTINCT experiment FROM mart_experiment_result ORDER BY 1").fetchall()
    totals = json.loads(next(settings.lake.truth.glob("small/totals.json")).read_text())
    assert counts["view"] > 100
    assert playable == [(TITLE,)]
    assert len(readouts) == 2
    assert (settings.home.reports / "index.html").exists()
    assert (settings.home.reports / "dbt" / "index.html").exists()
    assert str(totals["plays"]) in done(
        settings, "sql", "select count(*) as plays from fct_playback_session where not is_bot"
    )
    assert manifest["snapshot_id"] in shown

    # A landed file that nobody can read is held back; what was published stays, and saying so is not a one-time thing.
    with psycopg.connect(settings.database()) as connection:
        connection.execute(
            "INSERT INTO landed_file (path, stream, first_id, last_id, rows, landed_on) "
            "VALUES ('landing/events/broken.parquet', 'events', '1-0', '2-0', 2, '2026-01-05')"
        )
    (settings.lake.landing_events / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    # Up to what publishes, and without the unit tests, which have passed on the same models above.
    to_published = 'key:"warehouse/events" or key:"transforms/int_events"+1 or key:"warehouse/snapshot"'
    for selection in (to_published, 'key:"warehouse/events"'):
        again = done(settings, "build", selection, DBT_EXCLUDE_RESOURCE_TYPES="unit_test")
        assert "warehouse/events: landing_gate" in again
        assert "matinee held list" in again
        assert json.loads((settings.lake.current / "manifest.json").read_text()) == manifest
    assert "broken.parquet" in done(settings, "held", "list")

    # Last, since a page that is asked for is an event of its own.
    with psycopg.connect(settings.database()) as connection:
        viewer = connection.execute("SELECT min(account_id) FROM account WHERE origin = 'simulate'").fetchone()
    assert viewer
    page = await home_page(settings, viewer[0])
    assert page["model"]["snapshot_id"] == manifest["snapshot_id"]
    assert not page["degraded"]
    assert {item["title_id"] for row in page["rows"] for item in row["items"]} == {TITLE}


def test_a_failing_asset_is_one_line_and_keeps_what_was_published(settings: Settings) -> None:
    from matinee.stack.session import services

    (settings.home.models / "before").mkdir(parents=True)
    (settings.home.models / "current").symlink_to("before")
    with services(settings):
        failed = matinee(settings, "build", 'key:"models/exported"')
    assert (settings.home.models / "current").readlink().name == "before", "what served goes on"
    assert failed.returncode == 1
    lines = failed.stderr.strip().splitlines()
    assert len(lines) == 1, failed.stderr
    assert "models__exported" in lines[0]
    assert "matinee build" in lines[0]
    assert "Traceback" not in failed.stderr
