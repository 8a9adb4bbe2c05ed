"""Re-ranking for diversity and calibration: greedy, with knobs a row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats, Ints

_SMOOTH = 0.01


@dataclass(frozen=True)
class Knobs:
    """How much of a row's order is not relevance. `diversity` and `calibration`: weights from 0 to 1 beside relevance
    (their sum at most 1); `explore`: how often its exploration slot shows something else; `size`: places to fill."""

    diversity: float = 0.0
    calibration: float = 0.0
    explore: float = 0.0
    size: int = 20

    def __post_init__(self) -> None:
        weights = (self.diversity, self.calibration, self.explore)
        if min(weights) < 0 or self.diversity + self.calibration > 1 or self.explore > 1:
            raise ModelError(f"{self}: give weights from 0 to 1, diversity and calibration together at most 1")


KNOBS: dict[str, Knobs] = {
    "continue": Knobs(),
    "because": Knobs(diversity=0.05),
    "for_you": Knobs(diversity=0.1, calibration=0.2, explore=0.1),
    "trending": Knobs(diversity=0.05),
    "new": Knobs(diversity=0.1, explore=0.2),
    "genre": Knobs(diversity=0.1, explore=0.05),
    "gems": Knobs(diversity=0.15, explore=0.1),
    "onboarding": Knobs(diversity=0.6),
}


def rerank(
    scores: Floats, genres: Floats, history_genres: Floats | None, knobs: Knobs, embeddings: Floats | None = None
) -> Ints:
    """All m candidates in a new order: the first `knobs.size` places greedily, the others by score.

    Each place takes the candidate with the largest weighted sum of relevance (scores scaled to 0..1), distance to the
    nearest title chosen before (Carbonell and Goldstein 1998, MMR) and what it does for the Kullback-Leibler divergence
    of the list's genres from the history's (Steck 2018). `genres` [m, g]: shares, rows sum to 1 or 0; `history_genres`
    [g] or None (no calibration); `embeddings` [m, d]: similarity by their cosine instead of the genres'.
    """
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    size = min(knobs.size, len(order))
    calibrated = knobs.calibration > 0 and history_genres is not None and history_genres.sum() > 0
    if size < 2 or not (knobs.diversity > 0 or calibrated):
        return order
    base = (1 - knobs.diversity - knobs.calibration * calibrated) * _scaled(scores)
    unit = _unit(genres if embeddings is None else embeddings)
    target = _Calibration(genres, history_genres) if calibrated and history_genres is not None else None
    nearest = np.zeros(len(scores), dtype=np.float32)
    left = np.ones(len(scores), dtype=bool)
    chosen = np.empty(size, dtype=np.int64)
    for place in range(size):
        value = base - knobs.diversity * nearest
        if target is not None:
            value = value - knobs.calibration * target.divergences(place)
        value = np.where(left, value, -np.inf)[order]
        item = order[int(np.argmax(value))]
        chosen[place], left[item] = item, False
        np.maximum(nearest, unit @ unit[item], out=nearest)
        if target is not None:
            target.take(int(item))
    return np.concatenate((chosen, order[left[order]]))


class _Calibration:
    """The divergence of a growing list from the history's genres."""

    def __init__(self, genres: Floats, history: Floats) -> None:
        present = history > 0
        self._p = (history[present] / history.sum()).astype(np.float32)
        self._genres = genres[:, present]
        self._sum = np.zeros(int(present.sum()), dtype=np.float32)

    def divergences(self, count: int) -> Floats:
        """KL(history || list) of the list with each candidate added, [m]."""
        mixed = (self._sum + self._genres) * ((1 - _SMOOTH) / (count + 1)) + _SMOOTH * self._p
        return (self._p * np.log(self._p)).sum() - np.log(mixed) @ self._p

    def take(self, item: int) -> None:
        self._sum += self._genres[item]


def _scaled(scores: Floats) -> NDArray[np.float32]:
    spread = scores.max() - scores.min()
    return ((scores - scores.min()) / (spread if spread > 0 else 1)).astype(np.float32)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
