"""The interface of every ranker, what one is fitted to, and what a fit returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.interactions import Floats, Ints


class Ranker(Protocol):
    """Scores candidates from their features with plain numpy."""

    @property
    def kind(self) -> str: ...

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the columns that it was fitted to."""
        ...

    def score(self, X: Floats) -> Floats:  # noqa: N803  the field's name for a feature matrix
        """[m] log-odds of a play from X [m, features]."""
        ...

    def arrays(self) -> dict[str, NDArray]:
        """What must be stored to score again."""
        ...


@dataclass(frozen=True)
class RankingSet:
    """Impressions, one a row: features `X` [n, FEATURES], `label` (1: played), `group` (which page), `weight` (1 over
    the logged propensity, clipped: `debias.weights`), `position` (0 is the first place), `at` in epoch seconds."""

    X: Floats
    label: NDArray[np.float32]
    group: Ints
    weight: NDArray[np.float32]
    position: NDArray[np.float32]
    at: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: ArrayLike) -> "RankingSet":
        chosen = np.asarray(rows, dtype=np.int64)
        return RankingSet(
            self.X[chosen],
            self.label[chosen],
            self.group[chosen],
            self.weight[chosen],
            self.position[chosen],
            self.at[chosen],
        )


@dataclass(frozen=True)
class RankerResult:
    """What came of a fit. `ranker` None: the blend ranks; `reason` is the verdict, either way.

    `metrics`: by contender (among them `blend`, and `logged`: the order in which the titles stood), on the last part of
    time; `curves`: by contender, the debiased NDCG@10 of the part before it, step by step; `position_effect` [rows,
    places]: how often a place is looked at, against the best of all; `judged`: the ranker as it was judged, fitted to
    nothing of the last part.
    """

    ranker: Ranker | None
    kind: str | None
    metrics: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, list[float]]
    position_effect: NDArray[np.float64]
    reason: str = ""
    judged: Ranker | None = None
