"""Impression fatigue: what was shown again and again without being played makes room."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.interactions import Floats


@dataclass(frozen=True)
class Fatigue:
    """The first `after` impressions without a play are free; each further one multiplies the odds by `keep`, down to
    `floor`."""

    after: int = 3
    keep: float = 0.8
    floor: float = 0.1


# Rows of what was begun or chosen are not tired of; what is new has more time to be found.
POLICIES: dict[str, Fatigue | None] = {
    "continue": None,
    "for_you": Fatigue(),
    "because": Fatigue(),
    "trending": Fatigue(after=5),
    "new": Fatigue(after=5),
    "genre": Fatigue(),
    "gems": Fatigue(after=2, keep=0.6),
}


def rested(scores: Floats, unclicked: ArrayLike, policy: Fatigue | None) -> Floats:
    """The log-odds [m] of titles that were shown `unclicked` [m] times since they were last played, discounted."""
    if policy is None:
        return scores
    tired = np.maximum(np.asarray(unclicked, dtype=np.float64) - policy.after, 0)
    return (scores + np.log(np.maximum(policy.keep**tired, policy.floor))).astype(np.float32)
