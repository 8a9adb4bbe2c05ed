"""Login sessions: opened, renewed by rotating refresh tokens, listed, ended (RFC 9700, 4.14.2; ASVS 5.0, 7.3-7.5).

A refresh token says which session it is of and which number it has there, and proves both by a code that needs the
home's key and the session's seed. So every token that a session ever had is known again without one being kept: the
newest one opens, the one before it opens for the length of the grace and gives the same successor, and any older one
ends the session, for one of its two users is a thief.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from matinee.db import audit
from matinee.ids import uuid7
from serving.accounts.journal import tell
from serving.accounts.queries import QUERIES
from serving.db import Row, execute, row, rows
from serving.problems import Problem

# A session dies when it was not used this long; each refresh renews it, up to its longest life.
IDLE_LIFE = timedelta(days=30)
LONGEST_LIFE = timedelta(days=180)
# Two tabs may refresh at once: the loser gets the winner's token. Later, the same token is a stolen one.
ROTATION_GRACE = timedelta(seconds=30)
SEED_BYTES = 32


@dataclass(frozen=True)
class Entry:
    """An open session: what the client needs to stay signed in. `authenticated_at`: see `Claims.auth_time`."""

    account_id: str
    session_id: str
    role: str
    refresh_token: str
    authenticated_at: datetime | None


async def open_session(
    connection: AsyncConnection,
    key: bytes,
    account_id: str,
    now: datetime,
    *,
    device: str = "",
    kind: str = "password",
    life: timedelta = IDLE_LIFE,
) -> Entry:
    """Start a session. `key` is the home's secret for refresh tokens; a `tv` has never shown a password itself.

    Raises:
        Problem: 401 `account_disabled`.
    """
    seed = secrets.token_bytes(SEED_BYTES)
    opened = await row(
        connection,
        QUERIES["open_session"],
        {
            "session_id": uuid7(),
            "account_id": account_id,
            "kind": kind,
            "device": device,
            "seed": seed,
            "now": now,
            "authenticated_at": None if kind == "tv" else now,
            "expires_at": now + life,
        },
    )
    if opened is None:
        raise Problem(401, "account_disabled", "this account is closed: write to the service's support")
    return _entry(opened, key, seed, 1)


async def rotate(connection: AsyncConnection, key: bytes, given: str, now: datetime) -> Entry | None:
    """Exchange a refresh token for its successor; None where it opens nothing (any more)."""
    found = await _session(connection, key, given)
    if found is None or found["revoked_at"] is not None or found["expires_at"] <= now:
        return None
    session, seed, behind = found["session_id"], bytes(found["seed"]), found["generation"] - found["given"]
    if behind == 0:
        latest = min(now + IDLE_LIFE, found["created_at"] + LONGEST_LIFE)
        await execute(connection, QUERIES["rotate_session"], {"session_id": session, "now": now, "expires_at": latest})
        return _entry(found, key, seed, found["generation"] + 1)
    if behind == 1 and now - found["rotated_at"] <= ROTATION_GRACE:
        return _entry(found, key, seed, found["generation"])
    await revoke(connection, session, now)
    tell("refresh_token_reused", found["account_id"])
    await audit.record(
        connection, actor=None, action="session.token_reused", subject=found["account_id"], details={}, at=now
    )
    return None


async def session_of(connection: AsyncConnection, key: bytes, given: str) -> str | None:
    """The session that a genuine refresh token is of, an old one too."""
    found = await _session(connection, key, given)
    return found["session_id"] if found else None


async def revoke(connection: AsyncConnection, session_id: str, now: datetime) -> None:
    """End one session."""
    await execute(connection, QUERIES["revoke_session"], {"session_id": session_id, "now": now})


async def revoke_all(connection: AsyncConnection, account_id: str, now: datetime, *, but: str | None = None) -> int:
    """End the account's sessions, `but` one of them; returns how many were open.

    A television that was let in, and has not asked since, is turned away.
    """
    # First: who is just being let in is waited for, and then has a session that ends here.
    await execute(connection, QUERIES["drop_devices"], {"account_id": account_id})
    return await execute(connection, QUERIES["revoke_sessions"], {"account_id": account_id, "now": now, "but": but})


async def sessions(connection: AsyncConnection, account_id: str, now: datetime) -> list[Row]:
    """The account's open sessions, the one that was used last first."""
    return await rows(connection, QUERIES["sessions"], {"account_id": account_id, "now": now})


async def end(connection: AsyncConnection, account_id: str, session_id: str, now: datetime) -> None:
    """End one session of the account.

    Raises:
        Problem: 404, the account has no such open session.
    """
    given = {"session_id": session_id, "account_id": account_id, "now": now}
    if not await execute(connection, QUERIES["revoke_own_session"], given):
        raise Problem(404, "unknown_session", "this account has no such session")
    await audit.record(connection, actor=account_id, action="session.ended", subject=account_id, at=now)


async def end_all(
    connection: AsyncConnection, account_id: str, now: datetime, *, but: str | None = None, actor: str
) -> int:
    """End the account's sessions, `but` one of them; returns how many were open."""
    ended = await revoke_all(connection, account_id, now, but=but)
    if ended:
        more = {"sessions": ended}
        await audit.record(connection, actor=actor, action="session.ended", subject=account_id, details=more, at=now)
    return ended


async def _session(connection: AsyncConnection, key: bytes, given: str) -> Row | None:
    """The session of a refresh token with the generation that it has been `given`; its row stays locked."""
    session_id, _, rest = given.partition(".")
    number, _, _ = rest.partition(".")
    if not (number.isascii() and number.isdecimal() and len(number) < 9) or "\0" in session_id:
        return None
    found = await row(connection, QUERIES["session_for_update"], {"session_id": session_id})
    if found is None:
        return None
    genuine = _token(key, session_id, bytes(found["seed"]), int(number))
    if not hmac.compare_digest(genuine.encode(), given.encode()) or int(number) > found["generation"]:
        return None
    return found | {"given": int(number)}


def _token(key: bytes, session_id: str, seed: bytes, generation: int) -> str:
    proof = hmac.new(key, seed + f"{session_id}.{generation}".encode(), hashlib.sha256).hexdigest()
    return f"{session_id}.{generation}.{proof}"


def _entry(session: Row, key: bytes, seed: bytes, generation: int) -> Entry:
    token = _token(key, session["session_id"], seed, generation)
    return Entry(session["account_id"], session["session_id"], session["role"], token, session["authenticated_at"])
