"""Accounts and profiles as rows: the one way to create them, shared by registration, imports and the simulator.

Writes `account` and `profile`; what happens to them afterwards (passwords, limits, erasing) belongs to
`serving/accounts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from matinee.ids import uuid7
from matinee.pseudonyms import erased


@dataclass(frozen=True)
class Viewer:
    """A person without a password: imported (`ml:<userId>`) or simulated. One profile, which gets the account's id.

    `created_at` is when the person joined; None means now.
    """

    account_id: str
    name: str
    origin: str
    country: str | None = None
    maturity: int = 18
    language: str = "en"
    created_at: datetime | None = None


def add_viewers(connection: psycopg.Connection, viewers: Sequence[Viewer]) -> int:
    """Create those that are missing, each with one profile whose id is the account's; returns how many were new.

    Who was erased stays erased.
    """
    gone = erased(connection, [v.account_id for v in viewers])
    viewers = [v for v in viewers if v.account_id not in gone]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO account (account_id, origin, country, created_at) VALUES (%s, %s, %s, coalesce(%s, now())) "
            "ON CONFLICT DO NOTHING",
            [(v.account_id, v.origin, v.country, v.created_at) for v in viewers],
        )
        created = cursor.rowcount
        cursor.executemany(
            "INSERT INTO profile (profile_id, account_id, name, maturity, language) "
            "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [(v.account_id, v.account_id, v.name, v.maturity, v.language) for v in viewers],
        )
    return max(created, 0)


async def add_account(
    connection: psycopg.AsyncConnection,
    *,
    email: str,
    password_hash: str,
    role: str = "viewer",
    country: str | None = None,
) -> str | None:
    """Create a registered account; returns its id, or None where the e-mail has one already."""
    account_id = uuid7()
    cursor = await connection.execute(
        "INSERT INTO account (account_id, email, password_hash, role, country) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT DO NOTHING RETURNING account_id",
        (account_id, email, password_hash, role, country),
    )
    return account_id if await cursor.fetchone() else None


async def add_profile(
    connection: psycopg.AsyncConnection, account_id: str, *, name: str, maturity: int, language: str
) -> str:
    """Add a profile to an account; returns its id."""
    profile_id = uuid7()
    await connection.execute(
        "INSERT INTO profile (profile_id, account_id, name, maturity, language) VALUES (%s, %s, %s, %s, %s)",
        (profile_id, account_id, name, maturity, language),
    )
    return profile_id
