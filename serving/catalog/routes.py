"""The lists of the catalogue: plain Starlette routes, for they are asked for with every page that a person opens."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from starlette.requests import Request
from starlette.responses import Response

from serving.auth import identify
from serving.catalog import lists
from serving.catalog.core import QUERIES, scope
from serving.catalog.filters import Filters, filters_of, limit_of, moment, text, wrong
from serving.context import Context, context_of
from serving.db import rows
from serving.etag import Body, answer
from serving.limits import SEARCH, address
from serving.problems import Problem
from serving.profiles.core import ANONYMOUS, Viewer
from serving.rights.region import placed

_STAFF = ("moderator", "admin")
_MAX_CURSOR = 1_000
Listing: TypeAlias = Callable[[AsyncConnection], Awaitable[tuple[list[TupleRow], Sequence[object] | None]]]


async def viewer_of(request: Request, context: Context) -> Viewer:
    """Who asks and from where, as the address names the profile.

    Raises:
        Problem: as `identify` and `profiles.core.viewer`.
    """
    claims = identify(request)
    profile_id = request.query_params.get("profile_id")
    if profile_id is not None:
        text("profile_id", profile_id)
    if claims is None:
        if profile_id is not None:
            raise Problem(401, "unauthenticated", "sign in to use a profile")
        return placed(ANONYMOUS, request, context.settings)
    await context.streams.settle(claims.account_id)
    known = await context.viewers.of(claims.account_id, claims.session_id, profile_id)
    return placed(known, request, context.settings)


async def titles(request: Request) -> Response:
    """A page of films and series, or of what the filters narrow it to; for staff also as of another moment."""
    context = context_of(request.app)
    viewer = await viewer_of(request, context)
    query = request.query_params
    filters, limit, at = filters_of(query, viewer.language), limit_of(query), moment(query, "as_of")
    if at is not None:
        _check_as_of(request, filters)
    purpose = f"media\0{filters.name}\0{at}"
    cursor = query.get("cursor")
    if cursor is not None and len(cursor) > _MAX_CURSOR:
        raise wrong("cursor", f"at most {_MAX_CURSOR} characters")
    after = context.cursors.open(purpose, cursor) if cursor else None

    async def read(work: Listing) -> lists.Page:
        found, following = await context.read(work)
        return lists.Page(found, context.cursors.seal(purpose, following) if following else None)

    if at is not None:
        page = await read(lambda connection: lists.as_of(connection, viewer, at, filters, after, limit))
        return answer(request, page.body(viewer, at))
    mark = await context.listings.mark()
    key = ("page", viewer.limit, viewer.region, filters, cursor, limit)
    page = context.listings.find(mark, key) or await context.listings.make(
        mark,
        key,
        lambda: read(lambda connection: lists.browse(connection, viewer, mark.moment, filters, after, limit)),
    )
    return answer(request, page.body(viewer, mark.moment))


def _check_as_of(request: Request, filters: Filters) -> None:
    claims = identify(request)
    if claims is None or claims.role not in _STAFF:
        raise Problem(403, "forbidden", "only moderators and admins may ask what was or will be on offer")
    if filters != Filters(is_root=filters.is_root, facets=filters.facets):
        raise wrong("as_of", "asked with facets alone, the newest first")


async def facets(request: Request) -> Response:
    """How many titles of a list have each facet."""
    context = context_of(request.app)
    viewer = await viewer_of(request, context)
    filters = filters_of(request.query_params, viewer.language)
    mark, key = await context.listings.mark(), ("facets", viewer.limit, viewer.region, filters)
    body = context.listings.find(mark, key)
    if body is None:
        claims = identify(request)
        await context.limits.spend(SEARCH, claims.account_id if claims else address(request))

        async def read() -> Body:
            parameters = {**scope(viewer, mark.moment), **filters.parameters()}
            found: dict[str, list[dict]] = {}
            for row in await context.read(lambda connection: rows(connection, QUERIES["facets"], parameters)):
                found.setdefault(row["facet"], []).append({"value": row["value"], "titles": row["titles"]})
            return Body.of(orjson.dumps(found))

        body = await context.listings.make(mark, key, read)
    return answer(request, body)
