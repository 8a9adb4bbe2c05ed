"""HTTP of playing: /api/watch. Heartbeats are a plain Starlette route, for there are many of them."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from serving.auth import SignedIn, authenticate
from serving.catalog.api import TitleId
from serving.context import Context, Ctx, context_of
from serving.playback import core
from serving.playback.tokens import COOKIE, Grant, browser_cookie, fingerprint
from serving.playback.types import Position, Watch, WatchRequest
from serving.problems import Problem
from serving.profiles.core import viewer as viewer_of

router = APIRouter(prefix="/api/watch", tags=["playback"])


@router.post("/{title_id}", responses={200: {"model": Watch}})
async def watch(
    title_id: TitleId, request: Request, context: Ctx, claims: SignedIn, body: WatchRequest | None = None
) -> Response:
    """Ask to watch: a signed address of the film, where to resume, what comes next; or 403 with the reason."""
    now = context.clock.now()
    cookie = browser_cookie(request.cookies.get(COOKIE))
    async with context.transaction() as connection:
        asked = body.profile_id if body else None
        viewer = await viewer_of(connection, claims.account_id, asked, session_id=claims.session_id, now=now)
        playback = await core.watch(connection, viewer, title_id, now, fingerprint(cookie))
    answer = {
        "playback_id": playback.grant.playback_id,
        "title_id": playback.grant.title_id,
        **_address(context, playback.grant, cookie),
        "resume_ms": playback.resume_ms,
        "duration_ms": playback.duration_ms,
        "heartbeat_s": core.HEARTBEAT_S,
        "markers": playback.markers,
        "tracks": {"video": playback.rungs},
        "next": playback.next,
    }
    response = Response(orjson.dumps(answer), media_type="application/json")
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, cookie, path="/", secure=secure, httponly=True, samesite="strict")
    return response


async def heartbeat(request: Request) -> Response:
    """Remember the position; answer with a renewed address, for whoever still has the cookie."""
    context = context_of(request.app)
    claims = authenticate(request)
    try:
        position = Position.model_validate_json(await request.body())
    except ValidationError:
        raise Problem(422, "invalid_request", "position_ms: a whole number of milliseconds is missing") from None
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        raise Problem(403, "media_forbidden", "the playback cookie is missing: ask to watch again")
    playback_id = request.path_params["playback_id"]
    async with context.transaction() as connection:
        grant, profile_id = await core.heartbeat(
            connection, claims.account_id, playback_id, position.position_ms, context.clock.now()
        )
    context.home.forget(profile_id)
    return Response(orjson.dumps(_address(context, grant, cookie)), media_type="application/json")


@router.post("/{playback_id}/stop", status_code=204)
async def stop(playback_id: Annotated[str, Path(max_length=64)], context: Ctx, claims: SignedIn) -> Response:
    """End the session: it takes no more heartbeats."""
    async with context.transaction() as connection:
        await core.stop(connection, claims.account_id, playback_id, context.clock.now())
    return Response(status_code=204)


def _address(context: Context, grant: Grant, cookie: str) -> dict:
    folder = context.media_tokens.path(grant, cookie)
    dash = (context.settings.media / grant.title_id / grant.package_id / "manifest.mpd").is_file()
    return {
        "manifest": {"hls": f"{folder}/master.m3u8", "dash": f"{folder}/manifest.mpd" if dash else None},
        "expires_at": grant.expires_at_text,
    }
