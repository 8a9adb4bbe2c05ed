"""Leave-one-out on the SASRec ordering: models that a CPU fits in seconds, the published ones, and the stack.

Full ranking over 3,416 items, seen items excluded; the last item of each of 6,040 users is the test. Everything that is
chosen is chosen on earlier items. Two tables: without time stamps, and with the moment of the target known, as it is
to HSTU. The stack is read from benchmarks/results unless `retrain`.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from matinee.console import errors
from models.evaluation.metrics import evaluate
from models.evaluation.splits import leave_one_out
from models.interactions import Interactions
from models.recommenders.base import Fitted, Recommender
from models.recommenders.blend import Blend, choose_weights
from models.recommenders.ease import Ease
from models.recommenders.ials import Ials
from models.recommenders.items import ItemWeights
from models.recommenders.knn import TransitionKnn
from models.recommenders.popularity import Popularity

from .anchors import LEAVE_ONE_OUT, MEASURED
from .rows import Row, accuracy, row

TUNING_ROWS = 1200
_SHOWN = ("popularity", "ials", "ease_decay", "knn")
_KINDS: Mapping[str, Recommender] = {
    "popularity": Popularity(),
    "popularity_7d": Popularity(7),
    "popularity_14d": Popularity(14),
    "popularity_30d": Popularity(30),
    "ease": Ease(decay=1.0),
    "ials": Ials(),
    "knn": TransitionKnn(),
    "knn_wide": TransitionKnn(window=20, last=20),
}
_FADING = {"ease_decay": 0.9, "ease_fast": 0.7, "ease_slow": 0.97}


def untimed_rows(data: Interactions) -> Iterator[Row]:
    """Popularity of some days means nothing here: the ordering has no time."""
    names = [name for name in _KINDS if not name.startswith("popularity_")]
    tuning = leave_one_out(data, holdout=2).sample(TUNING_ROWS)
    early, _ = fit(tuning.train, names)
    weights = choose_weights({name: model for name, model in early.items() if name != "popularity"}, tuning)
    task = leave_one_out(data)
    fitted, seconds = fit(task.train, names)
    models = {name: fitted[name] for name in _SHOWN} | {"blend": blend_of(fitted, weights)}
    for name, model in models.items():
        yield from accuracy(f"loo {name}", evaluate(model.score, task), data.n_items, MEASURED[name])
        if name in seconds:
            yield row(f"loo {name}: fit", seconds[name], "s")
    yield row("loo: fit all of them", sum(seconds.values()), "s")


def anchor_rows() -> Iterator[Row]:
    """What is published, for the eye: nothing is measured."""
    for anchor in LEAVE_ONE_OUT:
        told = ", timed" if anchor.timed else ""
        yield row(f"published{told}: {anchor.model} ({anchor.source})", anchor.ndcg, "NDCG@10")
        yield row(f"published{told}: {anchor.model} ({anchor.source})", anchor.hit_rate, "HR@10")


def fit(train: Interactions, names: list[str] | None = None) -> tuple[dict[str, Fitted], dict[str, float]]:
    """The models by name, and the CPU seconds that each took. A fitted EASE is asked with several decays."""
    errors.print(f"fitting {len(train):,} interactions", style="dim")
    made: dict[str, Fitted] = {}
    seconds: dict[str, float] = {}
    for name in names or list(_KINDS):
        started = time.process_time()
        made[name] = _KINDS[name].fit(train)
        seconds[name] = time.process_time() - started
    ease = made["ease"]
    assert isinstance(ease, ItemWeights)  # what EASE becomes
    return made | {name: replace(ease, decay=decay) for name, decay in _FADING.items()}, seconds


def blend_of(fitted: Mapping[str, Fitted], weights: Mapping[str, float]) -> Blend:
    used = {name: weight for name, weight in weights.items() if weight > 0}
    return Blend({name: fitted[name] for name in used}, used)
