"""What another policy would have earned, from what was logged: off-policy estimates with 95 % intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import ModelError

_Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """Mean reward of an impression under the target policy, and its 95 % interval."""

    value: float
    low: float
    high: float


def ips(reward: ArrayLike, target: ArrayLike, logged: ArrayLike) -> Estimate:
    """Inverse-propensity scoring (Horvitz and Thompson 1952): unbiased where `logged` > 0 wherever `target` > 0.

    One element an impression: its `reward`, and the probability of what was shown there under either policy.
    """
    weight, gain = _weights(target, logged), np.asarray(reward, dtype=np.float64)
    return _mean(weight * gain)


def snips(reward: ArrayLike, target: ArrayLike, logged: ArrayLike) -> Estimate:
    """Self-normalised (Swaminathan and Joachims 2015): a little biased, of far less variance; interval by the delta
    method.

    Raises:
        ModelError: the target policy would have shown nothing of what was logged.
    """
    weight, gain = _weights(target, logged), np.asarray(reward, dtype=np.float64)
    if not (whole := weight.sum()) > 0:
        raise ModelError("nothing that was logged could have been shown by the target policy: log with exploration")
    value = float(weight @ gain / whole)
    half = _Z * float(np.sqrt((weight**2 * (gain - value) ** 2).sum()) / whole)
    return Estimate(value, value - half, value + half)


def doubly_robust(
    reward: ArrayLike, target: ArrayLike, logged: ArrayLike, expected_shown: ArrayLike, expected_target: ArrayLike
) -> Estimate:
    """Right when either the propensities or the expectations are (Dudik, Langford and Li 2011).

    `expected_shown`: what a model expects of what was shown; `expected_target`: of what the target policy would show.
    """
    weight, gain = _weights(target, logged), np.asarray(reward, dtype=np.float64)
    return _mean(np.asarray(expected_target) + weight * (gain - np.asarray(expected_shown)))


def _weights(target: ArrayLike, logged: ArrayLike) -> NDArray[np.float64]:
    chance = np.asarray(logged, dtype=np.float64)
    if not len(chance) or not (chance > 0).all():
        raise ModelError("a logged propensity is 0 or none was logged: only what could be shown can be weighed")
    return np.asarray(target, dtype=np.float64) / chance


def _mean(values: NDArray[np.float64]) -> Estimate:
    value, half = float(values.mean()), _Z * float(values.std() / np.sqrt(len(values)))
    return Estimate(value, value - half, value + half)
