"""What the parts of a model say of one viewer, side by side: the scores, the best of them, and why each is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Ints, Ragged
from models.ranking.frame import ranks
from models.recommenders.base import Fitted
from models.recommenders.blend import scored
from models.recommenders.opinion import Opines, Opinion, standardised

_NOBODY, _UNASKED = -1, -2


@runtime_checkable
class Explains(Protocol):
    def contributions(self, history: Ints, items: Ints) -> Floats: ...


@dataclass(frozen=True)
class Source:
    """A part of a model: it knows the first `known` items, and adds `weight` times its standardised scores."""

    part: Fitted
    weight: float
    known: int
    personal: bool

    def heard(self, history: Ragged, region: str | None, kids: bool) -> "Heard":
        """What it says of a viewer, by those titles of the history that it knows."""
        if not self.personal:
            return self._of_everybody
        kept = history.values < self.known
        own = history if kept.all() else _where(history, kept)
        return self._heard(own, region, kids)

    @cached_property
    def _of_everybody(self) -> "Heard":
        """What is said alike of whoever asks."""
        nobody = np.zeros(0, dtype=np.int64)
        return self._heard(Ragged(np.zeros(2, dtype=np.int64), nobody), None, False)

    def _heard(self, own: Ragged, region: str | None, kids: bool) -> "Heard":
        opinion = self._opinion(own, region, kids)
        standard = standardised(opinion.scores)
        return Heard(opinion, standard, np.float32(self.weight) * standard)

    @cached_property
    def _opinion(self) -> Callable[[Ragged, str | None, bool], Opinion]:
        part = self.part
        if isinstance(part, Opines):
            return part.opinion

        def ask(own: Ragged, region: str | None, kids: bool) -> Opinion:
            scores = scored(part, own, [region], [kids])[0]
            return Opinion(scores, own.values, contributions and partial(contributions, own.values))

        contributions = part.contributions if isinstance(part, Explains) else None
        return ask


@dataclass(frozen=True)
class Heard:
    """`standard` [items that the source knows]: its scores with mean 0 and standard deviation 1 (all 0 where it tells
    none from another); `share`: what it adds to the sum."""

    opinion: Opinion
    standard: Floats
    share: Floats

    @cached_property
    def ordered(self) -> Floats:
        return np.sort(self.share)

    def heights(self, items: Ints) -> tuple[Floats, Floats]:
        """`frame.source_columns` of the shares: their mean and spread are known."""
        if len(items) and int(items.max()) >= len(self.share):
            return self._with_gaps(items)
        if not self.share.any():
            nothing = np.full(len(items), np.nan, dtype=np.float32)
            return nothing, nothing
        return self.standard[items], ranks(self.ordered, self.share[items])

    def _with_gaps(self, items: Ints) -> tuple[Floats, Floats]:
        made = np.full((2, len(items)), np.nan, dtype=np.float32)
        known = items < len(self.share)
        made[:, known] = self.heights(items[known])
        return made[0], made[1]

    def causes(self, items: Ints) -> Ints:
        """For each item the one of the history that adds most to its score, -1 where none adds anything or none can be
        told. A title that was begun may be recommended again, but never because of itself."""
        history = self.opinion.asked
        if self.opinion.contributions is None or not len(history):
            return np.full(len(items), _NOBODY)
        shares = self.opinion.contributions(items)
        shares[history[:, None] == items] = 0.0
        best = shares.argmax(axis=0)
        return np.where(shares[best, np.arange(len(items))] > 0, history[best], _NOBODY)


class Answer:
    """Everything that was heard of one viewer. `shares` [sources, n_items]: NaN where a source does not know.

    Of items that were explained: `sources` [n_items], the number of the source that adds most to each, -1 where none
    knows it; `because` [n_items]: the item of the history behind it, -1: none.
    """

    def __init__(self, sources: Mapping[str, Source], history: Ragged, region: str | None, kids: bool, n_items: int):
        self.history, self.names = history, list(sources)
        self._heard = [source.heard(history, region, kids) for source in sources.values()]
        self._has_gaps = any(len(heard.share) < n_items for heard in self._heard)
        self.shares = np.empty((len(self._heard), n_items), dtype=np.float32)
        for row, heard in zip(self.shares, self._heard, strict=True):
            row[: len(heard.share)] = heard.share
            row[len(heard.share) :] = np.nan
        personal = zip(sources.values(), self._heard, strict=True)
        self.knows = any(of.personal and len(heard.opinion.asked) > 0 and heard.share.any() for of, heard in personal)
        self.sources, self.because = (np.full(n_items, value) for value in (_NOBODY, _UNASKED))

    @cached_property
    def total(self) -> Floats:
        """[n_items] the sum; a title that a source does not know stands at the mean of the others."""
        return np.nansum(self.shares, axis=0) if self._has_gaps else self.shares.sum(axis=0)

    def heights(self, items: Ints) -> tuple[list[Floats], list[Floats]]:
        """What a ranker takes of these items: `frame.source_columns` of each source, and last of the sum."""
        total = self.total
        own = total[items]
        # Only what stands as high as one of them may stand above another.
        ordered = np.sort(total[total >= own.min(initial=np.inf)])
        spread = total.std()
        places = ranks(ordered, own) if spread > 0 else np.full(len(items), np.nan, dtype=np.float32)
        blend = (own - total.mean()) / spread if spread > 0 else places
        found = [*(heard.heights(items) for heard in self._heard), (blend, places)]
        return [of[0] for of in found], [of[1] for of in found]

    def explain(self, items: Ints) -> None:
        """Work out source and reason of these items."""
        items = items[self.because[items] == _UNASKED]
        items = items[np.sort(np.unique(items, return_index=True)[1])]  # one title often stands in several lists
        added = self.shares[:, items]
        if self._has_gaps:
            unknown = np.isnan(added)
            leading = np.where(unknown, -np.inf, added).argmax(axis=0)
            leading[unknown.all(axis=0)] = _NOBODY
        else:
            leading = added.argmax(axis=0)
        self.sources[items], self.because[items] = leading, _NOBODY
        for number, heard in enumerate(self._heard):
            own = items[leading == number]
            if len(own):
                self.because[own] = heard.causes(own)


def best(scores: Floats, allowed: NDArray[np.bool_], limit: int) -> Ints:
    """The allowed items with the highest scores, the best first; equal scores by ascending item."""
    items = np.flatnonzero(allowed)
    if limit <= 0 or not len(items):
        return items[:0]
    own = scores[items]
    if limit < len(items):
        bar = np.partition(own, len(own) - limit)[len(own) - limit]
        kept = own >= bar
        items, own = items[kept], own[kept]
    return items[np.argsort(-own, kind="stable")[:limit]]


def _where(history: Ragged, kept: NDArray[np.bool_]) -> Ragged:
    times = None if history.times is None else history.times[kept]
    return Ragged(np.array([0, kept.sum()], dtype=np.int64), history.values[kept], times, history.at)
