"""The catalogue as pages see it: every title in memory, confirmed twice a second, and who may be shown what when.

Who may see and play what is decided by `rights.decide`, with the clock of the request: a licence that
ends, ends on the page at that moment. What others commit is noticed within a second: no page is made from a catalogue
that was confirmed longer ago.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from matinee.db.queries import load
from serving.accounts.memo import Transaction
from serving.catalog.core import card
from serving.db import Row, row, rows
from serving.garbage import settle
from serving.profiles.core import Viewer
from serving.rights import ANY_DEVICE, NOTHING, Terms, decide
from serving.rights.core import on_offer, terms_of

CONFIRMED_S = 0.5  # a catalogue confirmed so recently is taken as it is
STALE_S = 1.0  # and so long while it is being confirmed
PAUSE_S = 0.5  # so long after PostgreSQL did not answer everybody hears so at once
_QUERIES = load(Path(__file__).parent)
_NEVER = datetime.max.replace(tzinfo=UTC)
_SHELVES = 2_000


@dataclass(frozen=True, slots=True)
class Title:
    """`root_id`: the series of an episode, else the title itself; `card`: its id and what clients see of it, as they
    stand in an object of JSON."""

    title_id: str
    kind: str
    root_id: str
    titles: Mapping[str, str]
    genres: tuple[str, ...]
    created: float
    terms: Terms
    place: tuple[int, float, str]  # among the episodes of its series
    card: bytes

    def shown(self) -> Row:
        """What clients see of it."""
        return orjson.loads(b"{%b}" % self.card)[self.title_id]


@dataclass(frozen=True, eq=False)
class Shelf:
    """What viewers of one maturity limit and region may be shown at one moment.

    `seen`: films, series and episodes that may be seen; `offered`: films and series to recommend, the newest first;
    `episodes`: those of each offered series that play, in their order.
    """

    seen: Mapping[str, Title]
    offered: tuple[str, ...]
    episodes: Mapping[str, tuple[str, ...]]
    places: Mapping[str, int] = field(init=False)  # of `offered`

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {title_id: place for place, title_id in enumerate(self.offered)})

    def same(self, other: "Shelf") -> bool:
        return self.offered == other.offered and self.episodes == other.episodes and self.seen == other.seen


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All titles at one mark. `edges`: the moments at which an offer opens or ends, ascending."""

    mark: str
    titles: Sequence[Title]
    regions: frozenset[str]
    edges: Sequence[datetime]
    plays: bool  # whether anything plays here; an imported catalogue without films is shown whole

    def until(self, moment: datetime) -> datetime:
        """The next moment at which what may be shown changes by itself."""
        place = bisect_right(self.edges, moment)
        return self.edges[place] if place < len(self.edges) else _NEVER

    def shelf(self, viewer: Viewer, moment: datetime) -> Shelf:
        """Of all who share the viewer's limit and region, whatever they have a right to play."""
        viewer = replace(viewer, entitlements=NOTHING)
        seen = {t.title_id: t for t in self.titles if decide(t.terms, viewer, ANY_DEVICE, moment) is None}
        play = {
            title_id: title
            for title_id, title in seen.items()
            if title.terms.playable and on_offer(title.terms, viewer.region, moment) is None
        }
        episodes: dict[str, list[Title]] = {}
        for title in play.values():
            if title.kind == "episode" and title.root_id in seen:
                episodes.setdefault(title.root_id, []).append(title)
        offered = [t for t in seen.values() if t.kind != "episode" and (not self.plays or _plays(t, play, episodes))]
        offered.sort(key=lambda title: (-title.created, title.title_id))
        ordered = {
            root_id: tuple(title.title_id for title in sorted(found, key=lambda title: title.place))
            for root_id, found in episodes.items()
        }
        return Shelf(seen, tuple(title.title_id for title in offered), ordered)


def _plays(title: Title, play: Mapping[str, Title], episodes: Mapping[str, object]) -> bool:
    """A series plays by its episodes, whose own terms decide."""
    return title.title_id in (episodes if title.kind == "series" else play)


def parsed(mark: str, text: str) -> Catalogue:
    """The catalogue in the answer of the query `catalogue`."""
    titles = [_title(found) for found in orjson.loads(text)]
    offers = [offer for title in titles for offer in title.terms.offers]
    edges = {edge for offer in offers for edge in (offer.window.from_, offer.window.until) if edge is not None}
    return Catalogue(
        mark,
        titles,
        frozenset(region for offer in offers for region in offer.regions),
        sorted(edges),
        any(t.terms.playable and (t.terms.bare or t.terms.offers or t.kind == "series") for t in titles),
    )


