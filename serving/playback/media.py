"""Files of packages under signed paths, and posters; ranges (RFC 9110) by `FileResponse`, or by the gateway."""

import os
import re
import stat
from datetime import datetime
from pathlib import Path, PurePosixPath

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from serving.context import Context, context_of
from serving.db import row
from serving.gateway import accel
from serving.playback.sessions import QUERIES, RENEW_AFTER
from serving.playback.slots import State, at
from serving.playback.tokens import Grant, cookie_name, expiry
from serving.problems import Problem
from transcoding import watermark

# What a package consists of; anything else in its folder (package.json) is not for viewers.
MEDIA_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".m4a": "audio/mp4",
    ".vtt": "text/vtt",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
}
PLAYLISTS = (".m3u8", ".mpd")
_PRIVATE = "private, max-age=600"
_NAME = re.compile(r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,5}$")


async def media(request: Request) -> Response:
    """A file of a package, for the browser that was granted it, while its session may go on."""
    context = context_of(request.app)
    title_id, package_id = request.path_params["title_id"], request.path_params["package_id"]
    cookie, now = request.cookies.get(cookie_name(request)), context.clock.now()
    grant = context.media_tokens.check(request.path_params["token"], title_id, package_id, cookie, now.timestamp())
    state = await context.streams.state(grant.playback_id)
    check(grant, state, now)
    name = request.path_params["name"]
    media_type = MEDIA_TYPES.get(Path(name).suffix)
    # No segment may start with a dot, so there is no way up.
    # Nobody chooses the variant of a segment: who had both could tell the watermark and take it out.
    if media_type is None or not _NAME.match(name) or name.startswith((f"{watermark.VARIANTS}/", "report/")):
        raise _missing(name)
    folder = context.settings.media / grant.title_id / grant.package_id
    limit = state.max_height if state else None
    if limit is not None:
        # A way through a thread costs more than all else here.
        hides = context.playlists.remembered(folder, name, limit)
        if hides is None:
            hides = await anyio.to_thread.run_sync(_hides, context, folder, name, limit)
        if hides:
            raise _missing(name)
    has_gateway = accel.offered(request, context.gateway_mark)
    if name.endswith(PLAYLISTS) and (limit is not None or not has_gateway):
        return await _playlist(context, request, folder, name, media_type, limit)
    given = watermark.variant(context.watermark_key, grant.playback_id, name)
    if given != name and not await anyio.to_thread.run_sync((folder / given).is_file):
        given = name  # this rung is not marked
    if has_gateway:
        return accel.hand_over(PurePosixPath(grant.title_id) / grant.package_id / given, media_type, _PRIVATE)
    return await _file(folder / given, name, media_type, _PRIVATE)


def check(grant: Grant, state: State | None, now: datetime) -> None:
    """Refuse an address whose session ended, or that was renewed longer than `RENEW_AFTER` ago.

    Raises:
        Problem: 403, there is no such session; 410, it ended, or a younger address took the place of this one.
    """
    if state is None:
        raise Problem(403, "media_forbidden", "this media address does not open for this browser")
    if state.over:
        raise Problem(410, "playback_over", f"this playback is over ({state.over}): ask to watch again")
    if grant.expires_at >= expiry(at(state.issued_ms)):
        return
    is_last = grant.expires_at >= expiry(at(state.previous_ms))
    if not is_last or now >= at(state.issued_ms) + RENEW_AFTER:
        raise Problem(410, "media_expired", "a heartbeat gave a newer media address: use that one")


def _hides(context: Context, folder: Path, name: str, limit: int) -> bool:
    try:
        return context.playlists.hides(folder, name, limit)
    except OSError:
        raise _missing(name) from None


async def _playlist(
    context: Context, request: Request, folder: Path, name: str, media_type: str, limit: int | None
) -> Response:
    try:
        served = await anyio.to_thread.run_sync(context.playlists.served, folder, name, limit)
    except OSError:
        raise _missing(name) from None
    headers = {"cache-control": _PRIVATE, "vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", "") and "range" not in request.headers:
        return Response(served.packed, media_type=media_type, headers={**headers, "content-encoding": "gzip"})
    return Response(served.plain, media_type=media_type, headers=headers)


async def poster(request: Request) -> Response:
    """The poster of a title, or of the first episode of a series: public, for lists show it."""
    context = context_of(request.app)
    title_id = request.path_params["title_id"]
    path = await _poster_path(context, title_id)
    if path is None:
        raise _missing(title_id)
    return await _file(path, title_id, "image/jpeg", "public, max-age=300")


async def _poster_path(context: Context, title_id: str) -> Path | None:
    async with context.transaction() as connection:
        found = await row(connection, QUERIES["poster"], {"title_id": title_id})
    if found is None:
        return None
    return context.settings.media / found["title_id"] / found["package_id"] / "poster.jpg"


async def _file(path: Path, name: str, media_type: str, cache: str) -> Response:
    try:
        status = await anyio.to_thread.run_sync(os.stat, path)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(name) from None
    if not stat.S_ISREG(status.st_mode):
        raise _missing(name)
    return FileResponse(path, media_type=media_type, headers={"cache-control": cache}, stat_result=status)


def _missing(name: str) -> Problem:
    return Problem(404, "not_found", f"there is no file {name[:100]}")
