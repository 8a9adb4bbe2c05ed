"""HTTP of the catalogue: /api/media. Answers are bytes; the models only describe them."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Query, Response
from psycopg import AsyncConnection
from pydantic import BaseModel

from matinee.contracts.feed import Kind
from matinee.ids import TITLE_ID_PATTERN
from serving.accounts.tokens import Claims
from serving.auth import Visitor
from serving.catalog import core
from serving.catalog.types import Page, Similar, Title
from serving.context import Context, Ctx
from serving.profiles.core import Viewer
from serving.profiles.core import viewer as viewer_of
from serving.rights import ANY_DEVICE, decide

router = APIRouter(prefix="/api/media", tags=["catalogue"])
TitleId = Annotated[str, Path(pattern=TITLE_ID_PATTERN)]
ProfileId = Annotated[str | None, Query(max_length=256)]
_SIMILAR = 20
# Whoever looks at a title need not have watched it.
_LIKENESS = {"because_you_watched": "similar", "similar_content": "same_genre"}


class Genre(BaseModel):
    genre: str
    titles: int


def _json(body: object) -> Response:
    return Response(orjson.dumps(body, default=str), media_type="application/json")


@router.get("", responses={200: {"model": Page}})
async def browse(
    context: Ctx,
    claims: Visitor,
    kind: Kind | None = None,
    genre: Annotated[str | None, Query(max_length=100)] = None,
    q: Annotated[str | None, Query(max_length=100)] = None,
    playable: bool | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    profile_id: ProfileId = None,
) -> Response:
    """Films and series (or one kind), newest first; `q` is a part of a title in any language."""
    purpose = "\0".join(map(str, ("media", kind, genre, q, playable)))
    after = context.cursors.open(purpose, cursor) if cursor else None
    now = context.clock.now()
    async with context.transaction() as connection:
        viewer = await _viewer(connection, context, claims, profile_id)
        items, following = await core.browse(
            connection, viewer, now, kind=kind, genre=genre, playable=playable, text=q, after=after, limit=limit
        )
    next_cursor = context.cursors.seal(purpose, following) if following else None
    return _json({"items": items, "next_cursor": next_cursor})


@router.get("/genres", responses={200: {"model": list[Genre]}})
async def genres(context: Ctx, claims: Visitor, profile_id: ProfileId = None) -> Response:
    """The genres of what the viewer may see, with how many titles each has."""
    async with context.transaction() as connection:
        viewer = await _viewer(connection, context, claims, profile_id)
        return _json(await core.genres(connection, viewer, context.clock.now()))


@router.get("/{title_id}", responses={200: {"model": Title}})
async def title(title_id: TitleId, context: Ctx, claims: Visitor, profile_id: ProfileId = None) -> Response:
    """Everything about one title that its page shows."""
    await context.streams.settle(claims.account_id if claims else None)
    async with context.transaction() as connection:
        viewer = await _viewer(connection, context, claims, profile_id)
        return _json(await core.title(connection, viewer, title_id, context.clock.now()))


@router.get("/{title_id}/similar", responses={200: {"model": Similar}})
async def similar(title_id: TitleId, context: Ctx, claims: Visitor, profile_id: ProfileId = None) -> Response:
    """What resembles a title: by the model's list, or by shared genres where no model knows it."""
    now = context.clock.now()
    async with context.transaction() as connection:
        viewer = await _viewer(connection, context, claims, profile_id)
        found, terms, offers = await core.find(connection, title_id)
        if refusal := decide(terms, viewer, ANY_DEVICE, now):
            raise core.refuse(refusal, title_id, offers)
    items = await _similar(context, viewer, found["root_id"])
    degraded = not items
    if degraded:
        async with context.transaction() as connection:
            others = await core.same_genre(connection, viewer, found["root_id"], now, _SIMILAR)
        reason = {"code": "same_genre", "params": {}}
        items = [{**core.card(other), "source": "genre", "reason": reason} for other in others]
    return _json({"items": items[:_SIMILAR], "degraded": degraded})


async def _viewer(
    connection: AsyncConnection, context: Context, claims: Claims | None, profile_id: str | None
) -> Viewer:
    account_id, session_id = (claims.account_id, claims.session_id) if claims else (None, None)
    return await viewer_of(connection, account_id, profile_id, session_id=session_id, now=context.clock.now())


async def _similar(context: Ctx, viewer: Viewer, root_id: str) -> list[dict]:
    """What the model names beside a title, of what this viewer may be shown."""
    served = context.home.served
    if served is None:
        return []  # the catalogue answers without a model; the metrics tell of it
    shelf = await context.home.shelf(viewer)
    return [
        {
            **orjson.loads(shelf.seen[pick.title_id].card),
            "source": pick.source,
            "reason": {"code": _LIKENESS[pick.reason], "params": {"title_id": root_id}},
        }
        for pick in served.similar(root_id, served.mask(shelf), _SIMILAR)
    ]
