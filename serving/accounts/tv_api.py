"""HTTP of accounts: /api/auth/tv, signing in on a device without a keyboard."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from matinee.db import audit
from serving import limits
from serving.accounts import core, post, sessions, tv
from serving.accounts.api import caller, signed_in
from serving.accounts.second_factor import qr_code
from serving.accounts.types import Approval, DeviceCodes, DeviceToken, Session, WaitingDevice
from serving.auth import SignedIn
from serving.context import Ctx
from serving.links import link
from serving.problems import Problem
from serving.profiles.core import grown_up

router = APIRouter(prefix="/api/auth/tv", tags=["accounts"])
UserCode = Annotated[str, Path(min_length=8, max_length=20, pattern=r"^[A-Za-z -]+$")]


@router.post("")
async def start(request: Request, context: Ctx) -> DeviceCodes:
    """Ask to be let in: the codes that the device shows and keeps, for ten minutes."""
    who = caller(request)
    await context.limits.spend(limits.TV_START, who.address)
    async with context.transaction() as connection:
        asked = await tv.start(connection, who.device, context.clock.now())
    whole = link(context.settings, "link", code=tv.spelt(asked.user_code))
    return DeviceCodes(
        device_code=asked.device_code,
        user_code=tv.spelt(asked.user_code),
        verification_uri=link(context.settings, "link"),
        verification_uri_complete=whole,
        qr=qr_code(whole),
        expires_in=int(tv.LIFE.total_seconds()),
        interval=tv.INTERVAL_S,
    )


@router.post("/token")
async def token(body: DeviceToken, request: Request, response: Response, context: Ctx) -> Session:
    """The device asks whether it was let in.

    400 `authorization_pending`, `slow_down`, `access_denied` or `expired_token` until it was.
    """
    now, entry = context.clock.now(), None
    async with context.transaction() as connection:
        answer = await tv.poll(connection, body.device_code, now)
        if not isinstance(answer, Problem):
            entry = await sessions.open_session(
                connection, context.refresh_key, answer["account_id"], now, device=answer["device"], kind="tv"
            )
    if isinstance(answer, Problem):
        raise answer
    assert entry is not None
    return signed_in(request, response, context, entry)


@router.get("/{user_code}")
async def waiting(user_code: UserCode, context: Ctx, claims: SignedIn) -> WaitingDevice:
    """What shows this code, before it is let in."""
    await context.limits.spend(limits.TV_CODE, claims.account_id)
    async with context.transaction() as connection:
        found = await tv.waiting(connection, user_code, context.clock.now())
    await context.limits.refund(limits.TV_CODE, claims.account_id)
    return WaitingDevice(**{**found, "user_code": tv.spelt(found["user_code"])})


@router.post("/approve", status_code=204)
async def approve(body: Approval, context: Ctx, claims: SignedIn) -> Response:
    """Let the device that shows this code in to one's account, or turn it away."""
    await context.limits.spend(limits.TV_CODE, claims.account_id)
    now = context.clock.now()
    async with context.transaction() as connection:
        # A child would make itself a second sign-in that no PIN guards.
        await grown_up(connection, claims.account_id, claims.session_id)
        found = await tv.waiting(connection, body.user_code, now)
        await tv.decide(connection, body.user_code, claims.account_id, body.approve, now)
        if body.approve:
            account, device = await core.account(connection, claims.account_id), found["device"]
            to, language = account["email"], account["language"]
            await post.write(connection, claims.account_id, to, language, "signed_in_tv", device=device)
            await audit.record(
                connection, actor=claims.account_id, action="session.device_let_in", subject=claims.account_id, at=now
            )
    await context.limits.refund(limits.TV_CODE, claims.account_id)
    return Response(status_code=204)
