"""One fair comparison: every model fitted on the past, tuned on validation, judged once on the newest part."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.evaluation.metrics import evaluate
from models.evaluation.splits import Task, quantile_boundary, temporal
from models.interactions import Interactions
from models.recommenders.base import Fitted, with_fallback
from models.recommenders.blend import Blend, choose_weights
from models.recommenders.zoo import PERSONAL, RECENT, Zoo

MIN_USERS = 20  # fewer test users say nothing
_VALIDATION_ROWS = 1500


@dataclass(frozen=True)
class Plan:
    """How much of time is test, how much of what is before it is validation, and how sure a promotion must be."""

    test_share: float = 0.2
    validation_share: float = 0.2
    resamples: int = 2000
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One model on the test part: NDCG@10 of all later items with its interval, against recent popularity, and more."""

    model: str
    ndcg: Interval
    against_baseline: Interval
    metrics: dict[str, float]


@dataclass(frozen=True)
class Tuned:
    """What validation chose: the blend's weights, the personal model to promote, the popularity for the unknown."""

    weights: dict[str, float]
    candidate: str
    fallback: str


@dataclass(frozen=True)
class Trial:
    """`baseline`: the recent popularity that is strongest on the test itself, so that the bar is never too low."""

    rows: tuple[Row, ...]
    tuned: Tuned
    baseline: str
    users: int
    cold: int
    boundaries: tuple[float, float]  # seconds: start of validation, start of test

    def row(self, model: str) -> Row:
        return next(row for row in self.rows if row.model == model)

    @property
    def winner(self) -> str:
        return max(self.rows, key=lambda row: row.ndcg.mean).model


def run_trial(data: Interactions, zoo: Zoo, plan: Plan) -> Trial | None:
    """Compare all models on a global temporal split; None where there is too little data to compare anything."""
    boundaries = split_times(data, plan)
    validation = temporal(data, boundaries[0], "all", end=boundaries[1])
    test = temporal(data, boundaries[1], "all")
    if len(test) < 2 or len(test.train) == 0 or len(validation) == 0 or len(validation.train) == 0:
        return None
    tuned = tune(zoo.fit(validation.train), validation, plan.seed)
    fitted = zoo.fit(test.train)
    models = {**fitted, "blend": blend_of(fitted, tuned.weights)}
    kinds = {"first": temporal(data, boundaries[1], "first"), "last": temporal(data, boundaries[1], "last")}
    measured = {name: _measure(model, fitted[tuned.fallback], test, kinds) for name, model in models.items()}
    baseline = max(RECENT, key=lambda name: measured[name][0].mean())
    rows = [
        Row(
            name,
            bootstrap_mean(ndcg, resamples=plan.resamples, level=plan.level, seed=plan.seed),
            paired_bootstrap(ndcg, measured[baseline][0], resamples=plan.resamples, level=plan.level, seed=plan.seed),
            metrics,
        )
        for name, (ndcg, metrics) in measured.items()
    ]
    return Trial(tuple(rows), tuned, baseline, len(test), test.cold, boundaries)


def split_times(data: Interactions, plan: Plan) -> tuple[float, float]:
    """Where validation and test begin: shares of the time covered, or of the interactions where time is too uneven."""
    start, end = float(data.times[0]), float(data.times[-1])
    test = start + (end - start) * (1 - plan.test_share)
    validation = start + (test - start) * (1 - plan.validation_share)
    sizes = [
        len(np.unique(data.users[(data.times >= a) & (data.times < b)]))
        for a, b in ((validation, test), (test, np.inf))
    ]
    if min(sizes) >= MIN_USERS and (data.times < validation).mean() >= 0.4:
        return validation, test
    kept = 1 - plan.test_share
    return quantile_boundary(data, kept * (1 - plan.validation_share)), quantile_boundary(data, kept)


def tune(fitted: dict[str, Fitted], validation: Task, seed: int = 0) -> Tuned:
    """Choose by NDCG@10 on (a sample of) validation; the test is not looked at."""
    sample = validation.sample(_VALIDATION_ROWS, seed)
    weights = choose_weights(fitted, sample)
    fallback = max(RECENT, key=lambda name: _reached(fitted[name], fitted[name], sample))
    models = {**fitted, "blend": blend_of(fitted, weights)}
    candidate = max(PERSONAL, key=lambda name: _reached(models[name], fitted[fallback], sample))
    return Tuned(weights, candidate, fallback)


def _reached(model: Fitted, fallback: Fitted, task: Task) -> float:
    return float(evaluate(lambda rows: with_fallback(model, fallback, rows), task).ndcg.mean())


def blend_of(fitted: dict[str, Fitted], weights: dict[str, float]) -> Blend:
    used = {name: weight for name, weight in weights.items() if weight > 0}
    return Blend({name: fitted[name] for name in used}, used)


def _measure(
    model: Fitted, fallback: Fitted, test: Task, kinds: dict[str, Task]
) -> tuple[NDArray[np.float64], dict[str, float]]:
    started = time.perf_counter()
    scores = evaluate(lambda rows: with_fallback(model, fallback, rows), test)
    metrics = scores.summary(test.train)
    metrics["score_seconds"] = time.perf_counter() - started
    warm = test.histories.lengths > 0
    metrics["ndcg_at_10_warm"] = float(scores.ndcg[warm].mean()) if warm.any() else 0.0
    for kind, task in kinds.items():
        metrics[f"ndcg_at_10_{kind}"] = _reached(model, fallback, task)
    return scores.ndcg, metrics
