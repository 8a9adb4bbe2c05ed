"""What one source says of one viewer, as serving asks: a score for every title, and what it follows from.

A source that explains keeps what it gathered to score, so that explaining costs little more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from models.interactions import Floats, Ints, Ragged

Contributions = Callable[[Ints], Floats]


@dataclass(frozen=True)
class Opinion:
    """`scores` [n_items]; `contributions(items)` [asked, items]: what each of the titles that were `asked` adds to each
    score, None where a source cannot tell."""

    scores: Floats
    asked: Ints
    contributions: Contributions | None = None


@runtime_checkable
class Opines(Protocol):
    """A source that is quicker for one viewer than `score` is for many."""

    def opinion(self, history: Ragged, region: str | None, kids: bool, /) -> Opinion:
        """Of the viewer with this history (one row)."""
        ...


def standardised(scores: Floats) -> Floats:
    """[n_items] with mean 0 and standard deviation 1; equal scores become 0."""
    centred = scores - scores.mean(dtype=np.float32)
    spread = np.sqrt(np.dot(centred, centred) / np.float32(max(1, len(scores))))
    return centred / (spread if spread > 0 else np.float32(1))
