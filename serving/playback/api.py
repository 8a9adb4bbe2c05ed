"""HTTP of playing: /api/watch. Heartbeats are a plain Starlette route, for there are many of them."""

import re
from datetime import datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from matinee.ids import TITLE_ID_PATTERN, uuid7
from serving import limits
from serving.auth import SignedIn, authenticate
from serving.context import Context, Ctx, context_of
from serving.playback import core, sessions
from serving.playback.sessions import HEARTBEAT_S
from serving.playback.slots import Beat, Beaten, at, ms
from serving.playback.tokens import Grant, browser_cookie, cookie_name, expiry, fingerprint, is_secure
from serving.playback.types import Position, Stop, WatchRequest
from serving.problems import Problem
from serving.rights import Device, Refusal
from serving.rights.region import placed

router = APIRouter(prefix="/api/watch", tags=["playback"])
_TITLE_ID = re.compile(TITLE_ID_PATTERN)
KEYS = "/api/watch/keys/{key_id}"
_NOTHING = WatchRequest()


async def watch(request: Request) -> Response:
    """Ask to watch: signed addresses of the film, where to resume, what comes next; or 403 with the reason.

    Refused for `streams`, the answer names the playbacks that hold the slots: one of them in `take_over` ends it.
    """
    context, claims = context_of(request.app), authenticate(request)
    title_id, body = request.path_params["title_id"], _asked(await request.body())
    if not _TITLE_ID.match(title_id):
        raise Problem(422, "invalid_request", f"title_id: {title_id[:70]!r} is no id of a title")
    await context.limits.spend(limits.WATCH, claims.account_id)
    await context.streams.settle(claims.account_id)
    known = request.cookies.get(cookie_name(request))
    cookie = browser_cookie(known)
    asked = core.Asked(
        uuid7(),
        fingerprint(cookie),
        claims.session_id,
        context.clock.now(),
        Device(body.device.kind, body.device.max_height),
        body.device.name,
        body.take_over,
    )
    known_as = await context.viewers.of(claims.account_id, claims.session_id, body.profile_id)
    viewer = placed(known_as, request, context.settings)
    try:
        playback = await core.watch(context.openings, context.streams, viewer, title_id, asked)
    except Exception:
        # A slot that was taken for what did not come to be.
        await context.streams.release(asked.playback_id, claims.account_id)
        raise
    ended = [(one, claims.account_id, sessions.TAKEN_OVER) for one in playback.ended]
    await context.streams.ended(ended, playback.heard)
    response = Response(orjson.dumps(_answer(context, playback, cookie), default=str), media_type="application/json")
    if cookie != known:
        secure = is_secure(request)
        response.set_cookie(cookie_name(request), cookie, path="/", secure=secure, httponly=True, samesite="strict")
    return response


def _asked(body: bytes) -> WatchRequest:
    try:
        return WatchRequest.model_validate_json(body) if body.strip() not in (b"", b"null") else _NOTHING
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(422, "invalid_request", f"{where}: {first['msg']}" if where else first["msg"]) from None


async def heartbeat(request: Request) -> Response:
    """Remember the position and keep the slot; answer with the address, for the browser that has the cookie."""
    context = context_of(request.app)
    claims = authenticate(request)
    position = _position(await request.body())
    cookie = request.cookies.get(cookie_name(request))
    if cookie is None:
        raise Problem(403, "media_forbidden", "the playback cookie is missing: ask to watch again")
    playback_id = request.path_params["playback_id"]
    beaten = await context.streams.beat(_beat(context, claims.account_id, playback_id, fingerprint(cookie), position))
    if beaten.state != "ok":
        raise _over(beaten)
    # A session has one address at a time, and its browser one cookie.
    known = context.addresses.get(playback_id)
    if known is None or known[0] != beaten.issued_ms:
        address = _address(context, playback_id, beaten.title_id, beaten.package_id, at(beaten.issued_ms), cookie)
        known = context.addresses.put(playback_id, (beaten.issued_ms, orjson.dumps(address)))
    return Response(known[1], media_type="application/json")


@router.post("/{playback_id}/stop", status_code=204)
async def stop(
    playback_id: Annotated[str, Path(max_length=64)],
    request: Request,
    context: Ctx,
    claims: SignedIn,
    body: Stop | None = None,
) -> Response:
    """End the session, at a position: its slot is free, its keys and files stop. Stopping twice is no error.

    Raises:
        Problem: 404, the account never had such a session.
    """
    cookie = request.cookies.get(cookie_name(request))
    if body is not None and body.position_ms is not None and cookie is not None:
        left = Position(position_ms=body.position_ms, age_ms=body.age_ms)
        await context.streams.beat(_beat(context, claims.account_id, playback_id, fingerprint(cookie), left))
        await context.streams.settle(claims.account_id)
    async with context.transaction() as connection:
        now = context.clock.now()
        ended = await sessions.end(connection, claims.account_id, [playback_id], "stopped", now)
        if not ended and not await sessions.is_of(connection, claims.account_id, playback_id, now):
            raise _over(Beaten("unknown"))
    await context.streams.ended([(one, claims.account_id, "stopped") for one in ended])
    return Response(status_code=204)


def _position(body: bytes) -> Position:
    try:
        return Position.model_validate_json(body)
    except ValidationError:
        raise Problem(422, "invalid_request", "position_ms: a whole number of milliseconds is missing") from None


def _beat(context: Context, account_id: str, playback_id: str, browser: bytes, position: Position) -> Beat:
    if " " in playback_id or len(playback_id) > 64:
        raise _over(Beaten("unknown"))
    return Beat(playback_id, account_id, browser, position.position_ms, ms(context.clock.now()) - position.age_ms)


def _over(beaten: Beaten) -> Problem:
    """Why a heartbeat was not taken."""
    match beaten.state:
        case "unknown" | "stopped":
            return Problem(404, "unknown_playback", "there is no such playback session (any more): ask to watch again")
        case "foreign":
            return Problem(403, "media_forbidden", "another browser plays this: ask to watch here")
        case "full":
            return Problem(403, "streams", Refusal("streams").detail)
        case "taken_over":
            return Problem(410, "taken_over", "another device of the account plays instead")
        case "profile" | "signed_out" | "unpublished" as why:
            return Problem(410, "playback_over", f"this playback is over ({why}): ask to watch again")
        case code:
            return Problem(403, code, Refusal(code).detail)


def _answer(context: Context, playback: core.Playback, cookie: str) -> dict:
    session = playback.session
    return {
        "playback_id": session.playback_id,
        "title_id": session.title_id,
        **_address(context, session.playback_id, session.title_id, session.package_id, session.issued_at, cookie),
        "resume_ms": playback.resume_ms,
        "duration_ms": session.duration_ms,
        "heartbeat_s": HEARTBEAT_S,
        "markers": playback.markers,
        "tracks": {"video": playback.rungs},
        "next": playback.next,
        "keys": KEYS,
        "max_height": session.max_height,
        "plays_until": playback.plays_until,
    }


def _address(context: Context, playback_id: str, title_id: str, package_id: str, issued: datetime, cookie: str) -> dict:
    grant = Grant(playback_id, title_id, package_id, expiry(issued))
    folder = context.media_tokens.path(grant, cookie)
    dash = context.playlists.has_dash(title_id, package_id)
    return {
        "manifest": {"hls": f"{folder}/master.m3u8", "dash": f"{folder}/manifest.mpd" if dash else None},
        "expires_at": grant.expires_at_text,
    }
