"""HTTP of searching: GET /api/search, a plain Starlette route."""

import orjson
from psycopg import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from serving.auth import identify
from serving.catalog import lists
from serving.catalog.filters import limit_of, text, wrong
from serving.catalog.routes import viewer_of
from serving.context import context_of
from serving.etag import answer
from serving.limits import SEARCH, address

_PEOPLE = 5


async def search(request: Request) -> Response:
    """Titles and people whose words begin with those of `q`."""
    context = context_of(request.app)
    query = request.query_params
    asked, limit = text("q", query.get("q", "")), limit_of(query)
    if not asked.strip():
        raise wrong("q", "at least one letter")
    claims = identify(request)
    await context.limits.spend(SEARCH, claims.account_id if claims else address(request))
    viewer, now = await viewer_of(request, context), context.clock.now()

    async def read(connection: AsyncConnection) -> bytes:
        found = await context.search.titles(connection, viewer, now, asked, limit)
        people = await context.search.people(connection, viewer, now, asked, _PEOPLE)
        return f'{{"items":[{lists.items(found, viewer, now)}],"people":{orjson.dumps(people).decode()}}}'.encode()

    return answer(request, await context.read(read))
