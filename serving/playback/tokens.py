"""Signed media paths: `/v/{mac}.{exp}.{playback_id}/{title_id}/{package_id}/…`.

The token stands in the path, so that the relative names in static playlists keep it. It opens one package, for some
minutes, and only together with the cookie of the browser that asked to watch.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.requests import Request

from serving.problems import Problem

# So long an address opens; heartbeats renew it long before.
TOKEN_LIFE = timedelta(minutes=10)
COOKIE = "matinee_playback"
_COOKIE_VALUE = re.compile(r"^[A-Za-z0-9_-]{43}$")
_TOKEN = re.compile(r"^([A-Za-z0-9_-]{43})\.([0-9]{1,12})\.([0-9a-f-]{36})$")


@dataclass(frozen=True)
class Grant:
    """What a token opens, until when (Unix seconds)."""

    playback_id: str
    title_id: str
    package_id: str
    expires_at: int

    @property
    def expires_at_text(self) -> str:
        """RFC 3339, UTC."""
        return datetime.fromtimestamp(self.expires_at, UTC).isoformat()


class MediaTokens:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def path(self, grant: Grant, cookie: str) -> str:
        """The folder of the package under its signed path, without a slash at the end."""
        token = f"{self._mac(grant, cookie)}.{grant.expires_at}.{grant.playback_id}"
        return f"/v/{token}/{grant.title_id}/{grant.package_id}"

    def check(self, token: str, title_id: str, package_id: str, cookie: str | None, now: float) -> Grant:
        """What the token grants for this package and this browser.

        Raises:
            Problem: 403, the token, the package and the cookie do not belong together; 410, its time is over.
        """
        match = _TOKEN.match(token)
        if match is None or cookie is None:
            raise _forbidden()
        grant = Grant(match[3], title_id, package_id, int(match[2]))
        if not hmac.compare_digest(match[1], self._mac(grant, cookie)):
            raise _forbidden()
        if grant.expires_at <= now:
            raise Problem(410, "media_expired", "this media address has expired: ask to watch again")
        return grant

    def _mac(self, grant: Grant, cookie: str) -> str:
        bound = fingerprint(cookie).hex()
        parts = (str(grant.expires_at), grant.playback_id, grant.title_id, grant.package_id, bound)
        digest = hmac.digest(self._key, "\0".join(parts).encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def expiry(issued: datetime) -> int:
    """When an address that was issued then stops opening: Unix seconds."""
    return int((issued + TOKEN_LIFE).timestamp())


def cookie_name(request: Request) -> str:
    """Over HTTPS bound to this very host (`__Host-`): no neighbour can set it."""
    return f"__Host-{COOKIE}" if is_secure(request) else COOKIE


def is_secure(request: Request) -> bool:
    """Whether it came over HTTPS, as far as trusted proxies tell."""
    return request.scope["scheme"] == "https"


def browser_cookie(present: str | None) -> str:
    """The value of the playback cookie: the browser's own, so that its other tabs play on, or a new one."""
    return present if present and _COOKIE_VALUE.match(present) else secrets.token_urlsafe(32)


def fingerprint(cookie: str) -> bytes:
    """What is kept of a playback cookie: its SHA-256."""
    return hashlib.sha256(cookie.encode()).digest()


def _forbidden() -> Problem:
    return Problem(403, "media_forbidden", "this media address does not open for this browser")
