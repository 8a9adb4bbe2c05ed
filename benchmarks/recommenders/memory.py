"""What a training part tells about which title follows which: counted once, asked by the features of candidates."""

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
        found = sp.csr_matrix(asked @ self.matched).power(self.power)
        return np.asarray((found @ self.recommended).todense(), dtype=np.float32)


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
    arrivals: Floats  # [gaps, items] log of how often a title came after such a gap
    moments: NDArray[np.float64] | None  # of all events, ascending, and their titles: what was popular when
    items: Ints


def remember(train: Interactions, *, timed: bool) -> Memory:
    every = train.histories()
    counts = np.bincount(train.items, minlength=train.n_items).astype(np.float32)
    near = _followed(every, train.n_items, _WINDOW)
    order = {"history": _order(_followed(every, train.n_items, 20, power=0.5))}
    lift = {"after": _lift(near), "before": _lift(near.T), "next": _lift(_followed(every, train.n_items, 1))}
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
        arrivals,
        train.times if timed else None,
        train.items,
    )


def gap_of(seconds: NDArray[np.float64]) -> Ints:
    """Which of the `len(GAPS) + 1` kinds of gap this is."""
    return np.searchsorted(GAPS, seconds, side="left").astype(np.int64)


def _apart() -> list[Callable[[NDArray[np.float64]], NDArray[np.bool_]]]:
    return [lambda seconds, kind=kind: gap_of(seconds) == kind for kind in range(len(GAPS) + 1)]


def _followed(
    every: Ragged,
    items: int,
    window: int,
    *,
    power: float = 1.0,
    within: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None,
) -> sp.csr_matrix:
    """[items, items] the row's title came up to `window` places before the column's, 1 / distance ** power each."""
    rows, made = every.rows, sp.csr_matrix((items, items), dtype=np.float32)
    for distance in range(1, window + 1):
        kept = rows[distance:] == rows[:-distance]
        if within is not None and every.times is not None:
            kept &= within(every.times[distance:] - every.times[:-distance])
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


def _arrivals(every: Ragged, items: int, within: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> Floats:
    assert every.times is not None  # of `Interactions.histories`
    kept = (every.rows[1:] == every.rows[:-1]) & within(np.diff(every.times))
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


def _ahead(every: Ragged, items: int, before: int = 6, after: int = 4) -> Sessions:
    """Around every second event: the `before` events in front of it are matched, it and what follows recommended."""
    length = every.lengths[every.rows]
    place = length - 1 - every.age
    middle = np.flatnonzero((place % 2 == 0) & (place > 0))

    def stretch(steps: range, weight: Callable[[int], float]) -> sp.csr_matrix:
        parts = []
        for step in steps:
            kept = np.flatnonzero((place[middle] + step >= 0) & (place[middle] + step < length[middle]))
            parts.append((np.full(len(kept), weight(step), np.float32), kept, every.values[middle[kept] + step]))
        weights, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
        return sp.csr_matrix((weights, (rows, columns)), shape=(len(middle), items))

    matched = stretch(range(-before, 0), lambda step: (-step) ** -0.5)
    return Sessions(sp.csr_matrix(matched.T), stretch(range(after), lambda step: 1 / (step + 1)), 2)
