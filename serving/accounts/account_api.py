"""HTTP of accounts: /api/account, one's own account: what it is, all of its data, its end."""

from fastapi import APIRouter, Request, Response

from serving import limits
from serving.accounts import core, personal
from serving.accounts.cookies import clear_cookies
from serving.accounts.types import Account, PersonalData
from serving.auth import Fresh, SignedIn
from serving.context import Ctx
from serving.profiles.core import grown_up

router = APIRouter(prefix="/api/account", tags=["accounts"])


@router.get("")
async def account(context: Ctx, claims: SignedIn) -> Account:
    """The account that is signed in."""
    async with context.transaction() as connection:
        found = await core.account(connection, claims.account_id)
    return Account(
        account_id=claims.account_id,
        email=found["email"],
        email_confirmed=found["email_confirmed_at"] is not None,
        role=found["role"],
        country=found["country"],
        language=found["language"],
        created_at=found["created_at"],
        second_factor=found["second_factor"],
    )


@router.get("/export")
async def export(response: Response, context: Ctx, claims: SignedIn) -> PersonalData:
    """All that PostgreSQL keeps about the account, as a file."""
    await context.limits.spend(limits.EXPORT, claims.account_id)
    async with context.transaction() as connection:
        await grown_up(connection, claims.account_id, claims.session_id)
        found = await personal.export(connection, claims.account_id, context.clock.now())
    response.headers["content-disposition"] = 'attachment; filename="matinee.json"'
    return found


@router.post("/erase", status_code=202, response_class=Response)
async def erase(request: Request, context: Ctx, claims: Fresh) -> Response:
    """Forget the account: it is shut at once, and erased everywhere within minutes (article 17 of the GDPR)."""
    async with context.transaction() as connection:
        await grown_up(connection, claims.account_id, claims.session_id)
        await personal.ask_to_be_forgotten(connection, claims.account_id, context.clock.now())
    await context.revoked.refresh()
    response = Response(status_code=202)
    clear_cookies(request, response)
    return response
