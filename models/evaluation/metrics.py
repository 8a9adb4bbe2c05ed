"""Exact ranking metrics: every item is ranked, seen ones excluded, ties count half, nothing is sampled."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.splits import Task
from models.interactions import Floats, Ints, Ragged

Scorer = Callable[[Ragged], Floats]
_BATCH = 512


@dataclass(frozen=True)
class Scores:
    """One value a user: arrays of length `n`; `top` [n, k] are the recommended items, -1 where there are too few."""

    ndcg: NDArray[np.float64]
    hit: NDArray[np.float64]
    recall: NDArray[np.float64]
    reciprocal_rank: NDArray[np.float64]
    top: Ints

    def summary(self, popularity: Ints) -> dict[str, float]:
        """Means, and what accuracy does not say.

        `popularity` [n_items]: interactions of each item in training. Coverage is the share of the catalogue that is
        in at least one list; novelty the mean of -log2 of the share of users who took the item, in bits.
        """
        shown = self.top[self.top >= 0]
        share = (popularity + 1) / (popularity.max(initial=0) + 1)
        return {
            "ndcg_at_10": float(self.ndcg.mean()),
            "hit_rate_at_10": float(self.hit.mean()),
            "recall_at_10": float(self.recall.mean()),
            "mrr": float(self.reciprocal_rank.mean()),
            "coverage_at_10": len(np.unique(shown)) / len(popularity),
            "novelty": float(-np.log2(share[shown]).mean()) if len(shown) else 0.0,
            "mean_popularity": float(popularity[shown].mean()) if len(shown) else 0.0,
        }


def evaluate(score: Scorer, task: Task, *, k: int = 10) -> Scores:
    """Rank all items for every row of the task.

    NDCG divides by the best that `min(k, targets)` places allow; recall by the number of targets. A target that the
    history already holds cannot be recommended and counts as missed.
    """
    parts = []
    for start in range(0, len(task), _BATCH):
        histories = task.histories.part(start, min(start + _BATCH, len(task)))
        scores = np.array(score(histories), dtype=np.float32)
        scores[histories.rows, histories.values] = -np.inf
        targets = task.targets.part(start, min(start + _BATCH, len(task)))
        ranks = target_ranks(scores, targets)
        parts.append((*_gains(ranks, targets, k), top_items(scores, k)))
    ndcg, hit, recall, reciprocal, top = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scores(ndcg, hit, recall, reciprocal, top)


def target_ranks(scores: Floats, targets: Ragged) -> NDArray[np.float64]:
    """The place of each target in its row, from 1; equal scores share the mean of their places; -inf is no place."""
    ranks = np.empty(len(targets.values))
    for row in range(len(targets)):
        span = slice(targets.indptr[row], targets.indptr[row + 1])
        wanted = scores[row, targets.values[span]]
        ordered = np.sort(scores[row])
        above = len(ordered) - np.searchsorted(ordered, wanted, side="right")
        equal = len(ordered) - above - np.searchsorted(ordered, wanted, side="left")
        ranks[span] = np.where(np.isneginf(wanted), np.inf, 1 + above + (equal - 1) / 2)
    return ranks


def top_items(scores: Floats, k: int) -> Ints:
    """[rows, k] best items first; equal scores by ascending item; -1 where only excluded items are left."""
    width = min(k, scores.shape[1])
    top = np.full((len(scores), k), -1, dtype=np.int64)
    for row, values in enumerate(scores):
        bar = np.partition(values, len(values) - width)[len(values) - width]
        chosen = np.flatnonzero(values >= bar)
        best = chosen[np.argsort(-values[chosen], kind="stable")][:width]
        top[row, : len(best)] = np.where(np.isneginf(values[best]), -1, best)
    return top


def _gains(ranks: NDArray[np.float64], targets: Ragged, k: int) -> tuple[NDArray[np.float64], ...]:
    inside = ranks <= k
    gain = np.where(inside, 1 / np.log2(1 + np.where(inside, ranks, 1)), 0.0)
    ideal = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))))
    lengths = targets.lengths
    starts = targets.indptr[:-1]
    hits = np.add.reduceat(inside.astype(np.float64), starts)
    ndcg = np.add.reduceat(gain, starts) / ideal[np.minimum(lengths, k)]
    return ndcg, (hits > 0).astype(np.float64), hits / lengths, 1 / np.minimum.reduceat(ranks, starts)
