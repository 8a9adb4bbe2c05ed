"""An analyst's day: the report in a browser, and a notebook for each family of marts, on a simulated month."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.range import Range

from ingest.catalog import ingest_feed
from ingest.collector import drain
from matinee.db.connect import connect
from matinee.settings import Settings
from models.experiments.readout import RESULT_FILE, readout
from serving.billing.adopt import adopt
from serving.billing.invoices.core import issue
from serving.billing.invoices.lines import Draft, Line
from simulation.catalogue import write_feed
from simulation.parameters import Plan
from simulation.viewers import simulate
from warehouse import dbt
from warehouse.export import export_tables
from warehouse.load import load_days
from warehouse.publish import publish
from warehouse.report import write_report
from warehouse.report.pages import PAGES

END = datetime(2026, 11, 1, tzinfo=UTC)
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# What each notebook says at least, when it has run to its end.
SAYS = {
    "viewing": ("half of them are finished by", "plays counted in visits"),
    "quality": ("of the time watched",),
    "subscribers": ("opening and movements make the closing in each", "the ledgers sum to nothing and revenue is"),
    "intake": ("came more than an hour late",),
    "experiments": ("home_order: ", "hours an account"),
    "training_set": ("impressions, ", "area under the curve on the last fifth", "the beginning of the later set: True"),
}


@pytest.fixture(scope="module")
def home(own_home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Sixty viewers for three weeks, their payments and the experiments' results, published."""
    settings, feed = own_home, tmp_path_factory.mktemp("analyst") / "feed.jsonl"
    write_feed(feed)
    with connect(settings) as connection:
        ingest_feed(connection, feed)
    simulate(settings, Plan(end=date(2026, 11, 1), viewers=60, days=21, seed=3))
    with connect(settings) as connection:
        assert adopt(connection, END).invoices > 10
    asyncio.run(_half_off(settings))
    drain(settings)
    assert load_days(settings).held == ()
    export_tables(settings)
    built = dbt.build(settings, unit_tests=False)
    assert built.success, built.failed
    readout(settings)
    publish(settings, {"mart_experiment_result": settings.lake.root / RESULT_FILE})
    return settings


async def _half_off(settings: Settings) -> None:
    """A year at half the price in each currency: of codes the simulator knows nothing."""
    lines = (Line("plan", 9_990, plan_id="basic", months=12), Line("discount", -4_995, plan_id="basic"))
    year = Range(END, END.replace(year=2027))
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        await connection.execute("INSERT INTO customer VALUES ('c', NULL, %s)", (END,))
        found = await connection.execute("SELECT DISTINCT currency FROM invoice")
        for (currency,) in await found.fetchall():
            await issue(connection, "c", Draft("subscription", "start", currency, lines, period=year), END)


@pytest.mark.browser
def test_the_report_opens_from_disk_and_shows_every_chart_in_both_languages(
    home: Settings, page: Any, tmp_path: Path
) -> None:
    folder = write_report(home).parent
    for shown in PAGES:
        page.goto((folder / shown.file).as_uri())
        for language in ("ru", "en"):
            page.click(f"button[value={language}]")
            page.wait_for_function(f"document.documentElement.dataset.drawn === '{language}'")
            for chart in shown.charts:
                drawn = page.locator(
                    f"#{chart.name} .chart svg [class*='mark-'] path:not([d='']), #{chart.name} .mark-rule line"
                )
                assert drawn.count() > 0, (shown.name, chart.name, language)
            assert page.locator("h1").inner_text() == shown.title.said(language)
            picture = tmp_path / f"{shown.name}-{language}.png"
            page.screenshot(path=picture, full_page=True)
            assert picture.stat().st_size > 20_000, "a page without ink"
    page.goto((folder / "catalogue.html").as_uri())
    assert page.locator("td", has_text="gross_churn").count() > 0
    assert page.problems == []


