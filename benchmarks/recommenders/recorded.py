"""The stack on leave-one-out, alone and pooled with the sequence models: measured by `retrain`, read otherwise.

A table takes about five minutes of one core, besides the sequence models. Those have been fitted without the last two
items of each user; their weight in the pool is chosen on the second last, of which the stack, too, knows nothing then.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Scores
from models.evaluation.splits import Task, leave_one_out
from models.interactions import Floats, Interactions, Ragged
from models.recommenders.base import Fitted

from .anchors import BEST_TIMED, BEST_UNTIMED, LEAVE_ONE_OUT
from .blending import choose, judged, log_shares, pooled, shares_of
from .data import sasrec_items, sasrec_order, with_spread_times
from .memory import remember
from .rows import Row, interval, row
from .stack import HELD, learn

RESULTS = Path(__file__).parents[1] / "results" / "recommenders.json"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Renamed:
    """A model that was fitted to the same items under other numbers: `items` [n_items] are its own."""

    model: Fitted
    items: NDArray[np.int64]

    def score(self, histories: Ragged) -> Floats:
        asked = Ragged(histories.indptr, self.items[histories.values], histories.times, histories.at)
        return self.model.score(asked)[:, self.items]

    def arrays(self) -> dict[str, NDArray]:
        return self.model.arrays() | {"items": self.items}


@dataclass(frozen=True)
class Opinions:
    """Log shares [rows, items] by model on validation and on the test; `alone`: of each of the stack's networks."""

    validation: dict[str, Floats]
    test: dict[str, Floats]
    alone: list[Floats]


def stack_rows(folder: Path, retrain: Mapping[str, Fitted] | None) -> Iterator[Row]:
    """Both tables; none where nothing is recorded. `retrain`: the sequence models, "untimed" and "timed"."""
    if retrain is not None:
        write(tables(folder, retrain))
    if not RESULTS.exists():
        return
    found = json.loads(RESULTS.read_text())["tables"]
    for name, goal in (("untimed", BEST_UNTIMED), ("timed", BEST_TIMED)):
        if name in found:
            yield from (made | {"recorded": True} for made in _table(name, found[name], goal))


def tables(folder: Path, sequences: Mapping[str, Fitted]) -> dict[str, Any]:
    """The moment of the target is known in the second table alone; there the model without time has a say too."""
    untimed = {"sasrec": sequences["untimed"]}
    timed = {"hstu": sequences["timed"], "sasrec": Renamed(sequences["untimed"], sasrec_items(folder))}
    return {
        "untimed": measure(sasrec_order(folder), untimed, timed=False),
        "timed": measure(with_spread_times(folder), timed, timed=True),
    }


def measure(interactions: Interactions, sequences: Mapping[str, Fitted], *, timed: bool) -> dict[str, Any]:
    learnt, seconds = learn(interactions, timed=timed, seeds=SEEDS)
    validation, test = tasks(interactions)
    anew = learnt.with_memory(remember(test.train, timed=timed))
    early = log_shares(learnt.score(validation.histories), validation.histories)
    late, *alone = (log_shares(scores, test.histories) for scores in anew.score_each(test.histories))
    opinions = Opinions(
        {"stack": early} | {name: shares_of(model, validation.histories) for name, model in sequences.items()},
        {"stack": late} | {name: shares_of(model, test.histories) for name, model in sequences.items()},
        alone,
    )
    return figures(opinions, validation, test) | {"fit_cpu_s": round(sum(seconds.values()), 1)}


def tasks(interactions: Interactions) -> tuple[Task, Task]:
    """Validation: the second last item, by models that know nothing of the last `HELD`; test: the last."""
    return leave_one_out(interactions, holdout=2, train_holdout=HELD), leave_one_out(interactions)


def figures(opinions: Opinions, validation: Task, test: Task) -> dict[str, Any]:
    """Weights by validation; then the test."""
    known, items = opinions.validation, test.train.n_items
    weights = choose(known, validation)
    scores = judged(pooled(opinions.test, weights), test)
    seeds = [judged(pooled(opinions.test | {"stack": alone}, weights), test) for alone in opinions.alone]
    early, early_stack = (judged(made, validation) for made in (pooled(known, weights), known["stack"]))
    return {
        "weights": weights,
        "pool": _figures(scores, items) | {"validation_ndcg": _mean(early.ndcg)},
        "stack": _figures(judged(opinions.test["stack"], test), items) | {"validation_ndcg": _mean(early_stack.ndcg)},
        "ndcg_of_seed": {str(seed): _mean(one.ndcg) for seed, one in zip(SEEDS, seeds, strict=True)},
    }


def write(found: dict[str, Any]) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    record = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": commit,
        "seeds": list(SEEDS),
        "recorded": True,
        "tables": found,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def _table(name: str, found: dict[str, Any], goal: float) -> Iterator[Row]:
    best = max((anchor for anchor in LEAVE_ONE_OUT if anchor.timed == (name == "timed")), key=lambda one: one.ndcg)
    pool = " + ".join(model for model, weight in found["weights"].items() if weight > 0)
    for title, part in ((f"loo stack alone, {name}", found["stack"]), (f"loo {pool}, {name}", found["pool"])):
        yield row(title, part["ndcg"], "NDCG@10", best.ndcg, goal, part["ndcg_interval"])
        yield row(title, part["hit_rate"], "HR@10", best.hit_rate, None, part["hit_rate_interval"])
        yield row(title, part["coverage"], "coverage@10")
        yield row(f"{title}, on validation", part["validation_ndcg"], "NDCG@10")
    for seed, ndcg in found["ndcg_of_seed"].items():
        yield row(f"loo {pool}, {name}, the stack's network of seed {seed} alone", ndcg, "NDCG@10")
    yield row(f"loo stack, {name}: fit, CPU", found["fit_cpu_s"], "s")


def _figures(scores: Scores, items: int) -> dict[str, Any]:
    return {
        "users": len(scores.ndcg),
        "ndcg": _mean(scores.ndcg),
        "ndcg_interval": [round(edge, 4) for edge in interval(scores.ndcg)],
        "hit_rate": _mean(scores.hit),
        "hit_rate_interval": [round(edge, 4) for edge in interval(scores.hit)],
        "coverage": round(len(np.unique(scores.top[scores.top >= 0])) / items, 4),
    }


def _mean(values: NDArray[np.float64]) -> float:
    return round(float(values.mean()), 4)
