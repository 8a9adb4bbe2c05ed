"""`matinee admin grant`: what an account may watch for nothing."""

from datetime import timedelta
from typing import Annotated

import typer

from matinee.settings import Settings


def grant(
    account: Annotated[str, typer.Argument(help="The e-mail or the id of the account, for example ml:1.")],
    plan: Annotated[str | None, typer.Option(help="A plan: basic, standard or premium.")] = None,
    title: Annotated[str | None, typer.Option(help="A title, with all below it.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="For so long; for ever by default.")] = None,
) -> None:
    """Let an account watch a plan's titles, or one title, without paying."""
    from matinee.console import console
    from matinee.stack.session import services

    if (plan is None) == (title is None):
        raise typer.BadParameter("give either --plan or --title", param_hint="--plan/--title")
    settings = Settings.load()
    with services(settings):
        account_id = give(settings, account, plan_id=plan, title_id=title, days=days)
    until = f"for {days} days" if days else "for ever"
    console.print(f"account {account_id} may watch {f'plan {plan}' if plan else title} {until}")
    console.print("written to the tables `entitlement` and `audit`; playing devices notice within seconds")


def give(settings: Settings, account: str, *, plan_id: str | None, title_id: str | None, days: int | None) -> str:
    """Grant it, with a row in the audit log; returns the account's id.

    Raises:
        RightsError: there is no such account, plan or title.
    """
    import asyncio

    return asyncio.run(_give(settings, account, plan_id, title_id, days))


async def _give(settings: Settings, account: str, plan_id: str | None, title_id: str | None, days: int | None) -> str:
    import psycopg

    from matinee.clock import SystemClock
    from matinee.db import audit
    from serving.db import row
    from serving.rights import rentals

    now, life = SystemClock().now(), timedelta(days=days) if days else None
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        found = await row(connection, rentals.QUERIES["account_named"], {"name": account})
        if found is None:
            raise rentals.RightsError(f"there is no account {account!r}: register it, or import it first")
        account_id = found["account_id"]
        await rentals.give(connection, account_id, "grant", now, plan_id=plan_id, title_id=title_id, life=life)
        details = {"plan": plan_id, "title": title_id, "days": days}
        await audit.record(
            connection, actor=None, action="entitlement.granted", subject=account_id, details=details, at=now
        )
    return account_id
