"""The stack on leave-one-out, measured by `retrain` (about ten minutes of one core a table) and read otherwise."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recommenders import stack
from benchmarks.recommenders.anchors import BEST_TIMED, BEST_UNTIMED, LEAVE_ONE_OUT
from benchmarks.recommenders.memory import remember
from benchmarks.recommenders.rows import Row, interval, row
from models.evaluation.metrics import Scores, evaluate
from models.evaluation.splits import Task, leave_one_out
from models.interactions import Interactions

RESULTS = Path(__file__).parents[1] / "results" / "recommenders.json"
SEEDS = (0, 1, 2)


def stack_rows(ordered: Interactions, spread: Interactions, retrain: bool) -> Iterator[Row]:
    """Both tables of the stack; none where nothing is recorded. `spread`: the data with their seconds."""
    if retrain:
        write({"untimed": measure(ordered, timed=False), "timed": measure(spread, timed=True)})
    if not RESULTS.exists():
        return
    tables = json.loads(RESULTS.read_text())["tables"]
    for name, goal in (("untimed", BEST_UNTIMED), ("timed", BEST_TIMED)):
        if name in tables:
            yield from (made | {"recorded": True} for made in _table(name, tables[name], goal))


def _table(name: str, found: dict[str, Any], goal: float) -> Iterator[Row]:
    title = f"loo stack, {name}"
    best = max((anchor for anchor in LEAVE_ONE_OUT if anchor.timed == (name == "timed")), key=lambda one: one.ndcg)
    yield row(title, found["ndcg"], "NDCG@10", best.ndcg, goal, found["ndcg_interval"])
    yield row(title, found["hit_rate"], "HR@10", best.hit_rate, None, found["hit_rate_interval"])
    yield row(title, found["coverage"], "coverage@10")
    for seed, ndcg in found["ndcg_of_seed"].items():
        yield row(f"{title}, the network of seed {seed} alone", ndcg, "NDCG@10")
    yield row(f"{title}, on validation", found["validation_ndcg"], "NDCG@10")
    yield row(f"{title}: fit, CPU", found["fit_cpu_s"], "s")


def measure(data: Interactions, *, timed: bool) -> dict[str, Any]:
    """Learn, check on the second last item of each user, then measure the last once."""
    learnt, seconds = stack.learn(data, timed=timed, seeds=SEEDS)
    validation, *_ = _judged(learnt, leave_one_out(data, holdout=2, train_holdout=stack.HELD))
    task = leave_one_out(data)
    scores, *alone = _judged(learnt.with_memory(remember(task.train, timed=timed)), task)
    return _figures(scores, data.n_items) | {
        "ndcg_of_seed": dict(zip(map(str, SEEDS), (round(float(one.ndcg.mean()), 4) for one in alone), strict=True)),
        "validation_ndcg": round(float(validation.ndcg.mean()), 4),
        "fit_cpu_s": round(sum(seconds.values()), 1),
    }


def _judged(system: stack.Stack, task: Task) -> list[Scores]:
    """Of all networks together, then of each alone; the candidates are made once."""
    made = []
    for every in system.score_each(task.histories):
        rows = iter(every)
        made.append(evaluate(lambda part, rows=rows: np.stack([next(rows) for _ in range(len(part))]), task))
    return made


def _figures(scores: Scores, items: int) -> dict[str, Any]:
    return {
        "users": len(scores.ndcg),
        "ndcg": round(float(scores.ndcg.mean()), 4),
        "ndcg_interval": [round(edge, 4) for edge in interval(scores.ndcg)],
        "hit_rate": round(float(scores.hit.mean()), 4),
        "hit_rate_interval": [round(edge, 4) for edge in interval(scores.hit)],
        "coverage": round(len(np.unique(scores.top[scores.top >= 0])) / items, 4),
    }


def write(tables: dict[str, Any]) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    record = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()} cores, no GPU",
        "commit": commit,
        "seeds": list(SEEDS),
        "recorded": True,
        "tables": tables,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
