"""HTTP of profiles: /api/profile, and whom a sign-in watches as."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from psycopg import AsyncConnection

from matinee.db import audit, outbox
from serving import limits
from serving.accounts.tokens import Claims
from serving.auth import Fresh, SignedIn
from serving.context import Context, Ctx
from serving.db import Row
from serving.playback.sessions import end_others
from serving.problems import Problem
from serving.profiles import core
from serving.profiles.types import Enter, NewPin, NewProfile, Profile, ProfileChange, Profiles

router = APIRouter(prefix="/api/profile", tags=["profiles"])
ProfileId = Annotated[str, Path(max_length=256)]


@router.put("/pin", status_code=204)
async def set_account_pin(body: NewPin, context: Ctx, claims: Fresh) -> Response:
    """Set the PIN that leads out of children's profiles and into every locked one; for who has just shown who they
    are."""
    return await _set_pin(context, claims, None, body.pin)


@router.delete("/pin", status_code=204)
async def drop_account_pin(context: Ctx, claims: Fresh) -> Response:
    """Take the account's PIN away: nobody is kept in a child's profile any more."""
    return await _set_pin(context, claims, None, None)


@router.put("/{profile_id}/pin", status_code=204)
async def set_pin(profile_id: ProfileId, body: NewPin, context: Ctx, claims: Fresh) -> Response:
    """Lock a profile with a PIN of its own; for who has just shown who they are."""
    return await _set_pin(context, claims, profile_id, body.pin)


@router.delete("/{profile_id}/pin", status_code=204)
async def drop_pin(profile_id: ProfileId, context: Ctx, claims: Fresh) -> Response:
    """Unlock a profile for good."""
    return await _set_pin(context, claims, profile_id, None)


async def _set_pin(context: Context, claims: Claims, profile_id: str | None, pin: str | None) -> Response:
    now = context.clock.now()
    async with context.transaction() as connection:
        # Whoever just signed in may have handed the device to a child.
        await core.grown_up(connection, claims.account_id, claims.session_id, claims.auth_time)
        await core.set_pin(connection, context.pins, claims.account_id, claims.session_id, profile_id, pin, now)
        await _tell(connection, claims)
        await audit.record(
            connection,
            actor=claims.account_id,
            action="pin.set" if pin else "pin.dropped",
            subject=claims.account_id,
            at=now,
        )
    forget(context, claims.account_id)
    return Response(status_code=204)


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
    await context.limits.spend(limits.PROFILES, claims.account_id)
    async with context.transaction() as connection:
        profile_id = await core.create(connection, claims.account_id, claims.session_id, body)
        found = await core.profiles(connection, claims.account_id, claims.session_id, context.clock.now())
    forget(context, claims.account_id)
    return _one(found, profile_id)


@router.patch("/{profile_id}")
async def change(profile_id: ProfileId, body: ProfileChange, context: Ctx, claims: SignedIn) -> Profile:
    """Change what is given. Name and limit are refused in a child's profile of an account with a PIN."""
    now, changes = context.clock.now(), body.model_dump(exclude_unset=True)
    await context.limits.spend(limits.PROFILES, claims.account_id)
    async with context.transaction() as connection:
        await core.change(connection, claims.account_id, claims.session_id, profile_id, changes, now)
        await _tell(connection, claims)
        found = await core.profiles(connection, claims.account_id, claims.session_id, now)
    forget(context, claims.account_id)
    return _one(found, profile_id)


@router.delete("/{profile_id}", status_code=204)
async def delete(profile_id: ProfileId, context: Ctx, claims: SignedIn) -> Response:
    """Delete a profile with its favourites, ratings and history; an account keeps its last one."""
    await context.limits.spend(limits.PROFILES, claims.account_id)
    async with context.transaction() as connection:
        await core.delete(connection, claims.account_id, claims.session_id, profile_id, context.clock.now())
        await _tell(connection, claims)
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
        ended = await end_others(connection, claims.session_id, profile_id, now)
        await _tell(connection, claims)
        found = await core.profiles(connection, claims.account_id, claims.session_id, now)
    await context.streams.ended(ended)
    if pin is not None:
        await context.limits.refund(limits.PIN, claims.account_id)
    forget(context, claims.account_id)
    return _one(found, profile_id)


async def _tell(connection: AsyncConnection, claims: Claims) -> None:
    """Let the other processes drop what they remember."""
    await outbox.put(connection, "account", claims.account_id, {"why": "profiles"})


def forget(context: Context, account_id: str | None) -> None:
    """Drop what this process remembers of the account's profiles; None: of all accounts."""
    context.owners.forget(account_id)
    context.viewers.forget(account_id)


def _one(found: list[Row], profile_id: str) -> Profile:
    for one in found:
        if one["profile_id"] == profile_id:
            return Profile(**one)
    raise core.unknown_profile()  # deleted by another request meanwhile
