"""Exact ranking metrics: every item is ranked, seen ones excluded, ties count half, nothing is sampled."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.evaluation import lists
from models.evaluation.splits import Task
from models.interactions import Floats, Interactions, Ints, Ragged

Scorer = Callable[[Ragged], Floats]
_BATCH = 512


@dataclass(frozen=True)
class Scores:
    """What one model reached on a task: `ranks` is the place of each of the `targets`, rows are the task's.

    `top` [rows, k] are the recommended items, -1 where there are too few. `capped` divides recall by `min(k, targets)`
    instead of the number of targets, so that 1 can be reached (Liang et al., WWW 2018).
    """

    ranks: NDArray[np.float64]
    targets: Ragged
    top: Ints
    k: int
    capped: bool = False

    def at(self, k: int, *, capped: bool = False) -> "Scores":
        """The same ranking, cut at another `k` (at most that of `evaluate` for `top`)."""
        return replace(self, top=self.top[:, :k], k=k, capped=capped)

    def of_rows(self, rows: NDArray[np.bool_]) -> "Scores":
        """These rows alone."""
        kept = rows[self.targets.rows]
        chosen = np.flatnonzero(rows)
        return replace(self, ranks=self.ranks[kept], targets=self.targets.take(chosen), top=self.top[chosen])

    def of_titles(self, titles: NDArray[np.bool_]) -> "Scores":
        """Judged on these targets alone, `titles` [n_items]: rows without any fall away, the ranking is the same."""
        kept = titles[self.targets.values]
        lengths = np.bincount(self.targets.rows[kept], minlength=len(self.targets))
        rows = np.flatnonzero(lengths)
        indptr = np.concatenate(([0], np.cumsum(lengths[rows]))).astype(np.int64)
        return replace(
            self, ranks=self.ranks[kept], targets=Ragged(indptr, self.targets.values[kept]), top=self.top[rows]
        )

    @property
    def ndcg(self) -> NDArray[np.float64]:
        """Divided by the best that `min(k, targets)` places allow (Järvelin and Kekäläinen, TOIS 2002)."""
        ideal = np.concatenate(([0.0], np.cumsum(_discounts(self.k))))
        return self._sum(self._gain) / ideal[np.minimum(self.targets.lengths, self.k)]

    @property
    def hit(self) -> NDArray[np.float64]:
        return (self._sum(self._inside) > 0).astype(np.float64)

    @property
    def recall(self) -> NDArray[np.float64]:
        wanted = self.targets.lengths
        return self._sum(self._inside) / (np.minimum(wanted, self.k) if self.capped else wanted)

    @property
    def reciprocal_rank(self) -> NDArray[np.float64]:
        """Of the best target, wherever it is."""
        return 1 / np.minimum.reduceat(self.ranks, self.targets.indptr[:-1])

    @property
    def average_precision(self) -> NDArray[np.float64]:
        """Precision at each target within `k`, summed and divided by `min(k, targets)`."""
        precision = _places(self.ranks, self.targets) / self.ranks
        return self._sum(np.where(self._inside, precision, 0)) / np.minimum(self.targets.lengths, self.k)

    def debiased_ndcg(self, popularity: Ints, *, power: float = 0.5) -> float:
        """NDCG as if all titles had had the same chance to be seen.

        A target counts 1 / propensity, and the propensity of an item is (its share of the most popular one's
        interactions) ** `power` (Saito et al., WSDM 2020, with their 0.5). Self-normalised over all users: the sum of
        weighted gains over the best possible sum (Swaminathan and Joachims, NeurIPS 2015; for recommenders Yang et al.,
        RecSys 2018), so that users with one target count by that target's weight. `popularity` [n_items].
        """
        share = np.maximum(popularity, 1) / max(int(popularity.max(initial=0)), 1)
        weights = share[self.targets.values] ** -power
        order = np.lexsort((-weights, self.targets.rows))
        place = np.arange(len(order)) - np.repeat(self.targets.indptr[:-1], self.targets.lengths)
        best = np.where(place < self.k, weights[order] / np.log2(2 + place), 0)
        return float((weights * self._gain).sum() / best.sum())

    def summary(self, train: Interactions) -> dict[str, float]:
        """Means, and what accuracy does not say; `train` tells how popular the listed items were."""
        popularity = np.bincount(train.items, minlength=train.n_items)
        k = self.k
        return {
            f"ndcg_at_{k}": float(self.ndcg.mean()),
            f"hit_rate_at_{k}": float(self.hit.mean()),
            f"recall_at_{k}": float(self.recall.mean()),
            f"map_at_{k}": float(self.average_precision.mean()),
            "mrr": float(self.reciprocal_rank.mean()),
            f"ndcg_debiased_at_{k}": self.debiased_ndcg(popularity),
            f"coverage_at_{k}": lists.coverage(self.top, train.n_items),
            f"gini_at_{k}": lists.gini(self.top, train.n_items),
            "novelty": lists.novelty(self.top, popularity, len(np.unique(train.users))),
            "mean_popularity": lists.mean_popularity(self.top, popularity),
            "covered_users": lists.covered_users(self.top),
        }

    @property
    def _inside(self) -> NDArray[np.bool_]:
        return self.ranks <= self.k

    @property
    def _gain(self) -> NDArray[np.float64]:
        return np.where(self._inside, 1 / np.log2(1 + np.where(self._inside, self.ranks, 1)), 0.0)

    def _sum(self, values: NDArray) -> NDArray[np.float64]:
        return np.add.reduceat(values.astype(np.float64), self.targets.indptr[:-1])


def evaluate(score: Scorer, task: Task, *, k: int = 10, allowed: NDArray[np.bool_] | None = None) -> Scores:
    """Rank all items for every row of the task.

    `allowed` ([n_items] or [rows, n_items]): only these may come out. A target that the history already holds, or that
    is not allowed, cannot be recommended and counts as missed.

    Raises:
        ModelError: a score is no number or infinitely high: it would take the first place. -inf says "never".
    """
    ranks, tops = [], []
    for start in range(0, len(task), _BATCH):
        stop = min(start + _BATCH, len(task))
        histories = task.histories.part(start, stop)
        scores = np.array(score(histories), dtype=np.float32)
        if not (scores < np.inf).all():
            wrong = int((~(scores < np.inf)).any(axis=1).sum())
            raise ModelError(f"{wrong} of {len(scores)} rows have scores that are NaN or infinite: nothing ranks them")
        scores[histories.rows, histories.values] = -np.inf
        if allowed is not None:
            may = allowed if allowed.ndim == 1 else allowed[start:stop]
            scores[~np.broadcast_to(may, scores.shape)] = -np.inf
        ranks.append(target_ranks(scores, task.targets.part(start, stop)))
        tops.append(top_items(scores, k))
    return Scores(np.concatenate(ranks), task.targets, np.concatenate(tops), k)


def of_lists(top: Ints, task: Task) -> Scores:
    """Scores of lists made elsewhere, [rows, k] item numbers, -1 for none: what is not listed has no place."""
    items = task.train.n_items
    keys = np.where(top >= 0, np.arange(len(top))[:, None] * items + top, -1).ravel()
    order = np.argsort(keys, kind="stable")
    wanted = task.targets.rows * items + task.targets.values
    found = order[np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)]
    ranks = np.where(keys[found] == wanted, found % top.shape[1] + 1.0, np.inf)
    return Scores(ranks, task.targets, top, top.shape[1])


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


def _discounts(k: int) -> NDArray[np.float64]:
    return 1 / np.log2(np.arange(2, k + 2))


def _places(ranks: NDArray[np.float64], targets: Ragged) -> NDArray[np.float64]:
    """The place of each target among the targets of its row; equal ranks share the mean of their places."""
    rows = targets.rows
    order = np.lexsort((ranks, rows))
    place = np.arange(len(order)) - np.repeat(targets.indptr[:-1], targets.lengths) + 1
    same = (np.diff(rows[order]) == 0) & (ranks[order][1:] == ranks[order][:-1])
    group = np.concatenate(([0], np.cumsum(~same)))[: len(order)]
    made = np.empty(len(order))
    made[order] = (np.bincount(group, place) / np.bincount(group))[group]
    return made
