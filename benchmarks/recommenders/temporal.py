"""Global split at the 0.9 quantile of time (arXiv 2507.16289): the first later title, the last, and all of 1,209 users.

One system, fitted once on what was before the split, with one set of blend weights for each kind of target, chosen on
the tenth before the split by the same models fitted before it, on users with a history (the others get what was popular
in 14 days). Nothing after the split is fitted or chosen on; benchmarks/README.md says how often the test was looked at.
"""

from collections.abc import Iterator

import numpy as np

from models.evaluation.metrics import Scores, evaluate
from models.evaluation.splits import Task, temporal
from models.interactions import Interactions
from models.recommenders.base import Fitted, with_fallback
from models.recommenders.blend import choose_weights

from .anchors import TEMPORAL, TEMPORAL_BEST, TEMPORAL_GOALS
from .loo import TUNING_ROWS, blend_of, fit
from .rows import Row, accuracy, row

_QUANTILE = 0.9
_FALLBACK = "popularity_14d"
USERS = 1209
_DRAWS = 4
_SHOWN = ("popularity_7d", "popularity_14d", "popularity_30d", "ease", "ease_decay", "knn", "ials", "blend")


def temporal_rows(data: Interactions) -> Iterator[Row]:
    start, split = (float(np.nextafter(_quantile(data, q), np.inf)) for q in (2 * _QUANTILE - 1, _QUANTILE))
    early, _ = fit(temporal(data, start, "all", end=split).train)
    del early["popularity"]  # tells less than that of some days
    fitted, _ = fit(temporal(data, split, "all").train)
    for target, goal in TEMPORAL_GOALS.items():
        tuning = _warm(temporal(data, start, target, end=split)).sample(TUNING_ROWS)
        models = {**fitted, "blend": blend_of(fitted, _weights(early, tuning))}
        task = temporal(data, split, target)
        for name in _SHOWN:
            scores = _judged(models[name], fitted[_FALLBACK], task)
            if name == "blend":
                yield from accuracy(f"{target} {name}", scores, data.n_items, TEMPORAL_BEST[target], goal)
            else:
                yield accuracy(f"{target} {name}", scores, data.n_items)[0]
        for model, published in TEMPORAL.items():
            yield row(f"{target} published: {model}", published[target], "NDCG@10")
    users = len(temporal(data, split, "all"))
    yield row("temporal test users", users, "users", USERS) | {"goal": f"= {USERS}", "holds": users == USERS}


def _weights(early: dict[str, Fitted], tuning: Task) -> dict[str, float]:
    """The mean of what four random halves choose: a first title is so hard to guess that one choice is mostly noise."""
    chosen = [choose_weights(early, tuning.sample(len(tuning) // 2, seed)) for seed in range(_DRAWS)]
    return {name: float(np.mean([weights[name] for weights in chosen])) for name in early}


def _warm(task: Task) -> Task:
    """Those with a history: the others get the fallback, and are half of the validation but few of the test."""
    return task.take(np.flatnonzero(task.histories.lengths > 0))


def _judged(model: Fitted, fallback: Fitted, task: Task) -> Scores:
    return evaluate(lambda rows: with_fallback(model, fallback, rows), task)


def _quantile(data: Interactions, share: float) -> float:
    return float(np.quantile(data.times, share, method="lower"))
