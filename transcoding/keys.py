"""Content keys in PostgreSQL, wrapped by the key-encryption key in the home's secrets (envelope encryption).

A key belongs to a tier of a title and a period of the film, and to all packages of that title. Whoever has the database
alone has no key. Nothing here is ever logged; a key does not show its bytes.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import psycopg.rows
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from matinee.db import queries
from matinee.home import Home
from matinee.ids import uuid7
from matinee.secrets import newest, renew, retire, version
from matinee.settings import Settings
from transcoding.errors import TranscodingError, TransientError
from transcoding.protect import KEY_BYTES, Key

_SQL = queries.load(Path(__file__).parent)
_KEK = "kek"
_NONCE_BYTES = 12


@dataclass(frozen=True)
class TitleKey:
    """A key and what it opens: a tier of a title."""

    key_id: str
    title_id: str
    tier: str
    secret: bytes = field(repr=False)


def content_key(connection: psycopg.Connection, settings: Settings, title_id: str, tier: str, period: int) -> Key:
    """The key of a tier in a period of a title's film (0, 1, ...), made if there is none; of two who race both get one.

    It is safe once the caller's transaction is committed: commit before a package with it is published.

    Raises:
        TransientError: the home's secrets are not those that belong to this database.
    """
    where = {"title_id": title_id, "tier": tier, "period": period}
    found = connection.execute(_SQL["content_key"], where).fetchone()
    if found is None:
        key_id, (number, kek) = uuid7(), confirmed(connection, settings, _KEK)
        wrapped = _wrap(kek, key_id, secrets.token_bytes(KEY_BYTES))
        connection.execute(_SQL["add_content_key"], where | {"key_id": key_id, "wrapped": wrapped, "kek": number})
        # Somebody may have been first: what counts is what stands there.
        found = connection.execute(_SQL["content_key"], where).fetchone()
    if found is None:
        raise TranscodingError(f"the {tier} key of {title_id} vanished while it was made: try again")
    key_id, wrapped, number = found
    return Key(key_id, _unwrap(settings.home, key_id, wrapped, number))


def confirmed(connection: psycopg.Connection, settings: Settings, name: str) -> tuple[int, bytes]:
    """The newest version of a secret and its bytes, once it is known to be the one that belongs to this database.

    The first home that uses a secret with a database leaves its digest there.

    Raises:
        TransientError: another home's secret belongs to it, or a newer one: another machine may do the work.
    """
    home, (number, own) = settings.home, newest(settings.home, name)
    if name == _KEK and (made := connection.execute(_SQL["content_key_under"], {"kek": number}).fetchone()):
        _unwrap(home, made[0], made[1], number)  # of a database from before there were digests
    mine = _digest(name, number, own)
    connection.execute(_SQL["add_secret_check"], {"name": name, "version": number, "digest": mine})
    known = dict(connection.execute(_SQL["secret_checks"], {"name": name}).fetchall())
    newer = [other for other in known if other > number and version(home, name, other) is None]
    if newer or not hmac.compare_digest(known[number], mine):
        problem = f"version {max(newer)} of it is not here" if newer else f"its version {number} is another one"
        raise TransientError(
            f"the secret {name!r} in {home.secrets} does not belong to this database ({problem}): copy the folder "
            "`secrets` of the home that was there first, or restore it from its backup (`matinee restore`)"
        )
    return number, own


def _digest(name: str, number: int, own: bytes) -> bytes:
    return hmac.digest(own, f"matinee secret check {name} {number}".encode(), hashlib.sha256)


def open_key(connection: psycopg.Connection, settings: Settings, key_id: str) -> bytes:
    """The 16 bytes of a key.

    Raises:
        TranscodingError: there is no such key, or the home's secrets do not open it.
    """
    found = connection.execute(_SQL["content_key_by_id"], {"key_id": key_id}).fetchone()
    if found is None:
        raise TranscodingError(f"there is no content key {key_id}")
    return _unwrap(settings.home, key_id, found[3], found[4])


async def find_key(connection: psycopg.AsyncConnection, settings: Settings, key_id: str) -> TitleKey | None:
    """A key with what it opens, for who must decide whether to hand it out; none where there is no such key.

    Raises:
        TranscodingError: the home's secrets do not open it.
    """
    cursor = connection.cursor(row_factory=psycopg.rows.tuple_row)
    found = await (await cursor.execute(_SQL["content_key_by_id"], {"key_id": key_id})).fetchone()
    if found is None:
        return None
    key_id, title_id, tier, wrapped, number = found
    return TitleKey(key_id, title_id, tier, _unwrap(settings.home, key_id, wrapped, number))


def rotate(connection: psycopg.Connection, settings: Settings) -> tuple[int, int]:
    """Make a new key-encryption key and wrap every content key anew; packages stay as they are, and play on.

    Returns the new version and how many keys were wrapped anew. Versions that wrap nothing any more are deleted, but
    for the last one: a key that is being made right now may still be under it.

    Raises:
        TranscodingError: a key cannot be opened; none is changed then.
    """
    renew(settings.home, _KEK)
    with connection.transaction():
        changed = rewrap(connection, settings)
    used = {row[0] for row in connection.execute(_SQL["content_key_versions"])}
    retire(settings.home, _KEK, used)
    return newest(settings.home, _KEK)[0], changed


def rewrap(connection: psycopg.Connection, settings: Settings) -> int:
    """Wrap every content key with the newest key-encryption key; returns how many were not. In one transaction."""
    number, kek = confirmed(connection, settings, _KEK)
    connection.execute(_SQL["lock_content_keys"])
    rows = connection.execute(_SQL["content_keys_of_others"], {"kek": number}).fetchall()
    for key_id, wrapped, old in rows:
        again = _wrap(kek, key_id, _unwrap(settings.home, key_id, wrapped, old))
        connection.execute(_SQL["rewrap_content_key"], {"key_id": key_id, "wrapped": again, "kek": number})
    return len(rows)


def _wrap(kek: bytes, key_id: str, secret: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(kek).encrypt(nonce, secret, key_id.encode())


def _unwrap(home: Home, key_id: str, wrapped: bytes, number: int) -> bytes:
    kek = version(home, _KEK, number)
    remedy = "copy the folder `secrets` of the home that made it, or restore it (`matinee restore`)"
    if kek is None:
        raise TransientError(
            f"content key {key_id} is wrapped by key-encryption key {number}, which is not in {home.secrets}: {remedy}"
        )
    try:
        return AESGCM(kek).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], key_id.encode())
    except InvalidTag:
        problem = f"content key {key_id} cannot be opened by key-encryption key {number} of {home.secrets}: {remedy}"
        raise TransientError(problem) from None
