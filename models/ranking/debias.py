"""What position does to impressions, and how to count without it.

Position-based model: a title is played when its place is looked at and it is liked; the first is a matter of the place
alone (Joachims, Swaminathan and Schnabel 2017). As a feature in training and a constant at serving, position takes its
share of the explanation (Guo et al. 2019, PAL); what a feature leaves, inverse-propensity weights take.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.interactions import Floats
from models.ranking.base import Ranker, RankingSet
from models.ranking.frame import FEATURES, POSITION, VERTICAL, as_served

CLIP = 10.0  # no impression counts for more than ten
ROWS, PLACES = 6, 12  # what stands further on counts as the last of these
_COLUMNS = [FEATURES.index(VERTICAL), FEATURES.index(POSITION)]


def weights(propensity: ArrayLike, clip: float = CLIP) -> NDArray[np.float32]:
    """1 over the logged propensity, at most `clip`, scaled to mean 1; an unknown propensity (NaN) counts as 1."""
    known = np.nan_to_num(np.asarray(propensity, dtype=np.float64), nan=1.0)
    raw = 1 / np.maximum(known, 1 / clip)
    return (raw / raw.mean() if len(raw) else raw).astype(np.float32)


def cells(X: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # noqa: N803  the field's name for a feature matrix
    """Row on the page and place in the row of each impression; unknown ones count as the first."""
    row, place = np.nan_to_num(X[:, _COLUMNS]).astype(np.int64).T
    return np.clip(row, 0, ROWS - 1), np.clip(place, 0, PLACES - 1)


def position_effect(ranker: Ranker, data: RankingSet) -> NDArray[np.float64]:
    """[rows, places] how often each place is looked at; the best of all is 1, none more than the one before it.

    Plays that happened there over those that the ranker expects of the same titles at the first place: the step of
    maximisation of Wang et al. 2018 (regression-based EM). As many rows and places as `data` has.
    """
    row, place = cells(data.X)
    expected, happened = np.zeros((2, row.max(initial=0) + 1, place.max(initial=0) + 1))
    np.add.at(expected, (row, place), 1 / (1 + np.exp(-ranker.score(as_served(data.X)).astype(np.float64))))
    np.add.at(happened, (row, place), data.label)
    ratio = np.minimum.accumulate(happened / np.maximum(expected, 1e-9), axis=1)
    return ratio / max(ratio.max(initial=0), 1e-9)


def unbiased(data: RankingSet, effect: NDArray[np.float64]) -> RankingSet:
    """The same impressions with plays weighted by how seldom their place is looked at."""
    gains = debiased_gains(data.label, data.X, effect)
    return replace(data, weight=np.where(gains > 0, data.weight * gains, data.weight).astype(np.float32))


def debiased_gains(label: ArrayLike, X: Floats, effect: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
    """A play counts 1 over how often its place is looked at, at most CLIP."""
    row, place = cells(X)
    looked = effect[np.minimum(row, effect.shape[0] - 1), np.minimum(place, effect.shape[1] - 1)]
    return np.asarray(label, dtype=np.float64) / np.maximum(looked, 1 / CLIP)
