"""Histories -> batches of equal shape, so that a compiled step is compiled once for each length."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.interactions import Ints, Ragged

_NEVER = np.int32(2**30)


@dataclass(frozen=True)
class Windows:
    """Of the histories `row`: the items start..stop-1 are asked for what stands at start+1..stop."""

    length: int
    row: Ints
    start: Ints
    stop: Ints

    def take(self, chosen: Ints, length: int) -> "Windows":
        return Windows(length, self.row[chosen], self.start[chosen], self.stop[chosen])


@dataclass(frozen=True)
class Batches:
    """Windows of histories as training batches.

    `lengths`: the lengths of windows, ascending; a history that is longer than the last is cut into windows of it from
    a place drawn anew in every epoch. A batch holds about `tokens` places. `negatives` items are drawn for each batch
    (all items where there are no more than that). `noise`: so many bytes for so many dropouts come with each place.
    """

    histories: Ragged
    n_items: int
    lengths: tuple[int, ...]
    tokens: int
    negatives: int
    starts: int
    noise: tuple[int, int] = (0, 0)

    def plan(self, rng: np.random.Generator) -> list[Windows]:
        """The windows of each batch of an epoch, in a new order."""
        every = _windows(self.histories, self.lengths[-1], rng)
        bucket = np.searchsorted(self.lengths, every.stop - every.start)
        made = []
        for number, length in enumerate(self.lengths):
            size = self.rows_of(length)
            chosen = rng.permutation(np.flatnonzero(bucket == number))
            made += [every.take(chosen[at : at + size], length) for at in range(0, len(chosen), size)]
        return [made[which] for which in rng.permutation(len(made))]

    def rows_of(self, length: int) -> int:
        return max(1, self.tokens // length)

    def batch(self, windows: Windows, rng: np.random.Generator) -> dict[str, NDArray]:
        """Arrays of rows_of(length) rows, those that are too many weighing 0.

        `taken` [rows, negatives]: the place in the window at which the viewer takes each; ahead of it below 0.
        """
        every, length, row, start, stop = self.histories, windows.length, windows.row, windows.start, windows.stop
        size = self.rows_of(length)
        place = np.arange(length + 1)
        real = np.zeros((size, length + 1), dtype=np.bool_)
        real[: len(row)] = place <= (stop - start)[:, None]
        at = np.zeros((size, length + 1), dtype=np.int64)
        at[: len(row)] = np.minimum((every.indptr[row] + start)[:, None] + place, len(every.values) - 1)
        tokens = np.where(real, every.values[at], 0).astype(np.int32)
        starts = np.zeros((size, 1), dtype=np.int64)
        starts[: len(row), 0] = start
        negatives = self._drawn(rng)
        drops, width = self.noise
        noise = np.frombuffer(rng.bytes(drops * size * length * width), np.uint8)
        return {
            "items": tokens[:, :-1],
            "targets": tokens[:, 1:],
            "weights": real[:, 1:].astype(np.float32),
            "starts": np.minimum(starts + place[:-1], self.starts - 1).astype(np.int32),
            "times": self._times(at, real),
            "negatives": negatives,
            "noise": noise.reshape(drops, size, length, width),
            "taken": self._taken(row, start, size)[:, negatives],
        }

    def _drawn(self, rng: np.random.Generator) -> NDArray[np.int32]:
        if self.negatives >= self.n_items:
            return np.arange(self.n_items, dtype=np.int32)
        return rng.choice(self.n_items, self.negatives, replace=False).astype(np.int32)

    def _taken(self, row: Ints, start: Ints, size: int) -> NDArray[np.int32]:
        taken = np.full((size, self.n_items), _NEVER, dtype=np.int32)
        own = self.histories.take(row)
        taken[own.rows, own.values] = np.arange(len(own.values)) - own.indptr[own.rows] - start[own.rows]
        return taken

    def _times(self, at: Ints, real: NDArray[np.bool_]) -> NDArray[np.int32]:
        if self.histories.times is None:
            return np.zeros(at.shape, dtype=np.int32)
        times = self.histories.times[at]
        return np.where(real, times - times[:, :1], 0).astype(np.int32)


def _windows(histories: Ragged, length: int, rng: np.random.Generator) -> Windows:
    pairs = histories.lengths - 1
    offset = np.where(pairs > length, rng.integers(1, length + 1, size=len(pairs)), np.maximum(pairs, 0))
    parts: list[tuple[int, int, int]] = []
    for row in np.flatnonzero(pairs > 0):
        bounds = [0, *range(int(offset[row]), int(pairs[row]), length), int(pairs[row])]
        parts += [(int(row), first, last) for first, last in pairwise(bounds)]
    row, start, stop = np.array(parts, dtype=np.int64).reshape(-1, 3).T
    return Windows(length, row, start, stop)
