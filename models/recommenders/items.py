"""What EASE and the transition kNN become once fitted: a matrix of item-to-item weights, asked with a history."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interactions import Floats, Ints, Ragged


def _dense(block: Any) -> Floats:
    return np.asarray(block.toarray() if sp.issparse(block) else block, dtype=np.float32)


def _stored(weights: sp.csr_matrix, history: Ints) -> tuple[Ints, Ints]:
    """Where the weights of these rows are stored, one row after another, and the number in `history` of each."""
    start = weights.indptr[history].astype(np.int64)
    lengths = weights.indptr[history + 1] - start
    rows = np.repeat(np.arange(len(history)), lengths)
    return rows, np.arange(len(rows)) + np.repeat(start - np.cumsum(lengths) + lengths, lengths)


def _block(weights: sp.csr_matrix, history: Ints, items: Ints) -> Floats:
    """[len(history), len(items)] of the weights; `items` are distinct."""
    place = np.full(len(weights.indptr) - 1, -1, dtype=np.int64)
    place[items] = np.arange(len(items))
    rows, stored = _stored(weights, history)
    columns = place[weights.indices[stored]]
    wanted = columns >= 0
    block = np.zeros((len(history), len(items)), dtype=np.float32)
    block[rows[wanted], columns[wanted]] = weights.data[stored[wanted]]
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
        if len(asked) == 1 and isinstance(self.weights, sp.csr_matrix):
            return self._score_one(self.weights, asked.values, self._fading(asked.age))
        return _dense(asked.matrix(self.n_items, self._fading(asked.age)) @ self.weights)

    @property
    def n_items(self) -> int:
        return int(self.weights.indptr.size - 1 if isinstance(self.weights, sp.csr_matrix) else len(self.weights))

    def contributions(self, history: Ints, items: Ints) -> Floats:
        """[len(history), len(items)] what each item of the history adds to each score; columns sum to the scores."""
        age = np.arange(len(history))[::-1]
        fading = self._fading(age) * (age < (len(history) if self.last is None else self.last))
        if isinstance(self.weights, sp.csr_matrix):
            return _block(self.weights, history, items) * fading[:, None]
        return self.weights[np.ix_(history, items)] * fading[:, None]

    def _score_one(self, weights: sp.csr_matrix, history: Ints, fading: Floats) -> Floats:
        """One viewer, as serving asks: SciPy's checks of a product would take longer than the product."""
        rows, stored = _stored(weights, history)
        added = weights.data[stored] * fading[rows]
        return np.bincount(weights.indices[stored], added, minlength=self.n_items).astype(np.float32)[None]

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
