"""Gradient boosting as arrays: scikit-learn grows the trees, numpy walks them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats
from models.ranking.base import RankingSet
from models.ranking.bits import MOST_LEAVES, Bits

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


_NODES = ("feature", "threshold", "left", "right", "missing_left", "value")


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees, one after another; `roots` [trees]. A leaf is its own child on both sides, so that every
    row can take `depth` steps. `missing_left`: where a NaN goes; `value`: what a leaf adds to the log-odds."""

    names: tuple[str, ...]
    baseline: float
    depth: int
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]

    @property
    def kind(self) -> str:
        return "gbdt"

    @property
    def features(self) -> tuple[str, ...]:
        return self.names

    def score(self, X: Floats) -> Floats:  # noqa: N803  the field's name for a feature matrix
        """[m] log-odds of X [m, features]; NaN goes where scikit-learn sends it."""
        if X.shape[1] != len(self.names):
            raise ModelError(f"the ranker knows {len(self.names)} features, it is given {X.shape[1]}")
        if X.dtype == np.float32 and self._bits is not None:
            return (self._bits.sums(X.T) + self.baseline).astype(np.float32)
        return (self.stages(X).sum(axis=1) + self.baseline).astype(np.float32)

    @cached_property
    def _bits(self) -> Bits | None:
        """The same trees in the form that is asked fastest; None where one has too many leaves for it."""
        leaf = self.left == np.arange(len(self.left))
        counts = np.add.reduceat(leaf, self.roots) if len(self.roots) else np.zeros(0)
        return Bits.of(self) if 0 < counts.max(initial=0) <= MOST_LEAVES else None

    def stages(self, X: Floats) -> NDArray[np.float64]:  # noqa: N803
        """[m, trees] what each tree adds."""
        rows, width = X.shape
        values = np.ascontiguousarray(X, dtype=np.float64).ravel()
        unknown = np.isnan(values)
        first = (np.arange(rows, dtype=np.int32) * width)[:, None]
        node = np.broadcast_to(self.roots, (rows, len(self.roots)))
        for _ in range(self.depth):
            cell = first + self.feature[node]
            goes_left = values[cell] <= self.threshold[node]
            goes_left |= unknown[cell] & self.missing_left[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        return self.value[node]

    def first(self, trees: int) -> "Forest":
        """The same with its first trees alone."""
        end = int(self.roots[trees]) if trees < len(self.roots) else len(self.value)
        nodes = {name: getattr(self, name)[:end] for name in _NODES}
        return replace(self, roots=self.roots[:trees], **nodes)

    def arrays(self) -> dict[str, NDArray]:
        return {
            "names": np.array(self.names),
            "baseline": np.array(self.baseline),
            "depth": np.array(self.depth),
            "roots": self.roots,
            **{name: getattr(self, name) for name in _NODES},
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray]) -> "Forest":
        return cls(
            tuple(str(name) for name in arrays["names"]),
            float(arrays["baseline"]),
            int(arrays["depth"]),
            arrays["roots"],
            *(arrays[name] for name in _NODES),
        )


def train(data: RankingSet, names: Sequence[str], seed: int, *, trees: int) -> Forest:
    """Fit so many trees of at most 15 leaves to the impressions, each with its weight."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=trees,
        max_leaf_nodes=15,
        max_depth=5,
        min_samples_leaf=40,
        l2_regularization=5.0,
        early_stopping=False,  # pyright: ignore[reportArgumentType] its stub knows "auto" alone
        random_state=seed,
    )
    # scikit-learn cannot bin a column of which nothing is known
    known = np.flatnonzero(~np.isnan(data.X).all(axis=0))
    forest = exported(model.fit(data.X[:, known], data.label, sample_weight=data.weight), names)
    return replace(forest, feature=known[forest.feature].astype(np.int32))


def exported(model: "HistGradientBoostingClassifier", names: Sequence[str]) -> Forest:
    """The trees of a fitted binary classifier without categorical features.

    Raises:
        ModelError: it has more than two classes, or a split by categories.
    """
    if (sorts := model.n_trees_per_iteration_) != 1:
        raise ModelError(f"a ranker knows played and not played; this classifier has {sorts} classes")
    trees = [of_iteration[0].nodes for of_iteration in model._predictors]
    nodes = np.concatenate(trees)
    if nodes["is_categorical"].any():
        raise ModelError("a tree splits by categories, which the export does not know: give numbers")
    sizes = [len(tree) for tree in trees]
    roots = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int32)
    own, offset = np.arange(len(nodes), dtype=np.int32), np.repeat(roots, sizes)
    leaf = nodes["is_leaf"].astype(bool)
    return Forest(
        names=tuple(names),
        baseline=float(np.ravel(model._baseline_prediction)[0]),
        depth=int(nodes["depth"].max()),
        roots=roots,
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, np.inf, nodes["num_threshold"]),
        left=np.where(leaf, own, nodes["left"].astype(np.int32) + offset).astype(np.int32),
        right=np.where(leaf, own, nodes["right"].astype(np.int32) + offset).astype(np.int32),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        value=np.where(leaf, nodes["value"], 0.0),
    )
