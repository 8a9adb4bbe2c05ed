"""`matinee billing promo`: codes are made, listed, taken back."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer

from matinee.settings import Settings

promo = typer.Typer(help="Promo codes.", no_args_is_help=True)
T = TypeVar("T")
Code = Annotated[str, typer.Argument(help="As people write it; case, spaces and dashes do not matter.")]
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M"]


@promo.command()
def add(
    code: Code,
    percent: Annotated[str | None, typer.Option(help="Takes off so much of a hundred, for example 25 or 12.5.")] = None,
    amount: Annotated[str | None, typer.Option(help="Takes off so much, for example 3.00; needs --currency.")] = None,
    free_months: Annotated[int | None, typer.Option(help="So many months for nothing.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of the amount: EUR, RUB, …")] = None,
    periods: Annotated[int, typer.Option(min=0, help="For how many periods of a subscription; 0: for all.")] = 1,
    plan: Annotated[list[str] | None, typer.Option(help="For this plan alone; may be given several times.")] = None,
    title: Annotated[list[str] | None, typer.Option(help="For this title alone; may be given several times.")] = None,
    first_time: Annotated[bool, typer.Option("--first-time", help="For who pays for the first time.")] = False,
    uses: Annotated[int, typer.Option(min=0, help="How often in all; 0: no limit.")] = 0,
    each: Annotated[int, typer.Option(min=0, help="How often a person; 0: no limit.")] = 1,
    since: Annotated[datetime | None, typer.Option(formats=_DATES, help="Not before this moment (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DATES, help="Before this moment (UTC).")] = None,
) -> None:
    """Make a code: --percent, --amount or --free-months."""
    from datetime import UTC

    from matinee.console import console
    from serving.billing.promo import core

    kind, value = _value(percent, amount, free_months, currency)
    new = core.NewPromo(
        code, kind, value, currency, periods or None, tuple(plan or ()), tuple(title or ()), first_time,
        uses or None, each or None, since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC),
    )  # fmt: skip

    async def work(connection: Any, now: datetime) -> None:
        from matinee.db import audit

        promo_id = await core.add(connection, new, now)
        details = {"code": new.code, "kind": kind, "value": value, "uses": new.limit_total}
        await audit.record(connection, actor=None, action="promo.added", subject=promo_id, details=details, at=now)

    _run(work)
    console.print(f"the code {core.written(code)} may be used")
    console.print("see how often it was: matinee billing promo list")


@promo.command(name="list")
def list_() -> None:
    """The codes, the newest first: how often they were used, and how often they may be."""
    from rich.table import Table

    from matinee.console import console
    from serving.billing.promo import core

    found = _run(lambda connection, _: core.listed(connection, 1_000))
    table = Table("code", "takes off", "for", "used", "of", "paid", "until")
    for one in found:
        until = "withdrawn" if one["withdrawn_at"] else f"{one['until']:%Y-%m-%d}" if one["until"] else ""
        whom = ", ".join([*one["plans"], *one["titles"], *(["first time"] if one["first_time"] else [])])
        counts = (str(one["used"]), str(one["limit_total"] or ""), str(one["redeemed"]))
        table.add_row(one["code"], _off(one), whom, *counts, until)
    console.print(table)
    console.print(f"{len(found)} codes; the uses are in the table `promo_redemption`")


@promo.command()
def withdraw(code: Code) -> None:
    """Take a code back: nobody gets it any more, who has it keeps it."""
    from matinee.console import console
    from serving.billing.promo import core

    async def work(connection: Any, now: datetime) -> dict[str, Any]:
        from matinee.db import audit

        gone = await core.withdraw(connection, code, now)
        details = {"code": gone["code"], "used": gone["used"]}
        subject = gone["promo_id"]
        await audit.record(connection, actor=None, action="promo.withdrawn", subject=subject, details=details, at=now)
        return gone

    gone = _run(work)
    console.print(f"the code {gone['code']} is withdrawn; it was used {gone['used']} times")
    console.print("see: matinee billing promo list")


def _value(percent: str | None, amount: str | None, free_months: int | None, currency: str | None) -> tuple[Any, int]:
    from serving.billing.errors import MoneyError
    from serving.billing.ledger.money import parse

    given = [("percent", percent), ("amount", amount), ("free_period", free_months)]
    chosen = [(kind, value) for kind, value in given if value is not None]
    if len(chosen) != 1:
        raise typer.BadParameter("give one of --percent, --amount and --free-months")
    kind, value = chosen[0]
    if isinstance(value, int):
        return kind, value
    if (kind == "amount") != (currency is not None):
        raise typer.BadParameter("--amount and --currency belong together", param_hint="--currency")
    try:
        return kind, parse(value, currency or "EUR").minor
    except MoneyError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{kind}") from error


def _off(one: dict[str, Any]) -> str:
    from serving.billing.ledger.money import Money, show

    if one["kind"] == "amount":
        return show(Money(one["value"], one["currency"]), "en")
    return f"{one['value'] / 100:g} %" if one["kind"] == "percent" else f"{one['value']} months free"


def _run(work: Callable[[Any, datetime], Awaitable[T]]) -> T:
    """Run it in one transaction on the home's PostgreSQL."""
    import asyncio

    import psycopg

    from matinee.clock import SystemClock
    from matinee.stack.session import services

    settings = Settings.load()

    async def run() -> T:
        async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
            return await work(connection, SystemClock().now())

    with services(settings):
        return asyncio.run(run())
