"""The second factor: time-based codes of an authenticator app (TOTP, RFC 6238) and recovery codes for who has lost it.

A code counts within its 30 seconds and the 30 after, for slow typists and slow clocks, and once: no step at or before
the last one that was used is ever taken again (ASVS 5.0, 6.5.1, 6.5.5, 6.5.6).
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

import psycopg

from matinee.home import Home
from matinee.secrets import secret
from serving.accounts.queries import QUERIES
from serving.accounts.sealing import seal, unseal
from serving.db import execute, row
from serving.problems import Problem

STEP_S = 30
_DIGITS = 6
_ISSUER = "Matinee"
_RECOVERY_CODES = 10
_RECOVERY_BYTES = 10  # 80 bits: 16 letters and digits


@dataclass(frozen=True)
class Enrolment:
    """What an authenticator app is told: `secret` in base 32, the same in `uri` (otpauth://)."""

    secret: str
    uri: str


class SecondFactors:
    """The second factors of one home's accounts."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._key = secret(home, "recovery")

    async def propose(self, connection: psycopg.AsyncConnection, account_id: str, email: str) -> Enrolment:
        """Make a secret for an app; it counts once a code of it was given.

        Raises:
            Problem: 409 `second_factor_on`, the account has one.
        """
        import pyotp
        from pyotp.totp import TOTP

        chosen = pyotp.random_base32()
        given = {"account_id": account_id, "sealed": seal(self._home, account_id, chosen.encode())}
        if not await execute(connection, QUERIES["propose_second_factor"], given):
            raise Problem(409, "second_factor_on", "this account has a second factor: remove it first")
        return Enrolment(chosen, TOTP(chosen).provisioning_uri(name=email, issuer_name=_ISSUER))

    async def confirm(
        self, connection: psycopg.AsyncConnection, account_id: str, code: str, now: datetime
    ) -> list[str]:
        """Turn the proposed second factor on by a first code; returns the recovery codes, shown this once.

        Raises:
            Problem: 409, nothing is proposed or it is on already; 401 `wrong_code`.
        """
        found = await row(connection, QUERIES["second_factor"], {"account_id": account_id})
        if found is None or found["confirmed_at"] is not None:
            raise Problem(409, "no_second_factor_proposed", "ask for a second factor first")
        if not await self._totp(connection, account_id, code, now):
            raise wrong_code()
        await execute(connection, QUERIES["confirm_second_factor"], {"account_id": account_id, "now": now})
        return await self.renew_recovery(connection, account_id)

    async def renew_recovery(self, connection: psycopg.AsyncConnection, account_id: str) -> list[str]:
        """New recovery codes; the old ones open nothing any more."""
        codes = [_spelt(secrets.token_bytes(_RECOVERY_BYTES)) for _ in range(_RECOVERY_CODES)]
        await execute(connection, QUERIES["drop_recovery_codes"], {"account_id": account_id})
        given = {"account_id": account_id, "hashes": [self._hash(account_id, code) for code in codes]}
        await execute(connection, QUERIES["add_recovery_codes"], given)
        return codes

    async def accept(self, connection: psycopg.AsyncConnection, account_id: str, code: str, now: datetime) -> bool:
        """Whether this code of the app, or this recovery code, is right and was not used before; it is used now."""
        found = await row(connection, QUERIES["second_factor"], {"account_id": account_id})
        if found is None or found["confirmed_at"] is None:
            return False
        plain = _plain(code)
        if len(plain) == _DIGITS and plain.isdecimal():
            return await self._totp(connection, account_id, plain, now)
        given = {"account_id": account_id, "code_hash": self._hash(account_id, plain)}
        return await execute(connection, QUERIES["use_recovery_code"], given) == 1

    async def remove(self, connection: psycopg.AsyncConnection, account_id: str) -> bool:
        """Turn the second factor off; False where there was none."""
        await execute(connection, QUERIES["drop_recovery_codes"], {"account_id": account_id})
        return await execute(connection, QUERIES["drop_second_factor"], {"account_id": account_id}) == 1

    async def left(self, connection: psycopg.AsyncConnection, account_id: str) -> int:
        """How many recovery codes are left."""
        found = await row(connection, QUERIES["count_recovery_codes"], {"account_id": account_id})
        return found["codes"] if found else 0

    async def _totp(self, connection: psycopg.AsyncConnection, account_id: str, code: str, now: datetime) -> bool:
        from pyotp.totp import TOTP

        found = await row(connection, QUERIES["second_factor"], {"account_id": account_id})
        if found is None:
            return False
        totp = TOTP(unseal(self._home, account_id, bytes(found["sealed"])).decode())
        current = int(now.timestamp()) // STEP_S
        for step in (current, current - 1):
            if hmac.compare_digest(totp.generate_otp(step).encode(), _plain(code).encode()):
                return await execute(connection, QUERIES["use_step"], {"account_id": account_id, "step": step}) == 1
        return False

    def _hash(self, account_id: str, code: str) -> bytes:
        return hmac.digest(self._key, f"{account_id}\0{_plain(code)}".encode(), hashlib.sha256)


def wrong_code() -> Problem:
    return Problem(401, "wrong_code", "this code is wrong, too old or was used before")


def qr_code(text: str) -> str:
    """A QR code (ISO/IEC 18004) as an SVG document."""
    import segno

    return segno.make(text, error="m").svg_inline(scale=4, border=4)


def _spelt(value: bytes) -> str:
    letters = base64.b32encode(value).decode().lower()
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def _plain(code: str) -> str:
    """As people type codes: with blanks and dashes, in any case."""
    return "".join(code.split()).replace("-", "").lower()
