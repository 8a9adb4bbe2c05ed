"""Intervals over users by the bootstrap (Efron 1979): users are drawn again, with replacement."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK = 100


@dataclass(frozen=True)
class Interval:
    """A mean with the percentile interval of its resamples."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: NDArray[np.float64],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> Interval:
    """The mean of one value a user; of several values a user where `groups` says whose each value is.

    A user is then drawn with all their values (the cluster bootstrap): they are not independent of one another.
    """
    rng = np.random.default_rng(seed)
    sums, counts = values, np.ones(len(values))
    if groups is not None:
        _, own = np.unique(groups, return_inverse=True)
        sums, counts = np.bincount(own, values), np.bincount(own).astype(np.float64)
    means = []
    for start in range(0, resamples, _CHUNK):
        drawn = rng.integers(0, len(sums), size=(min(_CHUNK, resamples - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(
    better: NDArray[np.float64],
    base: NDArray[np.float64],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> Interval:
    """The mean difference `better - base` of the same users in the same order: each user is its own control."""
    if better.shape != base.shape:
        raise ValueError(f"paired values differ in shape: {better.shape} and {base.shape}")
    return bootstrap_mean(better - base, resamples=resamples, level=level, seed=seed, groups=groups)
