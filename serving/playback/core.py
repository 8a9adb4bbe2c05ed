"""The rules of playing: who may watch, where to go on, what is opened and ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg import AsyncConnection

from serving.catalog.core import descendants, find, next_episode, refuse, unknown
from serving.db import Row, rows
from serving.playback import sessions
from serving.playback.opening import Openings, Question
from serving.playback.playlists import lines
from serving.playback.sessions import QUERIES, SESSION_LIFE, Opened, Opening, Session
from serving.playback.slots import SLOT_LIFE
from serving.playback.streams import Streams
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights import Device, Refusal, decide
from serving.rights.core import Right, right
from serving.rights.rentals import start

SERIES_KINDS = ("series", "season")
FINISHED = 0.95
# Without known credits the next episode is offered so long before the end.
NEXT_MS = 20_000


@dataclass(frozen=True)
class Asked:
    """What a viewer asks to watch with. `browser`: the fingerprint of the cookie; `session_id`: the sign-in."""

    playback_id: str
    browser: bytes
    session_id: str | None
    now: datetime
    device: Device
    device_name: str | None = None
    take_over: str | None = None


@dataclass(frozen=True)
class Playback:
    """A session that was opened: what the answer to `watch` is made of. `ended`: those that it took over from."""

    session: Session
    rungs: list
    resume_ms: int
    next: Row | None
    markers: list[Row]
    plays_until: datetime | None
    ended: tuple[str, ...]
    heard: tuple[str, ...]  # of these Redis knows


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


async def watch(openings: Openings, streams: Streams, viewer: Viewer, title_id: str, asked: Asked) -> Playback:
    """Open a playback session for a title, or for the right episode of a series: two reads at most, and one write.

    What the account may watch by is asked anew, with the title; of `viewer` counts the profile.

    Raises:
        Problem: 404, no such title; 403 with the reason and what would help.
    """
    to_play = await openings.found(Question(title_id, viewer.account_id or ""))
    if to_play is None:
        raise unknown(title_id)
    film, held = to_play
    found, terms, viewer = film.row, film.terms, replace(viewer, entitlements=held)
    # What plays of a series is an episode, and its own terms decide about it.
    is_series = found["kind"] in SERIES_KINDS
    refusal = decide(terms, viewer, asked.device, asked.now, to_play=not is_series)
    if refusal is None and not is_series and found["package_id"] is None:
        refusal = Refusal("not_playable")
    if refusal is not None:
        _, _, offers = await openings.read(lambda connection: find(connection, title_id))
        raise refuse(refusal, title_id, offers)
    family: list[Row] = []
    if is_series or found["root_id"] != title_id:
        root_id = found["root_id"]
        family = await openings.read(lambda connection: descendants(connection, viewer, root_id, asked.now))
    if is_series:
        episode = _episode(family, found)
        if episode is None:
            raise refuse(Refusal("not_playable"), title_id, [])
        return await watch(openings, streams, viewer, episode, asked)
    by = right(terms, viewer, asked.device, asked.now) or Right()
    session = _session(viewer, title_id, found, by, asked)
    opened, heard, plays_until = await _open(openings, streams, session, asked, by)
    following = next_episode(family, title_id)
    return Playback(
        session,
        [rung for rung in found["rungs"] if _is_within(rung, session.max_height)],
        0 if finished(opened.position) else opened.position["position_ms"] or 0,
        next(({"title_id": e["title_id"], "titles": e["titles"]} for e in family if e["title_id"] == following), None),
        markers(found["marked"], session.duration_ms, is_followed=following is not None),
        plays_until,
        opened.ended,
        heard,
    )


def _episode(family: Sequence[Row], of: Row) -> str | None:
    episodes = [e for e in family if e["kind"] == "episode" and e["playable"]]
    if of["kind"] == "season":
        episodes = [e for e in episodes if e["parent_id"] == of["title_id"]]
    return go_on_with(episodes)


def _session(viewer: Viewer, title_id: str, package: Row, by: Right, asked: Asked) -> Session:
    heights = [height for height in (by.max_height, asked.device.max_height) if height is not None]
    return Session(
        playback_id=asked.playback_id,
        account_id=str(viewer.account_id),
        profile_id=str(viewer.profile_id),
        title_id=title_id,
        package_id=package["package_id"],
        browser=asked.browser,
        duration_ms=package["duration_ms"] or 0,
        streams=viewer.entitlements.streams(asked.now),
        created_at=asked.now,
        issued_at=asked.now,
        previous_at=asked.now,
        expires_at=asked.now + SESSION_LIFE,
        slot_until=asked.now + SLOT_LIFE,
        session_id=asked.session_id,
        region=viewer.region,
        device_kind=asked.device.kind,
        device_name=asked.device_name,
        max_height=min(heights, default=None),
    )


async def _open(
    openings: Openings, streams: Streams, session: Session, asked: Asked, by: Right
) -> tuple[Opened, tuple[str, ...], datetime | None]:
    """Take a slot and write the session; returns what became of it, those that ended for it in Redis, and when a rental
    ends."""
    taken = await streams.acquire(session, asked.take_over)
    if not taken.granted:
        async with openings.transaction() as connection:
            raise await _too_many(connection, session.streams, taken.others)
    others = {*taken.others, *([asked.take_over] if asked.take_over else [])}
    opening = Opening(session, tuple(sorted(others)))
    if by.held is not None and by.held.kind == "rent":
        # Its hours begin with the session or not at all.
        async with openings.transaction() as connection:
            opened = (await sessions.store(connection, [opening]))[session.playback_id]
            return opened, taken.others, await start(connection, by.held, asked.now)
    return await openings.store(opening), taken.others, None


async def _too_many(connection: AsyncConnection, streams: int, playing: Sequence[str]) -> Problem:
    """The refusal, with what plays and may be taken over from, and the plans that allow more."""
    living = await rows(connection, QUERIES["playing_now"], {"playback_ids": list(playing)})
    larger = await rows(connection, QUERIES["larger_plans"], {"streams": streams})
    detail = Refusal("streams").detail
    return Problem(403, "streams", detail, sessions=living, plans=larger, streams=streams)


def _is_within(rung: Row, max_height: int | None) -> bool:
    if max_height is None or "width" not in rung or "height" not in rung:
        return True
    return lines(rung["width"], rung["height"]) <= max_height


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
