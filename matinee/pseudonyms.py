"""Keys that stand for people outside PostgreSQL, and the cipher for what must be kept whole.

`account_key` and `profile_key` are HMAC-SHA256 of the id under a salt of that account. The salt lives in the table
`account_salt`, which only this module writes; destroying the row makes every key and every dead letter of the
account unreadable.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


@dataclass(frozen=True)
class Salt:
    """The secret of one account: 32 bytes."""

    value: bytes

    def key(self, identifier: str) -> str:
        """The pseudonym of the account's id or of one of its profiles' ids: 64 hexadecimal digits."""
        return hmac.new(self.value, identifier.encode(), hashlib.sha256).hexdigest()

    def seal(self, plain: bytes) -> bytes:
        """Encrypt with AES-256-GCM under a key derived from the salt; a fresh nonce goes in front."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._cipher_key()).encrypt(nonce, plain, None)

    def open(self, sealed: bytes) -> bytes:
        return AESGCM(self._cipher_key()).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)

    def _cipher_key(self) -> bytes:
        return hmac.new(self.value, b"dead letters", hashlib.sha256).digest()


def salts(connection: psycopg.Connection, account_ids: Iterable[str]) -> dict[str, Salt]:
    """The salts of these accounts, made for those that have none yet."""
    wanted = sorted(set(account_ids))
    if not wanted:
        return {}
    known = _known(connection, wanted)
    missing = [account for account in wanted if account not in known]
    if missing:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO account_salt (account_id, salt) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [(account, secrets.token_bytes(32)) for account in missing],
            )
        known |= _known(connection, missing)
    return known


def _known(connection: psycopg.Connection, accounts: list[str]) -> dict[str, Salt]:
    rows = connection.execute("SELECT account_id, salt FROM account_salt WHERE account_id = ANY(%s)", (accounts,))
    return {account: Salt(bytes(salt)) for account, salt in rows}


async def salt_of(connection: psycopg.AsyncConnection, account_id: str) -> Salt | None:
    """The salt of one account, or None where nothing of it has reached the lake yet."""
    cursor = await connection.execute("SELECT salt FROM account_salt WHERE account_id = %s", (account_id,))
    found = await cursor.fetchone()
    return Salt(bytes(found[0])) if found else None
