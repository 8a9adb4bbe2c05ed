"""What a training part tells about which title follows which: counted once, asked by the features of candidates."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.ease import Ease

# Upper bounds, in seconds, of the time between two events: one page of titles, the same sitting, the same hour, later.
GAPS = (0.0, 60.0, 3600.0)
WINDOWS_S = tuple(86_400.0 * days for days in (1 / 24, 1, 7, 30))
Within = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]  # times of the first, of the second
PARTS = 8  # of time, equally many events each
_PRIOR = 10.0  # pseudo-counts at the popularity of the following title
_WINDOW = 10


@dataclass(frozen=True)
class Sessions:
    """Stretches of all histories as two sets of weights: what is matched, and what is then recommended.

    A stretch that shares several titles with the newest of a history counts more than in proportion (`power`), which
    transitions, a sum over single titles, cannot express (Ludewig & Jannach, UMUAI 2018, "session kNN").
    """

    matched: sp.csr_matrix  # [items, stretches]
    recommended: sp.csr_matrix  # [stretches, items]
    power: int

    def score(self, asked: sp.csr_matrix) -> Floats:
        found = _strongest(sp.csr_matrix(asked @ self.matched))
        np.power(found.data, self.power, out=found.data)
        return sp.csr_matrix(found @ self.recommended).toarray().astype(np.float32)


@dataclass(frozen=True)
class Memory:
    """`likely[name]`: [items, items], what followed (`before`: preceded) a title within a window, 1 / distance each.

    `lift[name]`: log of how much likelier than by popularity; `order`: log odds that the column's title comes after the
    row's (`page`: within one second); `place`: of each title, where in histories it stands. With time:
    `lift["gap<n>"]` of pairs so far apart.
    """

    counts: Floats
    likely: dict[str, sp.csr_matrix]
    ease: Floats
    lift: dict[str, Floats]
    order: dict[str, Floats]
    place: dict[str, NDArray[np.float64]]
    near: Sessions
    ahead: Sessions
    sharp: Sessions
    arrivals: Floats  # [gaps, items] log of how often a title came after such a gap
    moments: NDArray[np.float64] | None  # of all events, ascending, and their titles: what was popular when
    items: Ints
    edges: NDArray[np.float64]  # of the parts of time, and the lift of pairs within each
    local: list[NDArray[np.float16]]


def _strongest(found: sp.csr_matrix, keep: int = 400) -> sp.csr_matrix:
    """Each row without those below its `keep`-th largest: a stretch that shares one old title says nothing."""
    kept = np.ones(len(found.data), dtype=np.bool_)
    for start, stop in itertools.pairwise(found.indptr):
        if stop - start > keep:
            values = found.data[start:stop]
            kept[start:stop] = values >= np.partition(values, -keep)[-keep]
    rows = np.repeat(np.arange(len(found.indptr) - 1), np.diff(found.indptr))[kept]
    return sp.csr_matrix((found.data[kept], (rows, found.indices[kept])), shape=found.get_shape())


def remember(train: Interactions, *, timed: bool) -> Memory:
    every = train.histories()
    counts = np.bincount(train.items, minlength=train.n_items).astype(np.float32)
    near = _followed(every, train.n_items, _WINDOW)
    order = {"history": _order(_followed(every, train.n_items, 20, power=0.5))}
    lift = {"after": _lift(near), "before": _lift(near.T), "next": _lift(_followed(every, train.n_items, 1))}
    edges = np.quantile(train.times, np.linspace(0, 1, PARTS + 1))
    edges[[0, -1]] = -np.inf, np.inf
    arrivals = np.zeros((len(GAPS) + 1, train.n_items), dtype=np.float32)
    if timed:
        for gap, within in enumerate(_apart()):
            apart = _followed(every, train.n_items, 20, within=within)
            lift[f"gap{gap}"] = _lift(apart)
            order |= {"page": _order(apart)} if gap == 0 else {}
            arrivals[gap] = _arrivals(every, train.n_items, within)
    return Memory(
        counts,
        _likely(every, train.n_items, counts),
        np.asarray(Ease().fit(train).weights, dtype=np.float32),
        lift,
        order,
        _places(every, counts),
        _near(every, train.n_items),
        _ahead(every, train.n_items),
        _ahead(every, train.n_items, before=4, after=3, stride=1, fading=1.0, power=3),
        arrivals,
        train.times if timed else None,
        train.items,
        edges,
        _local(every, train.n_items, near, edges) if timed else [],
    )


def gap_of(seconds: NDArray[np.float64]) -> Ints:
    """Which of the `len(GAPS) + 1` kinds of gap this is."""
    return np.searchsorted(GAPS, seconds, side="left").astype(np.int64)


def _apart() -> list[Within]:
    return [lambda first, second, kind=kind: gap_of(second - first) == kind for kind in range(len(GAPS) + 1)]


def _followed(
    every: Ragged,
    items: int,
    window: int,
    *,
    power: float = 1.0,
    within: Within | None = None,
) -> sp.csr_matrix:
    """[items, items] the row's title came up to `window` places before the column's, 1 / distance ** power each."""
    rows, made = every.rows, sp.csr_matrix((items, items), dtype=np.float32)
    for distance in range(1, window + 1):
        kept = rows[distance:] == rows[:-distance]
        if within is not None and every.times is not None:
            kept &= within(every.times[:-distance], every.times[distance:])
        pairs = (every.values[:-distance][kept], every.values[distance:][kept])
        weight = np.full(int(kept.sum()), distance**-power, dtype=np.float32)
        made = made + sp.csr_matrix((weight, pairs), shape=(items, items))
    return made


def _likely(every: Ragged, items: int, counts: Floats) -> dict[str, sp.csr_matrix]:
    share = sp.diags(1 / np.maximum(counts, 1))
    made = {f"after{window}": _followed(every, items, window) for window in (1, 5, 10, 20)}
    made |= {f"before{window}": made[f"after{window}"].T for window in (5, 20)}
    return {name: sp.csr_matrix(share @ matrix) for name, matrix in made.items()}


def _lift(followed: sp.csr_matrix) -> Floats:
    dense = followed.toarray()
    total = dense.sum(axis=1, keepdims=True)
    popular = dense.sum(axis=0, keepdims=True) / max(float(dense.sum()), 1.0) + 1e-9
    return np.log((dense + _PRIOR * popular) / ((total + _PRIOR) * popular)).astype(np.float32)


def _order(followed: sp.csr_matrix) -> Floats:
    dense = followed.toarray()
    return np.log((dense + 1) / (dense.T + 1)).astype(np.float32)


def _local(every: Ragged, items: int, near: sp.csr_matrix, edges: NDArray[np.float64]) -> list[NDArray[np.float16]]:
    """As `_lift`, of pairs of one part of time each; where there are few, that of all time: what is offered changes."""
    whole = near.toarray()
    popular = whole.sum(axis=0, keepdims=True) / max(float(whole.sum()), 1.0) + 1e-9
    likely = (whole + _PRIOR * popular) / (whole.sum(axis=1, keepdims=True) + _PRIOR)
    made = []
    for low, high in itertools.pairwise(edges):
        found = _followed(every, items, _WINDOW, within=lambda _, at, low=low, high=high: (at >= low) & (at < high))
        dense = found.toarray()
        share = (dense + _PRIOR * likely) / (dense.sum(axis=1, keepdims=True) + _PRIOR)
        made.append(np.log(share / popular).astype(np.float16))
    return made


def _arrivals(every: Ragged, items: int, within: Within) -> Floats:
    assert every.times is not None  # of `Interactions.histories`
    kept = (every.rows[1:] == every.rows[:-1]) & within(every.times[:-1], every.times[1:])
    return np.log1p(np.bincount(every.values[1:][kept], minlength=items)).astype(np.float32)


def _places(every: Ragged, counts: Floats) -> dict[str, NDArray[np.float64]]:
    length = every.lengths[every.rows]
    place = length - 1 - every.age

    def mean(values: NDArray) -> NDArray[np.float64]:
        return np.bincount(every.values, values, minlength=len(counts)) / np.maximum(counts, 1)

    log = np.log1p(place)
    return {
        "mean": mean(log),
        "spread": np.sqrt(np.maximum(mean(log**2) - mean(log) ** 2, 1e-3)),
        "share": mean(place / np.maximum(length - 1, 1)),
        "left": mean(np.log1p(every.age)),
        "length": mean(np.log1p(length)),
    }


def _near(every: Ragged, items: int, size: int = 10, stride: int = 5) -> Sessions:
    """Overlapping stretches of `size` events, without order."""
    place = every.lengths[every.rows] - 1 - every.age
    several = np.maximum(1, np.ceil((every.lengths - size) / stride).astype(np.int64) + 1)
    first = np.concatenate(([0], np.cumsum(several)))
    stretches, held = [], []
    for offset in range(size // stride):
        stretch = place // stride - offset
        kept = (stretch >= 0) & (stretch < several[every.rows])
        stretches.append(first[every.rows[kept]] + stretch[kept])
        held.append(every.values[kept])
    pairs = (np.concatenate(stretches), np.concatenate(held))
    made = sp.csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape=(int(first[-1]), items))
    return Sessions(sp.csr_matrix(made.T), made, 4)


def _ahead(
    every: Ragged,
    items: int,
    *,
    before: int = 6,
    after: int = 4,
    stride: int = 2,
    fading: float = 0.5,
    power: int = 2,
) -> Sessions:
    """Around each `stride`-th event: the `before` events in front of it are matched, it and the next recommended."""
    length = every.lengths[every.rows]
    place = length - 1 - every.age
    middle = np.flatnonzero((place % stride == 0) & (place > 0))

    def stretch(steps: range, weight: Callable[[int], float]) -> sp.csr_matrix:
        parts = []
        for step in steps:
            kept = np.flatnonzero((place[middle] + step >= 0) & (place[middle] + step < length[middle]))
            parts.append((np.full(len(kept), weight(step), np.float32), kept, every.values[middle[kept] + step]))
        weights, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
        return sp.csr_matrix((weights, (rows, columns)), shape=(len(middle), items))

    matched = stretch(range(-before, 0), lambda step: (-step) ** -fading)
    return Sessions(sp.csr_matrix(matched.T), stretch(range(after), lambda step: 1 / (step + 1)), power)
