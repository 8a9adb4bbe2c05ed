"""The rules of playing: who may watch, where to go on, what a heartbeat changes.

Every signed-in account counts as a subscriber: an open offer of any kind opens a title.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.ids import uuid7
from serving.catalog.core import descendants, find, next_episode, refuse
from serving.db import Row, execute, row, rows
from serving.playback.tokens import Grant
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights import ANY_DEVICE, Refusal, decide

QUERIES = load(Path(__file__).parent)
# How long a media address opens; heartbeats renew it long before.
TOKEN_LIFE = timedelta(minutes=10)
# A session that sends no heartbeat this long is over.
SESSION_LIFE = timedelta(hours=1)
HEARTBEAT_S = 30
SERIES_KINDS = ("series", "season")
FINISHED = 0.95
# Without known credits the next episode is offered so long before the end.
NEXT_MS = 20_000


@dataclass(frozen=True)
class Playback:
    """A session that was opened: what the answer to `watch` is made of."""

    grant: Grant
    duration_ms: int
    rungs: list
    resume_ms: int
    next: Row | None
    markers: list[Row]


def finished(position: Row | None) -> bool:
    """Whether the profile saw (nearly) all of it."""
    if position is None or position["position_ms"] is None:
        return False
    return position["position_ms"] >= FINISHED * position["duration_ms"]


def go_on_with(episodes: Sequence[Row]) -> str | None:
    """The episode of a series to play: the one touched last, or the one after it when it was finished.

    `episodes` in their order, playable ones only, with the profile's positions. After the last one, the first.
    """
    touched = [e for e in episodes if e["updated_at"] is not None]
    if not episodes:
        return None
    if not touched:
        return episodes[0]["title_id"]
    last = max(touched, key=lambda e: e["updated_at"])
    if not finished(last):
        return last["title_id"]
    return next_episode(episodes, last["title_id"]) or episodes[0]["title_id"]


async def watch(connection: AsyncConnection, viewer: Viewer, title_id: str, now: datetime, browser: bytes) -> Playback:
    """Open a playback session for a title, or for the right episode of a series.

    `browser` is the fingerprint of the cookie that the browser plays with.

    Raises:
        Problem: 404, no such title; 403 with the reason and the offers, the viewer may not play it.
    """
    found, terms, offers = await find(connection, title_id)
    # What plays of a series is an episode, and its own terms decide about it.
    is_series = found["kind"] in SERIES_KINDS
    if refusal := decide(terms, viewer, ANY_DEVICE, now, to_play=not is_series):
        raise refuse(refusal, title_id, offers)
    family = await descendants(connection, viewer, found["root_id"], now)
    if is_series:
        episodes = [e for e in family if e["kind"] == "episode" and e["playable"]]
        if found["kind"] == "season":
            episodes = [e for e in episodes if e["parent_id"] == title_id]
        episode = go_on_with(episodes)
        if episode is None:
            raise refuse(Refusal("not_playable"), title_id, offers)
        return await watch(connection, viewer, episode, now, browser)
    package = await row(connection, QUERIES["playable"], {"title_id": title_id})
    if package is None:
        raise refuse(Refusal("not_playable"), title_id, offers)
    position = await row(connection, _POSITION, {"profile_id": viewer.profile_id, "title_id": title_id})
    following = next_episode(family, title_id)
    marked = await rows(connection, QUERIES["markers"], {"title_id": title_id})
    grant = Grant(uuid7(), title_id, package["package_id"], expiry(now))
    await execute(
        connection,
        QUERIES["open_session"],
        {
            "playback_id": grant.playback_id,
            "account_id": viewer.account_id,
            "profile_id": viewer.profile_id,
            "title_id": title_id,
            "package_id": grant.package_id,
            "now": now,
            "expires_at": now + SESSION_LIFE,
            "browser": browser,
        },
    )
    return Playback(
        grant,
        package["duration_ms"] or 0,
        package["rungs"],
        0 if position is None or finished(position) else position["position_ms"],
        next(({"title_id": e["title_id"], "titles": e["titles"]} for e in family if e["title_id"] == following), None),
        markers(marked, package["duration_ms"] or 0, is_followed=following is not None),
    )


def markers(marked: Sequence[Row], duration_ms: int, *, is_followed: bool) -> list[Row]:
    """What the player may offer to skip: `[{kind, start_ms, end_ms}]` by time, nothing beyond the film's end.

    Where another episode follows, `next_episode` begins with the credits, or shortly before the end.
    """
    found = [
        {"kind": m["kind"], "start_ms": m["start_ms"], "end_ms": min(m["end_ms"], duration_ms)}
        for m in marked
        if m["start_ms"] < duration_ms
    ]
    if is_followed and duration_ms:
        credits_at = next((m["start_ms"] for m in found if m["kind"] == "credits"), None)
        late = max(round(FINISHED * duration_ms), duration_ms - NEXT_MS)
        start = late if credits_at is None else credits_at
        found.append({"kind": "next_episode", "start_ms": start, "end_ms": duration_ms})
    return sorted(found, key=lambda m: m["start_ms"])


def expiry(now: datetime) -> int:
    """When a media address made now stops opening: Unix seconds."""
    return int((now + TOKEN_LIFE).timestamp())


async def heartbeat(
    connection: AsyncConnection, account_id: str, playback_id: str, position_ms: int, now: datetime
) -> tuple[Grant, str]:
    """Remember the position and keep the session alive; returns the renewed grant and the profile.

    Raises:
        Problem: 404, this account has no such living session.
    """
    session = await row(
        connection,
        QUERIES["heartbeat"],
        {
            "playback_id": playback_id,
            "account_id": account_id,
            "position_ms": position_ms,
            "now": now,
            "expires_at": now + SESSION_LIFE,
        },
    )
    if session is None:
        raise Problem(404, "unknown_playback", "there is no such playback session (any more): ask to watch again")
    return Grant(playback_id, session["title_id"], session["package_id"], expiry(now)), session["profile_id"]


async def stop(connection: AsyncConnection, account_id: str, playback_id: str, now: datetime) -> None:
    """End the session; stopping twice is no error."""
    await execute(
        connection, QUERIES["close_session"], {"playback_id": playback_id, "account_id": account_id, "now": now}
    )


_POSITION = load(Path(__file__).parent.parent / "catalog")["position"]
