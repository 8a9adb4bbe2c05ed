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
    values: NDArray[np.float64], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The mean of one value a user."""
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _CHUNK):
        drawn = rng.integers(0, len(values), size=(min(_CHUNK, resamples - start), len(values)))
        means.append(values[drawn].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(
    better: NDArray[np.float64], base: NDArray[np.float64], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The mean difference `better - base` of the same users in the same order: each user is its own control."""
    if better.shape != base.shape:
        raise ValueError(f"paired values differ in shape: {better.shape} and {base.shape}")
    return bootstrap_mean(better - base, resamples=resamples, level=level, seed=seed)
