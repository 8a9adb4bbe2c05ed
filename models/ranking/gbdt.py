"""Gradient boosting as arrays: scikit-learn grows the trees, numpy walks them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees, one after another; `roots` [trees]. A leaf is its own child on both sides, so that every
    row can take `depth` steps. `missing_left`: where a NaN goes; `value`: what a leaf adds to the log-odds."""

    kind: ClassVar[str] = "gbdt"
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
    def features(self) -> tuple[str, ...]:
        return self.names

    def score(self, X: Floats) -> Floats:  # noqa: N803  the field's name for a feature matrix
        """[m] log-odds of X [m, features]; NaN goes where scikit-learn sends it."""
        if X.shape[1] != len(self.names):
            raise ModelError(f"the ranker knows {len(self.names)} features, it is given {X.shape[1]}")
        return self._walk(np.ascontiguousarray(X, dtype=np.float64)).astype(np.float32)

    def _walk(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        rows, width = X.shape
        values, unknown = X.ravel(), np.isnan(X).ravel()
        first = (np.arange(rows, dtype=np.int32) * width)[:, None]
        node = np.broadcast_to(self.roots, (rows, len(self.roots)))
        for _ in range(self.depth):
            cell = first + self.feature[node]
            goes_left = values[cell] <= self.threshold[node]
            goes_left |= unknown[cell] & self.missing_left[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        return self.value[node].sum(axis=1) + self.baseline

    def arrays(self) -> dict[str, NDArray]:
        return {
            "names": np.array(self.names),
            "baseline": np.array(self.baseline),
            "depth": np.array(self.depth),
            "roots": self.roots,
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left,
            "right": self.right,
            "missing_left": self.missing_left,
            "value": self.value,
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray]) -> "Forest":
        return cls(
            tuple(str(name) for name in arrays["names"]),
            float(arrays["baseline"]),
            int(arrays["depth"]),
            *(arrays[name] for name in ("roots", "feature", "threshold", "left", "right", "missing_left", "value")),
        )


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
