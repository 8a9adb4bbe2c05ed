"""The home page: lists of the models from Redis, positions from PostgreSQL, masked by what the viewer may see.

A page is kept as bytes and composed anew when something that it is made of changed: a list, a position of the profile,
or what viewers like this one may see. What other processes change is noticed within seconds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson
import redis
from redis.asyncio import Redis

from matinee.clock import Clock
from matinee.db.queries import load
from models.experiments.assignment import Experiment, assign
from models.experiments.registry import ACTIVE, HOME_ORDER
from serving.accounts.core import Viewer
from serving.accounts.memo import Memo, Transaction, Viewers
from serving.catalog.core import descendants, next_episode
from serving.db import Row, rows
from serving.metrics import Metrics
from serving.playback.core import finished
from serving.recommendations.exposures import Exposures
from serving.recommendations.gather import Gather
from serving.recommendations.rows import HomeRow, Lists, Pick, plan_rows
from serving.recommendations.shelf import Shelf, Shelves

QUERIES = load(Path(__file__).parent)
POPULAR = "recs:popular"
PAGE_LIFE_S = 30.0
POPULAR_LIFE_S = 1.0
_SERIES_CHECKED = 20
_PAGES = 20_000


@dataclass(frozen=True, slots=True)
class _List:
    """A list as it stands in Redis, and what it says."""

    raw: bytes | None
    model: Mapping[str, str] | None = None
    picks: tuple[Pick, ...] = ()


_NO_LIST = _List(None)


@dataclass(frozen=True, slots=True)
class _Page:
    """The body after its request id, and what it was made from: both lists, the generation of the shelf."""

    own: _List
    popular: _List
    generation: int
    rest: bytes


class Home:
    """Home pages of one app."""

    def __init__(
        self,
        transaction: Transaction,
        client: Redis,
        exposures: Exposures,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._transaction, self._exposures, self._metrics, self._clock = transaction, exposures, metrics, clock
        self._viewers = Viewers(transaction, clock)
        self._stored: Gather[bytes | None] = Gather(client.mget)
        self._positions: Gather[list[Row]] = Gather(self._read_positions)
        # Pages live on for their lists when their time is over: what did not change is not parsed again.
        self._pages: dict[str, _Page] = {}
        self._fresh: Memo[str, bool] = Memo(clock, PAGE_LIFE_S)
        self._popular: Memo[str, _List] = Memo(clock, POPULAR_LIFE_S)
        self._last_popular = _NO_LIST
        self._variants: dict[str, dict[Experiment, str]] = {}
        self._shelves = Shelves(transaction)

    async def page(
        self,
        account_id: str,
        session_id: str,
        profile_id: str | None,
        request_id: str,
        bot: Callable[[], str | None] = lambda: None,
    ) -> bytes:
        """The JSON of the home page of a profile (None: the account's first).

        Raises:
            Problem: 404, the account has no such profile.
        """
        viewer = await self._viewers.of(account_id, profile_id)
        variants = self._assigned(account_id)
        kept = self._pages.get(profile := str(viewer.profile_id))
        own, popular = await self._lists(viewer.profile_key, kept)
        shelf = await self._shelves.of(viewer, self._clock.now())
        same = kept is not None and kept.own is own and kept.popular is popular and kept.generation == shelf.generation
        if kept is None or not same or not self._fresh.get(profile):
            body = await self._compose(viewer, shelf, variants, own, popular)
            kept = self._keep(profile, _Page(own, popular, shelf.generation, body[1:]))
        await self._exposures.tell(account_id, session_id, variants, bot)
        return b'{"request_id":"%b",%b' % (request_id.encode(), kept.rest)

    def forget(self, profile_id: str) -> None:
        """A position of the profile changed: compose its page anew."""
        self._fresh.forget(profile_id)

    def _keep(self, profile: str, page: _Page) -> _Page:
        if len(self._pages) >= _PAGES:
            self._pages.clear()
        self._fresh.put(profile, True)
        self._pages[profile] = page
        return page

    def _assigned(self, account_id: str) -> dict[Experiment, str]:
        known = self._variants.get(account_id)
        if known is None:
            if len(self._variants) > 100_000:
                self._variants.clear()
            known = self._variants[account_id] = {e: assign(e, account_id) for e in ACTIVE}
        return known

    async def _lists(self, profile_key: str | None, kept: _Page | None) -> tuple[_List, _List]:
        """The profile's list and the popular one as they stand in Redis; without Redis neither."""
        popular = self._popular.get(POPULAR)
        own_read = self._stored.get(f"recs:profile:{profile_key}") if profile_key else None
        popular_read = self._stored.get(POPULAR) if popular is None else None
        try:
            own = _parsed(await own_read, kept.own if kept else _NO_LIST) if own_read else _NO_LIST
            if popular_read is not None:
                self._last_popular = popular = _parsed(await popular_read, self._last_popular)
                self._popular.put(POPULAR, popular)
        except redis.RedisError:
            return _NO_LIST, _NO_LIST  # the page degrades and says so; the metrics count it
        return own, popular or _NO_LIST

    async def _read_positions(self, profile_ids: Sequence[str]) -> list[list[Row]]:
        async with self._transaction() as connection:
            found = await rows(connection, QUERIES["positions"], {"profile_ids": list(profile_ids)})
        by_profile: dict[str, list[Row]] = {profile_id: [] for profile_id in profile_ids}
        for position in found:
            by_profile[position["profile_id"]].append(position)
        return list(by_profile.values())

    async def _compose(
        self,
        viewer: Viewer,
        shelf: Shelf,
        variants: Mapping[Experiment, str],
        own: _List,
        popular: _List,
    ) -> bytes:
        positions = await self._positions.get(str(viewer.profile_id))
        lists, cards = await self._gather(viewer, shelf, own.picks, popular.picks, positions)
        planned = plan_rows(lists, for_you_first=variants[HOME_ORDER] == "treatment")
        degraded = not lists.for_you
        if degraded:
            self._metrics.degraded.inc()
        named = {experiment.name: variant for experiment, variant in variants.items()}
        share = HOME_ORDER.shares[variants[HOME_ORDER]]
        shown = {title_id: None for row in planned for pick in row.picks for title_id in _mentioned(pick)}
        return orjson.dumps(
            {
                "model": own.model or popular.model,
                "degraded": degraded,
                "rows": [_row(row, named, share) for row in planned],
                "titles": {title_id: cards[title_id] for title_id in shown if title_id in cards},
            }
        )

    async def _gather(
        self, viewer: Viewer, shelf: Shelf, own: Sequence[Pick], popular: Sequence[Pick], positions: Sequence[Row]
    ) -> tuple[Lists, dict[str, Row]]:
        """The lists of the rows, and the cards of all titles in them."""
        now = self._clock.now()
        resume, watched = await self._progress(viewer, positions, now)
        picks = [*resume, *own, *popular, *shelf.newest]
        wanted = {title_id: None for pick in picks for title_id in _mentioned(pick)}
        if missing := shelf.missing(wanted):
            async with self._transaction() as connection:
                await shelf.learn(connection, viewer, missing, now)
        cards = shelf.cards_of(wanted)

        def seen(picks: Iterable[Pick]) -> list[Pick]:
            return [pick for pick in picks if pick.title_id in cards]

        genres = {title_id: card["genres"] for title_id, card in cards.items()}
        return Lists(seen(resume), seen(own), seen(popular), seen(shelf.newest), watched, genres), cards

    async def _progress(self, viewer: Viewer, positions: Sequence[Row], now: datetime) -> tuple[list[Pick], set[str]]:
        """What to go on with, the last touched first, and the films and series that were seen to the end."""
        latest: dict[str, Row] = {}
        for position in positions:
            latest.setdefault(position["root_id"], position)
        resume, watched = [], set()
        for checked, (root_id, position) in enumerate(latest.items()):
            going_on: str | None = position["title_id"]
            if finished(position):
                is_episode = root_id != position["title_id"] and checked < _SERIES_CHECKED
                going_on = await self._after(viewer, root_id, position["title_id"], now) if is_episode else None
            if going_on is None:
                watched.add(root_id)
            elif going_on != position["title_id"] or position["position_ms"] > 0:
                reason = {"code": "continue", "params": {"title_id": going_on}}
                resume.append(Pick(root_id, "position", reason))
        return resume, watched

    async def _after(self, viewer: Viewer, root_id: str, episode_id: str, now: datetime) -> str | None:
        async with self._transaction() as connection:
            return next_episode(await descendants(connection, viewer, root_id, now), episode_id)


def _parsed(raw: bytes | None, known: _List) -> _List:
    """The list in these bytes; the known one where nothing changed."""
    if raw is None:
        return _NO_LIST
    if raw == known.raw:
        return known
    stored = orjson.loads(raw)
    picks = tuple(Pick(item["title_id"], item["source"], item["reason"]) for item in stored["items"])
    return _List(raw, stored["model"], picks)


def _mentioned(pick: Pick) -> list[str]:
    """The title itself, and the one that its reason names."""
    because = pick.reason["params"].get("title_id")
    return [pick.title_id, because] if because else [pick.title_id]


def _row(row: HomeRow, experiments: Mapping[str, str], share: float) -> Row:
    # Where one left off stands first in every variant; all below it depends on the order that was dealt.
    propensity = 1.0 if row.id == "continue" else share
    items = [
        {
            "title_id": pick.title_id,
            "reason": pick.reason,
            "source": pick.source,
            "propensity": propensity,
            "experiments": experiments,
        }
        for pick in row.picks
    ]
    return {"id": row.id, "title": row.title, "items": items}
