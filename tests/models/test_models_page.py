"""MLflow's pages in a browser: what a person sees of the champion's run."""

from pathlib import Path
from typing import Any

import pytest

from matinee.settings import Settings
from models.recommenders import registry

PICTURES = ("comparison.png", "coverage_accuracy.png")


@pytest.mark.browser
def test_the_run_of_a_version_shows_metrics_pictures_card_and_gate(
    two_versions: Settings, mlflow_server: str, page: Any, tmp_path: Path
) -> None:
    version = registry.by_version(two_versions, "2")
    measured = registry.recorded(two_versions, version)
    run = registry.client(two_versions).get_run(version.run_id)
    address = f"{mlflow_server}/#/experiments/{run.info.experiment_id}/runs/{version.run_id}"

    page.goto(address)
    page.get_by_text("knn on s2").first.wait_for()
    page.get_by_text("ndcg_at_10", exact=True).first.wait_for()
    page.screenshot(path=tmp_path / "run.png", full_page=True)
    shown = page.inner_text("body")
    assert "against_baseline" in shown
    assert str(round(measured["ndcg_at_10"], 4))[:5] in shown

    page.goto(f"{address}/artifacts/model_card.md")
    page.get_by_text("How it was judged").wait_for()
    page.screenshot(path=tmp_path / "card.png", full_page=True)
    card = page.inner_text("body")
    assert version.tags["verdict"] in " ".join(card.split())
    assert "snapshot s2" in card.replace("`", "")

    for name in PICTURES:
        page.get_by_text(name, exact=True).first.click()
        page.get_by_role("heading", name=name).or_(page.locator(f"[title='{name}']")).first.wait_for()
        page.wait_for_function("[...document.images].some(image => image.naturalWidth > 600)")
        page.screenshot(path=tmp_path / name, full_page=True)
    assert (tmp_path / "run.png").stat().st_size > 20_000, "a page without ink"
