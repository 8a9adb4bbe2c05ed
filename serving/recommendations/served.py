"""A loaded system as pages ask it: masks by shelf, picks, re-ranked rows, the exploration slot.

Imports NumPy: the thread that loads a system imports this module, the API does not.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats
from models.ranking.explore import SLOT, explore, seed_of
from models.ranking.rerank import KNOBS, Knobs, places, relevance, unit
from models.ranking.rows import order_rows
from models.recommenders.system import Asked, System
from serving.recommendations.catalogue import Shelf
from serving.recommendations.rows import HomeRow, Pick, take

if TYPE_CHECKING:
    from models.recommenders.system import About

Mask = NDArray[np.bool_]
_RERANKED = 40  # candidates that a row's re-rank looks at
_HEAD = 300  # of an order that viewers share, kept ready; who has seen nearly all of it gets the rest worked out
_ORDERS = 64  # of one shelf
_PLAIN = Knobs()
_WORTH = -np.log2(np.arange(2, _RERANKED + 2, dtype=np.float32))


class Served:
    """`system` with what is worked out once for all viewers. Masks come before top-k in every method."""

    def __init__(self, system: System, fitted: int | None = None) -> None:
        """`fitted`: how many of the items the models have seen; those behind came later."""
        self.system = system
        self._fitted = len(system.items) if fitted is None else fitted
        self.numbers = {title_id: number for number, title_id in enumerate(system.items)}
        self._genres = _shares(system.titles)
        self._unit = unit(self._genres)
        self._masks: WeakKeyDictionary[Shelf, Mask] = WeakKeyDictionary()
        self._popular: WeakKeyDictionary[Shelf, OrderedDict[object, list[Pick]]] = WeakKeyDictionary()
        self._newest: WeakKeyDictionary[Shelf, list[str]] = WeakKeyDictionary()
        segments = system.segments.segments if system.segments else ()
        self._regions = frozenset(segment.partition("/")[0] for segment in segments) - {""}

    exploring = frozenset(kind for kind, knobs in KNOBS.items() if knobs.explore > 0)

    @property
    def about(self) -> "About":
        return self.system.about

    def is_new(self, title_id: str) -> bool:
        """Whether the title came after the fit."""
        return self.numbers.get(title_id, self._fitted) >= self._fitted

    # -- masks

    def mask(self, shelf: Shelf) -> Mask:
        """[n_items] what the shelf offers. Not to be changed."""
        mask = self._masks.get(shelf)
        if mask is None:
            mask = self._masks[shelf] = self.system.mask(shelf.offered)
        return mask

    def without(self, mask: Mask, titles: Iterable[str]) -> Mask:
        """A copy of the mask that lets none of these titles out."""
        own = mask.copy()
        own[[self.numbers[title_id] for title_id in titles if title_id in self.numbers]] = False
        return own

    # -- lists

    def personal(self, asked: Asked, allowed: Mask, limit: int, gems: int) -> tuple[list[Pick], list[Pick]]:
        """What suits a viewer, and of this what few have found."""
        return self.system.personal(asked, allowed, limit, gems)

    def similar(self, title_id: str, allowed: Mask, limit: int) -> list[Pick]:
        """Beside a title. What nobody but the models says about it is a likeness, not a reason."""
        return self.system.similar(title_id, allowed, limit)

    def popular(self, shelf: Shelf, region: str | None, kids: bool, hidden: Collection[str], limit: int) -> list[Pick]:
        """Of what the shelf offers without `hidden`. The head of the order is kept for all viewers of the shelf."""
        if region not in self._regions:
            region = region and ""  # anybody may name any country as theirs: those that nobody lived in are one
        of_shelf = self._popular.setdefault(shelf, OrderedDict())
        head = of_shelf.get((region, kids))
        if head is None:
            found = self.system.popular(region, kids, self.mask(shelf), _HEAD)
            head = of_shelf[region, kids] = self.reranked("trending", found, None)
            if len(of_shelf) > _ORDERS:
                of_shelf.popitem(last=False)
        of_shelf.move_to_end((region, kids))
        picks = take(head, hidden, limit)
        if len(picks) < limit and len(head) == _HEAD:
            rest = self.without(self.without(self.mask(shelf), hidden), [pick.title_id for pick in head])
            picks += self.system.popular(region, kids, rest, limit - len(picks))
        return picks

    def newest(self, shelf: Shelf, hidden: Collection[str], limit: int) -> list[Pick]:
        """Of what the shelf offers without `hidden`: what came after the fit, then the newest of the others."""
        order = self._newest.get(shelf)
        if order is None:
            fresh = [title_id for title_id in shelf.offered if self.is_new(title_id)]
            known = [title_id for title_id in shelf.offered if not self.is_new(title_id)]
            near = self.reranked("new", list(_as_new(known[:_RERANKED])), None)
            order = self._newest[shelf] = [*fresh, *(pick.title_id for pick in near), *known[_RERANKED:]]
        return take(_as_new(order), hidden, limit)

    # -- rows

    def order(self, rows: Sequence[str]) -> list[str]:
        """Rows by what they are worth, as far as that was learned."""
        return [rows[place] for place in order_rows(rows, self.system.rows)]

    def taste(self, history: Sequence[str]) -> Floats:
        """[genres] how much of each genre is in the history."""
        return self._genres[[self.numbers[title_id] for title_id in history if title_id in self.numbers]].sum(axis=0)

    def reranked(self, kind: str, picks: Sequence[Pick], taste: Floats | None) -> list[Pick]:
        """The head diverse and calibrated as far as the knobs of this kind of row say; what the system does not know of
        it, last."""
        return self.reranked_rows([(kind, picks)], taste)[0]

    def reranked_rows(self, rows: Sequence[tuple[str, Sequence[Pick]]], taste: Floats | None) -> list[list[Pick]]:
        """`reranked` of several kinds and picks at once."""
        of = self.numbers
        heads = [picks[:_RERANKED] for _, picks in rows]
        known = [[pick for pick in head if pick[0] in of] for head in heads]
        knobs = [KNOBS.get(kind, _PLAIN) for kind, _ in rows]
        calibrated = taste is not None and bool(taste.any())
        longest = max(map(len, known), default=0)
        numbers = np.full((len(rows), longest), -1)
        worth = np.full((len(rows), longest), -np.inf, dtype=np.float32)
        for row, (near, knob) in enumerate(zip(known, knobs, strict=True)):
            numbers[row, : len(near)] = [of[pick[0]] for pick in near]
            worth[row, : len(near)] = _worth(len(near), knob, calibrated)
        chosen = places(worth, self._unit[numbers], self._genres[numbers], taste, knobs)
        made = []
        for (_, picks), head, near, first, knob in zip(rows, heads, known, chosen, knobs, strict=True):
            moved = first if knob.diversity or knob.calibration else ()
            ahead = set(moved)
            row = [near[place] for place in moved]
            row += [pick for place, pick in enumerate(near) if place not in ahead]
            row += picks[_RERANKED:]
            if len(near) < len(head):
                row += [pick for pick in head if pick[0] not in of]
            made.append(row)
        return made

    def explored(self, row: HomeRow, *seed: object) -> list[tuple[Pick, float]]:
        """What the row shows, each with the exact probability that it stands where it does."""
        rate = KNOBS.get(row.kind, _PLAIN).explore
        if not row.reserve or not rate:
            return [(pick, 1.0) for pick in row.picks]
        picks = [*row.picks, *row.reserve]
        shown, reserve = range(len(row.picks)), range(len(row.picks), len(picks))
        order, chances = explore(shown, reserve, rate, seed_of(*seed, self.about.version, row.id))
        return [(picks[place], chance) for place, chance in zip(order.tolist(), chances.tolist(), strict=True)]

    def chances(self, row: HomeRow) -> Mapping[tuple[int, str], float]:
        """The probability of each title at each place of the row, over all draws of `explored`; 0 is left out."""
        found = {(place, pick.title_id): 1.0 for place, pick in enumerate(row.picks)}
        rate = KNOBS.get(row.kind, _PLAIN).explore
        if row.reserve and rate:
            slot = min(SLOT, len(row.picks) - 1)
            found[slot, row.picks[slot].title_id] = 1 - rate
            found |= {(slot, pick.title_id): rate / len(row.reserve) for pick in row.reserve}
        return found


def _as_new(title_ids: Iterable[str]) -> Iterator[Pick]:
    return (Pick(title_id, "catalogue", "new") for title_id in title_ids)


@lru_cache(maxsize=1_000)
def _worth(count: int, knobs: Knobs, calibrated: bool) -> Floats:
    """By place: scores of several sources in one list have no common scale."""
    return relevance(_WORTH[:count], knobs, calibrated)


def _shares(titles: Sequence[Sequence[str]]) -> Floats:
    """[n_items + 1, genres] the share of each genre in a title; rows sum to 1, or 0 without genres, as the last one."""
    number = {name: place for place, name in enumerate(sorted({genre for of in titles for genre in of}))}
    shares = np.zeros((len(titles) + 1, max(1, len(number))), dtype=np.float32)
    for row, of in enumerate(titles):
        for genre in of:
            shares[row, number[genre]] = 1 / len(of)
    return shares
