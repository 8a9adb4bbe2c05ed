"""Several models' opinions of the next title as one: a weighted sum of log shares (logarithmic opinion pool)."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Scores, evaluate
from models.evaluation.splits import Task
from models.interactions import Floats, Ragged
from models.recommenders.base import Fitted

_FLOOR = -16.0  # no model is surer than this that a title does not follow
_GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0)
_SWEEPS = 2
_BATCH = 512


def log_shares(scores: Floats, histories: Ragged) -> Floats:
    """[rows, items] the log of the softmax over the titles that the history does not hold, from the floor on."""
    shares = scores.astype(np.float32)
    shares[histories.rows, histories.values] = -np.inf
    shares -= shares.max(axis=1, keepdims=True)
    shares -= np.log(np.exp(shares).sum(axis=1, keepdims=True))
    return np.maximum(shares, np.float32(_FLOOR))


def shares_of(model: Fitted, histories: Ragged) -> Floats:
    """Of all rows, by batches."""
    parts = [histories.part(start, min(start + _BATCH, len(histories))) for start in range(0, len(histories), _BATCH)]
    return np.concatenate([log_shares(model.score(part), part) for part in parts])


def pooled(shares: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    return np.sum([np.float32(weights[name]) * shares[name] for name in weights if weights[name] > 0], axis=0)


def choose(shares: Mapping[str, Floats], task: Task) -> dict[str, float]:
    """The weights with the best NDCG@10 on `task`; the first model's is 1."""
    first, *others = shares
    weights = {first: 1.0} | dict.fromkeys(others, 0.0)
    best = judged(pooled(shares, weights), task).ndcg.mean()
    for _ in range(_SWEEPS):
        for name in others:
            for weight in _GRID:
                tried = weights | {name: weight}
                reached = judged(pooled(shares, tried), task).ndcg.mean()
                if reached > best:
                    best, weights = reached, tried
    return weights


def judged(scores: NDArray[np.floating] | Sequence[Floats], task: Task) -> Scores:
    """Of scores that were made before, [rows, items] in the task's order."""
    rows = iter(scores)
    return evaluate(lambda part: np.stack([next(rows) for _ in range(len(part))]), task)
