"""One fair comparison: every model fitted on the past, tuned on validation, judged once on the newest part."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.evaluation.checks import MIN_USERS
from models.evaluation.metrics import Scores, evaluate
from models.evaluation.splits import Rolling, Task, quantile_boundary, rolling, temporal
from models.interactions import Interactions
from models.recommenders.base import Fitted, with_fallback
from models.recommenders.blend import Blend, choose_weights
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.zoo import PERSONAL, RECENT, Zoo

_VALIDATION_ROWS = 1500

Mask = NDArray[np.bool_]
May = Callable[[Task, float], Mask]  # (task, its start in seconds) -> [rows, n_items]: what may come out


@dataclass(frozen=True)
class Plan:
    """The newest `folds` parts of `fold_days` are the test; of what is before, a share is validation.

    `least_gain`: by which share validation must prefer something new over the recipe that serves.
    """

    folds: int = 3
    fold_days: float = 7
    validation_share: float = 0.2
    least_gain: float = 0.01
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
class Trial:
    """`baseline`: the recent popularity that is strongest on the test itself, so that the bar is never too low."""

    rows: tuple[Row, ...]
    tuned: Recipe
    baseline: str
    users: int
    cold: int
    boundaries: tuple[float, float]  # seconds: start of validation, start of test
    folds: Rolling
    test: Task
    every: Mapping[str, Scores]  # on `test`, by model

    @property
    def scores(self) -> Scores:
        """Of the candidate on `test`."""
        return self.every[self.tuned.candidate]

    def row(self, model: str) -> Row:
        return next(row for row in self.rows if row.model == model)

    @property
    def winner(self) -> str:
        return max(self.rows, key=lambda row: row.ndcg.mean).model


def everything(task: Task, _start: float) -> Mask:
    return np.ones((len(task), task.train.n_items), dtype=np.bool_)


def run_trial(
    data: Interactions, zoo: Zoo, plan: Plan, fits: Fits, reigning: Recipe | None = None, *, may: May = everything
) -> Trial | None:
    """Compare all models on the time of the gate's folds; None where there is too little data to compare anything.

    `reigning`: what serves now, which validation gives up only for something better by `plan.least_gain`. `may`: the
    masks of the gate (`masks.allowed`).
    """
    folds = rolling(data, folds=plan.folds, days=plan.fold_days, min_users=MIN_USERS)
    if not folds.tasks:
        return None
    boundaries = (validation_start(data, folds.starts[0], plan), folds.starts[0])
    validation = temporal(data, boundaries[0], "all", end=boundaries[1])
    test = temporal(data, boundaries[1], "all")
    if len(test) < 2 or len(test.train) == 0 or len(validation) == 0 or len(validation.train) == 0:
        return None
    sample = validation.sample(_VALIDATION_ROWS, plan.seed)
    tuned = tune(fits, zoo, sample, plan, reigning, allowed=may(sample, boundaries[0]))
    models, fallback = _compared(fits, zoo, tuned, test.train)
    kinds = {kind: temporal(data, boundaries[1], kind) for kind in ("first", "last")}
    asked = {name: (task, may(task, boundaries[1])) for name, task in {"all": test, **kinds}.items()}
    measured = {name: _measure(model, fallback, asked) for name, model in models.items()}
    baseline = max(RECENT, key=lambda name: measured[name][0].ndcg.mean())
    rows = [
        Row(
            name,
            bootstrap_mean(scores.ndcg, resamples=plan.resamples, level=plan.level, seed=plan.seed),
            paired_bootstrap(
                scores.ndcg, measured[baseline][0].ndcg, resamples=plan.resamples, level=plan.level, seed=plan.seed
            ),
            metrics,
        )
        for name, (scores, metrics) in measured.items()
    ]
    every = {name: scores for name, (scores, _) in measured.items()}
    return Trial(tuple(rows), tuned, baseline, len(test), test.cold, boundaries, folds, test, every)


def validation_start(data: Interactions, test: float, plan: Plan) -> float:
    """Where validation begins: a share of the time before the test, or of the interactions where time is uneven."""
    past = data.where(data.times < test)
    start = float(past.times[0]) + (test - float(past.times[0])) * (1 - plan.validation_share)
    users = len(np.unique(past.users[past.times >= start]))
    if users >= MIN_USERS and (past.times < start).mean() >= 0.5:
        return start
    return quantile_boundary(past, 1 - plan.validation_share)


def _compared(fits: Fits, zoo: Zoo, tuned: Recipe, past: Interactions) -> tuple[dict[str, Fitted], Fitted]:
    """All models of the zoo, the tuned one as its own recipe makes it (the champion's may have another zoo), and who
    answers for those that know nothing."""
    fitted, own = fits.of(past, zoo), fits.of(past, tuned.zoo, tuned.parts)
    models: dict[str, Fitted] = dict(fitted)
    if tuned.used and set(tuned.used) <= set(fitted):
        models["blend"] = blend_of(fitted, tuned.weights)
    return models | {tuned.candidate: tuned.assembled(own)}, own[tuned.fallback]


def tune(
    fits: Fits, zoo: Zoo, sample: Task, plan: Plan, reigning: Recipe | None = None, *, allowed: Mask | None = None
) -> Recipe:
    """Choose by NDCG@10 on (a sample of) validation; the test is not looked at."""
    fitted = fits.of(sample.train, zoo)
    weights = choose_weights(fitted, sample, allowed=allowed)
    fallback = max(RECENT, key=lambda name: _reached(fitted[name], fitted[name], sample, allowed))
    models = {**fitted, "blend": blend_of(fitted, weights)}
    reached = {name: _ndcg(models[name], fitted[fallback], sample, allowed) for name in PERSONAL if name in models}
    candidate = _simplest_of_the_best(reached)
    if reigning is not None:
        kept = fits.complete(reigning, sample.train)
        if reached[candidate].mean() <= _reached(kept.model, kept.fallback, sample, allowed) * (1 + plan.least_gain):
            return reigning
    return Recipe(zoo, candidate, weights, fallback)


def _simplest_of_the_best(reached: Mapping[str, NDArray[np.float64]]) -> str:
    """The best model by itself, unless the blend is better by a standard error of the paired difference.

    The blend's weights were chosen on the same viewers, so its lead there flatters it (the one-standard-error rule of
    Breiman et al., Classification and Regression Trees, 1984).
    """
    single = max((name for name in reached if name != "blend"), key=lambda name: reached[name].mean())
    gained = reached["blend"] - reached[single]
    return "blend" if gained.mean() > gained.std() / np.sqrt(len(gained)) else single


def _reached(model: Fitted, fallback: Fitted, task: Task, allowed: Mask | None) -> float:
    return float(_ndcg(model, fallback, task, allowed).mean())


def _ndcg(model: Fitted, fallback: Fitted, task: Task, allowed: Mask | None) -> NDArray[np.float64]:
    return evaluate(lambda rows: with_fallback(model, fallback, rows), task, allowed=allowed).ndcg


def blend_of(fitted: dict[str, Fitted], weights: Mapping[str, float]) -> Blend:
    used = {name: weight for name, weight in weights.items() if weight > 0}
    return Blend({name: fitted[name] for name in used}, used)


def _measure(
    model: Fitted, fallback: Fitted, asked: Mapping[str, tuple[Task, Mask]]
) -> tuple[Scores, dict[str, float]]:
    """`asked`: of "all" later titles, and of the "first" and the "last" one, each with what may come out."""
    started = time.perf_counter()
    test, allowed = asked["all"]
    scores = evaluate(lambda rows: with_fallback(model, fallback, rows), test, allowed=allowed)
    metrics = scores.summary(test.train)
    metrics["score_seconds"] = time.perf_counter() - started
    for kind in ("first", "last"):
        metrics[f"ndcg_at_10_{kind}"] = _reached(model, fallback, *asked[kind])
    return scores, metrics
