"""Opaque keyset cursors: where the next page starts, sealed, so that nobody builds on what is inside."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import orjson

from serving.problems import Problem

_MAC_BYTES = 16


class Cursors:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, purpose: str, position: Sequence[Any]) -> str:
        """A cursor for the list described by `purpose` (its name and filters)."""
        payload = orjson.dumps(list(position))
        return base64.urlsafe_b64encode(self._mac(purpose, payload) + payload).rstrip(b"=").decode()

    def open(self, purpose: str, cursor: str) -> list[Any]:
        """The position in a cursor.

        Raises:
            Problem: 400, the cursor was not made by us for this list.
        """
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(purpose, payload)):
            raise Problem(400, "bad_cursor", "the cursor does not belong to this list: start from its first page")
        return orjson.loads(payload)

    def _mac(self, purpose: str, payload: bytes) -> bytes:
        message = b"cursor\0" + purpose.encode() + b"\0" + payload
        return hmac.new(self._key, message, hashlib.sha256).digest()[:_MAC_BYTES]
