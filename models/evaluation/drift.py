"""How far a feature has moved away from what a model was fitted to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import polars as pl

ENOUGH = 1_000  # values on each side: of fewer the index says more about chance
_EMPTY = 1e-4


def moved(sides: "Mapping[str, tuple[pl.Series, pl.Series]]") -> dict[str, float]:
    """Population stability index of each feature with ENOUGH values both before and after (`features.checks.sides`)."""
    return {name: _of_series(*both) for name, both in sides.items() if min(map(len, both)) >= ENOUGH}


def _of_series(before: "pl.Series", recent: "pl.Series") -> float:
    import polars as pl

    if before.dtype.is_numeric():
        expected, actual = (side.cast(pl.Float64).fill_null(float("nan")).to_numpy() for side in (before, recent))
        return psi(expected, actual)
    counted = [dict(side.value_counts().iter_rows()) for side in (before, recent)]
    kinds = sorted({*counted[0], *counted[1]}, key=str)
    return psi_of_counts(*([side.get(kind, 0) for kind in kinds] for side in counted))


def psi(expected: ArrayLike, actual: ArrayLike, bins: int = 10) -> float:
    """Population stability index of a numeric feature: the sum over bins of (a - e) ln(a / e), shares a and e.

    Bins hold equal shares of the distinct `expected` quantiles; missing values (NaN) are a bin of their own; an empty
    bin counts as a share of 0.0001. Below 0.1 little has changed, above 0.25 much (Siddiqi, Credit Risk Scorecards,
    2006). Of two samples of one population it is about (bins - 1) (1/n + 1/m) (Yurdakul, 2018), so that a few dozen
    values say nothing.

    Raises:
        ValueError: one of the two is empty.
    """
    before, now = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if len(before) == 0 or len(now) == 0:
        raise ValueError(f"drift needs values on both sides, there are {len(before)} and {len(now)}")
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if len(known) else np.array([])
    if len(edges) and edges[0] == known.min():  # many values alike: what comes below them is new
        edges = np.insert(edges, 0, np.nextafter(edges[0], -np.inf))
    return psi_of_counts(_counts(before, edges), _counts(now, edges))


def psi_of_counts(expected: ArrayLike, actual: ArrayLike) -> float:
    """The same, of counts in the same bins or categories on both sides."""
    before, now = (np.asarray(counts, dtype=np.float64) for counts in (expected, actual))
    before, now = (np.maximum(counts / counts.sum(), _EMPTY) for counts in (before, now))
    return float(((now - before) * np.log(now / before)).sum())


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    known = values[~np.isnan(values)]
    inside = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    return np.append(inside, len(values) - len(known))
