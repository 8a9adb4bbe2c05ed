"""The rules of running accounts: every change ends the account's sessions and leaves a row in the audit log."""

from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db import audit, outbox
from matinee.db.queries import load
from serving.accounts import sessions
from serving.admin.accounts.types import Change
from serving.db import Row, execute, row, rows
from serving.problems import Problem

QUERIES = load(Path(__file__).parent)
# Behind every place of the audit log.
_LAST_PLACE = 2**62


async def find(
    connection: AsyncConnection, *, q: str | None, role: str | None, disabled: bool, before: str | None, limit: int
) -> list[Row]:
    """Accounts by id or e-mail (`q`, whole), or the last ones by id: of staff's role, or those that are disabled."""
    if q is not None:
        return await rows(connection, QUERIES["find"], {"q": q.strip()})
    given = {"before": before, "limit": limit, "role": role}
    return await rows(connection, QUERIES["disabled" if disabled else "staff" if role else "page"], given)


async def account(connection: AsyncConnection, account_id: str, now: datetime) -> Row:
    """One account.

    Raises:
        Problem: 404.
    """
    found = await row(connection, QUERIES["account"], {"account_id": account_id, "now": now})
    if found is None:
        raise Problem(404, "unknown_account", "there is no such account")
    return found


async def change(connection: AsyncConnection, admin_id: str, account_id: str, wanted: Change, now: datetime) -> Row:
    """Give another role, shut out or let in again.

    Raises:
        Problem: 404; 409, admins cannot take their own role or access, nor that of the last admin who is not shut out,
            so that somebody is always left; 409, an account that is being erased stays shut.
    """
    admins = await rows(connection, QUERIES["hold_admins"])
    await execute(connection, QUERIES["hold"], {"account_id": account_id})
    found = await account(connection, account_id, now)
    said: list[tuple[str, dict[str, str]]] = []
    if wanted.role is not None and wanted.role != found["role"]:
        await execute(connection, QUERIES["set_role"], {"account_id": account_id, "role": wanted.role})
        said.append(("account.role_changed", {"from": found["role"], "to": wanted.role}))
    if wanted.disabled is not None and wanted.disabled != (found["disabled_at"] is not None):
        if found["erasing"]:
            raise Problem(409, "erasing", "this account is being erased: it cannot be opened again")
        given = {"account_id": account_id, "disabled_at": now if wanted.disabled else None}
        await execute(connection, QUERIES["set_disabled"], given)
        said.append(("account.disabled" if wanted.disabled else "account.enabled", {}))
    if not said:
        return found
    if account_id == admin_id:
        raise Problem(409, "own_account", "another admin has to change your own account")
    if [one["account_id"] for one in admins] == [account_id]:
        raise Problem(409, "last_admin", "nobody else could run the service: make another admin first")
    await sessions.revoke_all(connection, account_id, now)
    await outbox.put(connection, "account", account_id, {"why": [action for action, _ in said]})
    for action, details in said:
        await audit.record(connection, actor=admin_id, action=action, subject=account_id, details=details, at=now)
    return await account(connection, account_id, now)


async def end_sessions(connection: AsyncConnection, admin_id: str, account_id: str, now: datetime) -> int:
    """End every session of the account; returns how many were open.

    Raises:
        Problem: 404.
    """
    await account(connection, account_id, now)
    return await sessions.end_all(connection, account_id, now, actor=admin_id)


async def audit_log(
    connection: AsyncConnection, *, account_id: str | None, action: str | None, before: int | None, limit: int
) -> list[Row]:
    """Rows of the audit log, the newest first; of one account only, or of one kind of deed."""
    given = {"account": account_id, "action": action, "before": before or _LAST_PLACE, "limit": limit}
    return await rows(connection, QUERIES["audit_of" if account_id else "audit"], given)
