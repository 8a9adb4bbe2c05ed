"""HTTP for moderators: /api/admin/catalogue. A deed names the version that was looked at, and leaves an audit row."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Response
from psycopg import AsyncConnection

from ingest import moderation
from ingest.extra import check_of
from ingest.moderation import Moderated, ModerationError
from matinee.db import audit
from matinee.ids import TITLE_ID_PATTERN
from serving import limits
from serving.accounts.tokens import Claims
from serving.admin.catalogue.types import Edit, ModeratedTitle, Note, Queue, Release, State
from serving.auth import Staff
from serving.context import Context, Ctx
from serving.problems import Problem

router = APIRouter(prefix="/api/admin/catalogue", tags=["admin"])
TitleId = Annotated[str, Path(pattern=TITLE_ID_PATTERN)]
IfMatch = Annotated[str | None, Header(max_length=40, description='the version that was looked at, as in `"3"`')]
_STATUS = {"unknown_title": 404, "changed_meanwhile": 412, "wrong_state": 409, "does_not_fit": 422}


@router.get("", responses={200: {"model": Queue}})
async def queue(
    context: Ctx,
    _: Staff,
    state: State = "review",
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Response:
    """Titles of a state, those that wait longest first."""
    purpose = f"moderation {state}"
    after = context.cursors.open(purpose, cursor) if cursor else None
    found = await context.read(lambda connection: moderation.queue(connection, state, after, limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    sealed = context.cursors.seal(purpose, [last["updated_at"], last["title_id"]]) if last else None
    return Response(orjson.dumps({"items": found[:limit], "next_cursor": sealed}), media_type="application/json")


@router.get("/{title_id}", responses={200: {"model": ModeratedTitle}})
async def look(title_id: TitleId, context: Ctx, _: Staff) -> Response:
    """A title with everything that can be changed of it."""
    async with context.transaction() as connection:
        return _answer(await _heard(moderation.find(connection, title_id)))


@router.patch("/{title_id}", responses={200: {"model": ModeratedTitle}})
async def edit(title_id: TitleId, body: Edit, context: Ctx, claims: Staff, if_match: IfMatch = None) -> Response:
    """Change what is given."""
    changes = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    check, now = check_of(context.settings), context.clock.now()

    async def deed(connection: AsyncConnection, version: int) -> Moderated:
        return await moderation.edit(connection, title_id, version, changes, now=now, check=check)

    return await _done(context, claims, "title.edited", if_match, deed, {"fields": sorted(changes)})


@router.post("/{title_id}/release", responses={200: {"model": ModeratedTitle}})
async def release(title_id: TitleId, body: Release, context: Ctx, claims: Staff, if_match: IfMatch = None) -> Response:
    """Give fields back to the feed, which writes them with its next run."""

    async def deed(connection: AsyncConnection, version: int) -> Moderated:
        return await moderation.release(connection, title_id, version, body.fields, now=context.clock.now())

    return await _done(context, claims, "title.released", if_match, deed, {"fields": sorted(set(body.fields))})


def _step(name: moderation.Step, done: str, summary: str, *, why: bool) -> None:
    """A route that leads a title to its next state."""

    async def step(
        title_id: TitleId, context: Ctx, claims: Staff, body: Note | None = None, if_match: IfMatch = None
    ) -> Response:
        note = body.note if body and body.note and body.note.strip() else None
        if note is not None and "\0" in note:
            raise Problem(422, "invalid_request", "the note contains the character NUL")
        if why and note is None:
            raise Problem(422, "note_required", "say why, in `note`")

        async def deed(connection: AsyncConnection, version: int) -> Moderated:
            return await moderation.step(connection, title_id, version, name, now=context.clock.now(), note=note)

        return await _done(context, claims, f"title.{done}", if_match, deed, {"note": note} if note else {})

    step.__name__ = name
    router.post(f"/{{title_id}}/{name}", summary=summary, responses={200: {"model": ModeratedTitle}})(step)


_step("submit", "submitted", "Give a draft, or what was withdrawn, to review", why=False)
_step("approve", "approved", "Publish what is in review", why=False)
_step("send_back", "sent_back", "Make a draft again of what is in review, and say why", why=True)
_step("withdraw", "withdrawn", "Take a title, and all below it, out of every list and player, and say why", why=True)


async def _done(
    context: Context,
    claims: Claims,
    action: str,
    if_match: str | None,
    deed: Callable[[AsyncConnection, int], Awaitable[Moderated]],
    details: dict[str, Any],
) -> Response:
    version = _version(if_match)
    await context.limits.spend(limits.ADMIN, claims.account_id)
    async with context.transaction() as connection:
        made = await _heard(deed(connection, version))
        details |= {"version": made.version}
        await audit.record(
            connection, actor=claims.account_id, action=action, subject=made.title.id, details=details,
            at=context.clock.now(),
        )  # fmt: skip
    return _answer(made)


async def _heard(asked: Awaitable[Moderated]) -> Moderated:
    try:
        return await asked
    except ModerationError as error:
        told = None if error.place is None else [{"at": error.place, "reason": error.detail, "rule": error.code}]
        raise Problem(_STATUS[error.code], error.code, error.detail, errors=told) from None


def _version(if_match: str | None) -> int:
    """The version in `If-Match` (RFC 9110, 13.1.1; RFC 6585, 3)."""
    if if_match is None:
        raise Problem(428, "version_required", 'name the version that you looked at: If-Match: "3"')
    digits = if_match.strip().strip('"')
    if not digits.isascii() or not digits.isdigit():
        raise Problem(412, "changed_meanwhile", f"{if_match} is no version of the title: look at it again")
    return int(digits)


def _answer(made: Moderated) -> Response:
    body = {
        "title": made.title.model_dump(mode="json", by_alias=True),
        "state": made.state,
        "version": made.version,
        "note": made.note,
        "ours": sorted(made.ours),
        "from_feed": made.from_feed,
        "updated_at": made.updated_at,
    }
    return Response(orjson.dumps(body), media_type="application/json", headers={"etag": f'"{made.version}"'})
