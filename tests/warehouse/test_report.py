import json
import re

import polars as pl
import pytest

from matinee.lake import NoSnapshotError
from warehouse.publish import publish
from warehouse.report import write_report
from warehouse.report.pages import PAGES
from warehouse.report.site import _SQL


@pytest.fixture
def result_file(tmp_path):
    path = tmp_path / "result.parquet"
    pl.DataFrame(
        {
            "experiment": ["home_order", "home_order"],
            "metric": ["hours_per_account", "hours_per_play"],
            "method": ["mean", "ratio"],
            "n_control": [3, 3],
            "n_treatment": [3, 3],
            "relative": [0.123, None],
            "relative_low": [-0.05, None],
            "relative_high": [0.3, None],
            "srm_p_value": [0.9, 0.9],
        }
    ).write_parquet(path)
    return path


def told(folder, page, chart):
    """What a page holds for a chart: its rows, the specification in each language, its filters."""
    found = re.search(
        rf'id="{chart}".*?<script type="application/json">(.*?)</script>', (folder / page).read_text(), re.DOTALL
    )
    assert found, chart
    return json.loads(found[1].replace("<\\/", "</"))


def test_the_pages_show_the_marts_in_both_languages_and_need_no_network(copy_of_built, result_file, rows):
    made = publish(copy_of_built, {"mart_experiment_result": result_file})
    first = write_report(copy_of_built)
    folder = first.parent
    assert first == copy_of_built.home.reports / "index.html"
    assert {page.file for page in PAGES} | {"catalogue.html"} == {path.name for path in folder.glob("*.html")}
    for path in folder.glob("*.html"):
        text = path.read_text()
        assert made.snapshot_id in text
        assert not re.search(r'(src|href)="(https?:)?//', text), path
        shown = re.sub(r"<(svg|style|script).*?</\1>", "", text, flags=re.DOTALL)
        assert not re.search(r"\b(nan|None)\b", shown), path
    plays = rows(copy_of_built, "SELECT count(*) FROM marts.fct_playback_session WHERE NOT is_bot")[0][0]
    assert f"<b>{plays:,}</b>" in first.read_text()
    assert [row["relative"] for row in told(folder, "experiments.html", "experiments")["rows"]] == [0.123]
    hours = told(folder, "index.html", "hours_by_day")
    assert hours["specs"]["ru"]["encoding"]["y"]["title"] == "часы"
    assert hours["specs"]["en"]["encoding"]["y"]["title"] == "hours"


def test_every_chart_has_its_query_and_every_query_its_chart():
    charts = [chart for page in PAGES for chart in page.charts]
    assert {chart.query for chart in charts} | {"totals"} == set(_SQL)
    assert len({chart.name for chart in charts}) == len(charts)


def test_the_same_snapshot_makes_the_same_pages(copy_of_built):
    publish(copy_of_built)
    folder = write_report(copy_of_built).parent
    first = {path.name: path.read_bytes() for path in folder.glob("*.html")}
    write_report(copy_of_built)
    assert {path.name: path.read_bytes() for path in folder.glob("*.html")} == first


def test_the_catalogue_tells_of_metrics_and_tables_and_links_lead_to_the_dbt_docs(copy_of_built):
    publish(copy_of_built)
    folder = write_report(copy_of_built).parent
    assert "dbt/index.html" not in (folder / "index.html").read_text()
    (folder / "dbt").mkdir()
    (folder / "dbt" / "index.html").write_text("docs")
    write_report(copy_of_built)
    assert 'href="dbt/index.html"' in (folder / "index.html").read_text()
    catalogue = (folder / "catalogue.html").read_text()
    assert "gross_churn" in catalogue
    assert "mart_title_week" in catalogue


def test_a_title_that_would_end_the_script_does_not(copy_of_built, rows):
    import duckdb

    with duckdb.connect(str(copy_of_built.lake.build_file)) as warehouse:
        warehouse.execute("UPDATE marts.dim_title SET title = '</script><b>x</b>', title_en = NULL, title_ru = NULL")
    publish(copy_of_built)
    folder = write_report(copy_of_built).parent
    assert "</script><b>" not in (folder / "index.html").read_text()
    assert told(folder, "index.html", "top_items")["rows"][0]["title_en"] == "</script><b>x</b>"


def test_nothing_published_nothing_reported(copy_of_built):
    with pytest.raises(NoSnapshotError, match="matinee build"):
        write_report(copy_of_built)
    assert not (copy_of_built.home.reports / "index.html").exists()
