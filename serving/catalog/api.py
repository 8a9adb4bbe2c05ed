"""HTTP of the catalogue: titles, people, what resembles a title. Answers are bytes; the models only describe them.

Lists are in `routes`.
"""

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from psycopg import AsyncConnection
from pydantic import BaseModel

from matinee.ids import TITLE_ID_PATTERN
from serving.catalog import core, lists
from serving.catalog.routes import viewer_of
from serving.catalog.types import PersonPage, Similar, Title
from serving.context import Context, Ctx
from serving.db import Row
from serving.etag import Body, answer
from serving.profiles.core import Viewer
from serving.rights import ANY_DEVICE, decide

router = APIRouter(prefix="/api", tags=["catalogue"])
TitleId = Annotated[str, Path(pattern=TITLE_ID_PATTERN)]
PersonId = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
ProfileId = Annotated[str | None, Query(alias="profile_id", max_length=256)]  # described here, read by viewer_of
_SIMILAR = 20
# Whoever looks at a title need not have watched it.
_LIKENESS = {"because_you_watched": "similar", "similar_content": "same_genre"}


class Genre(BaseModel):
    genre: str
    titles: int


def _json(request: Request, body: object) -> Response:
    return answer(request, orjson.dumps(body, default=str))


@router.get("/media/genres", responses={200: {"model": list[Genre]}})
async def genres(request: Request, context: Ctx, _: ProfileId = None) -> Response:
    """The genres of what the viewer may see, with how many titles each has."""
    viewer = await viewer_of(request, context)
    mark, key = await context.listings.mark(), ("genres", viewer.limit, viewer.region)

    async def read() -> Body:
        found = await context.read(lambda connection: core.genres(connection, viewer, mark.moment))
        return Body.of(orjson.dumps(found))

    return answer(request, context.listings.find(mark, key) or await context.listings.make(mark, key, read))


@router.get("/media/{title_id}", responses={200: {"model": Title}})
async def title(request: Request, title_id: TitleId, context: Ctx, _: ProfileId = None) -> Response:
    """Everything about one title that its page shows."""
    viewer, now = await viewer_of(request, context), context.clock.now()
    return _json(request, await context.read(lambda connection: core.title(connection, viewer, title_id, now)))


@router.get("/people/{person_id}", responses={200: {"model": PersonPage}})
async def person(request: Request, person_id: PersonId, context: Ctx, _: ProfileId = None) -> Response:
    """A person, and what they did in which titles; who did nothing that the viewer may see is nobody."""
    viewer, now = await viewer_of(request, context), context.clock.now()

    async def read(connection: AsyncConnection) -> Response:
        name, roles = await lists.person(connection, viewer, person_id, now)
        return answer(request, lists.person_page(person_id, name, roles).encode())

    return await context.read(read)


@router.get("/media/{title_id}/similar", responses={200: {"model": Similar}})
async def similar(request: Request, title_id: TitleId, context: Ctx, _: ProfileId = None) -> Response:
    """What resembles a title: by the model's list, or by shared genres where no model knows it."""
    viewer, now = await viewer_of(request, context), context.clock.now()

    async def find(connection: AsyncConnection) -> Row:
        found, terms, offers = await core.find(connection, title_id)
        if refusal := decide(terms, viewer, ANY_DEVICE, now):
            raise core.refuse(refusal, title_id, offers)
        return found

    root_id = (await context.read(find))["root_id"]
    items = await _similar(context, viewer, root_id)
    degraded = not items
    if degraded:
        others = await context.read(lambda connection: core.same_genre(connection, viewer, root_id, now, _SIMILAR))
        reason = {"code": "same_genre", "params": {}}
        items = [{**core.card(other), "source": "genre", "reason": reason} for other in others]
    return _json(request, {"items": items[:_SIMILAR], "degraded": degraded})


async def _similar(context: Context, viewer: Viewer, root_id: str) -> list[dict]:
    """What the model names beside a title, of what this viewer may be shown."""
    served = context.home.served
    if served is None:
        return []  # the catalogue answers without a model; the metrics tell of it
    shelf = await context.home.shelf(viewer)
    return [
        {
            **shelf.seen[pick.title_id].shown(),
            "source": pick.source,
            "reason": {"code": _LIKENESS[pick.reason], "params": {"title_id": root_id}},
        }
        for pick in served.similar(root_id, served.mask(shelf), _SIMILAR)
    ]
