"""The rules of accounts: who gets one, and what they sign in with."""

from datetime import datetime

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

from matinee.db.viewers import add_account, add_profile
from serving.accounts.queries import QUERIES
from serving.accounts.types import Registration
from serving.db import Row, execute, row
from serving.problems import Problem
from serving.rights.welcome import Trial, welcome


async def register(
    connection: AsyncConnection,
    request: Registration,
    password_hash: str,
    now: datetime,
    *,
    role: str = "viewer",
    trial: Trial | None = None,
) -> str:
    """Create an account with one profile named after the e-mail, and its trial; returns its id.

    Its e-mail is not confirmed. It may watch all the same: a person who has to look for a letter first is gone, and the
    trial is bound to the account, not to the address.

    Raises:
        Problem: 409, the e-mail has an account.
    """
    account_id = await add_account(
        connection, email=request.email, password_hash=password_hash, role=role, country=request.country
    )
    if account_id is None:
        raise Problem(409, "email_taken", "this e-mail has an account already: log in")
    await execute(connection, QUERIES["set_language"], {"account_id": account_id, "language": request.language})
    name = request.email.split("@")[0]
    await add_profile(connection, account_id, name=name, maturity=18, language=request.language)
    if request.born is not None:
        await execute(connection, QUERIES["set_born"], {"account_id": account_id, "born": request.born})
    if trial is not None:
        await welcome(connection, account_id, request.country, now, trial)
    return account_id


async def give_login(connection: AsyncConnection, account_id: str, email: str, password_hash: str) -> bool:
    """Let a person log in as an imported or simulated viewer; False where the account or the e-mail has a login."""
    given = {"account_id": account_id, "email": email, "password_hash": password_hash}
    return await row(connection, QUERIES["give_login"], given) is not None


async def account_by_email(connection: AsyncConnection, email: str) -> Row | None:
    """The account with its password hash, to be checked outside the transaction: hashing is slow."""
    return await row(connection, QUERIES["account_by_email"], {"email": email.strip()})


async def account(connection: AsyncConnection, account_id: str) -> Row:
    """The account, with its password hash and whether it has a second factor.

    Raises:
        Problem: 401, the account is gone.
    """
    found = await row(connection, QUERIES["account_by_id"], {"account_id": account_id})
    if found is None:
        raise Problem(401, "invalid_token", "the account of this token does not exist")
    return found


async def hold_login(connection: AsyncConnection, account_id: str, password_hash: str) -> None:
    """Keep the password from being changed until the transaction ends. Hashing is slow: it may have been meanwhile.

    Raises:
        Problem: 401 `wrong_credentials`, it was changed, or the account is gone.
    """
    if not await execute(connection, QUERIES["hold_login"], {"account_id": account_id, "password_hash": password_hash}):
        raise wrong_credentials()


def wrong_credentials() -> Problem:
    return Problem(401, "wrong_credentials", "the e-mail or the password is wrong")


async def set_password(connection: AsyncConnection, account_id: str, password_hash: str) -> None:
    await execute(connection, QUERIES["set_password"], {"account_id": account_id, "password_hash": password_hash})


async def confirm_email(connection: AsyncConnection, account_id: str, email: str, now: datetime) -> None:
    """A letter to the address was read: it is the account's own. Nothing happens where the account has another now."""
    await execute(connection, QUERIES["confirm_email"], {"account_id": account_id, "email": email, "now": now})


async def change_email(connection: AsyncConnection, account_id: str, email: str, now: datetime) -> None:
    """Sign in with another address from now on.

    Raises:
        Problem: 409, the e-mail has an account by now.
    """
    given = {"account_id": account_id, "email": email, "now": now}
    taken = Problem(409, "email_taken", "this e-mail has an account already")
    try:
        changed = await execute(connection, QUERIES["set_email"], given)
    except UniqueViolation:  # by who registered it in this very moment
        raise taken from None
    if not changed:
        raise taken


async def authenticated(connection: AsyncConnection, account_id: str, session_id: str, now: datetime) -> bool:
    """Note that the session's holder has just proved who they are; False where the session is over."""
    given = {"account_id": account_id, "session_id": session_id, "now": now}
    return await execute(connection, QUERIES["authenticated"], given) == 1
