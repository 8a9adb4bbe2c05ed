"""Access tokens: JWT (RFC 7519, profile of RFC 9068), HS256, ten minutes.

Verified claims are kept in memory until they expire: verifying costs about 30 microseconds, a look-up next to nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from matinee.clock import Clock
from matinee.home import Home
from matinee.secrets import newest, version
from serving.problems import Problem

ACCESS_LIFE = timedelta(minutes=10)
_ALGORITHM = "HS256"
_TYPE = "at+jwt"
_ISSUER = "matinee"
_AUDIENCE = "matinee-api"
ROLES = frozenset({"viewer", "moderator", "admin"})
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "sid", "role", "auth_time"]
_MEMO_SIZE = 10_000
_SECRET = "token"  # noqa: S105 - the name of a file, not what is in it


@dataclass(frozen=True, slots=True)
class Claims:
    """Who calls: the account, its login session, its role; `expires_at` in Unix seconds.

    `auth_time`: when a password or second factor was last shown in this session, in Unix seconds; 0: never.
    """

    account_id: str
    session_id: str
    role: str
    expires_at: float
    auth_time: float = 0.0


class Keys:
    """The versions of the home's secret for tokens: the newest signs, whichever `kid` names verifies."""

    def __init__(self, home: Home) -> None:
        self._home = home
        number, key = newest(home, _SECRET)
        self.kid, self.key = str(number), key
        self._known = {self.kid: key}

    def named(self, kid: object) -> bytes | None:
        """The key of a token's header; None for one that this home does not have."""
        if not isinstance(kid, str) or not kid.isascii() or not kid.isdecimal() or len(kid) > 4:
            return None
        if kid not in self._known and (found := version(self._home, _SECRET, int(kid))) is not None:
            self._known[kid] = found
        return self._known.get(kid)


class Tokens:
    """Issues and verifies the access tokens of one home."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._keys = Keys(home)
        self._clock = clock
        self._memo: dict[str, Claims] = {}

    def issue(
        self,
        account_id: str,
        session_id: str,
        role: str,
        life: timedelta = ACCESS_LIFE,
        auth_time: datetime | None = None,
    ) -> str:
        now = self._clock.now()
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": account_id,
            "sid": session_id,
            "role": role,
            "iat": int(now.timestamp()),
            "exp": int((now + life).timestamp()),
            "auth_time": int(auth_time.timestamp()) if auth_time else 0,
        }
        return jwt.encode(claims, self._keys.key, _ALGORITHM, headers={"typ": _TYPE, "kid": self._keys.kid})

    def verify(self, token: str) -> Claims:
        """The claims of a token.

        Raises:
            Problem: 401, `token_expired` or `invalid_token`.
        """
        claims = self._memo.get(token) or self._decode(token)
        if claims.expires_at <= self._clock.now().timestamp():
            self._memo.pop(token, None)
            raise refused("token_expired", "the access token has expired: refresh it")
        return claims

    def _decode(self, token: str) -> Claims:
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.named(header.get("kid"))
            if key is None or header.get("typ") != _TYPE:
                raise refused("invalid_token", "the access token is not valid")
            payload = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                # Time comes from the injected clock, in `verify`.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except (jwt.InvalidTokenError, RecursionError):
            raise refused("invalid_token", "the access token is not valid") from None
        claims = _claims(payload)
        if len(self._memo) >= _MEMO_SIZE:
            self._memo.clear()
        self._memo[token] = claims
        return claims


def _claims(payload: dict[str, object]) -> Claims:
    """Of a payload whose signature holds: still, nothing in it is taken for what it is not."""
    match payload:
        case {"nbf": _}:
            pass  # no token of ours begins later than at once
        case {
            "sub": str(account),
            "sid": str(session),
            "role": str(role),
            "exp": int(until),
            "auth_time": int(shown),
        } if role in ROLES:
            return Claims(account, session, role, float(until), float(shown))
    raise refused("invalid_token", "the access token is not valid")


def refused(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
