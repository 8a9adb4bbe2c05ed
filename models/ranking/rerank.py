"""Re-ranking for diversity and calibration: greedy, with knobs a row."""

from collections.abc import Sequence
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
    vectors = genres if embeddings is None else embeddings
    return rerank_rows([scores], [genres], history_genres, [knobs], [vectors])[0]


def rerank_rows(
    scores: Sequence[Floats],
    genres: Sequence[Floats],
    history_genres: Floats | None,
    knobs: Sequence[Knobs],
    embeddings: Sequence[Floats] | None = None,
) -> list[Ints]:
    """`rerank` of several rows of one viewer, place by place in all of them at once."""
    orders = [np.argsort(-of, kind="stable").astype(np.int64) for of in scores]
    rows = [_Row(*given) for given in zip(scores, genres, knobs, orders, strict=True)]
    calibrated = history_genres is not None and history_genres.sum() > 0
    targets = [
        (number, of.knobs.calibration, _Calibration(of.genres[of.order], history_genres))
        for number, of in enumerate(rows)
        if calibrated and of.knobs.calibration > 0 and history_genres is not None
    ]
    moved = {number for number, _, _ in targets} | {number for number, of in enumerate(rows) if of.knobs.diversity > 0}
    longest = max((len(order) for order in orders), default=0)
    # Everything stands in the order of the scores, so that of equal values the first is the better title.
    base = np.full((len(rows), longest), -np.inf, dtype=np.float32)
    alike = np.zeros((len(rows), longest, longest), dtype=np.float32)
    for number, of in enumerate(rows):
        base[number, : len(of.order)] = of.relevance(calibrated)
        if of.knobs.diversity > 0:
            unit = _unit((genres if embeddings is None else embeddings)[number][of.order])
            alike[number, : len(unit), : len(unit)] = of.knobs.diversity * (unit @ unit.T)
    places, every = max((of.size for of in rows), default=0), np.arange(len(rows))
    chosen = np.zeros((len(rows), places), dtype=np.int64)
    nearest, value = np.zeros_like(base), np.empty_like(base)
    for place in range(places):
        np.subtract(base, nearest, out=value)
        for number, weight, target in targets:
            value[number, : target.count] -= weight * target.divergences(place)
        items = value.argmax(axis=1)
        chosen[:, place] = items
        base[every, items] = -np.inf
        np.maximum(nearest, alike[every, items], out=nearest)
        for number, _, target in targets:
            if place < rows[number].size:
                target.take(items[number])
    return [of.order if n not in moved else of.arranged(chosen[n, : of.size]) for n, of in enumerate(rows)]


@dataclass(frozen=True)
class _Row:
    """`order`: by score."""

    scores: Floats
    genres: Floats
    knobs: Knobs
    order: Ints

    @property
    def size(self) -> int:
        return min(self.knobs.size, len(self.order))

    def relevance(self, calibrated: bool) -> Floats:
        weight = 1 - self.knobs.diversity - self.knobs.calibration * calibrated
        return (weight * _scaled(self.scores))[self.order] if len(self.order) else self.scores

    def arranged(self, chosen: Ints) -> Ints:
        """All of them, these places of the order first."""
        left = np.ones(len(self.order), dtype=np.bool_)
        left[chosen] = False
        return np.concatenate((self.order[chosen], self.order[left]))


class _Calibration:
    """The divergence of a growing list from the history's genres."""

    def __init__(self, genres: Floats, history: Floats) -> None:
        present = history > 0
        self._p = (history[present] / history.sum()).astype(np.float32)
        self._entropy = (self._p * np.log(self._p)).sum()
        self._genres = genres[:, present]
        self._sum = np.zeros(int(present.sum()), dtype=np.float32)
        self.count = len(genres)

    def divergences(self, count: int) -> Floats:
        """KL(history || list) of the list with each candidate added, [m]."""
        mixed = (self._sum + self._genres) * ((1 - _SMOOTH) / (count + 1)) + _SMOOTH * self._p
        return self._entropy - np.log(mixed) @ self._p

    def take(self, item: np.intp | int) -> None:
        self._sum += self._genres[item]


def _scaled(scores: Floats) -> NDArray[np.float32]:
    spread = scores.max() - scores.min()
    return ((scores - scores.min()) / (spread if spread > 0 else 1)).astype(np.float32)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