def _title(found: Row) -> Title:
    terms = terms_of(found)
    number = found["number"]
    place = (found["season"] or 0, float("inf") if number is None else number, found["title_id"])
    return Title(
        found["title_id"],
        found["kind"],
        found["root_id"],
        found["titles"],
        tuple(found["genres"]),
        found["created"],
        terms,
        place,
        b"%b:%b" % (orjson.dumps(found["title_id"]), orjson.dumps(card(found))),
    )


class Catalogues:
    """The catalogue of one app, and the shelves by (maturity, region)."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._confirming: asyncio.Task[None] | None = None
        self._confirmed = self._ended = -1e9
        self.current: Catalogue | None = None
        self._shelves: dict[tuple[int, str | None], tuple[Catalogue, datetime, Shelf]] = {}
        self._building: dict[tuple[int, str | None], asyncio.Lock] = {}

    async def shelf(self, viewer: Viewer, now: datetime) -> Shelf:
        """What this viewer may be shown now; the same object as long as nothing in it changes."""
        catalogue = await self._confirmed_one()
        key = (viewer.limit, viewer.region if viewer.region in catalogue.regions else None)
        if (shelf := self._ready(key, catalogue, now)) is not None:
            return shelf
        async with self._building.setdefault(key, asyncio.Lock()):
            if (shelf := self._ready(key, catalogue, now)) is None:
                kept = self._shelves.get(key)
                # Judging some thousand titles takes longer than a request may wait for another.
                shelf = await asyncio.to_thread(_renewed, catalogue, viewer, now, kept[2] if kept else None)
                if len(self._shelves) >= _SHELVES:
                    self._shelves.clear()
                    self._building.clear()
                self._shelves[key] = (catalogue, catalogue.until(now), shelf)
        return shelf

    def _ready(self, key: tuple[int, str | None], catalogue: Catalogue, now: datetime) -> Shelf | None:
        kept = self._shelves.get(key)
        return kept[2] if kept is not None and kept[0] is catalogue and now < kept[1] else None

    async def contents(self, title_ids: Sequence[str]) -> list[Row]:
        """What is known of these titles, as `models.recommenders.content.content_of` reads it."""
        async with self._transaction() as connection:
            return await rows(connection, _QUERIES["contents"], {"title_ids": list(title_ids)})

    async def _confirmed_one(self) -> Catalogue:
        asked = time.monotonic()
        is_running = self._confirming is not None and not self._confirming.done()
        age = asked - self._confirmed
        if self.current is not None and (age < CONFIRMED_S or (age < STALE_S and is_running)):
            return self.current
        while self.current is None or self._confirmed < asked - CONFIRMED_S:
            # All that wait share one, and its error: one after the other would wait for PostgreSQL as often.
            await asyncio.shield(self._shared())
        return self.current

    def _shared(self) -> asyncio.Task[None]:
        """The confirmation that runs, or failed a moment ago; else a new one."""
        task = self._confirming
        if task is not None and task.done() and (_has_failed(task) and time.monotonic() < self._ended + PAUSE_S):
            return task
        if task is None or task.done():
            task = self._confirming = asyncio.ensure_future(self._confirm())
            task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ended = time.monotonic()
        _has_failed(task)  # a request may have left: nobody else has to look at it

    async def _confirm(self) -> None:
        asked = time.monotonic()
        async with self._transaction() as connection:
            mark = (await _one(connection, "catalogue_mark"))["mark"]
            if self.current is None or self.current.mark != mark:
                text = (await _one(connection, "catalogue"))["titles"]
                # Parsing some thousand titles takes longer than a request may wait for another.
                self.current = await asyncio.to_thread(parsed, mark, text)
                settle()
        self._confirmed = asked


def _renewed(catalogue: Catalogue, viewer: Viewer, now: datetime, known: Shelf | None) -> Shelf:
    """The shelf as of now: the known one where nothing changed."""
    shelf = catalogue.shelf(viewer, now)
    return known if known is not None and shelf.same(known) else shelf


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _one(connection: Any, query: str) -> Row:
    found = await row(connection, _QUERIES[query])
    assert found is not None  # both are aggregates
    return found
