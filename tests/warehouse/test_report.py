import re

import polars as pl
import pytest

from matinee.lake import NoSnapshotError
from warehouse.publish import publish
from warehouse.report import write_report


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


def test_the_page_shows_the_marts_in_both_languages_and_needs_no_network(copy_of_built, result_file, rows):
    made = publish(copy_of_built, {"mart_experiment_result": result_file})
    page = write_report(copy_of_built)
    text = page.read_text()
    assert page == copy_of_built.home.reports / "index.html"
    assert made.snapshot_id in text
    plays = rows(copy_of_built, "SELECT count(*) FROM marts.fct_playback_session")[0][0]
    assert f"<b>{plays}</b>" in text
    assert "+12.3%" in text
    assert "Лучшее за неделю" in text
    assert "Top titles" in text
    assert text.count("<svg") == 5  # days and titles in two languages, intervals
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert not re.search(r"\b(nan|None|null)\b", re.sub(r"<(svg|style|script).*?</\1>", "", text, flags=re.DOTALL))


def test_the_same_snapshot_makes_the_same_page(copy_of_built):
    publish(copy_of_built)
    first = write_report(copy_of_built).read_bytes()
    assert write_report(copy_of_built).read_bytes() == first


def test_the_page_links_to_the_dbt_docs_where_they_are(copy_of_built):
    publish(copy_of_built)
    assert "dbt/index.html" not in write_report(copy_of_built).read_text()
    docs = copy_of_built.home.reports / "dbt" / "index.html"
    docs.parent.mkdir()
    docs.write_text("docs")
    assert 'href="dbt/index.html"' in write_report(copy_of_built).read_text()


def test_nothing_published_nothing_reported(copy_of_built):
    with pytest.raises(NoSnapshotError, match="matinee build"):
        write_report(copy_of_built)
    assert not (copy_of_built.home.reports / "index.html").exists()
