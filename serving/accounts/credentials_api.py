"""HTTP of accounts: /api/auth, what one signs in with: address, password, second factor."""

from fastapi import APIRouter, BackgroundTasks, Request, Response
from psycopg import AsyncConnection

from matinee.db import audit
from serving import limits
from serving.accounts import codes, core, post, sessions
from serving.accounts.api import check_password
from serving.accounts.breached import check_leaks
from serving.accounts.passwords import check_strength
from serving.accounts.second_factor import qr_code
from serving.accounts.types import (
    ByToken,
    Enrolment,
    NewEmail,
    NewPassword,
    OneCode,
    Recover,
    RecoveryCodes,
    Reset,
    SecondFactor,
)
from serving.auth import Fresh, SignedIn
from serving.context import Context, Ctx
from serving.links import link
from serving.problems import Problem
from serving.profiles.core import grown_up

router = APIRouter(prefix="/api/auth", tags=["accounts"])
# So many letters with live links lie in a mailbox at most: who is denied another one has one that works.
_LETTERS = 3


@router.post("/confirm", status_code=204)
async def confirm(body: ByToken, request: Request, context: Ctx) -> Response:
    """Confirm an address by the link of a letter; of a new address: it is the one to sign in with from now on."""
    await context.limits.spend(limits.CONFIRM, limits.address(request))
    now = context.clock.now()
    async with context.transaction() as connection:
        used = await codes.use(connection, body.token, ("confirm", "email"), now)
        if used is not None and used["purpose"] == "email":
            await core.change_email(connection, used["account_id"], used["email"], now)
            await codes.drop(connection, used["account_id"])
            await audit.record(
                connection, actor=used["account_id"], action="account.email_changed", subject=used["account_id"], at=now
            )
        elif used is not None:
            await core.confirm_email(connection, used["account_id"], used["email"], now)
    if used is None:
        raise _bad_link()
    await context.limits.refund(limits.CONFIRM, limits.address(request))
    return Response(status_code=204)


@router.post("/confirm/letter", status_code=202, response_class=Response)
async def confirm_again(context: Ctx, claims: SignedIn) -> Response:
    """Send the letter that confirms the address once more."""
    await context.limits.spend(limits.RECOVERY, claims.account_id)
    async with context.transaction() as connection:
        account = await core.account(connection, claims.account_id)
        if account["email"] is not None and account["email_confirmed_at"] is None:
            to, language = account["email"], account["language"]
            await post.ask_to_confirm(
                connection, context.settings, claims.account_id, to, language, context.clock.now()
            )
    return Response(status_code=202)


@router.post("/recover", status_code=202)
async def recover(body: Recover, request: Request, context: Ctx, tasks: BackgroundTasks) -> dict[str, str]:
    """Send a letter with a link to choose a new password. The answer is the same whether the address has an account,
    and is given before anybody looks."""
    address = limits.address(request)
    await context.limits.spend(limits.RECOVERY_ADDRESS, address)
    await context.limits.spend(limits.RECOVERY, f"{body.email.strip().lower()} {address}")
    tasks.add_task(_send_reset, context, body.email)
    return {"detail": "if this address has an account, a letter is on its way"}


async def _send_reset(context: Context, email: str) -> None:
    now = context.clock.now()
    async with context.transaction() as connection:
        found = await core.account_by_email(connection, email)
        if found is None:
            return
        account = await core.account(connection, found["account_id"])
        if (
            account["disabled_at"] is not None
            or await codes.live(connection, found["account_id"], "reset", now) >= _LETTERS
        ):
            return
        code = await codes.issue(connection, "reset", found["account_id"], now, account["email"])
        where = link(context.settings, "reset", token=code)
        to, language = account["email"], account["language"]
        await post.write(connection, found["account_id"], to, language, "reset", link=where)


@router.post("/reset", status_code=204)
async def reset(body: Reset, request: Request, context: Ctx) -> Response:
    """Choose a new password by the link of a letter; every session ends, and other links open nothing any more."""
    await context.limits.spend(limits.CONFIRM, limits.address(request))
    now = context.clock.now()
    async with context.transaction() as connection:
        holder = await codes.holder(connection, body.token, "reset", now)
        account = await core.account(connection, holder) if holder else None
    if account is None:
        raise _bad_link()
    check_strength(body.password, account["email"])
    await check_leaks(context.settings.breached_passwords_url, body.password)
    password_hash = await context.passwords.hash(body.password)
    async with context.transaction() as connection:
        used = await codes.use(connection, body.token, ("reset",), now)
        if used is None:
            raise _bad_link()
        await _take_over(connection, context, used["account_id"], used["email"], password_hash)
    await context.limits.refund(limits.CONFIRM, limits.address(request))
    await context.revoked.refresh()
    return Response(status_code=204)


async def _take_over(
    connection: AsyncConnection, context: Context, account_id: str, email: str, password_hash: str
) -> None:
    now = context.clock.now()
    account = await core.account(connection, account_id)
    unproven = account["email_confirmed_at"] is None
    if unproven:
        # Somebody else may have registered this address and waited: its owner is here now, and only they shall get in.
        await context.second_factors.remove(connection, account_id)
    await core.set_password(connection, account_id, password_hash)
    await core.confirm_email(connection, account_id, email, now)
    await codes.drop(connection, account_id)
    await sessions.revoke_all(connection, account_id, now)
    await post.write(connection, account_id, account["email"], account["language"], "password_changed")
    await audit.record(connection, actor=account_id, action="account.password_reset", subject=account_id, at=now)
    if unproven and account["second_factor"]:
        await _told(connection, context, account_id, "second_factor_off")


