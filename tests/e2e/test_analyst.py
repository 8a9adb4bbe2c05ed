"""An analyst's day: the report in a browser, and a notebook for each family of marts, on a simulated month."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest.catalog import ingest_feed
from ingest.collector import drain
from matinee.db.connect import connect
from matinee.settings import Settings
from models.experiments.readout import RESULT_FILE, readout
from simulation.catalogue import write_feed
from simulation.parameters import Plan
from simulation.viewers import simulate
from warehouse import dbt
from warehouse.export import export_tables
from warehouse.load import load_days
from warehouse.publish import publish
from warehouse.report import write_report
from warehouse.report.pages import PAGES

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# What each notebook says at least, when it has run to its end.
SAYS = {
    "viewing": ("half of them are finished by", "plays counted in visits"),
    "quality": ("of the time watched",),
    "subscribers": ("opening and movements make the closing in each",),
    "intake": ("came more than an hour late",),
    "experiments": ("home_order: ", "hours an account"),
}


@pytest.fixture(scope="module")
def home(own_home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Sixty viewers for three weeks, with the experiments' results, published."""
    settings, feed = own_home, tmp_path_factory.mktemp("analyst") / "feed.jsonl"
    write_feed(feed)
    with connect(settings) as connection:
        ingest_feed(connection, feed)
    simulate(settings, Plan(end=date(2026, 11, 1), viewers=60, days=21, seed=3))
    drain(settings)
    assert load_days(settings).held == ()
    export_tables(settings)
    built = dbt.build(settings, unit_tests=False)
    assert built.success, built.failed
    readout(settings)
    publish(settings, {"mart_experiment_result": settings.lake.root / RESULT_FILE})
    return settings


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


def test_every_notebook_is_run_somewhere() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SAYS) | {"recommendations"}
