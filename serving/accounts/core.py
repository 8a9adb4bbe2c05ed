"""The rules of accounts: who gets in, how sessions live."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.db.viewers import add_account, add_profile
from matinee.ids import uuid7
from serving.accounts.tokens import Tokens, new_refresh_token, refresh_hash
from serving.accounts.types import Registration
from serving.db import Row, execute, row
from serving.problems import Problem
from serving.rights.welcome import Trial, welcome

QUERIES = load(Path(__file__).parent)
# A session dies when it was not used this long; each refresh renews it.
IDLE_LIFE = timedelta(days=30)
# Two tabs may refresh at once: the loser gets the winner's token. Later, the same token is a stolen one.
ROTATION_GRACE = timedelta(seconds=30)


@dataclass(frozen=True)
class Entry:
    """An open session: what the client needs to stay signed in."""

    account_id: str
    session_id: str
    role: str
    refresh_token: str


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

    Raises:
        Problem: 409, the e-mail has an account.
    """
    account_id = await add_account(
        connection, email=request.email, password_hash=password_hash, role=role, country=request.country
    )
    if account_id is None:
        raise Problem(409, "email_taken", "this e-mail has an account already: log in")
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


async def open_session(connection: AsyncConnection, account_id: str, role: str, now: datetime) -> Entry:
    """Start a session; only the hash of its refresh token is kept."""
    entry = Entry(account_id, uuid7(), role, new_refresh_token())
    await execute(
        connection,
        QUERIES["open_session"],
        {
            "session_id": entry.session_id,
            "account_id": account_id,
            "refresh_hash": refresh_hash(entry.refresh_token),
            "now": now,
            "expires_at": now + IDLE_LIFE,
        },
    )
    return entry


async def rotate(connection: AsyncConnection, tokens: Tokens, given: str, now: datetime) -> Entry | None:
    """Exchange a refresh token for its successor; None where it opens nothing (any more).

    A token that was exchanged longer ago than the grace closes its session, for one of its two users is a thief.
    """
    following = tokens.successor(given)
    parameters = {
        "given_hash": refresh_hash(given),
        "next_hash": refresh_hash(following),
        "now": now,
        "expires_at": now + IDLE_LIFE,
    }
    session = await row(connection, QUERIES["rotate_session"], parameters)
    if session is None:
        session = await row(connection, QUERIES["rotated_session"], parameters)
        if session is not None and now - session["rotated_at"] > ROTATION_GRACE:
            await revoke(connection, now, session_id=session["session_id"])
            session = None
    if session is None:
        return None
    return Entry(session["account_id"], session["session_id"], session["role"], following)


async def revoke(
    connection: AsyncConnection, now: datetime, *, session_id: str | None = None, refresh_token: str | None = None
) -> None:
    """Close a session; its last access token lives out its minutes."""
    given = refresh_hash(refresh_token) if refresh_token else None
    await execute(connection, QUERIES["revoke_session"], {"now": now, "session_id": session_id, "given_hash": given})


async def account(connection: AsyncConnection, account_id: str) -> Row:
    """The account.

    Raises:
        Problem: 401, the account is gone.
    """
    found = await row(connection, QUERIES["account"], {"account_id": account_id})
    if found is None:
        raise Problem(401, "invalid_token", "the account of this token does not exist")
    return found
