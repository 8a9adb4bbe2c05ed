"""What serves: one fitted system of plain arrays that answers for a viewer, for everybody and beside a title.

Every answer is masked before its best titles are chosen, so that what may not be shown takes nobody's place. Loading
it needs neither a training library nor MLflow.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats, Ints, Ragged
from models.ranking.served import Ranking
from models.recommenders.answer import Answer, Source, best
from models.recommenders.base import Fitted
from models.recommenders.blend import Blend
from models.recommenders.scored import Scored
from models.recommenders.segments import SegmentPopularityFitted
from models.recommenders.similar import Neighbours, tags

HISTORY = 200  # newest titles of a history that are asked
_TREND = 1.5  # a title trends when its share of the last week is this much above its share of the month
_TREND_LEAST = 2.0
_RANKED = 200  # the best of the sources, which the ranker puts in its order
_NONE = np.zeros(0, dtype=np.int64)
_TOLERANCE = 1e-3  # between a golden score and the one of a loaded copy, of scores with standard deviation 1


class Titled(Protocol):
    """What is known of a title before anybody took it."""

    @property
    def title_id(self) -> str: ...
    @property
    def genres(self) -> Sequence[str]: ...


@runtime_checkable
class Grows(Protocol):
    def with_titles(self, content: Sequence[Any]) -> Fitted: ...


@dataclass(frozen=True)
class About:
    """`kind` of model; `version` in the registry; `feature_views`: view -> hash; `fitted_until`: seconds."""

    name: str
    version: str
    snapshot_id: str
    data_hash: str
    kind: str
    feature_views: Mapping[str, str] = field(default_factory=dict)
    fitted_until: float = 0.0
    ranker: str | None = None


@dataclass(frozen=True)
class Asked:
    """For whom: films and series taken, oldest first, with their moments; `features`: `<view>__<feature>` -> value.

    `now` in epoch seconds. `times` are taken as not known where they are not one for each of `history`.
    """

    history: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    region: str | None = None
    kids: bool = False
    features: Mapping[str, float | str | None] = field(default_factory=dict)
    now: float = 0.0


@dataclass(frozen=True)
class Popular:
    """Interactions of each item within the last days before the fit, [n_items] each; `days` of them serves."""

    counts: Mapping[int, Floats]
    days: int

    @property
    def source(self) -> str:
        return f"popularity_{self.days}d"

    @cached_property
    def rising(self) -> NDArray[np.bool_]:
        week, month = (self.counts[days].astype(np.float64) for days in (7, 30))
        share = week / max(week.sum(), 1e-9) > _TREND * month / max(month.sum(), 1e-9)
        return share & (week >= _TREND_LEAST)


@dataclass(frozen=True)
class Golden:
    """A request, and what the system answered when it was made, best first: (title, score).

    `popular`: in the viewer's region, for the kind of profile; `similar`: beside the newest title of the history.
    """

    asked: Asked
    top: tuple[tuple[str, float], ...]
    popular: tuple[tuple[str, float], ...] = ()
    similar: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class System:
    """A fitted model with its items (title ids of films and series, in the order of its columns).

    `created` [n_items]: seconds; among equally popular titles the newest goes first.
    """

    about: About
    items: list[str]
    titles: list[tuple[str, ...]]  # genres of each item
    created: NDArray[np.float64]
    model: Fitted | None  # None: popularity alone
    recent: Popular
    neighbours: Neighbours
    rows: Mapping[str, float] = field(default_factory=dict)  # learned worth of kinds of rows
    segments: SegmentPopularityFitted | None = None
    ranking: Ranking | None = None  # None: the sum of the sources ranks
    fitted: int | None = None  # how many of the items the model was fitted to; None: all
    golden: tuple[Golden, ...] = ()
    _last: list[tuple[Asked, Answer]] = field(init=False, default_factory=list, compare=False, repr=False)
    _orders: dict[tuple[str | None, bool], tuple[Floats, Ints]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    # -- what may come out

    def mask(self, titles: Collection[str]) -> NDArray[np.bool_]:
        """[n_items] true for these titles: all others cannot come out of any answer that is given this mask."""
        allowed = np.zeros(len(self.items), dtype=np.bool_)
        numbers = [self._number[title] for title in titles if title in self._number]
        allowed[numbers] = True
        return allowed

    def genres(self, title_id: str) -> tuple[str, ...]:
        number = self._number.get(title_id)
        return () if number is None else self.titles[number]

    # -- answers

    def rank(self, asked: Asked, allowed: NDArray[np.bool_], limit: int = 200) -> list[Scored]:
        """The best titles for a viewer, then popular ones; popular ones alone where the model knows nothing of them."""
        return self.personal(asked, allowed, limit, 0)[0]

    def gems(self, asked: Asked, allowed: NDArray[np.bool_], limit: int = 20) -> list[Scored]:
        """What suits a viewer above the average and few have found: of the less popular half of what is allowed."""
        return self.personal(asked, allowed, 0, limit)[1]

    def personal(
        self, asked: Asked, allowed: NDArray[np.bool_], limit: int, gems: int
    ) -> tuple[list[Scored], list[Scored]]:
        """`rank` and `gems` of a viewer at once: the sources are asked, and explain, once."""
        answer = self._answer(asked)
        if not answer.knows:
            return self.popular(asked.region, asked.kids, allowed, limit), []
        top = best(answer.total, allowed, limit if self.ranking is None else max(limit, _RANKED)) if limit else _NONE
        hidden = self._hidden(answer.total, allowed, gems) if gems else _NONE
        answer.explain(np.concatenate((top, hidden)))
        scores = answer.total[top]
        if self.ranking is not None and len(top):
            columns = dict(zip((*answer.names, "blend"), zip(*answer.heights(top), strict=True), strict=True))
            scores = self.ranking.scores(top, columns, answer.history.values, asked.features, asked.kids, asked.now)
            order = np.argsort(-scores, kind="stable")[:limit]
            top, scores = top[order], scores[order]
        picks = self._told(answer, top, scores)
        if len(picks) < limit:
            rest = allowed.copy()
            rest[top] = False
            picks += self.popular(asked.region, asked.kids, rest, limit - len(picks))
        return picks, self._told(answer, hidden, answer.total[hidden])

    def similar(self, title_id: str, allowed: NDArray[np.bool_], limit: int = 20) -> list[Scored]:
        """Titles that the same viewers took, then those of the same genres; none for a title that is not known."""
        number = self._number.get(title_id)
        if number is None:
            return []
        scores, together = self.neighbours.of(number)
        items = best(scores, allowed & (scores > 0), limit)
        return [
            Scored(
                self.items[item],
                "taken_together" if together[item] else "same_genres",
                "because_you_watched" if together[item] else "similar_content",
                title_id,
                float(scores[item]),
            )
            for item in items
        ]

    def popular(self, region: str | None, kids: bool, allowed: NDArray[np.bool_], limit: int = 100) -> list[Scored]:
        """What everybody watches, the newest titles first among equals; what rises says so."""
        (counts, order), rising = self._popularity(region, kids), self.recent.rising
        return [
            Scored(
                self.items[item],
                self.recent.source,
                "trending" if rising[item] else "popular_now",
                score=float(counts[item]),
            )
            for item in order[allowed[order]][:limit]
        ]

    def with_titles(self, contents: Sequence[Titled]) -> "System":
        """The same system with new titles, known by their content only; those that it knows already change nothing."""
        new = list({content.title_id: content for content in contents if content.title_id not in self._number}.values())
        if not new:
            return self
        count = len(new)
        titles = self.titles + [tuple(content.genres) for content in new]
        grown = {
            days: np.concatenate([counts, np.zeros(count, np.float32)]) for days, counts in self.recent.counts.items()
        }
        return replace(
            self,
            items=self.items + [content.title_id for content in new],
            titles=titles,
            created=np.concatenate([self.created, np.full(count, np.inf)]),
            model=_grown(self.model, new),
            recent=replace(self.recent, counts=grown),
            neighbours=replace(self.neighbours, tags=tags(titles)),
            fitted=len(self.items) if self.fitted is None else self.fitted,
            ranking=self.ranking and self.ranking.with_titles([tuple(content.genres) for content in new]),
        )

    def check(self) -> None:
        """Ask the golden requests again.

        Raises:
            ModelError: there is none, or an answer differs from the recorded one.
        """
        if not self.golden:
            raise ModelError(f"model {self.about.version} has no golden requests: export it again")
        for number, golden in enumerate(self.golden):
            # As many as the longest list: in a small catalogue what is known of a viewer shortens one and not another.
            count = max(map(len, (golden.top, golden.popular, golden.similar)))
            try:
                differs = _difference(golden, _answered(self, golden.asked, count))
            except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(
                    f"model {self.about.version} cannot answer golden request {number}, its arrays do not fit one "
                    f"another ({type(error).__name__}: {error}); export it again"
                ) from error
            if differs:
                raise ModelError(
                    f"model {self.about.version} answers golden request {number} wrongly: {differs}; export it again"
                )

    # -- files

    def save(self, folder: Path) -> None:
        """`model.npz` (arrays), `model.json` (what they mean) and `golden.json`; no pickle."""
        from models.recommenders.files import save

        save(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "System":
        """The way back from `save`.

        Raises:
            ModelError: a file is missing, cut off, or not of this format.
        """
        from models.recommenders.files import load

        return load(folder)

    # -- inside

    @cached_property
    def _number(self) -> dict[str, int]:
        return {title: row for row, title in enumerate(self.items)}

    def _popularity(self, region: str | None, kids: bool) -> tuple[Floats, Ints]:
        """What counts there [n_items], and the items in its order; regions that nobody lived in are one."""
        region = region if region is None or region in self._regions else ""
        if (region, kids) not in self._orders:
            counts = self.recent.counts[self.recent.days]
            if self.segments is not None and (region is not None or kids):
                shares = self.segments.of(region, kids).counts
                counts = np.concatenate([shares, np.zeros(len(self.items) - len(shares), dtype=np.float32)])
            order = np.lexsort((np.arange(len(counts)), -self.created, -counts))
            self._orders[region, kids] = counts, order
        return self._orders[region, kids]

    @cached_property
    def _regions(self) -> frozenset[str]:
        return frozenset(name.partition("/")[0] for name in self.segments.segments) if self.segments else frozenset()

    @cached_property
    def _sources(self) -> dict[str, Source]:
        """The parts of the model by name."""
        if self.model is None:
            return {}
        blend = (
            self.model
            if isinstance(self.model, Blend)
            else Blend({self.about.kind: self.model}, {self.about.kind: 1.0})
        )
        fitted = len(self.items) if self.fitted is None else self.fitted
        return {
            name: Source(
                part,
                blend.weights[name],
                len(self.items) if isinstance(part, Grows) else fitted,
                personal=not name.startswith("popularity"),
            )
            for name, part in blend.parts.items()
        }

    def _answer(self, asked: Asked) -> Answer:
        """What the sources say of a viewer; kept for whoever asks for the same viewer next."""
        for known, answer in self._last:
            if known is asked:
                return answer
        answer = Answer(self._sources, self._history(asked), asked.region, asked.kids, len(self.items))
        self._last[:] = [(asked, answer)]
        return answer

    def _hidden(self, total: Floats, allowed: NDArray[np.bool_], limit: int) -> Ints:
        """The best of the less popular half of what is allowed, if above the average."""
        counts, order = self._rarest
        known = order[allowed[order]]  # in the middle of these stands the median
        if not len(known):
            return known
        median = (counts[known[(len(known) - 1) // 2]] + counts[known[len(known) // 2]]) / 2
        return best(total, allowed & (counts <= median) & (total > 0), limit)

    @cached_property
    def _rarest(self) -> tuple[Floats, Ints]:
        """How often each item was taken in a month, and the items in this order."""
        counts = self.recent.counts[30]
        return counts, np.argsort(counts, kind="stable")

    def _history(self, asked: Asked) -> Ragged:
        """One row: the newest titles that the model knows, oldest first, each once, where it was taken last."""
        timed = len(asked.times) == len(asked.history)
        taken, of = asked.history[-HISTORY:], self._number
        numbers = [of.get(title, -1) for title in taken]
        times = asked.times[-HISTORY:] if timed else (0.0,) * len(taken)
        if -1 in numbers or len(set(numbers)) < len(numbers):
            newest: dict[int, float] = {}
            for number, time in zip(numbers, times, strict=True):
                newest.pop(number, None)
                newest[number] = time
            newest.pop(-1, None)
            numbers, times = list(newest), tuple(newest.values())
        moments = np.array(times, dtype=np.float64) if timed and asked.times else None
        indptr = np.array([0, len(numbers)], dtype=np.int64)
        return Ragged(indptr, np.array(numbers, dtype=np.int64), moments, np.array([asked.now], dtype=np.float64))

    def _told(self, answer: Answer, items: Ints, scores: Floats) -> list[Scored]:
        """In words and title ids."""
        ids, names = self.items, (*answer.names, "catalogue")  # the last one: no source knows it
        reasons = [_reasons(name) for name in names]
        source, because = answer.sources[items].tolist(), answer.because[items].tolist()
        return [
            Scored(ids[item], names[number], reasons[number][0], None, score)
            if cause < 0
            else Scored(ids[item], names[number], reasons[number][1], ids[cause], score)
            for item, score, number, cause in zip(items.tolist(), scores.tolist(), source, because, strict=True)
        ]


def _reasons(source: str) -> tuple[str, str]:
    """What a source says of its titles: where nothing of the history is behind one, and where something is."""
    if source == "catalogue":
        return "new", "new"
    if source.startswith("popularity"):
        return "popular_now", "popular_now"
    if source.startswith("two_tower"):
        return "similar_content", "similar_content"
    return "for_you", "because_you_watched"


def _grown(model: Fitted | None, contents: Sequence[Titled]) -> Fitted | None:
    """The model with columns for new titles where a part of it can read their content."""
    if isinstance(model, Blend):
        parts = {
            name: part.with_titles(contents) if isinstance(part, Grows) else part for name, part in model.parts.items()
        }
        return Blend(parts, model.weights)
    return model.with_titles(contents) if isinstance(model, Grows) else model


def asked_of(values: Mapping[str, Any]) -> Asked:
    """The way back from `dataclasses.asdict`, through JSON."""
    return Asked(**{**values, "history": tuple(values["history"]), "times": tuple(values["times"])})


def golden_of(system: System, requests: Sequence[Asked], count: int = 10) -> tuple[Golden, ...]:
    """The answers to these requests, to be kept with the system: what is already known of a viewer left out."""
    return tuple(_answered(system, asked, count) for asked in requests)


def _answered(system: System, asked: Asked, count: int) -> Golden:
    """Of the titles that the model was fitted to: those that came later change no answer."""
    known = system.mask(system.items[: system.fitted])
    allowed = known & ~system.mask(asked.history)
    beside = system.similar(asked.history[-1], allowed, count) if asked.history else []
    answers = (system.rank(asked, allowed, count), system.popular(asked.region, asked.kids, known, count), beside)
    return Golden(asked, *(tuple((pick.title_id, round(pick.score, 6)) for pick in picks) for picks in answers))


def _difference(then: Golden, now: Golden) -> str:
    """In words, what differs by more than rounding; equally good titles may change places. Empty: nothing."""
    for name in ("top", "popular", "similar"):
        before, after = getattr(then, name), getattr(now, name)
        if len(before) != len(after):
            return f"{name} has {len(after)} titles, not {len(before)}"
        found = dict(after)
        for place, ((title, score), (other, own)) in enumerate(zip(before, after, strict=True), 1):
            near = _TOLERANCE * max(1.0, abs(score))
            if not abs(own - score) <= near:
                return f"{name} has {other} with {own:.4f} at place {place}, not {title} with {score:.4f}"
            if title in found and not abs(found[title] - score) <= near:
                return f"{name}: {title} should have the score {score:.4f}, not {found[title]:.4f}"
            if title not in found and not abs(score - after[-1][1]) <= near:
                return f"{name}: {title} of place {place} has gone"
    return ""


def golden_json(golden: Sequence[Golden]) -> list[dict[str, Any]]:
    return [asdict(one) for one in golden]
