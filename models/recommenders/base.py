"""The interface of every recommender."""

import os
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ragged


class Fitted(Protocol):
    """A model that knows its items; viewers are given by their histories, so that new ones need no new fit."""

    def score(self, histories: Ragged) -> Floats:
        """[len(histories), n_items], higher is better. A history has its oldest item first."""
        ...

    def arrays(self) -> dict[str, NDArray]:
        """What must be stored to score again."""
        ...


class Recommender(Protocol):
    """A model before it has seen data: its parameters."""

    @property
    def name(self) -> str: ...

    def fit(self, data: Interactions) -> Fitted: ...


def few_threads() -> AbstractContextManager[object]:
    """Two threads of linear algebra at most: a fit leaves the machine to others, and adds in the same order."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(min(2, os.cpu_count() or 1))


def standardised(scores: Floats) -> Floats:
    """Each row with mean 0 and standard deviation 1; a row of equal scores becomes 0."""
    spread = scores.std(axis=1, keepdims=True)
    return (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)


def with_fallback(model: Fitted, fallback: Fitted, histories: Ragged) -> Floats:
    """The model's scores; where it knows nothing about a row (all its scores alike), the fallback's."""
    scores = model.score(histories)
    unknown = scores.max(axis=1) == scores.min(axis=1)
    if unknown.any():
        scores = scores.copy()
        scores[unknown] = fallback.score(histories.take(np.flatnonzero(unknown)))
    return scores
