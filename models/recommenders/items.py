"""What EASE and the transition kNN become once fitted: a matrix of item-to-item weights, asked with a history."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interactions import Floats, Ints, Ragged
from models.recommenders.opinion import Opinion

_DENSE, _MOST = 0.05, 2**24  # the least share of weights that are stored, and the most of all: 64 MiB


def _dense(block: Any) -> Floats:
    return np.asarray(block.toarray() if sp.issparse(block) else block, dtype=np.float32)


@dataclass(frozen=True)
class Stored:
    """The stored weights of some rows, one after another: `lengths` of each row, `column` is the item of a `value`."""

    lengths: Ints
    column: Ints
    value: Floats

    def sums(self, items: int) -> Floats:
        """[items] over all rows."""
        return np.bincount(self.column, self.value, minlength=items).astype(np.float32)

    def block(self, items: Ints, n_items: int) -> Floats:
        """[rows, len(items)] of the weights; `items` are distinct."""
        place = np.full(n_items, -1, dtype=np.int32)
        place[items] = np.arange(len(items))
        columns = place[self.column]
        wanted = np.flatnonzero(columns >= 0)
        block = np.zeros((len(self.lengths), len(items)), dtype=np.float32)
        row = np.searchsorted(np.cumsum(self.lengths), wanted, side="right")
        block[row, columns[wanted]] = self.value[wanted]
        return block


@dataclass(frozen=True)
class ItemWeights:
    """`weights` [n_items, n_items]: what having taken the row's item adds to the score of the column's.

    An item of the history weighs `decay ** age`, or `1 / (1 + age)` where `decay` is None; the newest has age 0. Only
    the `last` newest are asked (None: all).
    """

    weights: sp.csr_matrix | Floats
    decay: float | None
    last: int | None = None

    def score(self, histories: Ragged) -> Floats:
        asked = histories if self.last is None else histories.newest(self.last)
        return _dense(asked.matrix(self.n_items, self._fading(asked.age)) @ self.weights)

    @property
    def n_items(self) -> int:
        return int(self.weights.indptr.size - 1 if isinstance(self.weights, sp.csr_matrix) else len(self.weights))

    def contributions(self, history: Ints, items: Ints) -> Floats:
        """[len(history), len(items)] what each item of the history adds to each score; columns sum to the scores."""
        age = np.arange(len(history))[::-1]
        fading = self._fading(age) * (age < (len(history) if self.last is None else self.last))
        if isinstance(self.weights, sp.csr_matrix):
            return self._stored(self.weights, history, fading).block(items, self.n_items)
        return self.weights[np.ix_(history, items)] * fading[:, None]

    def opinion(self, history: Ragged, _region: str | None, _kids: bool, /) -> Opinion:
        """Without SciPy, whose checks of a product take longer than the product."""
        taken = history.values
        asked = taken if self.last is None else taken[max(0, len(taken) - self.last) :]
        fading = self._fading(np.arange(len(asked))[::-1])
        if (whole := self._whole) is not None:
            return Opinion(fading @ whole[asked], asked, lambda items: whole[np.ix_(asked, items)] * fading[:, None])
        assert isinstance(self.weights, sp.csr_matrix)
        stored = self._stored(self.weights, asked, fading)
        return Opinion(stored.sums(self.n_items), asked, lambda items: stored.block(items, self.n_items))

    def _stored(self, weights: sp.csr_matrix, history: Ints, by: Floats) -> Stored:
        """The rows of these items, each times its element of `by`."""
        columns, values = self._columns, np.asarray(weights.data, dtype=np.float32)
        starts, stops = weights.indptr[history], weights.indptr[history + 1]
        spans = [slice(*span) for span in zip(starts.tolist(), stops.tolist(), strict=True)] or [slice(0, 0)]
        column, value = np.concatenate([columns[of] for of in spans]), np.concatenate([values[of] for of in spans])
        return Stored(stops - starts, column, value * np.repeat(by, stops - starts))

    @cached_property
    def _whole(self) -> Floats | None:
        """The weights with their zeros, where these are few enough: whole rows are read faster than their parts are
        put together."""
        if not isinstance(self.weights, sp.csr_matrix):
            return self.weights
        dense = self.weights.nnz > _DENSE * self.n_items**2 and self.n_items**2 <= _MOST
        return _dense(self.weights) if dense else None

    @cached_property
    def _columns(self) -> Ints:
        """The items of the stored weights as NumPy's own indices, so that no answer has to convert its part."""
        assert isinstance(self.weights, sp.csr_matrix)
        return self.weights.indices.astype(np.intp)

    def _fading(self, age: NDArray) -> Floats:
        steps = age.astype(np.float32)
        return 1 / (1 + steps) if self.decay is None else np.float32(self.decay) ** steps

    def arrays(self) -> dict[str, NDArray]:
        matrix = sp.csr_matrix(self.weights)
        return {
            "data": matrix.data,
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "shape": np.asarray(matrix.shape, dtype=np.int64),
            "decay": np.array([np.nan if self.decay is None else self.decay]),
            "last": np.array([-1 if self.last is None else self.last]),
        }

    @classmethod
    def restored(cls, arrays: dict[str, NDArray]) -> "ItemWeights":
        shape = (int(arrays["shape"][0]), int(arrays["shape"][1]))
        decay, last = float(arrays["decay"][0]), int(arrays["last"][0])
        return cls(
            sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape),
            None if np.isnan(decay) else decay,
            None if last < 0 else last,
        )
