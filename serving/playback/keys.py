"""Content keys for players: 16 bytes, for the browser that plays the key's title and still may.

A Starlette route: players ask for keys with the playback cookie alone, once for every key of a film. The
living session is asked for each time, and the right to it judged, by facts that were confirmed within half a second.
"""

from starlette.requests import Request
from starlette.responses import Response

from serving.context import context_of
from serving.playback.tokens import cookie_name, fingerprint
from serving.problems import Problem

_HEADERS = {"cache-control": "no-store"}


async def key(request: Request) -> Response:
    """The bytes of a key. Whoever may not have it hears the same as for a key that does not exist."""
    context = context_of(request.app)
    cookie = request.cookies.get(cookie_name(request))
    if cookie is None:
        raise _refused()
    found = await context.keys.find(request.path_params["key_id"])
    if found is None:
        raise _refused()
    playing = await context.streams.playing(fingerprint(cookie), found.title_id)
    if playing is None or await context.streams.refusal(playing) is not None:
        raise _refused()
    return Response(found.secret, media_type="application/octet-stream", headers=_HEADERS)


def _refused() -> Problem:
    return Problem(403, "key_refused", "no living playback session of this browser opens this key: ask to watch again")
