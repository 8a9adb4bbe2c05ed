"""The page's cookies: out of reach of scripts and of other sites (ASVS 5.0, 3.3.1-3.3.4).

Over HTTPS their names bind them to this very host (`__Host-`) or to HTTPS (`__Secure-`, as the refresh token goes to
its own routes alone): nothing on a neighbouring host or without encryption can set them.
"""

from fastapi import Request, Response

from serving.accounts.sessions import IDLE_LIFE

_ACCESS, _REFRESH = "matinee_access", "matinee_refresh"
_REFRESH_PATH = "/api/auth"


def access_cookie(request: Request) -> str | None:
    return request.cookies.get(_names(request)[0])


def refresh_cookie(request: Request) -> str | None:
    return request.cookies.get(_names(request)[1])


def set_cookies(request: Request, response: Response, access: str, refresh: str | None = None) -> None:
    """Keep the tokens in the browser. The access cookie outlives its token: an expired one is answered by 401, and the
    page refreshes it."""
    for name, value, path in zip(_names(request), (access, refresh), ("/", _REFRESH_PATH), strict=True):
        if value is not None:
            response.set_cookie(
                name,
                value,
                max_age=int(IDLE_LIFE.total_seconds()),
                path=path,
                secure=_secure(request),
                httponly=True,
                samesite="strict",
            )


def clear_cookies(request: Request, response: Response) -> None:
    access, refresh = _names(request)
    response.delete_cookie(access, path="/", secure=_secure(request), httponly=True, samesite="strict")
    response.delete_cookie(refresh, path=_REFRESH_PATH, secure=_secure(request), httponly=True, samesite="strict")


def _secure(request: Request) -> bool:
    return request.scope["scheme"] == "https"


def _names(request: Request) -> tuple[str, str]:
    return (f"__Host-{_ACCESS}", f"__Secure-{_REFRESH}") if _secure(request) else (_ACCESS, _REFRESH)
