"""What every model is fitted to and judged on: who took what, in which order."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ragged:
    """Rows of different length: row `r` is `values[indptr[r]:indptr[r + 1]]`.

    A history may know when: `times` [values] is the moment of each value, `at` [rows] the moment at which something is
    to follow, both in seconds. Models without a sense of time ignore them.
    """

    indptr: Ints
    values: Ints
    times: NDArray[np.float64] | None = None
    at: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, rows: list[list[int]]) -> "Ragged":
        lengths = [len(row) for row in rows]
        flat = [value for row in rows for value in row]
        return cls(np.concatenate(([0], np.cumsum(lengths))).astype(np.int64), np.asarray(flat, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: int) -> Ints:
        return self.values[self.indptr[row] : self.indptr[row + 1]]

    @property
    def lengths(self) -> Ints:
        return np.diff(self.indptr)

    @property
    def rows(self) -> Ints:
        """The row of every value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def age(self) -> Ints:
        """How many values of its row come after each value: 0 is the newest."""
        return self.indptr[1:][self.rows] - 1 - np.arange(len(self.values))

    def part(self, start: int, stop: int) -> "Ragged":
        bounds = self.indptr[start : stop + 1]
        kept = slice(int(bounds[0]), int(bounds[-1]))
        return Ragged(bounds - bounds[0], self.values[kept], _at(self.times, kept), _at(self.at, slice(start, stop)))

    def take(self, rows: ArrayLike) -> "Ragged":
        chosen = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[chosen]
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        kept = np.repeat(self.indptr[chosen] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Ragged(indptr, self.values[kept], _at(self.times, kept), _at(self.at, chosen))

    def asked(self, at: ArrayLike) -> "Ragged":
        """The same rows, asked at these moments [rows], in seconds."""
        return replace(self, at=np.asarray(at, dtype=np.float64))

    def newest(self, count: int) -> "Ragged":
        """At most the last `count` values of each row."""
        kept = self.age < count
        indptr = np.concatenate(([0], np.cumsum(np.minimum(self.lengths, count))))
        return Ragged(indptr, self.values[kept], _at(self.times, kept), self.at)

    def without_newest(self, count: int) -> "Ragged":
        """All but the last `count` values of each row."""
        kept = self.age >= count
        indptr = np.concatenate(([0], np.cumsum(np.maximum(self.lengths - count, 0))))
        return Ragged(indptr, self.values[kept], _at(self.times, kept), self.at)

    def matrix(self, columns: int, weights: NDArray[np.floating] | None = None) -> sp.csr_matrix:
        """[rows, columns] with `weights` (default 1) at the values; repeated values add up."""
        data = np.ones(len(self.values), dtype=np.float32) if weights is None else weights.astype(np.float32)
        made = sp.csr_matrix((data, self.values, self.indptr), shape=(len(self), columns))
        made.sum_duplicates()
        return made


@dataclass(frozen=True)
class Interactions:
    """Positive interactions in chronological order, users and items counted from 0; `times` in seconds, ascending."""

    users: Ints
    items: Ints
    times: NDArray[np.float64]
    n_users: int
    n_items: int

    @classmethod
    def sorted(cls, users: ArrayLike, items: ArrayLike, times: ArrayLike, n_users: int, n_items: int) -> "Interactions":
        """Ordered by time; rows of one instant keep the order in which they were given."""
        moments = np.asarray(times, dtype=np.float64)
        order = np.argsort(moments, kind="stable")
        return cls(
            np.asarray(users, np.int64)[order], np.asarray(items, np.int64)[order], moments[order], n_users, n_items
        )

    def __len__(self) -> int:
        return len(self.users)

    def where(self, kept: NDArray[np.bool_]) -> "Interactions":
        return Interactions(self.users[kept], self.items[kept], self.times[kept], self.n_users, self.n_items)

    def histories(self) -> Ragged:
        """What each user took and when, oldest first: one row for each of `n_users`."""
        order = np.argsort(self.users, kind="stable")
        counts = np.bincount(self.users, minlength=self.n_users)
        return Ragged(np.concatenate(([0], np.cumsum(counts))), self.items[order], self.times[order])


def _at(values: NDArray[np.float64] | None, chosen: slice | Ints | NDArray[np.bool_]) -> NDArray[np.float64] | None:
    return None if values is None else values[chosen]
