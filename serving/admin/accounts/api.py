"""HTTP for admins: /api/admin/accounts and /api/admin/audit."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from serving import limits
from serving.accounts.types import Line
from serving.admin.accounts import core
from serving.admin.accounts.types import Account, AccountFound, Accounts, AuditEntry, AuditLog, Change, Ended
from serving.auth import Admin
from serving.context import Ctx

router = APIRouter(prefix="/api/admin", tags=["admin"])
AccountId = Annotated[str, Path(max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Cursor = Annotated[str | None, Query(max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/accounts")
async def find(
    context: Ctx,
    _: Admin,
    q: Annotated[Line | None, Query(description="an id or an e-mail, whole")] = None,
    role: Literal["moderator", "admin"] | None = None,
    disabled: bool = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Accounts:
    """Accounts by id or e-mail, or all, the newest first: of staff's role, or those that are shut out."""
    purpose = f"accounts {role} {disabled}"
    before = context.cursors.open(purpose, cursor)[0] if cursor else None
    async with context.transaction() as connection:
        found = await core.find(connection, q=q, role=role, disabled=disabled, before=before, limit=limit)
    more = q is None and len(found) == limit
    items = [AccountFound(**one) for one in found]
    return Accounts(items=items, cursor=context.cursors.seal(purpose, [items[-1].account_id]) if more else None)


@router.get("/accounts/{account_id}")
async def account(account_id: AccountId, context: Ctx, _: Admin) -> Account:
    """One account."""
    async with context.transaction() as connection:
        return Account(**await core.account(connection, account_id, context.clock.now()))


@router.patch("/accounts/{account_id}")
async def change(account_id: AccountId, body: Change, context: Ctx, claims: Admin) -> Account:
    """Give another role, shut out or let in again; either ends the account's sessions."""
    await context.limits.spend(limits.ADMIN, claims.account_id)
    async with context.transaction() as connection:
        changed = await core.change(connection, claims.account_id, account_id, body, context.clock.now())
    await context.revoked.refresh()
    return Account(**changed)


@router.delete("/accounts/{account_id}/sessions")
async def end_sessions(account_id: AccountId, context: Ctx, claims: Admin) -> Ended:
    """End every session of an account."""
    await context.limits.spend(limits.ADMIN, claims.account_id)
    async with context.transaction() as connection:
        ended = await core.end_sessions(connection, claims.account_id, account_id, context.clock.now())
    await context.revoked.refresh()
    return Ended(sessions=ended)


@router.get("/audit")
async def audit_log(
    context: Ctx,
    _: Admin,
    account: Annotated[Line | None, Query(description="who did it, or to whom")] = None,
    action: Annotated[str | None, Query(max_length=80, pattern=r"^[a-z_.]+$")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AuditLog:
    """The audit log, the newest row first."""
    purpose = f"audit {account} {action}"
    before = context.cursors.open(purpose, cursor)[0] if cursor else None
    async with context.transaction() as connection:
        found = await core.audit_log(connection, account_id=account, action=action, before=before, limit=limit)
    items = [AuditEntry(**one) for one in found]
    more = len(items) == limit
    return AuditLog(items=items, cursor=context.cursors.seal(purpose, [items[-1].position]) if more else None)
