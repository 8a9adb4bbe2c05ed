"""Two kinds of ranker compete on a later part of time; one that is not surely better than what ranks does not serve."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import paired_bootstrap
from models.evaluation.drift import psi
from models.interactions import Floats
from models.ranking import gbdt, mlp
from models.ranking.base import Ranker, RankerResult, RankingSet
from models.ranking.debias import cells, debiased_gains, position_effect, unbiased
from models.ranking.frame import FEATURES, POSITION, SOURCES, as_served
from models.ranking.judged import log_loss, page_ndcg

LEAST = 200  # positives without which nothing is learned that the blend does not know
_JUDGED_FROM = 0.85  # of the pages in time, where no moment is given
_CHOSEN_FROM = 0.82  # of those before: by the others sizes are chosen
_TREES, _EPOCHS = 120, 10
_LOOK = 50  # trees of the rankers that estimate what place does
_EVERY = 5  # trees between two looks at the curve
_BARS = ("blend", "logged")  # what ranks without a ranker, and what the pages were ordered by
_NO_EFFECT = np.ones((1, 1))

Fit = Callable[[RankingSet, int, int], Ranker]


@dataclass(frozen=True)
class Grown:
    """A ranker at its best size, and the curve along which that was found."""

    ranker: Ranker
    size: int
    curve: list[float]


def fit_ranker(
    data: RankingSet,
    seed: int = 0,
    kinds: Sequence[str] = ("gbdt", "mlp"),
    *,
    judged_from: float | None = None,
    decided_s: float = 0.0,
) -> RankerResult:
    """Fit each kind to the earlier pages, choose its size on the last of these, judge it on those from the moment
    `judged_from` on (epoch seconds; without one, the last 15 %) by debiased NDCG@10 with all titles at one place, as
    serving asks. The winner is fitted again to everything.

    It serves where it is surely better than the blend and than the order in which the titles stood: the lower bound of
    the difference, by a paired bootstrap over pages, is above 0. Else, and without LEAST plays in the first part, the
    ranker is None and the blend ranks. `metrics` of each kind tell both bounds, and how far what moved most of all its
    inputs moved (age and hour among them, which time moves by itself; the gate asks the stored features).

    What judges teaches nothing: pages whose labels, decided within `decided_s` seconds, were open at that moment are
    left out of the fitted part and of what sizes are chosen by.
    """
    past, between, last = _in_time(data, judged_from, decided_s)
    if (plays := int(past.label.sum())) < LEAST or not len(last) or not last.label.any():
        reason = f"{plays} plays to learn from, a ranker needs {LEAST}: the blend ranks"
        return RankerResult(None, None, {}, {}, _NO_EFFECT, reason)
    effect = _effect(past, seed)
    grown = {kind: _GROW[kind](unbiased(past, effect), between, effect, seed) for kind in kinds}
    orders = _simple(last) | {kind: of.ranker.score(as_served(last.X)) for kind, of in grown.items()}
    gains = debiased_gains(last.label, last.X, effect)
    pages = {name: page_ndcg(scores, gains, last.group) for name, scores in orders.items()}
    metrics = {name: _judge(scores, last, effect) for name, scores in orders.items()}
    first = last.take(np.flatnonzero(np.add(*cells(last.X)) == 0))  # where nothing is to be corrected
    moved = max(_moved(past, last).values())
    for kind, of in grown.items():
        metrics[kind] |= {"log_loss_first": log_loss(of.ranker.score(first.X), first.label), "size": float(of.size)}
        metrics[kind] |= {f"above_{bar}_low": _bound(pages[kind], pages[bar], seed) for bar in _BARS}
        metrics[kind] |= {"feature_psi_most": moved}
    curves = {kind: of.curve for kind, of in grown.items()}
    kind = max(grown, key=lambda name: metrics[name]["ndcg"])
    reason, serves = _verdict(kind, metrics, len(pages[kind]))
    if not serves:
        return RankerResult(None, None, metrics, curves, effect, reason)
    ranker = _REFIT[kind](unbiased(data, effect), seed, grown[kind].size)
    return RankerResult(ranker, kind, metrics, curves, effect, reason, grown[kind].ranker)


def _verdict(kind: str, metrics: Mapping[str, Mapping[str, float]], pages: int) -> tuple[str, bool]:
    own = metrics[kind]
    against = ", ".join(f"{bar} {metrics[bar]['ndcg']:.4f} (at least {own[f'above_{bar}_low']:+.4f})" for bar in _BARS)
    told = f"{kind} reaches debiased NDCG@10 {own['ndcg']:.4f} on {pages} later pages; {against}"
    serves = all(own[f"above_{bar}_low"] > 0 for bar in _BARS)
    verdict = "surely better than both: it ranks" if serves else "not surely better than both: the blend ranks"
    return f"{told}: {verdict}", serves


def _bound(ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int) -> float:
    return paired_bootstrap(ours, theirs, seed=seed).low


def _moved(before: RankingSet, later: RankingSet) -> dict[str, float]:
    """Population stability index of each feature, of the fitted part against the judged one."""
    return {name: psi(before.X[:, column], later.X[:, column]) for column, name in enumerate(FEATURES)}


def _effect(data: RankingSet, seed: int) -> NDArray[np.float64]:
    """Twice: the second ranker learns from plays that the first estimate has freed of most of the pull."""
    effect = position_effect(gbdt.train(data, FEATURES, seed, trees=_LOOK), data)
    return position_effect(gbdt.train(unbiased(data, effect), FEATURES, seed, trees=_LOOK), data)


def _in_time(
    data: RankingSet, judged_from: float | None, decided_s: float
) -> tuple[RankingSet, RankingSet, RankingSet]:
    """Whole pages: to fit, to choose by (with labels decided before the judged moment), to judge by (begun later)."""
    _, page = np.unique(data.group, return_inverse=True)
    first, decided = np.full((2, page.max(initial=-1) + 1), [[np.inf], [-np.inf]])
    np.minimum.at(first, page, data.at)
    np.maximum.at(decided, page, data.at + decided_s)
    if judged_from is None:
        judged_from = float(np.quantile(first, _JUDGED_FROM)) if len(first) else 0.0
    judges = first >= judged_from
    teaches = (decided <= judged_from) & ~judges
    chosen_from = float(np.quantile(first[teaches], _CHOSEN_FROM)) if teaches.any() else judged_from
    parts = (teaches & (first < chosen_from), teaches & (first >= chosen_from), judges)
    past, between, last = (data.take(np.flatnonzero(part[page])) for part in parts)
    return past, between, last


def _simple(data: RankingSet) -> dict[str, Floats]:
    """Orders that need no ranker."""
    blend = data.X[:, FEATURES.index(f"score_{SOURCES[0]}")]
    if np.isnan(blend).all():
        scores = data.X[:, [FEATURES.index(f"score_{source}") for source in SOURCES]]
        blend = np.nansum(scores, axis=1) / np.maximum((~np.isnan(scores)).sum(axis=1), 1)
    worst = float(np.nanmin(blend)) - 1
    return {"blend": np.nan_to_num(blend, nan=worst), "logged": -data.X[:, FEATURES.index(POSITION)]}


def _judge(scores: Floats, data: RankingSet, effect: NDArray[np.float64]) -> dict[str, float]:
    gains = debiased_gains(data.label, data.X, effect)
    return {
        "ndcg": float(page_ndcg(scores, gains, data.group).mean()),
        "ndcg_as_clicked": float(page_ndcg(scores, data.label, data.group).mean()),
    }


def _grow_forest(past: RankingSet, between: RankingSet, effect: NDArray[np.float64], seed: int) -> Grown:
    forest = gbdt.train(past, FEATURES, seed, trees=_TREES)
    gains = debiased_gains(between.label, between.X, effect)
    stages = np.cumsum(forest.stages(as_served(between.X)), axis=1)
    sizes = range(_EVERY, stages.shape[1] + 1, _EVERY)
    curve = [float(page_ndcg(stages[:, size - 1], gains, between.group).mean()) for size in sizes]
    size = sizes[int(np.argmax(curve))]
    return Grown(forest.first(size), size, curve)


def _grow_network(past: RankingSet, between: RankingSet, effect: NDArray[np.float64], seed: int) -> Grown:
    gains, served = debiased_gains(between.label, between.X, effect), as_served(between.X)
    made: list[mlp.Mlp] = []
    mlp.train(past, FEATURES, seed, epochs=_EPOCHS, after_epoch=made.append)
    curve = [float(page_ndcg(of.score(served), gains, between.group).mean()) for of in made]
    best = int(np.argmax(curve))
    return Grown(_calibrated(made[best], past), best + 1, curve)


def _calibrated(network: mlp.Mlp, data: RankingSet) -> mlp.Mlp:
    """With log-odds of a play as scores (Platt 1999), from the first places: the loss over pages cares for order."""
    first = data.take(np.flatnonzero(np.add(*cells(data.X)) == 0))
    score, label = network.score(first.X).astype(np.float64), first.label.astype(np.float64)
    design, line = np.stack((score, np.ones(len(score))), axis=1), np.array([1.0, 0.0])
    for _ in range(20):
        chance = 1 / (1 + np.exp(-design @ line))
        hessian = (design.T * (chance * (1 - chance))) @ design + 1e-6 * np.eye(2)
        line = line + np.linalg.solve(hessian, design.T @ (label - chance))
    return network.scaled(*line) if np.isfinite(line).all() and line[0] > 0 else network


_GROW = {"gbdt": _grow_forest, "mlp": _grow_network}
_REFIT: dict[str, Fit] = {
    "gbdt": lambda data, seed, size: gbdt.train(data, FEATURES, seed, trees=size),
    "mlp": lambda data, seed, size: _calibrated(mlp.train(data, FEATURES, seed, epochs=size), data),
}


def restored(kind: str, arrays: dict[str, NDArray]) -> Ranker:
    """The ranker that was stored."""
    return {"gbdt": gbdt.Forest, "mlp": mlp.Mlp}[kind].restored(arrays)
