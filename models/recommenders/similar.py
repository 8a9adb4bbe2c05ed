"""Titles that go together: taken by the same viewers, or of the same genres."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ragged

_LAST = 100  # newest titles of a history that count as taken together
_SHRINKAGE = 5.0
_KEPT = 100  # neighbours of a title that are stored
_KEPT_SCORES = 2_000_000  # 5 bytes each, of the titles asked last
_GENRE_SHARE = 0.05  # far below one shared viewer: genres order what nobody took together


@dataclass(frozen=True)
class Neighbours:
    """`together` [n_items, n_items]: shrunk cosine of viewers, the strongest of each row, 0 on the diagonal."""

    together: sp.csr_matrix
    tags: sp.csr_matrix  # [n_items, genres]
    _kept: dict[int, tuple[Floats, NDArray[np.bool_]]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def of(self, item: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Scores [n_items] beside one title, and where viewers (not only genres) say so. Not to be changed."""
        known = self._kept.get(item)
        if known is None:
            while len(self._kept) * self.tags.get_shape()[0] >= _KEPT_SCORES:
                self._kept.pop(next(iter(self._kept)))
            known = self._kept[item] = self._of(item)
        return known

    def _of(self, item: int) -> tuple[Floats, NDArray[np.bool_]]:
        cosine = np.zeros(self.tags.get_shape()[0], dtype=np.float32)
        if item < len(self.together.indptr) - 1:
            span = slice(self.together.indptr[item], self.together.indptr[item + 1])
            cosine[self.together.indices[span]] = self.together.data[span]
        sizes = np.maximum(np.diff(self.tags.indptr), 1)
        shared = np.asarray((self.tags @ self.tags[item].T).todense(), dtype=np.float32).ravel()
        jaccard = shared / (sizes[item] + sizes - shared)
        scores = cosine + np.float32(_GENRE_SHARE) * jaccard
        scores[item] = 0.0
        return scores.astype(np.float32), cosine > 0


def neighbours(data: Interactions, genres: Sequence[Sequence[str]]) -> Neighbours:
    """Fitted to positive interactions; rows of `genres` are items."""
    taken = data.histories().newest(_LAST).matrix(data.n_items)
    taken.data[:] = 1.0
    both = sp.coo_matrix(taken.T @ taken)
    counts = np.maximum(np.bincount(taken.indices, minlength=data.n_items), 1)
    cosine = both.data / np.sqrt(counts[both.row] * counts[both.col]) * (both.data / (both.data + _SHRINKAGE))
    cosine[both.row == both.col] = 0.0
    return Neighbours(
        _strongest(sp.csr_matrix((cosine.astype(np.float32), (both.row, both.col)), both.shape)), tags(genres)
    )


def tags(genres: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """[n_items, genres] 1 where the item is of the genre."""
    number = {name: column for column, name in enumerate(sorted({name for row in genres for name in row}))}
    return Ragged.of([[number[name] for name in dict.fromkeys(row)] for row in genres]).matrix(max(1, len(number)))


def _strongest(weights: sp.csr_matrix) -> sp.csr_matrix:
    """The largest of each row, no zeros."""
    values = np.asarray(weights.data)
    kept = np.zeros(len(values), dtype=np.bool_)
    for row in range(len(weights.indptr) - 1):
        span = np.arange(weights.indptr[row], weights.indptr[row + 1])
        best = span[np.argsort(np.negative(values[span]), kind="stable")[:_KEPT]]
        kept[best] = values[best] > 0
    rows = np.repeat(np.arange(len(weights.indptr) - 1), np.diff(weights.indptr))
    return sp.csr_matrix((values[kept], (rows[kept], weights.indices[kept])), shape=weights.get_shape())
