"""HTTP of accounts: /api/auth."""

from fastapi import APIRouter, Request, Response

from serving.accounts import core
from serving.accounts.tokens import ACCESS_LIFE
from serving.accounts.types import Login, Refresh, Registration, Session
from serving.auth import ACCESS_COOKIE, REFRESH_COOKIE, check_origin
from serving.context import Context, Ctx
from serving.problems import Problem
from serving.rights.welcome import trial_of

router = APIRouter(prefix="/api", tags=["accounts"])
_REFRESH_PATH = "/api/auth"


@router.post("/auth/register", status_code=201)
async def register(body: Registration, request: Request, response: Response, context: Ctx) -> Session:
    """Create an account with a first profile, and sign in."""
    password_hash = await context.passwords.hash(body.password)
    async with context.transaction() as connection:
        now = context.clock.now()
        account_id = await core.register(connection, body, password_hash, now, trial=trial_of(context.settings))
        entry = await core.open_session(connection, account_id, "viewer", now)
    return _signed_in(request, response, context, entry)


@router.post("/auth/login")
async def login(body: Login, request: Request, response: Response, context: Ctx) -> Session:
    """Sign in. An unknown e-mail and a wrong password get the same answer after the same work."""
    async with context.transaction() as connection:
        account = await core.account_by_email(connection, body.email)
    fits = await context.passwords.verify(account["password_hash"] if account else None, body.password)
    if account is None or not fits:
        raise Problem(401, "wrong_credentials", "the e-mail or the password is wrong")
    async with context.transaction() as connection:
        entry = await core.open_session(connection, account["account_id"], account["role"], context.clock.now())
    return _signed_in(request, response, context, entry)


@router.post("/auth/refresh")
async def refresh(request: Request, response: Response, context: Ctx, body: Refresh | None = None) -> Session:
    """Exchange the refresh token (from the body, or the page's cookie) for new tokens."""
    given = _refresh_token(request, body)
    entry = None
    if given:
        async with context.transaction() as connection:
            entry = await core.rotate(connection, context.tokens, given, context.clock.now())
    if entry is None:
        raise Problem(401, "invalid_refresh_token", "the session is over: log in again")
    return _signed_in(request, response, context, entry)


@router.post("/auth/logout", status_code=204)
async def logout(request: Request, context: Ctx, body: Refresh | None = None) -> Response:
    """End the session of the refresh token and forget the cookies."""
    if given := _refresh_token(request, body):
        async with context.transaction() as connection:
            await core.revoke(connection, context.clock.now(), refresh_token=given)
    response = Response(status_code=204)
    response.delete_cookie(ACCESS_COOKIE, path="/")
    response.delete_cookie(REFRESH_COOKIE, path=_REFRESH_PATH)
    return response


def _refresh_token(request: Request, body: Refresh | None) -> str | None:
    if body is not None and body.refresh_token:
        return body.refresh_token
    token = request.cookies.get(REFRESH_COOKIE)
    if token is not None:
        check_origin(request)
    return token


def _signed_in(request: Request, response: Response, context: Context, entry: core.Entry) -> Session:
    access = context.tokens.issue(entry.account_id, entry.session_id, entry.role)
    secure = request.url.scheme == "https"
    # The access cookie outlives its token: an expired one is answered by 401, and the page refreshes it.
    life = int(core.IDLE_LIFE.total_seconds())
    for name, value, path in ((ACCESS_COOKIE, access, "/"), (REFRESH_COOKIE, entry.refresh_token, _REFRESH_PATH)):
        response.set_cookie(name, value, max_age=life, path=path, secure=secure, httponly=True, samesite="strict")
    return Session(
        account_id=entry.account_id,
        role=entry.role,  # pyright: ignore[reportArgumentType] - the column's check constraint names the same roles
        access_token=access,
        expires_in=int(ACCESS_LIFE.total_seconds()),
        refresh_token=entry.refresh_token,
    )
