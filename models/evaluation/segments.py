"""Accuracy by kind of viewer and of title: a mean can hide whom a model fails."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import bootstrap_mean
from models.evaluation.metrics import Scores
from models.evaluation.splits import Task

if TYPE_CHECKING:
    import polars as pl

Mask = NDArray[np.bool_]
_WARM = 5


def segments_of(
    task: Task, *, kids: Mask | None = None, regions: Sequence[str | None] | None = None
) -> dict[str, Mask]:
    """The rows of each segment: cold (no history), warm (1-4 titles), active (5 and more); kids; each region.

    `kids` [n_users] and `regions` [n_users] (None or "": unknown, in no segment) are looked up by the rows' users.
    """
    taken = task.histories.lengths
    made = {"cold": taken == 0, "warm": (taken > 0) & (taken < _WARM), "active": taken >= _WARM}
    if kids is not None:
        made["kids"] = kids[task.users]
    if regions is not None:
        own = np.asarray(regions, dtype=object)[task.users]
        made |= {f"region {name}": own == name for name in sorted({name for name in own if name})}
    return made


def by_segment(
    scores: Scores, segments: Mapping[str, Mask], titles: Mapping[str, Mask] | None = None, *, seed: int = 0
) -> "pl.DataFrame":
    """A row a segment that is not empty, "all" first: users, NDCG with its 95 % interval, recall, hit rate, MRR.

    `segments`: masks [rows] of viewers. `titles`: masks [n_items] (new titles, say): there only those targets count,
    and only the viewers who have any.
    """
    import polars as pl

    parts = {"all": scores, **{name: scores.of_rows(rows) for name, rows in segments.items()}}
    parts |= {name: scores.of_titles(wanted) for name, wanted in (titles or {}).items()}
    rows = []
    for name, part in parts.items():
        if not len(part.targets):
            continue
        interval = bootstrap_mean(part.ndcg, seed=seed)
        rows.append(
            {
                "segment": name, "users": len(part.targets), "ndcg": interval.mean, "low": interval.low,
                "high": interval.high, "recall": part.recall.mean(), "hit_rate": part.hit.mean(),
                "mrr": part.reciprocal_rank.mean(),
            }
        )  # fmt: skip
    return pl.DataFrame(rows)
