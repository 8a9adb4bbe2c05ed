"""What admins send and hear about accounts and the audit log."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from serving.accounts.types import Body, Role


class AccountFound(BaseModel):
    """An account in a list. `email_confirmed_at`, `disabled_at`: since when; null: not."""

    account_id: str
    email: str | None
    role: Role
    origin: str
    country: str | None
    created_at: datetime
    email_confirmed_at: datetime | None
    disabled_at: datetime | None


class Accounts(BaseModel):
    items: list[AccountFound]
    cursor: str | None = None


class Account(AccountFound):
    """`erasing`: its holder asked to be forgotten. `sessions`: how many sign-ins are open."""

    second_factor: bool
    sessions: int
    erasing: bool


class Change(Body):
    """What is given is changed."""

    role: Role | None = None
    disabled: bool | None = None


class Ended(BaseModel):
    sessions: int


class AuditEntry(BaseModel):
    """`actor` and `subject` are ids of accounts, or names that lead nowhere once an account was erased."""

    position: int
    at: datetime
    actor: str | None
    action: str
    subject: str | None
    details: dict[str, Any]


class AuditLog(BaseModel):
    items: list[AuditEntry]
    cursor: str | None = None
