"""Every recommender on MovieLens-1M, against the best published figures and our own baselines, in one run.

Leave-one-out: the SASRec ordering (999,611 interactions), full ranking, seen items excluded. Temporal: global split at
the 0.9 quantile of time (arXiv 2507.16289), 1,209 test users, three kinds of target: the first later title, the last,
all. Everything that is tuned is tuned on validation; nothing looks at the test before the one measurement. The temporal
system is one set of fitted models, with one set of blend weights for each kind of target.

The ratings may not be redistributed: they are read from `$MATINEE_SHARED/data/ml-1m`, and a missing folder is said.
"""

import gzip
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from matinee.console import errors
from matinee.settings import Settings
from models.evaluation.metrics import evaluate
from models.evaluation.splits import Target, leave_one_out, temporal
from models.interactions import Interactions
from models.recommenders.base import Fitted, with_fallback
from models.recommenders.blend import choose_weights
from models.recommenders.ease import Ease
from models.recommenders.knn import TransitionKnn
from models.recommenders.popularity import Popularity
from models.recommenders.trial import blend_of
from models.recommenders.zoo import Zoo

Row = dict[str, Any]

# NDCG@10: what a CPU reaches in seconds (measured when the project began), and the best published without time stamps.
LOO_ANCHORS = {"popularity": 0.0179, "ials": 0.0503, "ease_decay": 0.1207, "knn": 0.1550, "blend": 0.1857}
LOO_GOAL = 0.186
# NDCG@10 on the temporal split: the best published or measured before, each by a different method.
TEMPORAL_ANCHORS: dict[Target, float] = {"first": 0.0542, "all": 0.2806, "last": 0.1014}
_TUNING_ROWS = 1200
_QUANTILE = 0.9


def run(json: bool = False) -> list[Row]:  # noqa: ARG001 - the name of the option; the caller prints
    """One row a figure: `{"name", "value", "unit", "reference", "ratio", "goal", "holds"}`."""
    folder = Settings.load().shared / "data" / "ml-1m"
    if not folder.is_dir():
        missing = f"MovieLens-1M is not at {folder.absolute()}: put it there or set MATINEE_SHARED"
        return [
            {"name": missing, "value": None, "unit": "", "reference": None, "ratio": None, "goal": None, "holds": False}
        ]
    with threadpool_limits(min(2, os.cpu_count() or 1)):
        return [*leave_one_out_rows(sasrec_order(folder)), *temporal_rows(with_times(folder))]


def sasrec_order(folder: Path) -> Interactions:
    """The SASRec file: users and items from 1, chronological for each user; its rows' order stands for time."""
    with gzip.open(folder / "ml-1m_sas.txt.gz") as file:
        pairs = np.loadtxt(file, dtype=np.int64) - 1
    users, items = int(pairs[:, 0].max()) + 1, int(pairs[:, 1].max()) + 1
    return Interactions(pairs[:, 0], pairs[:, 1], np.arange(len(pairs), dtype=np.float64), users, items)


def with_times(folder: Path) -> Interactions:
    """The same interactions (items with five or more), with their seconds."""
    frame = pl.read_parquet(folder / "interactions.parquet").drop_nulls("sas_pos").sort("user_id", "sas_pos")
    users, items = (frame[name].rank("dense").to_numpy().astype(np.int64) - 1 for name in ("user_id", "movie_id"))
    return Interactions.sorted(users, items, frame["ts"].to_numpy(), int(users.max()) + 1, int(items.max()) + 1)


def parts() -> Zoo:
    return Zoo(ease=Ease(decay=1.0))


def leave_one_out_rows(data: Interactions) -> Iterator[Row]:
    tuning = leave_one_out(data, holdout=2).sample(_TUNING_ROWS)
    weights = choose_weights(_sequential(tuning.train), tuning)
    task = leave_one_out(data)
    fitted, seconds = _timed(task.train)
    models = {"popularity": Popularity().fit(task.train), **fitted, "blend": blend_of(fitted, weights)}
    for name, anchor in LOO_ANCHORS.items():
        scores = evaluate(models[name].score, task)
        goal = LOO_GOAL if name == "blend" else None
        yield _row(f"loo {name}", scores.ndcg.mean(), "NDCG@10", anchor, goal)
        if name == "blend":
            yield _row(f"loo {name}", scores.hit.mean(), "HR@10", 0.3159, None)
    yield _row("loo: fit all models", seconds, "s", None, None)


def temporal_rows(data: Interactions) -> Iterator[Row]:
    boundaries = [float(np.nextafter(_quantile(data, q), np.inf)) for q in (2 * _QUANTILE - 1, _QUANTILE)]
    train_part = temporal(data, boundaries[0], "all", end=boundaries[1]).train
    early = _sequential(train_part)
    fitted, _ = _timed(temporal(data, boundaries[1], "all").train)
    for target, anchor in TEMPORAL_ANCHORS.items():
        tuning = temporal(data, boundaries[0], target, end=boundaries[1]).sample(_TUNING_ROWS)
        weights = choose_weights(early, tuning)
        task = temporal(data, boundaries[1], target)
        for name, model in {**fitted, "blend": blend_of(fitted, weights)}.items():
            reached = evaluate(lambda rows, m=model: with_fallback(m, fitted["popularity_14d"], rows), task).ndcg.mean()
            goal = anchor if name == "blend" else None
            yield _row(f"{target} {name}", reached, "NDCG@10", anchor, goal)
    yield _row("temporal test users", len(task), "users", 1209, 1209)


def _sequential(train: Interactions) -> dict[str, Fitted]:
    """The zoo, and more kinds of memory for the blend: a wider and a longer kNN, a faster fading EASE."""
    fitted = parts().fit(train)
    ease = fitted["ease"]
    wide = TransitionKnn(window=20, last=20).fit(train)
    return {
        **fitted,
        "ease_fast": replace(ease, decay=0.7),  # pyright: ignore[reportArgumentType] - the zoo's EASE is a dataclass
        "ease_slow": replace(ease, decay=0.97),  # pyright: ignore[reportArgumentType] - the same
        "knn_wide": wide,
    }


def _timed(train: Interactions) -> tuple[dict[str, Fitted], float]:
    started = time.perf_counter()
    errors.print(f"fitting {len(train):,} interactions", style="dim")
    fitted = _sequential(train)
    return fitted, time.perf_counter() - started


def _quantile(data: Interactions, share: float) -> float:
    return float(np.quantile(data.times, share, method="lower"))


def _row(name: str, value: float, unit: str, reference: float | None, goal: float | None) -> Row:
    return {
        "name": name,
        "value": round(float(value), 4),
        "unit": unit,
        "reference": reference,
        "ratio": None if reference is None else round(float(value) / reference, 3),
        "goal": None if goal is None else f">= {goal:g}",
        "holds": None if goal is None else bool(value >= goal),
    }


if __name__ == "__main__":
    from matinee.console import console, table

    columns = ("name", "value", "unit", "reference", "ratio", "goal", "holds")
    console.print(table("benchmark: recommenders", columns, [[row[column] for column in columns] for row in run()]))
