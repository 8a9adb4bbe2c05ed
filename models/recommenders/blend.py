"""A weighted sum of other models' standardised scores; the weights are chosen on validation, never on test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import evaluate
from models.evaluation.splits import Task
from models.interactions import Floats, Ragged
from models.recommenders.base import Fitted, standardised

GRID = (0.0, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 2.0)
_SWEEPS = 3


@dataclass(frozen=True)
class Blend:
    """Fitted parts and their weights, by name."""

    parts: dict[str, Fitted]
    weights: dict[str, float]

    def score(self, histories: Ragged) -> Floats:
        return np.stack(list(self.shares(histories).values())).sum(axis=0, dtype=np.float32)

    def shares(self, histories: Ragged) -> dict[str, Floats]:
        """What each part adds to the score."""
        return {
            name: np.float32(self.weights[name]) * standardised(part.score(histories))
            for name, part in self.parts.items()
        }

    def arrays(self) -> dict[str, NDArray]:
        return {f"{name}/{key}": value for name, part in self.parts.items() for key, value in part.arrays().items()}


def choose_weights(fitted: dict[str, Fitted], task: Task, *, sweeps: int = _SWEEPS) -> dict[str, float]:
    """The weights with the best NDCG@10 on `task`, found one part at a time from the best single part.

    The task's rows are all scored once and kept, [rows, items] for each part: give a sample where they are many.
    """
    scores = {name: standardised(model.score(task.histories)) for name, model in fitted.items()}
    single = {name: _ndcg(values, task) for name, values in scores.items()}
    start = max(single, key=lambda name: single[name])
    weights = {name: float(name == start) for name in scores}
    total, best = scores[start].copy(), single[start]
    for _ in range(sweeps):
        before = best
        for name, values in scores.items():
            rest = (total - np.float32(weights[name]) * values).astype(np.float32)
            for weight in GRID:
                tried = (rest + np.float32(weight) * values).astype(np.float32)
                reached = _ndcg(tried, task)
                if reached > best:
                    best, weights[name], total = reached, weight, tried
        if best == before:
            break
    return weights


def _ndcg(scores: Floats, task: Task) -> float:
    position = 0

    def next_rows(histories: Ragged) -> Floats:
        nonlocal position
        position += len(histories)
        return scores[position - len(histories) : position]

    return float(evaluate(next_rows, task).ndcg.mean())
