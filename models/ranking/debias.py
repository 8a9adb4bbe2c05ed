"""What position does to impressions, and how to count without it.

Position-based model: a title is played when its place is looked at and it is liked; the first is a matter of the place
alone (Joachims, Swaminathan and Schnabel 2017). As a feature in training and a constant at serving, position takes its
share of the explanation (Guo et al. 2019, PAL).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.interactions import Floats
from models.ranking.base import Ranker

CLIP = 10.0  # no impression counts for more than ten
PLACES = 20  # places further on count as the last of these
_SAMPLE = 2_000


def weights(propensity: ArrayLike, clip: float = CLIP) -> NDArray[np.float32]:
    """1 over the logged propensity, at most `clip`, scaled to mean 1; an unknown propensity (NaN) counts as 1."""
    known = np.nan_to_num(np.asarray(propensity, dtype=np.float64), nan=1.0)
    raw = np.minimum(1 / np.maximum(known, 1 / clip), clip)
    return (raw / raw.mean() if len(raw) else raw).astype(np.float32)


def at_place(X: Floats, column: int, place: float) -> Floats:  # noqa: N803  the field's name for a feature matrix
    """X with every candidate at one place."""
    made = X.copy()
    made[:, column] = place
    return made


def position_effect(ranker: Ranker, X: Floats, column: int, places: int) -> NDArray[np.float64]:  # noqa: N803
    """[places] how often each place is looked at, the first is 1: the mean chance of a play there over the same
    impressions (partial dependence, Friedman 2001), never more than at the place before."""
    sample = X[:: max(1, len(X) // _SAMPLE)]
    chance = [
        float(np.mean(1 / (1 + np.exp(-ranker.score(at_place(sample, column, place)).astype(np.float64)))))
        for place in range(places)
    ]
    return np.minimum.accumulate(np.asarray(chance)) / chance[0]
