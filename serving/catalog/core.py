"""The rules of browsing. Every answer holds only what `rights` lets the viewer see."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from serving.db import Row, row, rows
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights.core import ANY_DEVICE, Refusal, Terms, decide, terms_of

QUERIES = load(Path(__file__).parent)
_ON_THE_PAGE = (
    "parent_id", "root_id", "number", "season", "synopsis", "people", "tags", "countries", "images", "extra", "offers",
    "position_ms", "duration_ms",
)  # fmt: skip


def scope(viewer: Viewer, now: datetime) -> Row:
    """The parameters of `visible_title`."""
    return {"maturity": viewer.limit, "region": viewer.region, "now": now}


def card(found: Row) -> Row:
    """A row as clients see it in lists."""
    poster = f"/media-posters/{found['title_id']}.jpg" if found["playable"] else None
    return {
        "title_id": found["title_id"],
        "kind": found["kind"],
        "titles": found["titles"],
        "year": found["year"],
        "runtime_s": found["runtime_s"],
        "maturity": found["maturity"],
        "genres": found["genres"],
        "playable": found["playable"],
        "poster": poster,
    }


async def genres(connection: AsyncConnection, viewer: Viewer, now: datetime) -> list[Row]:
    """The genres of what the viewer may see, the largest first."""
    return await rows(connection, QUERIES["genres"], scope(viewer, now))


async def find(connection: AsyncConnection, title_id: str) -> tuple[Row, Terms, list[Row]]:
    """A title with the terms that decide about it, and its offers.

    Raises:
        Problem: 404, no such title.
    """
    found = await row(connection, QUERIES["terms"], {"title_id": title_id})
    if found is None:
        raise unknown(title_id)
    offers = await rows(connection, QUERIES["offers"], {"title_id": found["offers_of"]})
    return found, terms_of(found), [_offer(o) for o in offers]


def _offer(found: Row) -> Row:
    return {**found, "price": None if found["price"] is None else str(found["price"])}


def unknown(title_id: str) -> Problem:
    return Problem(404, "unknown_title", f"there is no title {title_id}")


def refuse(refusal: Refusal, title_id: str, offers: list[Row]) -> Problem:
    """The refusal as a problem; an unpublished title does not exist for anyone."""
    if refusal.code == "unpublished":
        return unknown(title_id)
    return Problem(403, refusal.code, refusal.detail, offers=offers)


async def title(connection: AsyncConnection, viewer: Viewer, title_id: str, now: datetime) -> Row:
    """A title's page, in one query; with parents, seasons or extras in two.

    Raises:
        Problem: 404, no such title; 403 with the reason, the viewer may not see it.
    """
    found = await row(connection, QUERIES["page"], {"title_id": title_id, "profile_id": viewer.profile_id})
    if found is None:
        raise unknown(title_id)
    terms = terms_of(found)
    if refusal := decide(terms, viewer, ANY_DEVICE, now):
        raise refuse(refusal, title_id, found["offers"])
    family = await descendants(connection, viewer, found["root_id"], now) if found["has_family"] else []
    return {
        **card(found),
        **{name: found[name] for name in _ON_THE_PAGE},
        "children": _tree(family, title_id),
        "next": next_episode(family, title_id),
        "refusal": _play_refusal(found, terms, viewer, now),
    }


def _play_refusal(found: Row, terms: Terms, viewer: Viewer, now: datetime) -> str | None:
    if viewer.account_id is None:
        return "unauthenticated"
    if found["kind"] in ("series", "season"):  # its episodes have terms of their own
        return None if found["playable"] else "not_playable"
    refusal = decide(terms, viewer, ANY_DEVICE, now, to_play=True)
    return refusal.code if refusal else None


async def descendants(connection: AsyncConnection, viewer: Viewer, root_id: str, now: datetime) -> list[Row]:
    """Seasons, episodes and extras below a title that the viewer may see, in order, with the profile's positions."""
    parameters = {**scope(viewer, now), "root_id": root_id, "profile_id": viewer.profile_id}
    return await rows(connection, QUERIES["descendants"], parameters)


def next_episode(family: Sequence[Row], title_id: str) -> str | None:
    """The playable episode that follows this one."""
    candidates = (e for e in family if e["kind"] == "episode")
    episodes = [e["title_id"] for e in candidates if e["playable"] or e["title_id"] == title_id]
    if title_id not in episodes:
        return None
    following = episodes.index(title_id) + 1
    return episodes[following] if following < len(episodes) else None


def _tree(family: Sequence[Row], parent_id: str) -> list[Row]:
    return [
        {
            **card(child),
            "number": child["number"],
            "season": child["season"],
            "synopsis": child["synopsis"],
            "position_ms": child["position_ms"],
            "duration_ms": child["duration_ms"],
            "children": _tree(family, child["title_id"]),
        }
        for child in family
        if child["parent_id"] == parent_id
    ]


async def visible_cards(
    connection: AsyncConnection, viewer: Viewer, title_ids: Sequence[str], now: datetime
) -> dict[str, Row]:
    """Cards of those of the titles that the viewer may see."""
    found = await rows(connection, QUERIES["visible_cards"], {**scope(viewer, now), "title_ids": list(title_ids)})
    return {title["title_id"]: card(title) for title in found}


async def same_genre(connection: AsyncConnection, viewer: Viewer, root_id: str, now: datetime, limit: int) -> list[Row]:
    """Titles that share most genres with this one."""
    parameters = {**scope(viewer, now), "root_id": root_id, "limit": limit}
    return await rows(connection, QUERIES["same_genre"], parameters)
