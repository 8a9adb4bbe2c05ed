"""Secrets of people in PostgreSQL, sealed by a key-encryption key in the home: the database alone opens none.

AES-256-GCM, bound to whose secret it is; the version of the key stands in front, so that a newer one may be made.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from matinee.home import Home
from matinee.secrets import newest, version
from serving.errors import ServingError

_SECRET = "seal"  # noqa: S105 - the name of a file, not what is in it
_VERSION_BYTES = 4
_NONCE_BYTES = 12


def seal(home: Home, owner: str, plain: bytes) -> bytes:
    """Encrypt a secret of `owner` (an account's id)."""
    number, key = newest(home, _SECRET)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return number.to_bytes(_VERSION_BYTES) + nonce + AESGCM(key).encrypt(nonce, plain, owner.encode())


def unseal(home: Home, owner: str, sealed: bytes) -> bytes:
    """What was sealed for this owner.

    Raises:
        ServingError: the home has not the key, or it is another owner's secret.
    """
    number = int.from_bytes(sealed[:_VERSION_BYTES])
    nonce, rest = sealed[_VERSION_BYTES:][:_NONCE_BYTES], sealed[_VERSION_BYTES + _NONCE_BYTES :]
    key = version(home, _SECRET, number)
    try:
        if key is None:
            raise InvalidTag
        return AESGCM(key).decrypt(nonce, rest, owner.encode())
    except InvalidTag:
        raise ServingError(
            f"the secret {_SECRET!r} (version {number}) in {home.secrets} does not open what this database has: copy "
            "the folder `secrets` of the home that was there first, or restore it from its backup (`matinee restore`)"
        ) from None