@pytest.mark.browser
def test_a_filter_of_the_page_changes_what_its_charts_show(home: Settings, page: Any) -> None:
    page.goto((write_report(home).parent / "quality.html").as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn")
    lines = page.locator("#bitrate .mark-line path")
    devices = lines.count()
    assert devices > 1
    page.select_option("select[data-field=device]", "tv")
    page.wait_for_function("document.querySelectorAll('#bitrate .mark-line path').length === 1")
    assert page.locator("#bitrate .mark-line path").count() == 1


@pytest.mark.parametrize("name", SAYS)
def test_a_notebook_runs_to_its_end_and_says_what_it_should(
    home: Settings, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("MATINEE_HOME", str(home.home.root))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    done = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    said = "".join(str(cell.get("outputs", "")) for cell in done.cells)
    assert all(words in said for words in SAYS[name]), said


def test_what_came_live_says_the_same_as_the_build(home: Settings) -> None:
    """Every landed event through the worker; what it holds may come in any order, and twice."""
    import random

    import duckdb
    import polars as pl
    import redis

    from features import live, seed
    from features.catalogue import read_catalogue
    from features.keys import DONE, HISTORY, PLAYS, POSITION
    from features.views import EVENT_TIMESTAMP, pushed
    from serving.recommendations import worker

    client = redis.Redis.from_url(home.redis())
    client.set(POSITION, "0-0")
    assert worker.drain(home).events > 1_000
    with connect(home) as connection:
        catalogue = read_catalogue(connection)
    built = {
        viewer.profile_key: viewer for chunk in seed._built(home.lake.current / "marts.duckdb") for viewer in chunk
    }
    with duckdb.connect(str(home.lake.build_file), read_only=True) as lake:
        # Of events with one id and different content the build takes the first, which nothing remembers live.
        asked = "SELECT DISTINCT profile_key FROM intermediate.int_event_repeated WHERE is_conflict"
        for (key,) in lake.execute(asked).fetchall():
            built.pop(key, None)
    states = {key: live.state_of(client.hgetall(PLAYS + key)) for key in built}
    for key, viewer in built.items():
        assert dict(client.zrange(HISTORY + key, 0, -1, withscores=True)) == pytest.approx(
            {item.encode(): moment for item, moment in viewer.liked.items()}
        )
        assert {item.decode() for item in client.smembers(DONE + key)} == viewer.done
        again, other = live.state_of({}), list(states[key].items()) * 2
        random.Random(key).shuffle(other)
        for name, entry in other:
            again[name] = live.merged(again[name], entry) if name in again else entry
        assert again == states[key]
    client.close()
    compared = 0
    for view in pushed():
        newest = pl.read_parquet(home.lake.current / "marts" / f"{view.mart}.parquet").sort(EVENT_TIMESTAMP)
        newest = newest.filter(newest["profile_key"].is_in(list(built)))
        for row in newest.group_by("profile_key").last().iter_rows(named=True):
            made = live.rows(row["profile_key"], states[row["profile_key"]], catalogue)[view.name]
            assert made is not None
            assert {name: made[name] for name in view.names} == pytest.approx(
                {name: row[name] for name in view.names}, abs=1e-9
            )
            assert (row[EVENT_TIMESTAMP] - made[EVENT_TIMESTAMP]).days == 0, "of that day"
            compared += 1
    assert compared > 60


def test_a_training_set_of_an_earlier_moment_is_the_beginning_of_a_later_one(home: Settings) -> None:
    import polars as pl
    from polars.testing import assert_frame_equal

    import features

    whole = features.training_set(home)
    as_of = whole["event_timestamp"].sort()[len(whole) // 2].replace(hour=0, minute=0, second=0, microsecond=0)
    assert as_of < whole["event_timestamp"].max()
    before = features.training_set(home, as_of=as_of)
    assert 0 < len(before) < len(whole)
    assert_frame_equal(before, whole.filter(pl.col("event_timestamp") <= as_of - features.training.WINDOW))
    assert before["is_played"].any()
    assert before["profile_activity__plays_7d"].is_not_null().any()


def test_every_notebook_is_run_somewhere() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SAYS) | {"promotion", "recommendations"}
