"""Robust comparisons of today with former days: counts, shares and mixes. Pure functions of numbers.

Counts are compared on the scale `2 * sqrt(x + 3/8)` (Anscombe 1948), shares on `2 * asin(sqrt(p))`: there the variance
hardly depends on the mean, so one spread serves all hours of a week and Poisson's own spread is 1. Centres are medians
and spreads are medians of absolute deviations, so an incident among the former days does not hide the next one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import asin, sin, sqrt
from statistics import median

import numpy as np

_MAD = 1.4826  # of a normal distribution: standard deviation over median absolute deviation
_P95 = 1.96
_HALF_PI = np.pi / 2


@dataclass(frozen=True)
class Comparison:
    """`low` to `high` is what would pass; `z`: distance from `expected` in spreads, with its sign."""

    observed: float
    expected: float
    low: float
    high: float
    z: float


def root(count: float) -> float:
    """A count on the scale on which Poisson's standard deviation is 1."""
    return 2 * sqrt(count + 0.375)


def unroot(value: float) -> float:
    return max((max(value, 0.0) / 2) ** 2 - 0.375, 0.0)


def angle(share: float) -> float:
    """A share on the scale on which the standard deviation of n independent trials is 1 / sqrt(n)."""
    return 2 * asin(sqrt(min(max(share, 0.0), 1.0)))


def unangle(value: float) -> float:
    return sin(min(max(value, 0.0), np.pi) / 2) ** 2


def spread(groups: Iterable[Sequence[float]], floor: float) -> float:
    """The common spread of values around the mean of their group: at least `floor`, whatever little varied so far.

    Groups of one value say nothing. The 95th percentile stands beside the median deviation because visits come in
    bursts: most hours of a small service are alike, and a few are not.
    """
    sizes: list[float] = []
    for group in groups:
        if len(group) > 1:
            mean, factor = sum(group) / len(group), sqrt(len(group) / (len(group) - 1))
            sizes += [abs(value - mean) * factor for value in group]
    if not sizes:
        return floor
    return max(floor, _MAD * median(sizes), float(np.quantile(sizes, 0.95)) / _P95)


def compare_count(observed: float, history: Sequence[float], scale: float, limit: float) -> Comparison:
    """A count against those of former weeks. `scale`: their common spread on the root scale.

    A median of n values is uncertain itself, which widens the band by sqrt(1 + pi / 2n).
    """
    centre = median([root(count) for count in history])
    wide = scale * sqrt(1 + _HALF_PI / len(history))
    low, high = unroot(centre - limit * wide), unroot(centre + limit * wide)
    return Comparison(observed, unroot(centre), low, high, (root(observed) - centre) / wide)


def compare_share(part: int, whole: int, history: Sequence[float], limit: float) -> Comparison:
    """A share of `whole` against the shares of former days; at least the spread of `whole` independent trials."""
    former = [angle(share) for share in history]
    centre = median(former)
    wide = spread([former], 1 / sqrt(whole)) * sqrt(1 + _HALF_PI / len(former))
    low, high = unangle(centre - limit * wide), unangle(centre + limit * wide)
    return Comparison(part / whole, unangle(centre), low, high, (angle(part / whole) - centre) / wide)


def population_stability(observed: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """The population stability index of two counts by category: sum of (p - q) ln(p / q), half a count added to each.

    0: the same mix; above 0.1 it is customary to look, above 0.25 to act.
    """
    names = sorted({*observed, *expected})
    p = np.array([observed.get(name, 0.0) + 0.5 for name in names])
    q = np.array([expected.get(name, 0.0) + 0.5 for name in names])
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def noise(categories: int, observed: float, expected: float) -> float:
    """What the index of two independent samples of one mix is on average: (categories - 1)(1/n + 1/m)."""
    return (categories - 1) * (1 / max(observed, 1) + 1 / max(expected, 1))


def add(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Counts by category, over several days."""
    total: dict[str, float] = {}
    for day in counts:
        for name, count in day.items():
            total[name] = total.get(name, 0.0) + count
    return total
