"""Signing in: limits against guessing, the password, the second factor. Several short transactions, as hashing is slow.

Whoever hammers an account cannot lock its owner out (ASVS 5.0, 6.1.1, 6.3.1): once an account, or the service as a
whole, has had too many failures, every address still has one guess in five minutes, and a right one counts as none.
"""

from dataclasses import dataclass

from psycopg import AsyncConnection

from serving import limits
from serving.accounts import codes, core
from serving.accounts.journal import tell
from serving.accounts.second_factor import wrong_code
from serving.accounts.sessions import Entry, open_session
from serving.context import Context
from serving.problems import Problem


@dataclass(frozen=True)
class Caller:
    """Who asks: the client's address, and the device by its User-Agent."""

    address: str
    device: str


async def sign_in(context: Context, caller: Caller, email: str, password: str, code: str | None) -> Entry:
    """Open a session by e-mail and password, and a second factor's code where the account has one.

    Raises:
        Problem: 401 `wrong_credentials`, alike for an unknown e-mail and a wrong password and after the same work; 401
            `second_factor_required` with a `challenge` for `answer_challenge`; 401 `wrong_code`; 429.
    """
    spent = await _spend(context.limits, caller.address, email.strip().lower())
    async with context.transaction() as connection:
        account = await core.account_by_email(connection, email)
    fits = await context.passwords.verify(account["password_hash"] if account else None, password)
    if account is None or not fits:
        tell("sign_in_refused", account["account_id"] if account else None, why="password")
        raise core.wrong_credentials()
    for purpose, key in spent:
        await context.limits.refund(purpose, key)
    account_id, password_hash = account["account_id"], account["password_hash"]
    if account["second_factor"]:
        if code is None:
            raise await _challenge(context, account_id, password_hash)
        await check_code(context, account_id, code)
    async with context.transaction() as connection:
        await core.hold_login(connection, account_id, password_hash)
        entry = await _open(connection, context, caller, account_id)
    tell("signed_in", account_id)
    return entry


async def answer_challenge(context: Context, caller: Caller, challenge: str, code: str) -> Entry:
    """The second half of signing in: a code for the challenge that the password was answered with.

    Raises:
        Problem: 401 `invalid_challenge`, `wrong_code`; 429.
    """
    now = context.clock.now()
    async with context.transaction() as connection:
        account_id = await codes.holder(connection, challenge, "challenge", now)
    if account_id is None:
        raise Problem(401, "invalid_challenge", "too late: give the password again")
    await check_code(context, account_id, code)
    async with context.transaction() as connection:
        if await codes.use(connection, challenge, ("challenge",), now) is None:
            raise Problem(401, "invalid_challenge", "too late: give the password again")
        entry = await _open(connection, context, caller, account_id)
    tell("signed_in", account_id)
    return entry


async def check_code(context: Context, account_id: str, code: str) -> None:
    """Take a code of the second factor, once.

    Raises:
        Problem: 401 `wrong_code`; 429.
    """
    await context.limits.spend(limits.SECOND_FACTOR, account_id)
    async with context.transaction() as connection:
        if not await context.second_factors.accept(connection, account_id, code, context.clock.now()):
            tell("sign_in_refused", account_id, why="second_factor")
            raise wrong_code()
    await context.limits.refund(limits.SECOND_FACTOR, account_id)


async def _spend(counts: limits.Limits, address: str, email: str) -> list[tuple[limits.Purpose, str]]:
    """Count an attempt before it is made; returns what to give back if it succeeds.

    Raises:
        Problem: 429.
    """
    await counts.spend(limits.LOGIN_ADDRESS, address)
    spent, crowded = [(limits.LOGIN_ADDRESS, address)], False
    for purpose, key in ((limits.LOGIN_ACCOUNT, email), (limits.LOGIN_ALL, "all")):
        try:
            await counts.spend(purpose, key)
            spent.append((purpose, key))
        except Problem:
            crowded = True
    if crowded:
        once = (limits.LOGIN_CROWDED, f"{email} {address}")
        await counts.spend(*once)
        spent.append(once)
    return spent


async def _challenge(context: Context, account_id: str, password_hash: str) -> Problem:
    async with context.transaction() as connection:
        await core.hold_login(connection, account_id, password_hash)
        challenge = await codes.issue(connection, "challenge", account_id, context.clock.now())
    return Problem(
        401, "second_factor_required", "give a code of your authenticator app, or a recovery code", challenge=challenge
    )


async def _open(connection: AsyncConnection, context: Context, caller: Caller, account_id: str) -> Entry:
    return await open_session(connection, context.refresh_key, account_id, context.clock.now(), device=caller.device)
