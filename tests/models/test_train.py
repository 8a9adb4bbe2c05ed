"""Training on a snapshot: a table with intervals, a promotion or a refusal with its reason, nothing fitted twice."""

import json
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from matinee.lake import NoSnapshotError
from matinee.settings import Settings
from models.recommenders import registry
from models.recommenders.train import train
from models.recommenders.trial import Plan
from models.recommenders.zoo import RECENT


def test_a_model_that_beats_recent_popularity_becomes_champion(tracked: Settings, make) -> None:
    make.publish(tracked, make.ring(60), make.chains(150, 60))
    result = train(tracked)
    assert result.promoted, result.verdict
    assert result.verdict.startswith("promoted: ")
    assert result.winner not in RECENT
    champion = registry.by_alias(tracked, "champion")
    assert champion is not None
    assert champion.version == result.version == "1"
    (version,) = registry.versions(tracked)
    assert version.aliases == ("champion",)
    assert version.tags["snapshot_id"] == "s1"
    assert version.tags["data_hash"] == "hash-s1"
    assert {"git_sha", "feature_service", "verdict"} <= set(version.tags)
    api = registry.client(tracked)
    files = {file.path for file in api.list_artifacts(result.run_id)}
    wanted = {"model_card.md", "golden.json", "recipe.json", "gate.md", "gate.json", "metrics.csv", "segments.csv"}
    assert {*wanted, "comparison.png", "coverage_accuracy.png", "tables"} <= files
    card = Path(api.download_artifacts(result.run_id, "model_card.md")).read_text()
    assert result.verdict in card
    assert "95 % interval" in result.table()
    logged = api.get_run(result.run_id).data.params
    assert (logged["ranker"], logged["looks"], logged["in_place_of"]) == ("none", "1", "none")
    measured = api.get_run(result.run_id).data.metrics
    assert measured[f"{result.candidate}.against_baseline_low"] > 0
    again = train(tracked)
    assert again.skipped
    assert again.run_id == result.run_id


def test_a_loaded_champion_repeats_its_golden_lists(tracked: Settings, make) -> None:
    import mlflow

    make.publish(tracked, make.ring(60), make.chains(150, 60))
    result = train(tracked, plan=Plan(resamples=200))
    api = registry.client(tracked)
    golden = json.loads(Path(api.download_artifacts(result.run_id, "golden.json")).read_text())
    loaded = mlflow.pyfunc.load_model(f"models:/{registry.MODEL}@champion")
    asked = pd.DataFrame({"history": [list(row["asked"]["history"]) for row in golden]})
    assert loaded.predict(asked) == [[title for title, _ in row["top"]] for row in golden]


def test_refusal_says_why_and_leaves_no_champion(tracked: Settings, make) -> None:
    make.publish(tracked, make.ring(40), make.scattered(60, 40))
    result = train(tracked)
    assert not result.promoted
    assert result.verdict.startswith("refused: ")
    assert registry.by_alias(tracked, "champion") is None
    (version,) = registry.versions(tracked)
    assert version.aliases == ("challenger",)
    assert version.tags["verdict"] == result.verdict


def test_too_little_data_is_refused_without_a_run(tracked: Settings, make) -> None:
    make.publish(tracked, make.ring(3), make.interactions([]))
    result = train(tracked)
    assert not result.promoted
    assert "too little" in result.verdict
    assert registry.versions(tracked) == []


def test_without_a_snapshot_the_remedy_is_named(tracked: Settings) -> None:
    with pytest.raises(NoSnapshotError, match="matinee build"):
        train(tracked)


def test_new_data_is_fitted_again(tracked: Settings, make) -> None:
    make.publish(tracked, make.ring(40), make.chains(80, 40))
    first = train(tracked, plan=Plan(resamples=200))
    make.publish(tracked, make.ring(40), make.chains(80, 40, seed=1), "s2")
    second = train(tracked, plan=Plan(resamples=200))
    assert not second.skipped
    assert second.version != first.version


def test_real_ratings_give_a_table_with_intervals(tracked: Settings, make, shared: Path) -> None:
    ratings = pl.read_csv(shared / "data" / "ml-latest-small" / "ratings.csv").sort("timestamp", maintain_order=True)
    ratings = ratings.with_columns(
        item=pl.format("ml:{}", pl.col("movieId")), profile=pl.format("u{}", pl.col("userId"))
    ).filter(pl.len().over("item") >= 5)  # two titles of three were rated less often, and cost most of the time
    frame = ratings.select(
        interaction_id=pl.format("i{}", pl.int_range(pl.len())),
        account_key="profile",
        profile_key="profile",
        item_id="item",
        title_id="item",
        kind=pl.lit("rate"),
        happened_at=pl.from_epoch("timestamp").dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC")),
        event_date=pl.from_epoch("timestamp").dt.date(),
        value="rating",
        is_positive=pl.col("rating") >= 3.5,
        origin=pl.lit("import"),
    )
    make.publish(tracked, make.titles(sorted(set(ratings["item"])), playable=False), frame)
    result = train(tracked)
    rows = [line for line in result.table().splitlines() if line.startswith("| ")]
    assert len(rows) == 9, "a header and eight models"
    assert " .. " in rows[1]
    assert result.users > 100
    assert result.winner in {line.split(" | ")[0].removeprefix("| ") for line in rows[1:2]}
    assert result.promoted == result.verdict.startswith("promoted")
