"""What a profile keeps: favourites, ratings, what it watched and what it goes on with. Only of what it may see."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from psycopg import AsyncConnection

from serving.db import Row, execute, row, rows
from serving.playback.core import finished
from serving.problems import Problem
from serving.profiles.core import QUERIES, Viewer
from serving.recommendations.catalogue import Shelf
from serving.recommendations.progress import progress

Shelfmark = Literal["favourites", "history", "ratings"]


async def kept(
    connection: AsyncConnection,
    viewer: Viewer,
    name: Shelfmark,
    now: datetime,
    *,
    after: Sequence[str] | None,
    limit: int,
) -> tuple[list[Row], list[str] | None]:
    """A page of a list, the newest first, and where the next one starts (None: there is none)."""
    parameters = {
        **_scope(viewer, now),
        "after": after[0] if after else None,
        "after_id": after[1] if after else None,
        "limit": limit + 1,
    }
    found = await rows(connection, QUERIES[name], parameters)
    page = [{**one, "poster": _poster(one)} for one in found[:limit]]
    following = [page[-1]["at"].isoformat(), page[-1]["title_id"]] if len(found) > limit else None
    return page, following


async def about(connection: AsyncConnection, viewer: Viewer, title_id: str, now: datetime) -> Row:
    """What the profile has said of a title and where it stopped.

    Raises:
        Problem: 404, there is no such title for it.
    """
    found = await row(connection, QUERIES["about"], {**_scope(viewer, now), "title_id": title_id})
    if found is None:
        raise _unknown(title_id)
    return found


async def favour(connection: AsyncConnection, viewer: Viewer, title_id: str, now: datetime) -> None:
    """Keep a title as a favourite; twice is no error.

    Raises:
        Problem: 404, there is no such title for this profile.
    """
    if await row(connection, QUERIES["add_favourite"], {**_scope(viewer, now), "title_id": title_id}) is None:
        raise _unknown(title_id)


async def rate(connection: AsyncConnection, viewer: Viewer, title_id: str, value: Decimal, now: datetime) -> None:
    """Rate a title with 0.5 to 5 stars; the last rating counts.

    Raises:
        Problem: 404, there is no such title for this profile.
    """
    asked = {**_scope(viewer, now), "title_id": title_id, "value": value}
    if await row(connection, QUERIES["rate"], asked) is None:
        raise _unknown(title_id)


async def drop(
    connection: AsyncConnection, viewer: Viewer, name: Literal["favourite", "rating", "history"], title_id: str | None
) -> None:
    """Take a title off a list; of the history, with None, everything. What is not there is no error."""
    await execute(connection, QUERIES[f"drop_{name}"], {"profile_id": viewer.profile_id, "title_id": title_id})


async def positions(connection: AsyncConnection, profile_id: str | None) -> list[Row]:
    """Where the profile stopped, the last touched first."""
    return await rows(connection, QUERIES["positions"], {"profile_id": profile_id})


def going_on(positions: Sequence[Row], shelf: Shelf) -> list[dict[str, Any]]:
    """What to go on with: films and episodes that were begun, and the episode after one that was seen to the end."""
    stopped = {position["title_id"]: position for position in positions}
    touched: dict[str, datetime] = {}
    for position in positions:
        title = shelf.seen.get(position["title_id"])
        touched.setdefault(title.root_id if title else position["title_id"], position["updated_at"])
    return [
        _going(str(pick.because), pick.title_id, stopped, touched, shelf) for pick in progress(positions, shelf).resume
    ]


def _going(
    title_id: str, root_id: str, stopped: dict[str, Row], touched: dict[str, datetime], shelf: Shelf
) -> dict[str, Any]:
    position = stopped.get(title_id)
    return {
        "title_id": title_id,
        "position_ms": 0 if position is None or finished(position) else position["position_ms"],
        "duration_ms": position["duration_ms"] if position else None,
        "at": touched[root_id],
        "title": shelf.seen[root_id].shown(),
        "episode": None if title_id == root_id else shelf.seen[title_id].shown(),
    }


def _scope(viewer: Viewer, now: datetime) -> dict[str, Any]:
    return {"profile_id": viewer.profile_id, "maturity": viewer.limit, "region": viewer.region, "now": now}


def _poster(title: Row) -> str | None:
    return f"/media-posters/{title['title_id']}.jpg" if title["playable"] else None


def _unknown(title_id: str) -> Problem:
    return Problem(404, "unknown_title", f"there is no title {title_id[:64]!r} for this profile")
