"""Candidates for each history and what is known of each: the union that a blend of memories puts first."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from models.interactions import Floats, Ints, Ragged
from models.recommenders.base import standardised

from .memory import GAPS, WINDOWS_S, Memory, gap_of

Weight = Callable[[Floats], Floats]  # of a title of the history, by its age

CANDIDATES = 150
_AGES = 8  # so many of the newest titles are looked at one by one
# What chooses the candidates, and ranks whatever is not among them. By hand, the same for every table.
_CHOICE = {"after10": 1.0, "after5": 0.5, "ease_0.9": 0.5, "ease_0.7": 0.3, "near": 0.3, "ahead": 0.3, "gaps": 1.5}
_LOGS = (
    "after1",
    "after5",
    "after10",
    "after20",
    "after20_slow",
    "before5",
    "before20",
    "near",
    "ahead",
    "sharp",
    "gaps",
)
# Decay and how many of the newest are asked; the rest has faded.
_EASE = {
    "ease_0.5": (0.5, 15),
    "ease_0.7": (0.7, 30),
    "ease_0.9": (0.9, 80),
    "ease_0.97": (0.97, 200),
    "ease": (1.0, None),
}


@dataclass(frozen=True)
class Frame:
    """`base` [rows, items] ranks all titles; `items` [rows, m] are its best; `features` [rows, m, d] of `names`."""

    base: Floats
    items: Ints
    features: Floats
    names: tuple[str, ...]


def frame(memory: Memory, histories: Ragged) -> Frame:
    scores = source_scores(memory, histories)
    scaled = {name: standardised(values) for name, values in scores.items()}
    base = np.zeros_like(scaled["ease"])
    for name, weight in _CHOICE.items():
        if name in scaled:
            base += np.float32(weight) * scaled[name]
    base[histories.rows, histories.values] = -1e3
    items = np.argsort(-base, axis=1, kind="stable")[:, :CANDIDATES]
    made = {"base": np.take_along_axis(base, items, axis=1)}
    made["rank"] = np.broadcast_to(np.log1p(np.arange(items.shape[1], dtype=np.float32)), items.shape)
    for name, values in scaled.items():
        made[f"z_{name}"] = np.take_along_axis(values, items, axis=1)
    for name in (name for name in _LOGS if name in scores):
        relative = np.take_along_axis(scores[name], items, axis=1) / (scores[name].mean(axis=1, keepdims=True) + 1e-12)
        made[f"log_{name}"] = np.log(relative + 1e-2)
    made |= _pairs(memory, histories, items) | _standing(memory, histories, items)
    if memory.moments is not None:
        made |= _timed(memory, histories, items)
    names = tuple(made)
    return Frame(base, items, np.stack([np.asarray(made[name], dtype=np.float32) for name in names], axis=-1), names)


def source_scores(memory: Memory, histories: Ragged) -> dict[str, Floats]:
    """[rows, items] of each source."""

    def asked(newest: int | None, weight: Weight) -> tuple[Ragged, Floats]:
        part = histories if newest is None else histories.newest(newest)
        return part, weight(part.age.astype(np.float32)).astype(np.float32)

    def over(matrix: sp.csr_matrix | Floats, newest: int | None, weight: Weight) -> Floats:
        part, weights = asked(newest, weight)
        found = part.matrix(len(memory.counts), weights) @ matrix
        return np.asarray(found if isinstance(found, np.ndarray) else found.todense(), dtype=np.float32)

    def hyperbolic(age: Floats) -> Floats:
        return 1 / (1 + age)

    made = {f"after{n}": over(memory.likely[f"after{n}"], n, hyperbolic) for n in (1, 5, 10, 20)}
    made["after20_slow"] = over(memory.likely["after20"], 20, lambda age: (1 + age) ** -0.5)
    made |= {f"before{n}": over(memory.likely[f"before{n}"], n, hyperbolic) for n in (5, 20)}
    for name, (decay, newest) in _EASE.items():
        made[name] = over(memory.ease, newest, lambda age, decay=decay: np.float32(decay) ** age)
    part, weights = asked(8, lambda age: (1 + age) ** -0.5)
    made["near"] = memory.near.score(part.matrix(len(memory.counts), weights))
    part, weights = asked(6, hyperbolic)
    rare = np.maximum(memory.counts, 1)[part.values] ** -0.3
    made["ahead"] = memory.ahead.score(part.matrix(len(memory.counts), weights * rare))
    part, weights = asked(4, hyperbolic)
    rare = np.maximum(memory.counts, 1)[part.values] ** -0.15
    made["sharp"] = memory.sharp.score(part.matrix(len(memory.counts), weights * rare))
    if memory.moments is not None:
        made["gaps"] = _gaps(memory, histories)
    return made


def newest(histories: Ragged, count: int) -> tuple[Ints, Floats]:
    """[rows, count] the newest titles, newest first, -1 where there are none, and the seconds since (0 if unknown)."""
    titles = np.full((len(histories), count), -1, dtype=np.int64)
    since = np.zeros((len(histories), count))
    for age in range(count):
        rows = np.flatnonzero(histories.lengths > age)
        places = histories.indptr[1:][rows] - 1 - age
        titles[rows, age] = histories.values[places]
        if histories.times is not None and histories.at is not None:
            since[rows, age] = histories.at[rows] - histories.times[places]
    return titles, since


def _gaps(memory: Memory, histories: Ragged) -> Floats:
    """Transitions that know how long ago each title was: exp of their lift, times popularity, 1 / (1 + age)."""
    titles, since = newest(histories, _AGES)
    kinds = gap_of(since)
    made = np.zeros((len(histories), len(memory.counts)), dtype=np.float32)
    popular = memory.counts / memory.counts.sum()
    for age in range(_AGES):
        for kind in range(len(GAPS) + 1):
            rows = np.flatnonzero((titles[:, age] >= 0) & (kinds[:, age] == kind))
            made[rows] += np.exp(memory.lift[f"gap{kind}"][titles[rows, age]]) * popular / np.float32(1 + age)
    return made


def _pairs(memory: Memory, histories: Ragged, items: Ints) -> dict[str, Floats]:
    """Each candidate beside each of the newest titles."""
    titles, since = newest(histories, _AGES)

    def beside(matrix: Floats, age: int) -> Floats:
        return np.where(titles[:, age, None] >= 0, matrix[np.maximum(titles[:, age, None], 0), items], 0)

    made = {f"after_{age}": beside(memory.lift["after"], age) for age in range(_AGES)}
    made["after_mean"] = np.mean([made[f"after_{age}"] for age in range(_AGES)], axis=0)
    made |= {f"before_{age}": beside(memory.lift["before"], age) for age in range(4)}
    made |= {f"next_{age}": beside(memory.lift["next"], age) for age in range(3)}
    order = [beside(memory.order["history"], age) for age in range(_AGES)]
    made |= {f"order_{age}": order[age] for age in range(3)}
    made |= {"order_mean": np.mean(order, axis=0), "order_least": np.min(order, axis=0)}
    # how well the history itself went by these transitions so far
    for age in range(4):
        known = titles[:, age + 1, None] >= 0
        went = memory.lift["after"][np.maximum(titles[:, age + 1], 0), np.maximum(titles[:, age], 0)]
        made[f"went_{age}"] = np.broadcast_to(np.where(known, went[:, None], 0), items.shape)
    if memory.moments is None:
        return made
    assert histories.at is not None  # of every split
    part = np.searchsorted(memory.edges[1:-1], histories.at, side="right")
    for age in range(3):
        lifts = np.zeros(items.shape, dtype=np.float32)
        for which in np.unique(part):
            rows = np.flatnonzero((part == which) & (titles[:, age] >= 0))
            lifts[rows] = memory.local[which][titles[rows, age, None], items[rows]]
        made[f"local_{age}"] = lifts
    made |= {f"page_{age}": beside(memory.order["page"], age) for age in range(3)}
    kinds = gap_of(since)
    for age in range(_AGES):
        lifts = [beside(memory.lift[f"gap{kind}"], age) for kind in range(len(GAPS) + 1)]
        made[f"gap_{age}"] = np.choose(kinds[:, age, None], lifts)
    made["gap_mean"] = np.mean([made[f"gap_{age}"] for age in range(_AGES)], axis=0)
    return made


def _standing(memory: Memory, histories: Ragged, items: Ints) -> dict[str, Floats]:
    """How popular a candidate is and where in a history it usually stands, beside where this history is."""
    titles, _ = newest(histories, 5)
    length = np.log1p(histories.lengths)[:, None]
    popular, place = np.log1p(memory.counts), memory.place
    known = titles >= 0
    lately = np.where(known, popular[titles], 0).mean(axis=1, keepdims=True)
    stood = np.where(known, place["mean"][titles], 0)[:, :3].mean(axis=1, keepdims=True)
    return {
        "popular": popular[items],
        "popular_beside": popular[items] - lately,
        "popular_lately": np.broadcast_to(lately, items.shape),
        "place": place["mean"][items],
        "place_ahead": length - place["mean"][items],
        "place_scaled": (length - place["mean"][items]) / place["spread"][items],
        "place_beside": place["mean"][items] - stood,
        "place_share": place["share"][items],
        "place_left": place["left"][items],
        "length_beside": place["length"][items] - length,
        "length": np.broadcast_to(length, items.shape),
    }


def _timed(memory: Memory, histories: Ragged, items: Ints) -> dict[str, Floats]:
    """The moment at which something is to follow, known to the models that are compared in this table."""
    assert memory.moments is not None  # asked only then
    assert histories.at is not None  # of every split
    _, since = newest(histories, _AGES)
    kinds = gap_of(since[:, 0])
    made = {f"gap_is_{kind}": (kinds == kind)[:, None] for kind in range(len(GAPS) + 1)}
    made |= {"gap": np.log1p(np.maximum(since[:, :1], 0)), "gap_earlier": np.log1p(np.maximum(since[:, 4:5], 0))}
    made["same_page"] = (since == 0).sum(axis=1, keepdims=True)
    made = {name: np.broadcast_to(values, items.shape) for name, values in made.items()}
    made["arrivals"] = memory.arrivals[kinds[:, None], items]
    made["arrivals_beside"] = made["arrivals"] - np.log1p(memory.counts)[items]
    for window in WINDOWS_S:
        made[f"popular_{window / 86400:.2f}d"] = _lately(memory, histories.at, items, window)
    return made


def _lately(memory: Memory, at: np.ndarray, items: Ints, window: float) -> Floats:
    """log(1 + events) of each candidate in the `window` seconds before `at`; nothing later is looked at."""
    assert memory.moments is not None  # asked only then
    made = np.zeros(items.shape, dtype=np.float32)
    starts, stops = np.searchsorted(memory.moments, at - window), np.searchsorted(memory.moments, at)
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        made[row] = np.bincount(memory.items[start:stop], minlength=len(memory.counts))[items[row]]
    return np.log1p(made)
