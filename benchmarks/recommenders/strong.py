"""Strong generalisation (Liang et al., WWW 2018, on MovieLens-1M): users that no model has seen, 80 % of each given.

Ratings of 4 and 5, users with five of them: 1,000 users are the test, 1,000 others the validation on which the blend's
weights are chosen (NDCG@100), 5,034 are fitted for the test. Three splits by three seeds; the interval is that of all
their test users, paired with EASE on the same users.
"""

from collections.abc import Iterator

import numpy as np

from models.evaluation.bootstrap import paired_bootstrap
from models.evaluation.metrics import Scores, evaluate
from models.evaluation.splits import Task, strong_generalisation
from models.interactions import Interactions
from models.recommenders.base import Fitted
from models.recommenders.blend import Blend, choose_weights
from models.recommenders.ease import Ease
from models.recommenders.ials import Ials
from models.recommenders.popularity import Popularity

from .anchors import STRONG
from .rows import Row, interval, row

SEEDS = (0, 1, 2)
_USERS = 1000
_TUNING_ROWS = 1000
_KINDS = {
    "popularity": Popularity(),
    "EASE 400": Ease(penalty=400, decay=1.0),
    "EASE, dropout": Ease(penalty=200, decay=1.0, dropout=0.25),
    "iALS, 64 factors": Ials(factors=64, penalty=20, confidence=4, iterations=10),
    "iALS, 256 factors": Ials(factors=256, penalty=30, confidence=2, iterations=10),
}


def strong_rows(data: Interactions) -> Iterator[Row]:
    found: dict[str, list[Scores]] = {}
    for seed in SEEDS:
        for name, scores in _split(data, seed).items():
            found.setdefault(name, []).append(scores)
    ndcg = {name: np.concatenate([scores.ndcg for scores in parts]) for name, parts in found.items()}
    for name, parts in found.items():
        yield row(f"strong {name}", ndcg[name].mean(), "NDCG@100", STRONG.get(name), None, interval(ndcg[name]))
        for k in (20, 50):
            recall = np.concatenate([scores.at(k, capped=True).recall for scores in parts])
            yield row(f"strong {name}", recall.mean(), f"recall@{k}")
    gain = paired_bootstrap(ndcg["blend"], ndcg["EASE 400"])
    yield row("strong blend above EASE", gain.mean, "NDCG@100", None, 0.0, (gain.low, gain.high)) | {
        "holds": bool(gain.low > 0)
    }


def _split(data: Interactions, seed: int) -> dict[str, Scores]:
    test = strong_generalisation(data, users=_USERS, seed=seed)
    validation = strong_generalisation(test.train, users=_USERS, seed=seed)
    weights = choose_weights(_fit(validation), validation.sample(_TUNING_ROWS), k=100)
    fitted = _fit(test)
    used = {name: weight for name, weight in weights.items() if weight > 0}
    models = {**fitted, "blend": Blend({name: fitted[name] for name in used}, used)}
    return {name: evaluate(model.score, test, k=100) for name, model in models.items()}


def _fit(task: Task) -> dict[str, Fitted]:
    return {name: kind.fit(task.train) for name, kind in _KINDS.items()}