@router.put("/password", status_code=204)
async def change_password(body: NewPassword, context: Ctx, claims: SignedIn) -> Response:
    """Change the password, by the present one; every other session ends."""
    async with context.transaction() as connection:
        account = await core.account(connection, claims.account_id)
    await check_password(context, claims.account_id, account["password_hash"], body.password)
    check_strength(body.new_password, account["email"] or "")
    await check_leaks(context.settings.breached_passwords_url, body.new_password)
    password_hash, now = await context.passwords.hash(body.new_password), context.clock.now()
    async with context.transaction() as connection:
        await core.hold_login(connection, claims.account_id, account["password_hash"])
        await core.set_password(connection, claims.account_id, password_hash)
        await codes.drop(connection, claims.account_id)
        await sessions.revoke_all(connection, claims.account_id, now, but=claims.session_id)
        await post.write(connection, claims.account_id, account["email"], account["language"], "password_changed")
        await audit.record(
            connection, actor=claims.account_id, action="account.password_changed", subject=claims.account_id, at=now
        )
    await context.revoked.refresh()
    return Response(status_code=204)


@router.put("/email", status_code=202, response_class=Response)
async def change_email(body: NewEmail, context: Ctx, claims: Fresh) -> Response:
    """Ask to sign in with another address: a letter to it has the link that does it, one to the present address warns.

    The answer is the same where the new address has an account; then only the warning goes.
    """
    await context.limits.spend(limits.RECOVERY, claims.account_id)
    now = context.clock.now()
    async with context.transaction() as connection:
        await grown_up(connection, claims.account_id, claims.session_id, claims.auth_time)
        account = await core.account(connection, claims.account_id)
        taken = await core.account_by_email(connection, body.email)
        await codes.drop(connection, claims.account_id, "email")
        if taken is None:
            code = await codes.issue(connection, "email", claims.account_id, now, body.email)
            where = link(context.settings, "confirm", token=code)
            await post.write(connection, claims.account_id, body.email, account["language"], "new_email", link=where)
        await post.write(
            connection, claims.account_id, account["email"], account["language"], "email_changing", email=body.email
        )
    return Response(status_code=202)


@router.get("/totp")
async def second_factor(context: Ctx, claims: SignedIn) -> SecondFactor:
    """Whether signing in takes a code of an authenticator app, and how many recovery codes are left."""
    async with context.transaction() as connection:
        account = await core.account(connection, claims.account_id)
        left = await context.second_factors.left(connection, claims.account_id)
    return SecondFactor(enabled=account["second_factor"], recovery_codes_left=left)


@router.post("/totp")
async def propose(context: Ctx, claims: Fresh) -> Enrolment:
    """A secret for an authenticator app; it counts once a code of it was given to `/totp/confirm`."""
    async with context.transaction() as connection:
        await grown_up(connection, claims.account_id, claims.session_id, claims.auth_time)
        account = await core.account(connection, claims.account_id)
        made = await context.second_factors.propose(
            connection, claims.account_id, account["email"] or claims.account_id
        )
    return Enrolment(secret=made.secret, uri=made.uri, qr=qr_code(made.uri))


@router.post("/totp/confirm")
async def confirm_second_factor(body: OneCode, context: Ctx, claims: Fresh) -> RecoveryCodes:
    """Turn the second factor on by a first code; answers with the recovery codes."""
    await context.limits.spend(limits.SECOND_FACTOR, claims.account_id)
    now = context.clock.now()
    async with context.transaction() as connection:
        await grown_up(connection, claims.account_id, claims.session_id, claims.auth_time)
        made = await context.second_factors.confirm(connection, claims.account_id, body.code, now)
        await _told(connection, context, claims.account_id, "second_factor_on")
    await context.limits.refund(limits.SECOND_FACTOR, claims.account_id)
    return RecoveryCodes(recovery_codes=made)


@router.post("/totp/recovery-codes")
async def recovery_codes(context: Ctx, claims: Fresh) -> RecoveryCodes:
    """New recovery codes instead of those that are left."""
    async with context.transaction() as connection:
        await grown_up(connection, claims.account_id, claims.session_id, claims.auth_time)
        account = await core.account(connection, claims.account_id)
        if not account["second_factor"]:
            raise Problem(409, "no_second_factor", "this account has no second factor")
        made = await context.second_factors.renew_recovery(connection, claims.account_id)
        await audit.record(
            connection,
            actor=claims.account_id,
            action="account.recovery_codes_renewed",
            subject=claims.account_id,
            at=context.clock.now(),
        )
    return RecoveryCodes(recovery_codes=made)


@router.delete("/totp", status_code=204)
async def remove_second_factor(context: Ctx, claims: Fresh) -> Response:
    """Sign in with the password alone again."""
    async with context.transaction() as connection:
        await grown_up(connection, claims.account_id, claims.session_id, claims.auth_time)
        if not await context.second_factors.remove(connection, claims.account_id):
            raise Problem(409, "no_second_factor", "this account has no second factor")
        await _told(connection, context, claims.account_id, "second_factor_off")
    return Response(status_code=204)


async def _told(connection: AsyncConnection, context: Context, account_id: str, what: str) -> None:
    """A letter and an audit row of the same name."""
    account = await core.account(connection, account_id)
    await post.write(connection, account_id, account["email"], account["language"], what)
    await audit.record(
        connection, actor=account_id, action=f"account.{what}", subject=account_id, at=context.clock.now()
    )


def _bad_link() -> Problem:
    return Problem(400, "bad_link", "this link was used, or is too old: ask for a new letter")
