"""The titles of the simulated world, as arrays: what can be chosen, what plays, how popular it is on which day."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import psycopg

from matinee.contracts.feed import FeedTitle
from simulation.errors import SimulationError
from simulation.parameters import Plan
from simulation.streams import stream

_WATCHABLE = ("film", "episode", "extra")


@dataclass(frozen=True)
class SimTitle:
    """What the simulator needs to know of a title that plays. `item_id`: the series of an episode, else itself."""

    title_id: str
    item_id: str
    genres: tuple[str, ...]
    maturity: int
    runtime_ms: int
    order: tuple[int, int] = (0, 0)  # season and episode number


@dataclass(frozen=True)
class Contract:
    """What a title costs from the day `first` up to the day `until` without it, in minor units of a currency."""

    title_id: str
    amount_minor: int
    currency: str
    first: date
    until: date


@dataclass(frozen=True)
class World:
    """Titles sorted so that the episodes of a series stand together, in the order in which they are watched.

    What nobody's behaviour depends on stands beside them: when titles came out (Unix milliseconds; those that are
    missing always were there) and what they cost.
    """

    titles: tuple[SimTitle, ...]
    released: Mapping[str, int] = field(default_factory=dict)
    contracts: tuple[Contract, ...] = ()

    @classmethod
    def of(
        cls,
        titles: Iterable[SimTitle],
        released: Mapping[str, int] | None = None,
        contracts: Iterable[Contract] = (),
    ) -> "World":
        """
        Raises:
            SimulationError: there is nothing to watch.
        """
        ordered = tuple(sorted(titles, key=lambda t: (t.item_id, t.order, t.title_id)))
        if not ordered:
            raise SimulationError(
                "no title with a known runtime to watch: run `matinee ingest catalog FILE`, or `matinee ingest masters "
                "DIR` and `matinee build`, first"
            )
        return cls(ordered, released or {}, tuple(contracts))

    @cached_property
    def items(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(title.item_id for title in self.titles))

    @cached_property
    def first_title(self) -> np.ndarray:
        """Item -> index of its first title."""
        return np.searchsorted(self.title_item, np.arange(len(self.items)))

    @cached_property
    def episodes(self) -> np.ndarray:
        """Item -> how many titles it has."""
        return np.bincount(self.title_item, minlength=len(self.items))

    @cached_property
    def title_item(self) -> np.ndarray:
        index = {item: i for i, item in enumerate(self.items)}
        return np.array([index[title.item_id] for title in self.titles])

    @cached_property
    def runtime_ms(self) -> np.ndarray:
        return np.array([title.runtime_ms for title in self.titles], dtype=np.int64)

    @cached_property
    def genre_names(self) -> tuple[str, ...]:
        return tuple(sorted({genre for title in self.titles for genre in title.genres})) or ("other",)

    @cached_property
    def item_genres(self) -> np.ndarray:
        """Items x genres: equal shares of the item's genres, rows sum to 1."""
        shares = np.zeros((len(self.items), len(self.genre_names)), dtype=np.float32)
        for item, first in enumerate(self.first_title):
            genres = self.titles[first].genres
            columns = [self.genre_names.index(genre) for genre in genres] or list(range(len(self.genre_names)))
            shares[item, columns] = 1 / len(columns)
        return shares

    @cached_property
    def item_maturity(self) -> np.ndarray:
        return np.array([self.titles[first].maturity for first in self.first_title])

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.titles).encode()).hexdigest()

    def log_popularity(self, plan: Plan) -> np.ndarray:
        """Days x items, logarithms: Zipf-Mandelbrot, decaying after release; minus infinity before release."""
        random = stream(plan.seed, "popularity")
        rank = random.permutation(len(self.items))
        age = random.exponential(120.0, len(self.items))
        # About one title in twenty comes out during the simulated time.
        fresh = random.random(len(self.items)) < 0.05
        age[fresh] = -random.uniform(0.1, 0.8, fresh.sum()) * plan.days
        # Something must be there on the first day.
        age[rank == 0] = abs(age[rank == 0])
        by_day = age[None, :] + np.arange(plan.days)[:, None]
        strength = 1 / (rank + 2.7) ** 0.9 * (1 + 3 * np.exp(-np.maximum(by_day, 0) / 14))
        with np.errstate(divide="ignore"):
            return np.log(np.where(by_day < 0, 0, strength)).astype(np.float32)


def world_of_feed(feed: Sequence[FeedTitle]) -> World:
    """The world that a catalogue feed describes, before anything is packaged."""
    return World.of(
        _titles(
            (t.id, t.kind, t.parent, t.extra.get("number"), t.genres, t.maturity, (t.runtime_s or 0) * 1000, False)
            for t in feed
        ),
        contracts=[contract for t in feed for contract in _contracts(t.id, t.extra.get("costs", ()))],
    )


def read_world(connection: psycopg.Connection) -> World:
    """The published catalogue. Where anything is packaged, viewers watch only that, at its real length.

    Raises:
        SimulationError: there is nothing to watch.
    """
    rows = connection.execute(
        "SELECT title_id, kind, parent_id, number, genres, maturity, "
        "coalesce(duration_ms, runtime_s * 1000, 0), package_id IS NOT NULL, "
        "ceil(extract(epoch FROM created_at) * 1000)::bigint "
        "FROM export_title WHERE state = 'published' ORDER BY title_id"
    ).fetchall()
    # Read as the feed wrote them, not as the warehouse is told: what it makes of them is to be judged.
    costs = connection.execute("SELECT title_id, extra -> 'costs' FROM title WHERE extra ? 'costs' ORDER BY title_id")
    return World.of(
        _titles(row[:8] for row in rows),
        {row[0]: row[8] for row in rows},
        [contract for title_id, told in costs for contract in _contracts(title_id, told)],
    )


def _contracts(title_id: str, told: Iterable[Mapping[str, Any]]) -> Iterator[Contract]:
    for terms in told:
        first, until = (date.fromisoformat(terms[name]) for name in ("from", "until"))
        yield Contract(title_id, terms["amount_minor"], terms["currency"], first, until)


def _titles(rows: Iterable[Sequence]) -> list[SimTitle]:
    """Rows of (id, kind, parent, number, genres, maturity, runtime in ms, packaged)."""
    known = {row[0]: row for row in rows}
    watchable = [row for row in known.values() if row[1] in _WATCHABLE and row[6] > 0]
    packaged = [row for row in watchable if row[7]]
    return [
        SimTitle(
            title_id=title_id,
            item_id=_root(title_id, known) if kind == "episode" else title_id,
            genres=tuple(genres),
            maturity=maturity,
            runtime_ms=int(runtime_ms),
            order=(_number(known.get(parent)), number or 0),
        )
        for title_id, kind, parent, number, genres, maturity, runtime_ms, _ in packaged or watchable
    ]


def _root(title_id: str, known: dict[str, Sequence]) -> str:
    while (parent := known[title_id][2]) in known:
        title_id = parent
    return title_id


def _number(row: Sequence | None) -> int:
    return (row[3] or 0) if row is not None else 0
