"""From moments to a verdict: difference, interval and p value by `tea-tasting`, the sample ratio by chi-square.

Convention: the absolute difference has Welch's t interval (for ratios and with a covariate: of the delta method's
variance); the relative difference has the delta method's interval on the log scale. Linear and log-scale intervals can
decide differently on the same data, so the convention is stored beside every number.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tea_tasting.aggr import Aggregates
    from tea_tasting.metrics.mean import MeanResult

CONVENTION = "absolute: Welch; relative: log-scale delta (tea-tasting)"


@dataclass(frozen=True)
class Moments:
    """Sums over the units of one variant: `y` the value, `x` the denominator (ratios) or covariate (means)."""

    n: int
    sum_y: float
    sum_y2: float
    sum_x: float = 0.0
    sum_x2: float = 0.0
    sum_xy: float = 0.0

    @property
    def has_x(self) -> bool:
        """Whether `x` varies: a constant is neither a denominator nor a covariate."""
        return self.sum_x2 * self.n - self.sum_x**2 > 1e-9 * max(1.0, self.sum_x2 * self.n)

    def aggregates(self) -> "Aggregates":
        from tea_tasting.aggr import Aggregates

        def covariance(total_ab: float, total_a: float, total_b: float) -> float:
            return (total_ab - total_a * total_b / self.n) / (self.n - 1)

        return Aggregates(
            count_=self.n,
            mean_={"y": self.sum_y / self.n, "x": self.sum_x / self.n},
            var_={
                "y": max(0.0, covariance(self.sum_y2, self.sum_y, self.sum_y)),
                "x": max(0.0, covariance(self.sum_x2, self.sum_x, self.sum_x)),
            },
            cov_={("x", "y"): covariance(self.sum_xy, self.sum_x, self.sum_y)},
        )


@dataclass(frozen=True)
class Difference:
    """Treatment against control; NaN where the data cannot say (fewer than two units, no variance, a control of 0)."""

    mean_control: float
    mean_treatment: float
    difference: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    p_value: float


def mean_difference(control: Moments, treatment: Moments, alpha: float, *, covariate: bool = False) -> Difference:
    """Of two means; with `covariate`, adjusted by `x` (CUPED: Deng, Xu, Kohavi, Walker, WSDM 2013)."""
    from tea_tasting.metrics import Mean

    metric = Mean("y", "x" if covariate else None, confidence_level=1 - alpha, equal_var=False, use_t=True)
    return _difference(metric, control, treatment)


def ratio_difference(control: Moments, treatment: Moments, alpha: float) -> Difference:
    """Of two ratios of means `y / x`, variance by the delta method (Deng, Knoblich, Lu, KDD 2018)."""
    from tea_tasting.metrics import RatioOfMeans

    return _difference(
        RatioOfMeans("y", "x", confidence_level=1 - alpha, equal_var=False, use_t=True), control, treatment
    )


def sample_ratio_p_value(counts: list[int], shares: list[float]) -> float:
    """Chi-square of the units in each of k arms against what assignment promised; below 0.001 trust no result."""
    from scipy.stats import chisquare

    total = sum(counts)
    if total == 0 or len(counts) < 2:
        return math.nan
    return float(chisquare(counts, [share * total for share in shares]).pvalue)


def _difference(metric: object, control: Moments, treatment: Moments) -> Difference:
    import numpy as np
    from tea_tasting.metrics import Mean, RatioOfMeans

    if not isinstance(metric, Mean | RatioOfMeans):
        raise TypeError(f"not a metric of means: {metric!r}")
    if min(control.n, treatment.n) < 2:
        return _unknown(control, treatment)
    with np.errstate(all="ignore"):
        try:
            result = metric.analyze_aggregates(control.aggregates(), treatment.aggregates())
        except (ZeroDivisionError, ValueError, OverflowError):  # no variance in either arm, or a control of 0
            return _unknown(control, treatment)
    return _finite(result)


def _finite(result: "MeanResult") -> Difference:
    def number(value: float) -> float:
        return float(value) if math.isfinite(value) and math.isfinite(result.pvalue) else math.nan

    return Difference(
        mean_control=float(result.control),
        mean_treatment=float(result.treatment),
        difference=float(result.effect_size),
        low=number(result.effect_size_ci_lower),
        high=number(result.effect_size_ci_upper),
        relative=number(result.rel_effect_size),
        relative_low=number(result.rel_effect_size_ci_lower),
        relative_high=number(result.rel_effect_size_ci_upper),
        p_value=number(result.pvalue),
    )


def _unknown(control: Moments, treatment: Moments) -> Difference:
    a, b = (arm.sum_y / arm.n if arm.n else math.nan for arm in (control, treatment))
    nan = math.nan
    return Difference(a, b, b - a, nan, nan, nan, nan, nan, nan)
