"""Files of packages under signed paths, and posters. Starlette routes; range requests (RFC 9110) by `FileResponse`."""

import os
import re
import stat
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from serving.context import Context, context_of
from serving.db import row
from serving.playback.core import QUERIES
from serving.playback.tokens import COOKIE
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
_NAME = re.compile(r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,5}$")


async def media(request: Request) -> Response:
    """A file of a package, for the browser that was granted it."""
    context = context_of(request.app)
    title_id, package_id = request.path_params["title_id"], request.path_params["package_id"]
    grant = context.media_tokens.check(
        request.path_params["token"],
        title_id,
        package_id,
        request.cookies.get(COOKIE),
        context.clock.now().timestamp(),
    )
    name = request.path_params["name"]
    media_type = MEDIA_TYPES.get(Path(name).suffix)
    # No segment may start with a dot, so there is no way up.
    # Nobody chooses the variant of a segment: who had both could tell the watermark and take it out.
    if media_type is None or not _NAME.match(name) or name.startswith((f"{watermark.VARIANTS}/", "report/")):
        raise _missing(name)
    folder = context.settings.media / grant.title_id / grant.package_id
    given = watermark.variant(context.watermark_key, grant.playback_id, name)
    if given != name and not await anyio.to_thread.run_sync((folder / given).is_file):
        given = name  # this rung is not marked
    return await _file(folder / given, name, media_type, "private, max-age=600")


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
