"""Access tokens: JWT (RFC 7519, profile of RFC 9068), HS256, ten minutes.

Verified claims are kept in memory until they expire: verifying costs about 30 microseconds, a look-up next to nothing.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta

import jwt

from matinee.clock import Clock
from serving.problems import Problem

ACCESS_LIFE = timedelta(minutes=10)
_ALGORITHM = "HS256"
_TYPE = "at+jwt"
_ISSUER = "matinee"
_AUDIENCE = "matinee-api"
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "sid", "role"]
_MEMO_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Claims:
    """Who calls: the account, its login session, its role; `expires_at` in Unix seconds."""

    account_id: str
    session_id: str
    role: str
    expires_at: float


class Tokens:
    """Issues and verifies the access tokens of one home."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._memo: dict[str, Claims] = {}

    def issue(self, account_id: str, session_id: str, role: str, life: timedelta = ACCESS_LIFE) -> str:
        now = self._clock.now()
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": account_id,
            "sid": session_id,
            "role": role,
            "iat": int(now.timestamp()),
            "exp": int((now + life).timestamp()),
        }
        return jwt.encode(claims, self._key, _ALGORITHM, headers={"typ": _TYPE})

    def verify(self, token: str) -> Claims:
        """The claims of a token.

        Raises:
            Problem: 401, `token_expired` or `invalid_token`.
        """
        claims = self._memo.get(token) or self._decode(token)
        if claims.expires_at <= self._clock.now().timestamp():
            self._memo.pop(token, None)
            raise _refused("token_expired", "the access token has expired: refresh it")
        return claims

    def _decode(self, token: str) -> Claims:
        try:
            decoded = jwt.decode_complete(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                # Time comes from the injected clock, in `verify`.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            raise _refused("invalid_token", "the access token is not valid") from None
        payload = decoded["payload"]
        if decoded["header"].get("typ") != _TYPE or not isinstance(payload["exp"], int):
            raise _refused("invalid_token", "the access token is not valid")
        claims = Claims(payload["sub"], payload["sid"], payload["role"], float(payload["exp"]))
        if len(self._memo) >= _MEMO_SIZE:
            self._memo.clear()
        self._memo[token] = claims
        return claims

    def successor(self, refresh_token: str) -> str:
        """The refresh token that follows this one: always the same, so that two racing tabs end up with one."""
        return hmac.new(self._key, b"refresh\0" + refresh_token.encode(), hashlib.sha256).hexdigest()


def _refused(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def new_refresh_token() -> str:
    return secrets.token_hex(32)


def refresh_hash(token: str) -> bytes:
    """What the database keeps of a refresh token."""
    return hashlib.sha256(token.encode()).digest()
