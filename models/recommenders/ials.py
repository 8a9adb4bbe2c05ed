"""iALS: matrix factorisation of implicit feedback (Hu et al., ICDM 2008), fitted by the `implicit` package."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.opinion import Opinion

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
    """`items` [n_items, factors]; a viewer's factors are solved from the history when asked.

    The penalty on a viewer is `penalty` (Hu et al.), or, where `by_length`, `penalty` times the length of the history
    (ALS-WR, Zhou et al. 2008), which is what Spark fits.
    """

    items: Floats
    penalty: float
    confidence: float
    by_length: bool = False

    def score(self, histories: Ragged) -> Floats:
        batches = [histories.part(i, min(i + _BATCH, len(histories))) for i in range(0, len(histories), _BATCH)]
        return np.concatenate([self._fold_in(batch) for batch in batches]) @ self.items.T

    def contributions(self, history: Ints, items: Ints) -> Floats:
        """[len(history), len(items)] what each item of the history adds to each score; columns sum to the scores."""
        return (self.items[items] @ self._solved(history)).T

    def opinion(self, history: Ragged, _region: str | None, _kids: bool, /) -> Opinion:
        """The equation of a viewer is factorised once for both: the viewer's factors, and what each title adds to them
        where that is asked for."""
        own, (factorise, solve) = self.items[history.values], _cholesky()
        factor, failed = factorise(self._normal([own])[0])
        if failed:
            raise np.linalg.LinAlgError(f"the equation of a viewer has no solution (LAPACK's potrf: {failed})")
        viewer, _ = solve(factor, self.confidence * own.sum(axis=0))

        def contributions(items: Ints) -> Floats:
            if not len(own):
                return np.zeros((0, len(items)), dtype=np.float32)
            return (self.items[items] @ solve(factor, self.confidence * own.T)[0]).T

        return Opinion(self.items @ viewer, history.values, contributions)

    def _solved(self, history: Ints) -> Floats:
        """[factors, len(history)] what each title of a history adds to the factors of its viewer."""
        own = self.items[history]
        return np.linalg.solve(self._normal([own])[0], self.confidence * own.T).astype(np.float32, copy=False)

    @cached_property
    def _every(self) -> Floats:
        """Y'Y, which every viewer's equation shares."""
        return self.items.T @ self.items

    def _fold_in(self, histories: Ragged) -> Floats:
        """The least-squares step of the fit, for these rows: (Y'Y + (c - 1) Yh'Yh + penalty I)^-1 c Yh'1."""
        taken = [self.items[histories[row]] for row in range(len(histories))]
        right = np.stack([self.confidence * own.sum(axis=0) for own in taken])
        return np.linalg.solve(self._normal(taken), right[..., None])[..., 0].astype(np.float32)

    def _normal(self, taken: Sequence[Floats]) -> Floats:
        extra, factors = np.float32(self.confidence - 1), self.items.shape[1]
        made = np.empty((len(taken), factors, factors), dtype=np.float32)
        for row, own in enumerate(taken):
            made[row] = self._every + extra * (own.T @ own)
            # Without a history nothing is wanted of the row; 1 keeps its equation solvable.
            made[row].flat[:: factors + 1] += self.penalty * (max(len(own), 1) if self.by_length else 1)
        return made

    def arrays(self) -> dict[str, NDArray]:
        numbers = {"penalty": self.penalty, "confidence": self.confidence, "by_length": self.by_length}
        return {"items": self.items} | {name: np.array([number]) for name, number in numbers.items()}

    @classmethod
    def restored(cls, arrays: dict[str, NDArray]) -> "IalsFitted":
        by_length = bool(arrays["by_length"][0]) if "by_length" in arrays else False
        return cls(arrays["items"], float(arrays["penalty"][0]), float(arrays["confidence"][0]), by_length)


@cache
def _cholesky() -> tuple[Any, Any]:
    """LAPACK's `potrf` and `potrs`: an equation is factorised once and solved for several right sides."""
    from scipy.linalg import get_lapack_funcs

    factorise, solve = get_lapack_funcs(("potrf", "potrs"), dtype=np.float32)
    return factorise, solve
