"""HTTP of what a profile keeps: favourites, ratings, history, what to go on with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from psycopg import AsyncConnection

from matinee.ids import TITLE_ID_PATTERN
from serving.accounts.tokens import Claims
from serving.auth import SignedIn
from serving.context import Context, Ctx
from serving.profiles import core, library
from serving.profiles.core import Viewer
from serving.profiles.types import About, GoingOn, KeptPage, Stars
from serving.rights.region import placed

router = APIRouter(prefix="/api/profile/{profile_id}", tags=["profiles"])
ProfileId = Annotated[str, Path(max_length=256)]
TitleId = Annotated[str, Path(pattern=TITLE_ID_PATTERN)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=400)]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, by which app, and in which request."""

    request: Request
    context: Context
    claims: Claims

    async def settle(self) -> None:
        """Let what playbacks of the account have told be written first."""
        await self.context.streams.settle(self.claims.account_id)

    async def viewer(self, connection: AsyncConnection, profile_id: str) -> Viewer:
        """The profile, which must be open to the sign-in, as it looks from where the request comes."""
        known = await core.viewer(
            connection, self.claims.account_id, profile_id, session_id=self.claims.session_id,
            now=self.context.clock.now(),
        )  # fmt: skip
        return placed(known, self.request, self.context.settings)


def _asker(request: Request, context: Ctx, claims: SignedIn) -> Asker:
    return Asker(request, context, claims)


Asked = Annotated[Asker, Depends(_asker)]


@router.get("/favourites", responses={200: {"model": KeptPage}})
async def favourites(profile_id: ProfileId, asker: Asked, limit: Limit = 30, cursor: Cursor = None) -> Response:
    """Favourites, the last added first."""
    return await _kept("favourites", profile_id, asker, limit, cursor)


@router.get("/history", responses={200: {"model": KeptPage}})
async def history(profile_id: ProfileId, asker: Asked, limit: Limit = 30, cursor: Cursor = None) -> Response:
    """What was watched on any device, the last first."""
    return await _kept("history", profile_id, asker, limit, cursor)


@router.get("/ratings", responses={200: {"model": KeptPage}})
async def ratings(profile_id: ProfileId, asker: Asked, limit: Limit = 30, cursor: Cursor = None) -> Response:
    """What was rated, the last first."""
    return await _kept("ratings", profile_id, asker, limit, cursor)


@router.get("/continue", responses={200: {"model": GoingOn}})
async def going_on(profile_id: ProfileId, asker: Asked) -> Response:
    """What to go on with, from whichever device it was left on."""
    await asker.settle()
    async with asker.context.transaction() as connection:
        viewer = await asker.viewer(connection, profile_id)
        positions = await library.positions(connection, viewer.profile_id)
    shelf = await asker.context.home.shelf(viewer)
    return _json({"items": library.going_on(positions, shelf)})


@router.get("/titles/{title_id}", responses={200: {"model": About}})
async def about(profile_id: ProfileId, title_id: TitleId, asker: Asked) -> Response:
    """What the profile has said of a title, and where it stopped."""
    await asker.settle()
    async with asker.context.transaction() as connection:
        viewer = await asker.viewer(connection, profile_id)
        return _json(await library.about(connection, viewer, title_id, asker.context.clock.now()))


@router.put("/favourites/{title_id}", status_code=204)
async def favour(profile_id: ProfileId, title_id: TitleId, asker: Asked) -> Response:
    """Keep a title as a favourite."""
    now = asker.context.clock.now()
    return await _do(asker, profile_id, lambda c, viewer: library.favour(c, viewer, title_id, now))


@router.delete("/favourites/{title_id}", status_code=204)
async def unfavour(profile_id: ProfileId, title_id: TitleId, asker: Asked) -> Response:
    """Take a title off the favourites."""
    return await _do(asker, profile_id, lambda c, viewer: library.drop(c, viewer, "favourite", title_id))


@router.put("/ratings/{title_id}", status_code=204)
async def rate(profile_id: ProfileId, title_id: TitleId, body: Stars, asker: Asked) -> Response:
    """Rate a title with half to five stars."""
    now = asker.context.clock.now()
    return await _do(asker, profile_id, lambda c, viewer: library.rate(c, viewer, title_id, body.value, now))


@router.delete("/ratings/{title_id}", status_code=204)
async def unrate(profile_id: ProfileId, title_id: TitleId, asker: Asked) -> Response:
    """Take a rating back."""
    return await _do(asker, profile_id, lambda c, viewer: library.drop(c, viewer, "rating", title_id))


@router.delete("/history", status_code=204)
async def forget_history(profile_id: ProfileId, asker: Asked) -> Response:
    """Forget everything that was watched, and every place in it."""
    return await _do(asker, profile_id, lambda c, viewer: library.drop(c, viewer, "history", None))


@router.delete("/history/{title_id}", status_code=204)
async def forget_watched(profile_id: ProfileId, title_id: TitleId, asker: Asked) -> Response:
    """Forget that a title was watched, and the place in it."""
    return await _do(asker, profile_id, lambda c, viewer: library.drop(c, viewer, "history", title_id))


async def _kept(name: library.Shelfmark, profile_id: str, asker: Asker, limit: int, cursor: str | None) -> Response:
    purpose = f"{name}\0{profile_id}"
    after = asker.context.cursors.open(purpose, cursor) if cursor else None
    await asker.settle()
    async with asker.context.transaction() as connection:
        viewer = await asker.viewer(connection, profile_id)
        items, following = await library.kept(
            connection, viewer, name, asker.context.clock.now(), after=after, limit=limit
        )
    return _json({"items": items, "next_cursor": asker.context.cursors.seal(purpose, following) if following else None})


async def _do(
    asker: Asker,
    profile_id: str,
    deed: Callable[[AsyncConnection, Viewer], Awaitable[None]],
) -> Response:
    await asker.settle()
    async with asker.context.transaction() as connection:
        viewer = await asker.viewer(connection, profile_id)
        await deed(connection, viewer)
    asker.context.home.forget(profile_id)
    return Response(status_code=204)


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
