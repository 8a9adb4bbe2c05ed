"""Commands of the API: accounts for people, tokens for trying it."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.settings import Settings
from serving.billing.commands import billing
from serving.gateway.commands import app as gateway
from serving.rights.commands import grant

if TYPE_CHECKING:
    from serving.accounts.types import Registration

app = typer.Typer(no_args_is_help=True)
admin = typer.Typer(no_args_is_help=True, help="Accounts of those who run the service.")
app.add_typer(admin, name="admin")
admin.command()(grant)
audit = typer.Typer(no_args_is_help=True, help="The audit log: who did what to whom.")
app.add_typer(audit, name="audit")
app.add_typer(gateway, name="gateway")
app.add_typer(billing, name="billing")

_ROLES = ("viewer", "moderator", "admin")


@admin.command()
def create(
    email: Annotated[str, typer.Argument(help="The e-mail to log in with.")],
    password: Annotated[
        str | None, typer.Option(help="8 characters at least; generated and printed once when not given.")
    ] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask for the password instead of generating one.")] = False,
) -> None:
    """Create an admin account with a first profile."""
    from matinee.console import console
    from matinee.stack.session import services

    settings = Settings.load()
    if ask:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    chosen = password or secrets.token_urlsafe(12)
    with services(settings):
        account_id = _create_admin(settings, email, chosen)
    console.print(f"admin {email} created, account {account_id}")
    if password is None:
        console.print(f"password (shown this once): {chosen}", markup=False, highlight=False)
    console.print("log in at the page of the API (`matinee status` shows its address)")


@app.command()
def token(
    account: Annotated[str, typer.Option(help="The account's id, for example ml:1 for an imported viewer.")],
    role: Annotated[str | None, typer.Option(help="viewer, moderator or admin; the account's own by default.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=720, help="How long the token is valid.")] = 12,
) -> None:
    """Print a bearer token, for trying the API as any account: curl -H "Authorization: Bearer $(matinee token …)"."""
    from matinee.stack.session import services

    if role is not None and role not in _ROLES:
        raise typer.BadParameter(f"must be one of {', '.join(_ROLES)}", param_hint="--role")
    settings, life = Settings.load(), timedelta(hours=hours)
    with services(settings):
        session_id, known = _command_session(settings, account, life)
    typer.echo(issue_token(settings, account, role or known, life, session_id))


@audit.command()
def verify() -> None:
    """Compute the whole chain anew; exit 1 where a row was changed, removed or moved."""
    from matinee.console import console
    from matinee.db.audit import check
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from serving.errors import ServingError

    settings = Settings.load()
    with services(settings), connect(settings, autocommit=True) as connection:
        found = check(connection)
    if found.broken:
        raise ServingError(f"the audit log is broken at row {found.broken.position}: {found.broken.reason}")
    console.print(f"{found.rows:,} rows, an unbroken chain up to {found.head}", soft_wrap=True, highlight=False)
    console.print("keep that hash somewhere else: who rewrites the whole log cannot rewrite it there")


@audit.command()
def tail(count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many rows.")] = 20) -> None:
    """Show the newest rows."""
    import json

    from matinee.console import console
    from matinee.db import audit as log
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        entries = log.tail(connection, count)
    for entry in entries:  # ids are too long for the columns of a table
        who, to, more = (
            entry.actor or "nobody",
            entry.subject or "",
            json.dumps(dict(entry.details), ensure_ascii=False),
        )
        typer.echo(f"{entry.position:>6}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.action}  by {who}  to {to}  {more}")
    console.print("`matinee audit verify` tells whether the log is whole")


def _create_admin(settings: Settings, email: str, password: str) -> str:
    import asyncio

    from pydantic import ValidationError

    from serving.accounts.passwords import check_strength
    from serving.accounts.types import Registration
    from serving.errors import ServingError
    from serving.problems import Problem

    try:
        registration = Registration(email=email, password=password)
        check_strength(password, email)
    except ValidationError as error:
        first = error.errors()[0]
        # The value stays out of the message: it may be the password.
        raise ServingError(f"{first['loc'][0]}: {first['msg']}") from None
    except Problem as problem:
        raise ServingError(problem.detail) from None
    return asyncio.run(_add_admin(settings, registration))


async def _add_admin(settings: Settings, registration: "Registration") -> str:
    import psycopg

    from matinee.clock import SystemClock
    from matinee.db.audit import record
    from serving.accounts import core
    from serving.accounts.passwords import hash_now
    from serving.errors import ServingError
    from serving.problems import Problem
    from serving.rights.welcome import trial_of

    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        now, password_hash, trial = SystemClock().now(), hash_now(registration.password), trial_of(settings)
        try:
            account_id = await core.register(connection, registration, password_hash, now, role="admin", trial=trial)
        except Problem as problem:
            raise ServingError(f"{registration.email}: {problem.detail}") from None
        await core.confirm_email(connection, account_id, registration.email, now)
        await record(connection, actor="command", action="account.admin_created", subject=account_id, at=now)
        return account_id


def _command_session(settings: Settings, account_id: str, life: timedelta) -> tuple[str, str]:
    """A session for a token of the command line, which the account sees and can end; returns its id and the role."""
    import asyncio

    return asyncio.run(_open_command_session(settings, account_id, life))


async def _open_command_session(settings: Settings, account_id: str, life: timedelta) -> tuple[str, str]:
    import psycopg

    from matinee.clock import SystemClock
    from matinee.secrets import secret
    from serving.accounts.sessions import open_session
    from serving.errors import ServingError
    from serving.problems import Problem

    key, now = secret(settings.home, "refresh"), SystemClock().now()
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        cursor = await connection.execute("SELECT 1 FROM account WHERE account_id = %s", (account_id,))
        if await cursor.fetchone() is None:
            raise ServingError(f"there is no account {account_id!r}: register it, or import it first (ml:<userId>)")
        try:
            entry = await open_session(
                connection, key, account_id, now, device="matinee token", kind="command", life=life
            )
        except Problem as problem:
            raise ServingError(f"{account_id}: {problem.detail}") from None
    return entry.session_id, entry.role


def issue_token(
    settings: Settings, account_id: str, role: str, life: timedelta, session_id: str = "command-line"
) -> str:
    """A bearer token for an account, whether it has a password or not; it counts as a fresh sign-in."""
    from matinee.clock import SystemClock
    from serving.accounts.tokens import Tokens

    clock = SystemClock()
    return Tokens(settings.home, clock).issue(account_id, session_id, role, life, auth_time=clock.now())


def _recommendations(settings: Settings, drain_only: bool) -> None:
    from matinee.console import console
    from serving.recommendations import worker

    if not drain_only:
        worker.run(settings)
        return
    made = worker.drain(settings)
    console.print(
        f"{made.events:,} events of viewers taken in, {made.profiles:,} profiles changed, up to {made.last_id}"
    )


def _outbox(settings: Settings, drain_only: bool) -> None:
    from matinee.console import console
    from serving import outbox

    if not drain_only:
        outbox.run(settings)
        return
    console.print(
        f"{outbox.drain(settings):,} letters of the outbox sent; letters without a server lie in {settings.home.mail}"
    )


workers: dict[str, Callable[[Settings, bool], None]] = {"outbox": _outbox, "recommendations": _recommendations}
