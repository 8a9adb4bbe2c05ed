"""Trees asked all at once, by bit vectors instead of steps (QuickScorer; Lucchese et al., SIGIR 2015).

The leaves of a tree are numbered from the left, one bit each. A split that sends a row to the right strikes out the
leaves to its left; the first leaf that no split strikes out is the one that the row would have come to. So every split
is looked at, but none waits for another: few operations on whole arrays. What is the same for all rows (everything that
is known of the viewer, where candidates of one viewer are asked) is looked at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Ints

if TYPE_CHECKING:
    from models.ranking.gbdt import Forest

MOST_LEAVES = 64
_PLANS = 16  # sets of equal columns for which the splits are kept apart
Masks = NDArray[Any]  # of the smallest whole numbers that have a bit for each leaf


@dataclass(frozen=True)
class Splits:
    """Splits [depth, trees], those of a tree below one another, filled up with some that send nothing to the right.

    `struck`: the leaves that a row cannot come to any more when it goes right; `unknown_right`: NaN does.
    """

    feature: Ints
    threshold: Floats
    struck: Masks
    unknown_right: NDArray[np.bool_]

    @classmethod
    def of(cls, trees: int, tree: Ints, feature: Ints, threshold: Floats, struck: Masks, unknown: NDArray) -> "Splits":
        """From one element a split, those of a tree one after another."""
        counts = np.bincount(tree, minlength=trees)
        place = np.arange(len(tree)) - (np.cumsum(counts) - counts)[tree], tree
        shape = (int(counts.max(initial=0)), trees)
        made = cls(np.zeros(shape, np.int64), np.full(shape, np.inf, np.float32), np.zeros(shape, struck.dtype),
                   np.zeros(shape, np.bool_))  # fmt: skip
        for whole, part in zip(vars(made).values(), (feature, threshold, struck, unknown), strict=True):
            whole[place] = part
        return made

    def take(self, kept: NDArray[np.bool_]) -> "Splits":
        """Of these [depth, trees] alone."""
        tree, place = np.nonzero(kept.T)
        return Splits.of(kept.shape[1], tree, *(column[place, tree] for column in vars(self).values()))

    def strike(self, columns: Floats, unknown: NDArray[np.bool_]) -> Masks:
        """[trees, rows] the leaves that these splits strike out. `columns`, `unknown` (NaN) [features, rows]."""
        right = columns.take(self.feature, axis=0) > self.threshold[..., None]  # never true of NaN
        odd = np.nonzero(self.unknown_right & np.asarray(unknown.any(axis=1))[self.feature])
        right[odd] |= unknown[self.feature[odd]]
        return np.bitwise_or.reduce(right * self.struck[..., None], axis=0)


@dataclass(frozen=True)
class Bits:
    """All splits of a forest; `values` [trees, leaves]: what each leaf adds."""

    splits: Splits
    values: NDArray[np.float64]
    _plans: dict[bytes, tuple[Splits, Splits]] = field(default_factory=dict, compare=False, repr=False)

    def sums(self, columns: Floats) -> NDArray[np.float64]:
        """[rows] what all trees add to rows with these `columns` [features, rows]."""
        columns, unknown = np.ascontiguousarray(columns), np.isnan(columns)
        equal = (columns == columns[:, :1]).all(axis=1) | unknown.all(axis=1)
        once, apart = self._plan(equal)
        gone = apart.strike(columns, unknown) | once.strike(columns[:, :1], unknown[:, :1])
        leaf = np.bitwise_count(gone & ~(gone + gone.dtype.type(1)))  # how many of the lowest bits are set in a row
        width = self.values.shape[1]
        return self.values.ravel().take(leaf + np.arange(0, self.values.size, width)[:, None]).sum(axis=0)

    def _plan(self, equal: NDArray[np.bool_]) -> tuple[Splits, Splits]:
        """The splits by columns in which all rows are equal, and the others."""
        key = equal.tobytes()
        if key not in self._plans:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            at_once = equal[self.splits.feature]
            self._plans[key] = self.splits.take(at_once), self.splits.take(~at_once)
        return self._plans[key]

    @classmethod
    def of(cls, forest: "Forest") -> "Bits":
        """The same forest. None of its trees may have more than `MOST_LEAVES` leaves."""
        found = [list(_numbered(forest, int(root))) for root in forest.roots]
        leaves = [[node for node, struck in tree if not struck] for tree in found]
        width = max(map(len, leaves))
        splits = [(tree, node, struck) for tree, of in enumerate(found) for node, struck in of if struck]
        tree, node = (np.array([split[at] for split in splits], dtype=np.int64) for at in (0, 1))
        struck = np.array([split[2] for split in splits], dtype=np.min_scalar_type(2**width - 1))
        values = np.zeros((len(leaves), width))
        for number, own in enumerate(leaves):
            values[number, : len(own)] = forest.value[own]
        made = Splits.of(
            len(leaves), tree, forest.feature[node].astype(np.int64), _down(forest.threshold[node]), struck,
            ~forest.missing_left[node],
        )  # fmt: skip
        return cls(made, values)


def _numbered(forest: "Forest", root: int) -> Iterator[tuple[int, int]]:
    """The nodes of a tree, its leaves from left to right, each with the leaves on its left side as bits (a leaf: 0)."""
    count = 0
    waiting: list[tuple[int, int | None]] = [(root, None)]  # a split comes back when its left side is numbered
    while waiting:
        node, before = waiting.pop()
        if before is not None:
            yield node, (1 << count) - (1 << before)
        elif forest.left[node] == node:
            count += 1
            yield node, 0
        else:
            waiting += [(int(forest.right[node]), None), (node, count), (int(forest.left[node]), None)]


def _down(thresholds: NDArray[np.float64]) -> Floats:
    """The largest 32-bit number that is not above: for 32-bit values it divides alike."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
