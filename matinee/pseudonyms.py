"""Keys that stand for people outside PostgreSQL, and the cipher for what must be kept whole.

`account_key` and `profile_key` are HMAC-SHA256 of the id under a salt of that account. The salt lives in the table
`account_salt`, which only this module writes; destroying the row makes every key and every dead letter of the
account unreadable, and no other salt is ever made for it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_LOCK = 7_228_116  # making salts (shared) against destroying them
_ERASED = """
    SELECT account_id FROM unnest(%s::text[]) AS asked (account_id) CROSS JOIN erasure_pepper p
    JOIN erased_account e ON e.digest = sha256(p.value || convert_to(account_id, 'UTF8'))
"""
_REMEMBER = """
    INSERT INTO erased_account (digest)
    SELECT sha256(p.value || convert_to(account_id, 'UTF8'))
    FROM unnest(%s::text[]) AS asked (account_id) CROSS JOIN erasure_pepper p
    ON CONFLICT DO NOTHING
"""


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
    """The salts of these accounts, made for those that have none yet; who was erased has none and gets none."""
    wanted = sorted(set(account_ids))
    if not wanted:
        return {}
    known = _known(connection, wanted)
    if missing := [account for account in wanted if account not in known]:
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_LOCK,))
        gone = erased(connection, missing)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO account_salt (account_id, salt) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [(account, secrets.token_bytes(32)) for account in missing if account not in gone],
            )
        known |= _known(connection, missing)
    return known


def destroyed(connection: psycopg.Connection, used: Mapping[str, Salt]) -> set[str]:
    """Those of the accounts whose salt is gone since it was read; the others keep theirs until the transaction ends.

    To be asked in the transaction that makes a file with their keys count.
    """
    rows = connection.execute(
        "SELECT account_id FROM account_salt WHERE account_id = ANY(%s) ORDER BY account_id FOR SHARE", (sorted(used),)
    )
    return set(used) - {account for (account,) in rows}


def erased(connection: psycopg.Connection, account_ids: Sequence[str]) -> set[str]:
    """Those of the accounts that were erased."""
    rows = connection.execute(_ERASED, (list(account_ids),))
    return {account for (account,) in rows}


def destroy(connection: psycopg.Connection, account_ids: Sequence[str], keys: Mapping[str, Iterable[str]]) -> None:
    """Destroy the salts of these accounts for good, and remember what they were called in the lake.

    `keys`: column of the lake -> the values that stand for them there. From the commit on nothing leads from a person
    to them, and no new salt is made.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    connection.execute("DELETE FROM account_salt WHERE account_id = ANY(%s)", (list(account_ids),))
    connection.execute(_REMEMBER, (list(account_ids),))
    for kind, values in keys.items():
        connection.execute(
            "INSERT INTO erased_key (kind, key) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            (kind, sorted(values)),
        )


def erased_keys(connection: psycopg.Connection, *, swept: bool = True) -> dict[str, list[str]]:
    """Column of the lake -> what erased people were called there; with `swept` false only those not yet done with."""
    rows = connection.execute(
        "SELECT kind, array_agg(key ORDER BY key) FROM erased_key WHERE %s OR swept_at IS NULL GROUP BY kind", (swept,)
    )
    return dict(rows.fetchall())


def erasures(connection: psycopg.Connection) -> int:
    """How many accounts were ever erased."""
    rows = connection.execute("SELECT count(*) FROM erased_account").fetchall()
    return int(rows[0][0])


def not_erased(connection: psycopg.Connection, profile_keys: Iterable[str]) -> set[str]:
    """Those of the keys that are of nobody who was erased; until the transaction ends nobody is."""
    wanted = sorted(set(profile_keys))
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_LOCK,))
    rows = connection.execute("SELECT key FROM erased_key WHERE kind = 'profile_key' AND key = ANY(%s)", (wanted,))
    return set(wanted) - {key for (key,) in rows}


def profile_keys(connection: psycopg.Connection) -> set[str]:
    """What the lake calls, or would call, every profile of today; an imported account is its own profile."""
    rows = connection.execute(
        "SELECT s.salt, s.account_id, p.profile_id FROM account_salt s LEFT JOIN profile p USING (account_id)"
    )
    return {Salt(bytes(salt)).key(name) for salt, *names in rows for name in names if name is not None}


def forget_keys(connection: psycopg.Connection, keys: Mapping[str, Iterable[str]]) -> int:
    """Drop keys that no file of the lake holds any more; returns how many."""
    return sum(
        connection.execute("DELETE FROM erased_key WHERE kind = %s AND key = ANY(%s)", (kind, sorted(values))).rowcount
        for kind, values in keys.items()
    )


def _known(connection: psycopg.Connection, accounts: list[str]) -> dict[str, Salt]:
    rows = connection.execute("SELECT account_id, salt FROM account_salt WHERE account_id = ANY(%s)", (accounts,))
    return {account: Salt(bytes(salt)) for account, salt in rows}


async def salt_of(connection: psycopg.AsyncConnection, account_id: str) -> Salt | None:
    """The salt of one account, or None where nothing of it has reached the lake yet."""
    cursor = await connection.execute("SELECT salt FROM account_salt WHERE account_id = %s", (account_id,))
    found = await cursor.fetchone()
    return Salt(bytes(found[0])) if found else None
