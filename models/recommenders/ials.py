"""iALS: matrix factorisation of implicit feedback (Hu et al., ICDM 2008), fitted by the `implicit` package."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged

_BATCH = 256


@dataclass(frozen=True)
class Ials:
    """`confidence`: weight of a taken item against 1 of every other."""

    factors: int = 64
    penalty: float = 20.0
    confidence: float = 4.0
    iterations: int = 15
    seed: int = 0
    name: str = "ials"

    def fit(self, data: Interactions) -> "IalsFitted":
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):  # `implicit` threads by itself; BLAS threads below it would thrash
            model = AlternatingLeastSquares(
                factors=min(self.factors, max(1, min(data.n_users, data.n_items) - 1)),
                regularization=self.penalty,
                alpha=self.confidence,
                iterations=self.iterations,
                num_threads=1,
                random_state=self.seed,
            )
            model.fit(data.histories().matrix(data.n_items), show_progress=False)
        return IalsFitted(np.asarray(model.item_factors, dtype=np.float32), self.penalty, self.confidence)


@dataclass(frozen=True)
class IalsFitted:
    """`items` [n_items, factors]; a viewer's factors are solved from the history when asked."""

    items: Floats
    penalty: float
    confidence: float

    def score(self, histories: Ragged) -> Floats:
        batches = [histories.part(i, min(i + _BATCH, len(histories))) for i in range(0, len(histories), _BATCH)]
        return np.concatenate([self._fold_in(batch) for batch in batches]) @ self.items.T

    def contributions(self, history: Ints, items: Ints) -> Floats:
        """[len(history), len(items)] what each item of the history adds to each score; columns sum to the scores."""
        own = self.items[history]
        solved = np.linalg.solve(self._normal(own[None])[0], self.confidence * own.T)
        return (self.items[items] @ solved).T

    def _fold_in(self, histories: Ragged) -> Floats:
        """The least-squares step of the fit, for these rows: (Y'Y + (c - 1) Yh'Yh + penalty I)^-1 c Yh'1."""
        taken = [self.items[histories[row]] for row in range(len(histories))]
        right = np.stack([self.confidence * own.sum(axis=0) for own in taken])
        return np.linalg.solve(self._normal(taken), right[..., None])[..., 0].astype(np.float32)

    def _normal(self, taken: Sequence[Floats] | Floats) -> Floats:
        common = self.items.T @ self.items + self.penalty * np.eye(self.items.shape[1], dtype=np.float32)
        extra = np.float32(self.confidence - 1)
        return np.stack([common + extra * (own.T @ own) for own in taken]).astype(np.float32)

    def arrays(self) -> dict[str, NDArray]:
        return {"items": self.items, "penalty": np.array([self.penalty]), "confidence": np.array([self.confidence])}

    @classmethod
    def restored(cls, arrays: dict[str, NDArray]) -> "IalsFitted":
        return cls(arrays["items"], float(arrays["penalty"][0]), float(arrays["confidence"][0]))
