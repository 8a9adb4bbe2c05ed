"""Content keys for players: 16 bytes, for the browser that holds a living session of the key's title.

A Starlette route: players ask for keys with the playback cookie alone, once for every key of a film.
"""

from starlette.requests import Request
from starlette.responses import Response

from serving.context import context_of
from serving.db import row
from serving.playback.core import QUERIES
from serving.playback.tokens import COOKIE, fingerprint
from serving.problems import Problem
from transcoding.keys import find_key


async def key(request: Request) -> Response:
    """The bytes of a key. Whoever may not have it hears the same as for a key that does not exist."""
    context = context_of(request.app)
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        raise _refused()
    async with context.transaction() as connection:
        found = await find_key(connection, context.settings, request.path_params["key_id"])
        if found is None:
            raise _refused()
        asked = {"browser": fingerprint(cookie), "title_id": found.title_id, "now": context.clock.now()}
        if await row(connection, QUERIES["plays_in"], asked) is None:
            raise _refused()
    headers = {"cache-control": "no-store"}
    return Response(found.secret, media_type="application/octet-stream", headers=headers)


def _refused() -> Problem:
    return Problem(403, "key_refused", "no living playback session of this browser opens this key: ask to watch again")
