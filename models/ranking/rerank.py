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
    if not len(scores):
        return []
    orders = [np.argsort(-of, kind="stable").astype(np.int64) for of in scores]
    calibrated = history_genres is not None and bool(history_genres.sum() > 0)
    # Everything stands in the order of the scores, so that of equal values the first is the better title.
    worth = [relevance(of[order], of_row, calibrated) for of, order, of_row in zip(scores, orders, knobs, strict=True)]
    vectors = [unit(of[order]) for of, order in zip(embeddings or genres, orders, strict=True)]
    shares = [of[order] for of, order in zip(genres, orders, strict=True)]
    chosen = places(_padded(worth, -np.inf), _padded(vectors, 0.0), _padded(shares, 0.0), history_genres, knobs)
    return [arranged(order, of, of_row) for order, of, of_row in zip(orders, chosen, knobs, strict=True)]


def relevance(scores: Floats, knobs: Knobs, calibrated: bool) -> Floats:
    """[m] what is left of these scores beside the knobs; `calibrated`: there is a history to calibrate to."""
    weight = np.float32(1 - knobs.diversity - knobs.calibration * calibrated)
    return weight * _scaled(scores) if len(scores) else scores


def places(
    worth: Floats, unit: Floats, genres: Floats, history_genres: Floats | None, knobs: Sequence[Knobs]
) -> list[list[int]]:
    """For each row which of its candidates take its places, of equal ones the first; `worth` [rows, m]: `relevance`,
    -inf where there is none any more; `unit` [rows, m, d]: vectors of length 1 or 0; `genres` [rows, m, g]."""
    sizes = [min(of.size, count) for of, count in zip(knobs, np.isfinite(worth).sum(axis=1).tolist(), strict=True)]
    alike = unit @ unit.transpose(0, 2, 1)
    alike *= np.array([of.diversity for of in knobs], dtype=np.float32)[:, None, None]
    targets = [
        (number, of.calibration, _Calibration(genres[number], history_genres))
        for number, of in enumerate(knobs)
        if of.calibration > 0 and history_genres is not None and history_genres.sum() > 0
    ]
    left, every, chosen = worth.copy(), np.arange(len(worth)), []
    nearest, value = np.zeros_like(left), np.empty_like(left)
    for place in range(max(sizes, default=0)):
        np.subtract(left, nearest, out=value)
        for number, weight, target in targets:
            value[number] += weight * target.gains(place)
        items = value.argmax(axis=1)
        chosen.append(items)
        left[every, items] = -np.inf
        np.maximum(nearest, alike[every, items], out=nearest)
        for number, _, target in targets:
            target.take(items[number])
    by_row = np.array(chosen, dtype=np.int64).reshape(len(chosen), len(worth)).T.tolist()
    return [of[:size] for of, size in zip(by_row, sizes, strict=True)]


def arranged(order: Ints, chosen: Sequence[int], knobs: Knobs) -> Ints:
    """All of the `order`, the `chosen` places of it first; as it is where no knob moves anything."""
    if not (knobs.diversity or knobs.calibration):
        return order
    rest = np.ones(len(order), dtype=np.bool_)
    rest[chosen] = False
    return np.concatenate((order[chosen], order[rest]))


class _Calibration:
    """What a growing list does for the divergence of its genres from the history's."""

    def __init__(self, genres: Floats, history: Floats) -> None:
        present = history > 0
        self._p = (history[present] / history.sum()).astype(np.float32)
        self._least = np.float32(_SMOOTH) * self._p
        self._genres = np.ascontiguousarray(genres[:, present])
        self._sum, self._mixed = np.zeros_like(self._p), np.empty_like(self._genres)

    def gains(self, count: int) -> Floats:
        """[m] -KL(history || list) of the list with each candidate added, but for the history's own entropy."""
        mixed = np.add(self._genres, self._sum, out=self._mixed)
        mixed *= np.float32((1 - _SMOOTH) / (count + 1))
        mixed += self._least
        return np.log(mixed, out=mixed) @ self._p

    def take(self, item: np.intp | int) -> None:
        self._sum += self._genres[item]


def _padded(rows: Sequence[Floats], nothing: float) -> Floats:
    """[rows, longest, ...] with `nothing` behind the shorter ones."""
    made = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), nothing, dtype=np.float32)
    for whole, of in zip(made, rows, strict=True):
        whole[: len(of)] = of
    return made


def _scaled(scores: Floats) -> NDArray[np.float32]:
    spread = scores.max() - scores.min()
    return ((scores - scores.min()) / (spread if spread > 0 else 1)).astype(np.float32)


def unit(vectors: Floats) -> Floats:
    """The same [m, d] with length 1, or 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
