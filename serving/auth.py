"""Who calls: a bearer token, or the page's cookie."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request

from serving.accounts.tokens import Claims
from serving.context import context_of
from serving.problems import Problem

ACCESS_COOKIE = "matinee_access"
REFRESH_COOKIE = "matinee_refresh"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def identify(request: Request) -> Claims | None:
    """The caller's claims, or None for an anonymous one.

    Raises:
        Problem: 401, a token is given and does not hold; 403, a cookie came with a request of another site.
    """
    tokens = context_of(request.app).tokens
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated()
        return tokens.verify(token.strip())
    token = request.cookies.get(ACCESS_COOKIE)
    if token is None:
        return None
    if request.method not in _SAFE:
        check_origin(request)
    return tokens.verify(token)


def authenticate(request: Request) -> Claims:
    """The caller's claims.

    Raises:
        Problem: 401, the caller is anonymous; and as `identify`.
    """
    claims = identify(request)
    if claims is None:
        raise unauthenticated()
    return claims


def check_origin(request: Request) -> None:
    """Cookies are sent by browsers alone, and browsers name the origin of every unsafe request (CSRF).

    Raises:
        Problem: 403, the request does not come from our own page.
    """
    origin = request.headers.get("origin")
    if origin is None or urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "cross_site", "a request with cookies must come from this site's own page")


def unauthenticated() -> Problem:
    return Problem(401, "unauthenticated", "sign in first", headers={"WWW-Authenticate": "Bearer"})


async def _visitor(request: Request) -> Claims | None:
    return identify(request)


async def _signed_in(request: Request) -> Claims:
    return authenticate(request)


async def _staff(request: Request) -> Claims:
    claims = authenticate(request)
    if claims.role not in ("moderator", "admin"):
        raise Problem(403, "forbidden", "only moderators and admins may see this")
    return claims


Visitor = Annotated[Claims | None, Depends(_visitor)]
SignedIn = Annotated[Claims, Depends(_signed_in)]
Staff = Annotated[Claims, Depends(_staff)]
