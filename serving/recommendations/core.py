"""The home page: lists of the models from Redis, positions from PostgreSQL, masked by what the viewer may see.

A page is composed anew when a list or a position of the profile changed, and kept as bytes for some seconds otherwise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson
import redis
from psycopg import AsyncConnection
from redis.asyncio import Redis

from matinee.clock import Clock
from matinee.db.queries import load
from matinee.ids import uuid7
from models.experiments.assignment import Experiment, assign
from models.experiments.registry import ACTIVE, HOME_ORDER
from serving.accounts.core import Viewer
from serving.accounts.memo import Memo, Transaction, Viewers
from serving.catalog.core import descendants, next_episode, scope, visible_cards
from serving.db import Row, rows
from serving.metrics import Metrics
from serving.playback.core import finished
from serving.recommendations.exposures import Exposures
from serving.recommendations.lists import Lists as RedisLists
from serving.recommendations.rows import HomeRow, Lists, Pick, plan_rows

QUERIES = load(Path(__file__).parent)
POPULAR = "recs:popular"
PAGE_LIFE_S = 5.0
POPULAR_LIFE_S = 1.0
_NEWEST = 40
_SERIES_CHECKED = 20


@dataclass(frozen=True, slots=True)
class _Page:
    """The body without its request id, and the lists that it was made from."""

    made_from: tuple[bytes | None, bytes | None]
    body: bytes


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
        self._lists = RedisLists(client)
        self._pages: Memo[str, _Page] = Memo(clock, PAGE_LIFE_S)
        self._popular: Memo[str, bytes] = Memo(clock, POPULAR_LIFE_S)
        self._variants: dict[str, dict[Experiment, str]] = {}
        # By (maturity, region): the cards of titles asked for so far, None for those that may not be seen.
        self._cards: Memo[tuple[int, str | None], dict[str, Row | None]] = Memo(clock, PAGE_LIFE_S)
        self._newest: Memo[tuple[int, str | None], list[Pick]] = Memo(clock, PAGE_LIFE_S)

    async def page(self, account_id: str, session_id: str, profile_id: str | None) -> bytes:
        """The JSON of the home page of a profile (None: the account's first).

        Raises:
            Problem: 404, the account has no such profile.
        """
        viewer = await self._viewers.of(account_id, profile_id)
        variants = self._assigned(account_id)
        stored = await self._stored(viewer.profile_key)
        kept = self._pages.get(str(viewer.profile_id))
        if kept is None or kept.made_from != stored:
            body = await self._compose(viewer, variants, *stored)
            kept = self._pages.put(str(viewer.profile_id), _Page(stored, body))
        await self._exposures.tell(account_id, session_id, variants)
        return b'{"request_id":"' + uuid7(self._clock).encode() + b'",' + kept.body[1:]

    def forget(self, profile_id: str) -> None:
        """A position of the profile changed: compose its page anew."""
        self._pages.forget(profile_id)

    def _assigned(self, account_id: str) -> dict[Experiment, str]:
        known = self._variants.get(account_id)
        if known is None:
            if len(self._variants) > 100_000:
                self._variants.clear()
            known = self._variants[account_id] = {e: assign(e, account_id) for e in ACTIVE}
        return known

    async def _stored(self, profile_key: str | None) -> tuple[bytes | None, bytes | None]:
        """The profile's list and the popular one as they stand in Redis; without Redis neither."""
        popular = self._popular.get(POPULAR)
        own_read = self._lists.get(f"recs:profile:{profile_key}") if profile_key else None
        popular_read = self._lists.get(POPULAR) if popular is None else None
        try:
            own = await own_read if own_read else None
            if popular_read and (popular := await popular_read) is not None:
                self._popular.put(POPULAR, popular)
        except redis.RedisError:
            return None, None  # the page degrades and says so; the metrics count it
        return own, popular

    async def _compose(
        self, viewer: Viewer, variants: Mapping[Experiment, str], own_raw: bytes | None, popular_raw: bytes | None
    ) -> bytes:
        own, popular = (orjson.loads(raw) if raw else None for raw in (own_raw, popular_raw))
        async with self._transaction() as connection:
            lists, cards = await self._gather(connection, viewer, _picks(own), _picks(popular))
        planned = plan_rows(lists, for_you_first=variants[HOME_ORDER] == "treatment")
        degraded = not lists.for_you
        if degraded:
            self._metrics.degraded.inc()
        named = {experiment.name: variant for experiment, variant in variants.items()}
        share = HOME_ORDER.shares[variants[HOME_ORDER]]
        return orjson.dumps(
            {
                "model": (own or popular or {}).get("model"),
                "degraded": degraded,
                "rows": [_row(row, named, share) for row in planned],
                "titles": {
                    title_id: cards[title_id]
                    for row in planned
                    for pick in row.picks
                    for title_id in _mentioned(pick)
                    if title_id in cards
                },
            }
        )

    async def _gather(
        self, connection: AsyncConnection, viewer: Viewer, own: Sequence[Pick], popular: Sequence[Pick]
    ) -> tuple[Lists, dict[str, Row]]:
        now = self._clock.now()
        resume, watched = await _progress(connection, viewer, now)
        newest = await self._new(connection, viewer, now)
        picks = [*resume, *own, *popular, *newest]
        wanted = [title_id for pick in picks for title_id in _mentioned(pick)]
        cards = await self._visible(connection, viewer, wanted, now)

        def seen(picks: Iterable[Pick]) -> list[Pick]:
            return [pick for pick in picks if pick.title_id in cards]

        genres = {title_id: card["genres"] for title_id, card in cards.items()}
        return Lists(seen(resume), seen(own), seen(popular), seen(newest), watched, genres), cards

    async def _new(self, connection: AsyncConnection, viewer: Viewer, now: datetime) -> list[Pick]:
        key = (viewer.maturity, viewer.region)
        known = self._newest.get(key)
        if known is None:
            found = await rows(connection, QUERIES["newest"], {**scope(viewer, now), "limit": _NEWEST})
            reason = {"code": "new", "params": {}}
            known = self._newest.put(key, [Pick(title["title_id"], "catalogue", reason) for title in found])
        return known

    async def _visible(
        self, connection: AsyncConnection, viewer: Viewer, title_ids: Sequence[str], now: datetime
    ) -> dict[str, Row]:
        """The cards of those of the titles that the viewer may see."""
        key = (viewer.maturity, viewer.region)
        known = self._cards.get(key)
        if known is None:
            known = self._cards.put(key, {})
        if missing := [title_id for title_id in dict.fromkeys(title_ids) if title_id not in known]:
            found = await visible_cards(connection, viewer, missing, now)
            known.update({title_id: found.get(title_id) for title_id in missing})
        return {title_id: card for title_id in title_ids if (card := known.get(title_id)) is not None}


async def _progress(connection: AsyncConnection, viewer: Viewer, now: datetime) -> tuple[list[Pick], set[str]]:
    """What to go on with, the last touched first, and the films and series that were seen to the end."""
    positions = await rows(connection, QUERIES["positions"], {"profile_id": viewer.profile_id})
    latest: dict[str, Row] = {}
    for position in positions:
        latest.setdefault(position["root_id"], position)
    resume, watched = [], set()
    for checked, (root_id, position) in enumerate(latest.items()):
        going_on: str | None = position["title_id"]
        if finished(position):
            going_on = None
            if root_id != position["title_id"] and checked < _SERIES_CHECKED:
                family = await descendants(connection, viewer, root_id, now)
                going_on = next_episode(family, position["title_id"])
        if going_on is None:
            watched.add(root_id)
        elif going_on != position["title_id"] or position["position_ms"] > 0:
            reason = {"code": "continue", "params": {"title_id": going_on}}
            resume.append(Pick(root_id, "position", reason))
    return resume, watched


def _mentioned(pick: Pick) -> list[str]:
    """The title itself, and the one that its reason names."""
    because = pick.reason["params"].get("title_id")
    return [pick.title_id, because] if because else [pick.title_id]


def _picks(stored: Row | None) -> list[Pick]:
    return [Pick(item["title_id"], item["source"], item["reason"]) for item in stored["items"]] if stored else []


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
