"""HTTP of accounts: /api/auth, getting in and out."""

from fastapi import APIRouter, Request, Response

from serving import limits
from serving.accounts import core, login, post, sessions
from serving.accounts.breached import check_leaks
from serving.accounts.cookies import clear_cookies, refresh_cookie, set_cookies
from serving.accounts.devices import device_name
from serving.accounts.passwords import check_strength
from serving.accounts.sessions import Entry
from serving.accounts.tokens import ACCESS_LIFE
from serving.accounts.types import (
    Access,
    Login,
    LoginCode,
    OpenSession,
    OpenSessions,
    Proof,
    Refresh,
    Registration,
    Session,
)
from serving.auth import SignedIn, check_origin, identify
from serving.context import Context, Ctx
from serving.problems import Problem
from serving.rights.welcome import trial_of

router = APIRouter(prefix="/api/auth", tags=["accounts"])


def caller(request: Request) -> login.Caller:
    """Who asks."""
    return login.Caller(limits.address(request), device_name(request.headers.get("user-agent", "")))


@router.post("/register", status_code=201)
async def register(body: Registration, request: Request, response: Response, context: Ctx) -> Session:
    """Create an account with a first profile, and sign in. A letter asks to confirm the address."""
    who = caller(request)
    await context.limits.spend(limits.REGISTER, who.address)
    check_strength(body.password, body.email)
    await check_leaks(context.settings.breached_passwords_url, body.password)
    password_hash = await context.passwords.hash(body.password)
    now = context.clock.now()
    async with context.transaction() as connection:
        account_id = await core.register(connection, body, password_hash, now, trial=trial_of(context.settings))
        await post.ask_to_confirm(connection, context.settings, account_id, body.email, body.language, now)
        entry = await sessions.open_session(connection, context.refresh_key, account_id, now, device=who.device)
    return signed_in(request, response, context, entry)


@router.post("/login")
async def log_in(body: Login, request: Request, response: Response, context: Ctx) -> Session:
    """Sign in. An unknown e-mail and a wrong password get the same answer after the same work.

    Where the account has a second factor and `code` is not given: 401 `second_factor_required`, with a `challenge`.
    """
    entry = await login.sign_in(context, caller(request), body.email, body.password, body.code)
    return signed_in(request, response, context, entry)


@router.post("/login/code")
async def log_in_by_code(body: LoginCode, request: Request, response: Response, context: Ctx) -> Session:
    """The second half of signing in, with the challenge that the password was answered with."""
    entry = await login.answer_challenge(context, caller(request), body.challenge, body.code)
    return signed_in(request, response, context, entry)


@router.post("/refresh")
async def refresh(request: Request, response: Response, context: Ctx, body: Refresh | None = None) -> Session:
    """Exchange the refresh token (from the body, or the page's cookie) for new tokens."""
    await context.limits.spend(limits.REFRESH, limits.address(request))
    given = _refresh_token(request, body)
    entry = None
    if given:
        async with context.transaction() as connection:
            entry = await sessions.rotate(connection, context.refresh_key, given, context.clock.now())
    if entry is None:
        raise Problem(401, "invalid_refresh_token", "the session is over: log in again")
    return signed_in(request, response, context, entry)


@router.post("/logout", status_code=204)
async def logout(request: Request, context: Ctx, body: Refresh | None = None) -> Response:
    """End the session of the refresh token, and of the access token, and forget the cookies."""
    given, ended = _refresh_token(request, body), set[str]()
    try:
        if claims := identify(request):
            ended.add(claims.session_id)
    except Problem:
        pass  # an expired access token is no reason to stay
    async with context.transaction() as connection:
        if given and (session := await sessions.session_of(connection, context.refresh_key, given)):
            ended.add(session)
        for session_id in ended:
            await sessions.revoke(connection, session_id, context.clock.now())
    await context.revoked.refresh()
    response = Response(status_code=204)
    clear_cookies(request, response)
    return response


@router.post("/reauthenticate")
async def reauthenticate(body: Proof, request: Request, response: Response, context: Ctx, claims: SignedIn) -> Access:
    """Prove again who you are: what changes how one signs in is open for five minutes after.

    Where the account has a second factor, only a code of it counts: 401 `second_factor_required` without one.
    """
    now = context.clock.now()
    async with context.transaction() as connection:
        account = await core.account(connection, claims.account_id)
    if account["second_factor"]:
        if body.code is None:
            raise Problem(401, "second_factor_required", "give a code of your authenticator app, or a recovery code")
        await login.check_code(context, claims.account_id, body.code)
    else:
        await check_password(context, claims.account_id, account["password_hash"], body.password or "")
    async with context.transaction() as connection:
        if not await core.authenticated(connection, claims.account_id, claims.session_id, now):
            raise Problem(401, "session_over", "this session was ended: sign in again")
    access = context.tokens.issue(claims.account_id, claims.session_id, claims.role, auth_time=now)
    set_cookies(request, response, access)
    return Access(access_token=access, expires_in=int(ACCESS_LIFE.total_seconds()))


async def check_password(context: Context, account_id: str, stored: str | None, password: str) -> None:
    """Check the password of who is signed in.

    Raises:
        Problem: 401 `wrong_credentials`; 429.
    """
    await context.limits.spend(limits.REAUTHENTICATE, account_id)
    if not await context.passwords.verify(stored, password):
        raise Problem(401, "wrong_credentials", "the password is wrong")
    await context.limits.refund(limits.REAUTHENTICATE, account_id)


@router.get("/sessions")
async def list_sessions(context: Ctx, claims: SignedIn) -> OpenSessions:
    """Where the account is signed in, the sign-in that was used last first."""
    async with context.transaction() as connection:
        found = await sessions.sessions(connection, claims.account_id, context.clock.now())
    items = [OpenSession(**one, current=one["session_id"] == claims.session_id) for one in found]
    return OpenSessions(items=items)


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(session_id: str, context: Ctx, claims: SignedIn) -> Response:
    """End one of the account's sessions; what it was given opens nothing within a second."""
    async with context.transaction() as connection:
        await sessions.end(connection, claims.account_id, session_id, context.clock.now())
    await context.revoked.refresh()
    return Response(status_code=204)


@router.delete("/sessions", status_code=204)
async def end_sessions(context: Ctx, claims: SignedIn, everywhere: bool = False) -> Response:
    """End all other sessions of the account; with `everywhere` this one too."""
    but = None if everywhere else claims.session_id
    async with context.transaction() as connection:
        await sessions.end_all(connection, claims.account_id, context.clock.now(), but=but, actor=claims.account_id)
    await context.revoked.refresh()
    return Response(status_code=204)


def _refresh_token(request: Request, body: Refresh | None) -> str | None:
    if body is not None and body.refresh_token:
        return body.refresh_token
    token = refresh_cookie(request)
    if token is not None:
        check_origin(request)
    return token


def signed_in(request: Request, response: Response, context: Context, entry: Entry) -> Session:
    """The tokens of a session that was just opened or renewed, in the body and as the page's cookies."""
    access = context.tokens.issue(entry.account_id, entry.session_id, entry.role, auth_time=entry.authenticated_at)
    set_cookies(request, response, access, entry.refresh_token)
    return Session(
        account_id=entry.account_id,
        role=entry.role,  # pyright: ignore[reportArgumentType] - the column's check constraint names the same roles
        access_token=access,
        expires_in=int(ACCESS_LIFE.total_seconds()),
        refresh_token=entry.refresh_token,
    )
