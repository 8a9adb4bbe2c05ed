"""Codes that open one thing once: links in letters, and the ticket between a password and its second factor.

Each has 256 random bits; PostgreSQL keeps its SHA-256 (ASVS 5.0, 6.5.1, 6.5.2, 6.5.5).
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from serving.accounts.queries import QUERIES
from serving.db import Row, execute, row

LIVES = {
    "confirm": timedelta(hours=24),
    "email": timedelta(hours=24),
    "reset": timedelta(hours=1),
    "challenge": timedelta(minutes=5),
}


async def issue(
    connection: AsyncConnection, purpose: str, account_id: str, now: datetime, email: str | None = None
) -> str:
    """Make a code for one of `LIVES`; only who gets it here ever sees it."""
    await execute(connection, QUERIES["drop_old_codes"], {"now": now})
    code = secrets.token_urlsafe(32)
    given = {"code_hash": _hash(code), "account_id": account_id, "purpose": purpose, "email": email, "now": now}
    await execute(connection, QUERIES["add_code"], given | {"expires_at": now + LIVES[purpose]})
    return code


async def use(connection: AsyncConnection, code: str, purposes: Sequence[str], now: datetime) -> Row | None:
    """What the code stands for: account, purpose, e-mail; of many who use it at once, one hears it. None: nothing.

    The account is locked until the transaction ends.
    """
    await execute(connection, QUERIES["hold_by_code"], {"code_hash": _hash(code)})
    found = await row(connection, QUERIES["use_code"], {"code_hash": _hash(code), "purposes": list(purposes)})
    return found if found is not None and found["expires_at"] > now else None


async def holder(connection: AsyncConnection, code: str, purpose: str, now: datetime) -> str | None:
    """The account of a code that stays usable."""
    given = {"code_hash": _hash(code), "purpose": purpose, "now": now}
    found = await row(connection, QUERIES["find_code"], given)
    return found["account_id"] if found else None


async def live(connection: AsyncConnection, account_id: str, purpose: str, now: datetime) -> int:
    """How many codes of this purpose the account has that still open something."""
    found = await row(connection, QUERIES["count_codes"], {"account_id": account_id, "purpose": purpose, "now": now})
    return found["codes"] if found else 0


async def drop(connection: AsyncConnection, account_id: str, purpose: str | None = None) -> None:
    """Make the account's codes worthless, all of them or those of one purpose."""
    await execute(connection, QUERIES["drop_codes"], {"account_id": account_id, "purpose": purpose})


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
