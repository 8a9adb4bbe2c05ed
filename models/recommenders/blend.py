"""A weighted sum of other models' standardised scores; the weights are chosen on validation, never on test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.splits import Task
from models.interactions import Floats, Ragged
from models.recommenders.base import Fitted, standardised
from models.recommenders.two_tower import TwoTowerFitted

GRID = (0.0, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 2.0)
_SWEEPS = 3
_NEVER = -1e4


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


def scored(
    model: Fitted, histories: Ragged, regions: Sequence[str | None], kids: Sequence[bool] | NDArray[np.bool_]
) -> Floats:
    """[rows, n_items] of viewers whose region and kind of profile are known [rows]: to whoever asks for them."""
    if isinstance(model, Blend):
        parts = {name: scored(part, histories, regions, kids) for name, part in model.parts.items()}
        own = [np.float32(model.weights[name]) * standardised(scores) for name, scores in parts.items()]
        return np.stack(own).sum(axis=0, dtype=np.float32)
    return model.score(histories, regions, kids) if isinstance(model, TwoTowerFitted) else model.score(histories)


def choose_weights(
    fitted: dict[str, Fitted],
    task: Task,
    *,
    sweeps: int = _SWEEPS,
    k: int = 10,
    allowed: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """The weights with the best NDCG@k on `task`, found one part at a time from the best single part.

    The task's rows are all scored once and kept, [rows, items] for each part: give a sample where they are many.
    `allowed` ([n_items] or [rows, n_items]): only these may come out.
    """
    judge = _Judge(task, next(iter(fitted.values())).score(task.histories).shape[1], k, allowed)
    scores = {name: judge.masked(standardised(model.score(task.histories))) for name, model in fitted.items()}
    single = {name: judge.ndcg(values) for name, values in scores.items()}
    start = max(single, key=lambda name: single[name])
    weights = {name: float(name == start) for name in scores}
    total, best = scores[start].copy(), single[start]
    for _ in range(sweeps):
        before = best
        for name, values in scores.items():
            rest = (total - np.float32(weights[name]) * values).astype(np.float32)
            for weight in GRID:
                tried = (rest + np.float32(weight) * values).astype(np.float32)
                reached = judge.ndcg(tried)
                if reached > best:
                    best, weights[name], total = reached, weight, tried
        if best == before:
            break
    return weights


class _Judge:
    """NDCG@k of whole score matrices on one task, many times over: ties by place (`evaluate` is exact)."""

    def __init__(self, task: Task, items: int, k: int, allowed: NDArray[np.bool_] | None = None) -> None:
        self._seen = (task.histories.rows, task.histories.values)
        self._wanted = np.zeros((len(task), items), dtype=np.bool_)
        self._wanted[task.targets.rows, task.targets.values] = True
        self._wanted[self._seen] = False
        self._never = None if allowed is None else ~np.broadcast_to(allowed, self._wanted.shape)
        if self._never is not None:
            self._wanted[self._never] = False
        self._k = min(k, items)
        self._discount = 1 / np.log2(np.arange(2, self._k + 2))
        self._ideal = np.cumsum(self._discount)[np.minimum(task.targets.lengths, self._k) - 1]

    def masked(self, scores: Floats) -> Floats:
        """Seen and forbidden items pushed below every other, so far that no weight lifts them."""
        scores[self._seen] = _NEVER
        if self._never is not None:
            scores[self._never] = _NEVER
        return scores

    def ndcg(self, scores: Floats) -> float:
        top = np.argpartition(scores, -self._k, axis=1)[:, -self._k :]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(self._wanted, np.take_along_axis(top, order, axis=1), axis=1)
        return float((hits @ self._discount / self._ideal).mean())
