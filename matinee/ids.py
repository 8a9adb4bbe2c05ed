"""Identifiers: UUID version 7 (RFC 9562), random or derived from content."""

import hashlib
import re
import secrets
from uuid import UUID

from matinee.clock import Clock, SystemClock

# At most 64 plain characters, which a folder can be named by: not "." or "..". Without a look-ahead, which the engine
# behind the contracts does not have.
TITLE_ID_PATTERN = (
    r"^(?:[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}"
    r"|\.[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,62}"
    r"|\.\.[A-Za-z0-9._:-]{1,62})$"
)
TITLE_ID = re.compile(TITLE_ID_PATTERN.removesuffix("$") + r"\Z")


def uuid7(clock: Clock | None = None) -> str:
    """A fresh UUIDv7 as text: 48 bits of Unix milliseconds, then 74 random bits."""
    moment = (clock or SystemClock()).now()
    return _compose(int(moment.timestamp() * 1000), secrets.randbits(74))


def content_uuid7(unix_ms: int, *parts: str) -> str:
    """The UUIDv7 that a given content always gets, so that importing it twice changes nothing.

    The time is the content's own; the other 74 bits come from SHA-256 over the parts, separated by a zero byte.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return _compose(unix_ms, int.from_bytes(digest, "big") >> (256 - 74))


def _compose(unix_ms: int, tail: int) -> str:
    high, low = tail >> 62, tail & ((1 << 62) - 1)
    value = (unix_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    return str(UUID(int=value))
