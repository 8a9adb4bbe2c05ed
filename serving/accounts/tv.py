"""Signing in on a device without a keyboard (RFC 8628, device authorization grant).

The device asks for a pair of codes and shows the short one; somebody who is signed in types it in the page and lets the
device in; the device, which has been asking with the long one, then gets its session. Both work for ten minutes, once.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from serving.accounts.queries import QUERIES
from serving.db import Row, execute, row
from serving.problems import Problem

LIFE = timedelta(minutes=10)
INTERVAL_S = 5
# RFC 8628, 6.1: no vowels, so no words; 20**8 codes.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8


@dataclass(frozen=True)
class Asked:
    """What the device gets: `user_code` to show, `device_code` to keep to itself."""

    device_code: str
    user_code: str


async def start(connection: AsyncConnection, device: str, now: datetime) -> Asked:
    """Begin; `device` says what is to be let in, for who decides."""
    await execute(connection, QUERIES["drop_old_devices"], {"before": now - LIFE})
    while True:
        letters = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        asked = Asked(secrets.token_urlsafe(32), letters)
        given = {
            "device_hash": _hash(asked.device_code),
            "user_code": letters,
            "device": device,
            "now": now,
            "expires_at": now + LIFE,
            "interval_s": INTERVAL_S,
        }
        if await execute(connection, QUERIES["start_device"], given):
            return asked


async def waiting(connection: AsyncConnection, user_code: str, now: datetime) -> Row:
    """The device that shows this code.

    Raises:
        Problem: 404, none does (any more).
    """
    found = await row(connection, QUERIES["device_by_code"], {"user_code": plain(user_code), "now": now})
    if found is None:
        raise _unknown()
    return found


async def decide(connection: AsyncConnection, user_code: str, account_id: str, approve: bool, now: datetime) -> None:
    """Let the device in, or turn it away.

    Raises:
        Problem: 404, no device shows this code (any more).
    """
    given = {"user_code": plain(user_code), "now": now}
    answer = {"account_id": account_id, "denied_at": None} if approve else {"account_id": None, "denied_at": now}
    if not await execute(connection, QUERIES["decide_device"], given | answer):
        raise _unknown()


async def poll(connection: AsyncConnection, device_code: str, now: datetime) -> Row | Problem:
    """The device asks: the row with who let it in, which is used up by this; or what it must hear (RFC 8628, 3.5).

    A refusal is returned, not raised: that the device asked is to be written.
    """
    device_hash = _hash(device_code)
    await execute(connection, QUERIES["hold_by_device"], {"device_hash": device_hash})
    found = await row(connection, QUERIES["device"], {"device_hash": device_hash})
    if found is None or found["expires_at"] <= now:
        return Problem(400, "expired_token", "this code has expired: ask for a new one")
    interval = found["interval_s"]
    early = found["polled_at"] is not None and now - found["polled_at"] < timedelta(seconds=interval)
    interval += 5 if early else 0
    await execute(connection, QUERIES["polled"], {"device_hash": device_hash, "now": now, "interval_s": interval})
    if early:
        return Problem(400, "slow_down", f"ask every {interval} s", interval=interval)
    if found["denied_at"] is None and found["account_id"] is None:
        return Problem(400, "authorization_pending", "nobody has decided yet: ask again")
    await execute(connection, QUERIES["drop_device"], {"device_hash": device_hash})
    if found["account_id"] is None:
        return Problem(400, "access_denied", "this device was turned away")
    return found


def plain(user_code: str) -> str:
    """As people type it: with blanks and dashes, in any case."""
    return "".join(letter for letter in user_code.upper() if letter in _LETTERS)[: _LENGTH + 1]


def spelt(user_code: str) -> str:
    """For people: two groups of four."""
    return f"{user_code[:4]}-{user_code[4:]}"


def _unknown() -> Problem:
    return Problem(404, "unknown_code", "no device shows this code (any more)")


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
