"""Who calls: a bearer token, or the page's cookie; what their role lets them do, how lately they proved it."""

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request

from serving.accounts.cookies import access_cookie
from serving.accounts.journal import tell
from serving.accounts.tokens import Claims
from serving.context import context_of
from serving.problems import Problem

# So long after a password or second factor was shown, what changes how one signs in may be done (ASVS 5.0, 7.5.1).
FRESH = timedelta(minutes=5)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def identify(request: Request) -> Claims | None:
    """The caller's claims, or None for an anonymous one.

    Raises:
        Problem: 401, a token is given and does not hold, or its session was ended; 403, a cookie came with a request of
            another site.
    """
    context = context_of(request.app)
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated()
        token = token.strip()
    else:
        token = access_cookie(request)
        if token is None:
            return None
        if request.method not in _SAFE:
            check_origin(request)
    claims = context.tokens.verify(token)
    context.revoked.check(claims)
    return claims


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

    Pages of the origins in `MATINEE_CORS_ORIGINS` are ours too.

    Raises:
        Problem: 403, the request does not come from our own page.
    """
    origin = request.headers.get("origin")
    ours = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not ours and origin not in context_of(request.app).origins:
        raise Problem(403, "cross_site", "a request with cookies must come from this site's own page")


def unauthenticated() -> Problem:
    return Problem(401, "unauthenticated", "sign in first", headers={"WWW-Authenticate": "Bearer"})


def _route(request: Request) -> str:
    return getattr(request.scope.get("route"), "path", "unmatched")


async def _visitor(request: Request) -> Claims | None:
    return identify(request)


async def _signed_in(request: Request) -> Claims:
    return authenticate(request)


async def _staff(request: Request) -> Claims:
    claims = authenticate(request)
    if claims.role not in ("moderator", "admin"):
        tell("denied", claims.account_id, route=_route(request))
        raise Problem(403, "forbidden", "only moderators and admins may see this")
    return claims


async def _admin(request: Request) -> Claims:
    claims = authenticate(request)
    if claims.role != "admin":
        tell("denied", claims.account_id, route=_route(request))
        raise Problem(403, "forbidden", "only admins may do this")
    return claims


async def _fresh(request: Request) -> Claims:
    claims = authenticate(request)
    if context_of(request.app).clock.now().timestamp() - claims.auth_time > FRESH.total_seconds():
        raise Problem(403, "fresh_required", "confirm who you are first: POST /api/auth/reauthenticate")
    return claims


Visitor = Annotated[Claims | None, Depends(_visitor)]
SignedIn = Annotated[Claims, Depends(_signed_in)]
Staff = Annotated[Claims, Depends(_staff)]
Admin = Annotated[Claims, Depends(_admin)]
Fresh = Annotated[Claims, Depends(_fresh)]
