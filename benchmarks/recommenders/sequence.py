"""Sequence models alone on leave-one-out, trained by `retrain` (over half an hour of one core each), read otherwise.

One fit, on everything but the last two items of each user, serves both tasks: the second last is the validation by
which the parameters were chosen, the last is the test, asked with the second last in the history.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation.metrics import evaluate
from models.evaluation.splits import leave_one_out
from models.interactions import Interactions
from models.recommenders.sequence.fit import SequenceFitted, SequenceModel

from .anchors import LEAVE_ONE_OUT
from .rows import Row, interval, row

RESULTS = Path(__file__).parents[1] / "results" / "sequence.json"
MODELS = {
    "untimed": SequenceModel(
        "sasrec", dim=64, blocks=2, heads=1, length=200, lengths=(50, 100, 200), epochs=60,
        rate=1.5e-3, jit=True,
    ),
    "timed": SequenceModel(
        "hstu", dim=64, blocks=4, heads=2, length=128, lengths=(40, 80, 128), epochs=40,
        rate=1.5e-3, jit=True,
    ),
}  # fmt: skip
_WATCHED_ROWS = 1000


def retrained(ordered: Interactions, spread: Interactions) -> dict[str, SequenceFitted]:
    """Both models, fitted anew and recorded. `spread`: the data with their seconds."""
    made = {}
    for name, data in (("untimed", ordered), ("timed", spread)):
        found, made[name] = measure(data, MODELS[name])
        record(name, found)
    return made


def sequence_rows() -> Iterator[Row]:
    """Both models, as recorded; none where nothing is."""
    tables = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, found in tables.items():
        yield from (made | {"recorded": True} for made in _table(name, found))


def measure(data: Interactions, model: SequenceModel) -> tuple[dict[str, Any], SequenceFitted]:
    """Fit, and judge on validation and test. The curve on validation is of a sample of the users."""
    validation = leave_one_out(data, holdout=2)
    sample, began = validation.sample(_WATCHED_ROWS), time.perf_counter()
    fitted = model.fit(validation.train, lambda now: float(evaluate(now.score, sample).ndcg.mean()))
    about = {"seconds": round(time.perf_counter() - began), "seeds": [model.seed], "model": asdict(model)}
    return judge(data, fitted) | about, fitted


def judge(data: Interactions, fitted: SequenceFitted) -> dict[str, Any]:
    test = evaluate(fitted.score, leave_one_out(data, holdout=1, train_holdout=2))
    validation = evaluate(fitted.score, leave_one_out(data, holdout=2))
    return {
        "users": len(test.ndcg),
        "ndcg": round(float(test.ndcg.mean()), 4),
        "ndcg_interval": [round(edge, 4) for edge in interval(test.ndcg)],
        "hit_rate": round(float(test.hit.mean()), 4),
        "validation_ndcg": round(float(validation.ndcg.mean()), 4),
        "coverage": round(len(np.unique(test.top[test.top >= 0])) / data.n_items, 4),
        "curves": {name: [round(value, 4) for value in values] for name, values in fitted.history.items()},
    }


def record(name: str, found: dict[str, Any]) -> None:
    """Keep it beside what is recorded of the other model."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    about = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": commit,
        "recorded": True,
    }
    tables = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(tables | {name: about | found}, indent=1) + "\n")


def _table(name: str, found: dict[str, Any]) -> Iterator[Row]:
    title = f"loo {found['model']['kind']} alone, {name}"
    best = max((anchor for anchor in LEAVE_ONE_OUT if anchor.timed == (name == "timed")), key=lambda one: one.ndcg)
    yield row(title, found["ndcg"], "NDCG@10", best.ndcg, None, found["ndcg_interval"])
    yield row(title, found["hit_rate"], "HR@10", best.hit_rate)
    yield row(title, found["coverage"], "coverage@10")
    yield row(f"{title}, on validation", found["validation_ndcg"], "NDCG@10")
    yield row(f"{title}: fit", found["seconds"], "s")
