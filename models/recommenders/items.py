"""What EASE and the transition kNN become once fitted: a matrix of item-to-item weights, asked with a history."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interactions import Floats, Ints, Ragged


def _dense(block: Any) -> Floats:
    return np.asarray(block.toarray() if sp.issparse(block) else block, dtype=np.float32)


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
        return _dense(self.weights[history][:, items]) * fading[:, None]

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
