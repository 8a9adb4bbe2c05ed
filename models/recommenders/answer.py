"""What the parts of a model say of one viewer, side by side: the scores, the best of them, and why each is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Ints, Ragged
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
        kept = history.values < self.known
        own = history if kept.all() else _where(history, kept)
        opinion = self._opinion(own, region, kids)
        return Heard(opinion, np.float32(self.weight) * standardised(opinion.scores))

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
    """`share` [items that the source knows]: what it adds to the sum."""

    opinion: Opinion
    share: Floats

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


@dataclass(frozen=True)
class Chosen:
    """Some items, the best first. `source`: the number of the source that adds most to each, -1 where none knows it;
    `because`: the item of the history behind it, -1: none."""

    items: Ints
    scores: Floats
    source: Ints
    because: Ints


class Answer:
    """Everything that was heard of one viewer. `shares` [sources, n_items]: NaN where a source does not know."""

    def __init__(self, sources: Mapping[str, Source], history: Ragged, region: str | None, kids: bool, n_items: int):
        self.history, self.names = history, list(sources)
        self._heard = [source.heard(history, region, kids) for source in sources.values()]
        self.shares = np.full((len(self._heard), n_items), np.nan, dtype=np.float32)
        for row, heard in zip(self.shares, self._heard, strict=True):
            row[: len(heard.share)] = heard.share
        personal = zip(sources.values(), self._heard, strict=True)
        self.knows = any(of.personal and len(heard.opinion.asked) > 0 and heard.share.any() for of, heard in personal)
        self._because = np.full(n_items, _UNASKED)

    @cached_property
    def total(self) -> Floats:
        """[n_items] the sum; a title that a source does not know stands at the mean of the others."""
        return np.nansum(self.shares, axis=0) if self._has_gaps else self.shares.sum(axis=0)

    @cached_property
    def _has_gaps(self) -> bool:
        return any(len(heard.share) < self.shares.shape[1] for heard in self._heard)

    def chosen(self, items: Ints, scores: Floats) -> Chosen:
        """These items with their source and reason."""
        added = self.shares[:, items]
        if self._has_gaps:
            unknown = np.isnan(added)
            leading = np.where(unknown, -np.inf, added).argmax(axis=0)
            leading[unknown.all(axis=0)] = -1
        else:
            leading = added.argmax(axis=0)
        asked = self._because[items] == _UNASKED  # one title often stands in several lists
        for number, heard in enumerate(self._heard):
            own = items[asked & (leading == number)]
            if len(own):
                self._because[own] = heard.causes(own)
        return Chosen(items, scores, leading, self._because[items])


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
