"""HTTP of profiles: /api/profile, and whom a sign-in watches as."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from serving import limits
from serving.auth import SignedIn
from serving.context import Context, Ctx
from serving.db import Row
from serving.problems import Problem
from serving.profiles import core
from serving.profiles.types import Enter, NewProfile, Profile, ProfileChange, Profiles

router = APIRouter(prefix="/api/profile", tags=["profiles"])
ProfileId = Annotated[str, Path(max_length=256)]


@router.get("")
async def profiles(context: Ctx, claims: SignedIn) -> Profiles:
    """The account's profiles, the first one first, and where this sign-in is."""
    async with context.transaction() as connection:
        found = await core.profiles(connection, claims.account_id, claims.session_id, context.clock.now())
    if not found:
        raise Problem(401, "invalid_token", "the account of this token does not exist")
    first = found[0]
    return Profiles(
        account_id=claims.account_id,
        role=first["role"],
        pin=first["guarded"],
        current=first["entered"],
        profiles=[Profile(**one) for one in found],
    )


@router.post("", status_code=201)
async def create(body: NewProfile, context: Ctx, claims: SignedIn) -> Profile:
    """Add a profile with its own limit and language; one limited to twelve or less is a child's."""
    async with context.transaction() as connection:
        profile_id = await core.create(connection, claims.account_id, claims.session_id, body)
        found = await core.profiles(connection, claims.account_id, claims.session_id, context.clock.now())
    forget(context, claims.account_id)
    return _one(found, profile_id)


@router.patch("/{profile_id}")
async def change(profile_id: ProfileId, body: ProfileChange, context: Ctx, claims: SignedIn) -> Profile:
    """Change what is given. Name and limit are refused in a child's profile of an account with a PIN."""
    now, changes = context.clock.now(), body.model_dump(exclude_unset=True)
    async with context.transaction() as connection:
        await core.change(connection, claims.account_id, claims.session_id, profile_id, changes, now)
        found = await core.profiles(connection, claims.account_id, claims.session_id, now)
    forget(context, claims.account_id)
    return _one(found, profile_id)


@router.delete("/{profile_id}", status_code=204)
async def delete(profile_id: ProfileId, context: Ctx, claims: SignedIn) -> Response:
    """Delete a profile with its favourites, ratings and history; an account keeps its last one."""
    async with context.transaction() as connection:
        await core.delete(connection, claims.account_id, claims.session_id, profile_id, context.clock.now())
    forget(context, claims.account_id)
    return Response(status_code=204)


@router.post("/{profile_id}/enter")
async def enter(profile_id: ProfileId, context: Ctx, claims: SignedIn, body: Enter | None = None) -> Profile:
    """Go on in this profile, on this sign-in, until another one is entered. Wrong PINs are limited."""
    now = context.clock.now()
    pin = body.pin if body else None
    if pin is not None:
        await context.limits.spend(limits.PIN, claims.account_id)
    async with context.transaction() as connection:
        await core.enter(connection, context.pins, claims.account_id, claims.session_id, profile_id, pin, now)
        found = await core.profiles(connection, claims.account_id, claims.session_id, now)
    if pin is not None:
        await context.limits.refund(limits.PIN, claims.account_id)
    forget(context, claims.account_id)
    return _one(found, profile_id)


def forget(context: Context, account_id: str) -> None:
    """Drop what this process remembers of the account's profiles."""
    context.owners.forget(account_id)
    context.viewers.forget(account_id)


def _one(found: list[Row], profile_id: str) -> Profile:
    return Profile(**next(one for one in found if one["profile_id"] == profile_id))
