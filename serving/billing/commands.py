"""`matinee billing`: the books, and what is sold. Each part of billing adds its commands here."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from matinee.settings import Settings
from serving.billing.products.commands import plans, price
from serving.billing.promo.commands import promo
from serving.billing.providers.sandbox.commands import app as sandbox
from serving.billing.renewals.commands import renew, sweep

if TYPE_CHECKING:
    from serving.billing.payments.desk import Desk
    from serving.billing.reconcile.core import Reconciled

billing = typer.Typer(no_args_is_help=True, help="Money: the ledger, what is sold, what is owed.")
billing.add_typer(promo, name="promo")
billing.add_typer(sandbox, name="sandbox")
billing.command()(plans)
billing.command()(price)
billing.command()(renew)
billing.command()(sweep)
_SHOWN = 30
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M"]
T = TypeVar("T")


@billing.command()
def balances() -> None:
    """Show every balance of the ledger: debits above zero, credits below."""
    from matinee.console import console, table
    from serving.billing.ledger.money import Money, decimal
    from serving.billing.reconcile.verify import QUERIES
    from serving.db import rows

    async def read(desk: "Desk") -> list[dict[str, Any]]:
        async with desk.transaction() as connection:
            return await rows(connection, QUERIES["balances"])

    found = with_desk(read)
    lines = [
        (
            each["ledger"],
            each["party"] or (f"{each['parties']:,} customers" if each["ledger"] == "receivable" else ""),
            each["currency"],
            f"{decimal(Money(each['amount_minor'], each['currency'])):,}",
            each["meaning"],
        )
        for each in found
    ]
    console.print(table("balances of the ledger", ("ledger", "of", "currency", "balance", "what it is"), lines))
    console.print("they are sums of postings, nothing else: `matinee billing verify` looks at those")


@billing.command()
def verify() -> None:
    """Look at the whole ledger, and at invoices, payments, refunds and disputes by it; exit 1 where they disagree."""
    from matinee.console import console, table
    from serving.billing.errors import BillingError
    from serving.billing.reconcile import verify as checks

    async def look(desk: "Desk") -> checks.Verified:
        async with desk.transaction() as connection:
            return await checks.verify(connection)

    found = with_desk(look)
    sums = ", ".join(f"{minor} {currency}" for currency, minor in sorted(found.sums.items())) or "nothing"
    console.print(f"facts: {found.facts:,}; postings: {found.postings:,}, which add up to {sums}", highlight=False)
    if found.whole:
        console.print(f"{len(checks.CHECKS)} checks, nothing wrong; balances: `matinee billing balances`")
        return
    lines = [(each.what, each.id, each.detail, each.remedy) for each in found.findings[:_SHOWN]]
    console.print(table("what is wrong", ("what", "id", "how", "what to do"), lines))
    raise BillingError(f"the books are not right: {len(found.findings)} findings, see above")


@billing.command()
def reconcile(
    provider: Annotated[
        str | None, typer.Option(help="sandbox, stripe or yookassa; by default all that hold money of ours.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=_DATES, help="From this moment on (UTC); by default the last 35 days.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="From the first payment on, and the provider's balance against ours.")
    ] = False,
    look_only: Annotated[bool, typer.Option("--look-only", help="Ask about nothing and book nothing.")] = False,
) -> None:
    """Hold the ledger against what payment providers list; exit 1 where they disagree.

    What is on its way is settled first; payouts, and fees of no payment, are booked, as only the provider tells them.
    """
    from matinee.console import console
    from serving.billing.errors import BillingError
    from serving.billing.reconcile import core

    if since is not None and everything:
        raise typer.BadParameter("give either --since or --all", param_hint="--since/--all")

    async def run(desk: "Desk") -> list[core.Reconciled]:
        began = (since.replace(tzinfo=UTC) if since else desk.clock.now() - core.RECENT) if not everything else None
        async with desk.transaction() as connection:
            names = [provider] if provider else await core.providers(connection, desk.settings)
        return [await core.reconcile(desk, name, began, booking=not look_only) for name in names]

    made = with_desk(run)
    for each in made:
        _show_reconciled(each)
    if not made:
        console.print("no provider holds money of ours: nobody has paid yet, or only simulated viewers did")
    if wrong := [each for each in made if not each.agrees]:
        count = sum(len(each.differences) for each in wrong)
        raise BillingError(f"{', '.join(each.provider for each in wrong)}: {count} differences, see above")


def _show_reconciled(made: "Reconciled") -> None:
    from matinee.console import console, table
    from serving.billing.ledger.money import Money, show
    from serving.billing.reconcile.core import remedy

    span = f"{made.since:%Y-%m-%d %H:%M} to {made.until:%Y-%m-%d %H:%M} UTC"
    console.print(f"{made.provider}: {made.movements:,} movements, {span}", highlight=False)
    for currency, (ours, theirs) in sorted(made.balances.items()):
        console.print(
            f"balance there {show(Money(theirs, currency), 'en')}, in the ledger {show(Money(ours, currency), 'en')}",
            highlight=False,
        )
    if made.asked or made.booked:
        console.print(f"{made.asked} were asked about, {len(made.booked)} payouts and fees booked", highlight=False)
    if made.agrees:
        console.print("[green]both agree[/green]")
        return

    def amount(minor: int | None, currency: str) -> str:
        return "" if minor is None else show(Money(minor, currency), "en")

    lines = [
        (
            each.kind,
            each.id,
            each.wrong,
            amount(each.here, each.currency),
            amount(each.there, each.currency),
            remedy(each),
        )
        for each in made.differences[:_SHOWN]
    ]
    console.print(table("differences", ("what", "id", "wrong", "here", "there", "what to do"), lines))


@billing.command()
def correct(
    source: Annotated[str, typer.Argument(help="What is corrected, for example the provider's id of a movement.")],
    debit: Annotated[str, typer.Argument(help="The account that gets more: LEDGER or LEDGER:PARTY, as `loss:stripe`.")],
    credit: Annotated[str, typer.Argument(help="The account that gets less, as `clearing:stripe`.")],
    amount: Annotated[str, typer.Argument(help="How much, as 12.34.")],
    currency: Annotated[str, typer.Argument(help="EUR, RUB, …")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
) -> None:
    """Write a correction into the ledger: for what nothing else can put right. It is written once for each SOURCE."""
    from matinee.console import console
    from matinee.db import audit
    from serving.billing.ledger import core
    from serving.billing.ledger.money import parse

    money = parse(amount, currency)
    accounts = [(account.partition(":")[0], account.partition(":")[2]) for account in (debit, credit)]

    async def write(desk: "Desk") -> None:
        now = desk.clock.now()
        postings = tuple(
            core.Posting(ledger, party, currency, sign * money.minor)
            for (ledger, party), sign in zip(accounts, (1, -1), strict=True)
        )
        async with desk.transaction() as connection:
            await core.correct(connection, core.Transaction("correction", source, now, postings))
            details = {
                "debit": debit,
                "credit": credit,
                "amount_minor": money.minor,
                "currency": currency,
                "why": reason,
            }
            await audit.record(
                connection, actor=None, action="ledger.corrected", subject=source, details=details, at=now
            )

    with_desk(write)
    console.print(f"{debit} +{amount} {currency}, {credit} -{amount} {currency}", highlight=False)
    console.print("written to the ledger and the audit log: `matinee billing balances`, `matinee audit tail`")


def with_desk(work: Callable[["Desk"], Awaitable[T]]) -> T:
    """Run work on money with what it needs; PostgreSQL and Redis run meanwhile."""
    import asyncio

    from matinee.stack.session import services
    from serving.billing.payments.desk import desk

    settings = Settings.load()

    async def run() -> T:
        async with desk(settings) as made:
            return await work(made)

    with services(settings):
        return asyncio.run(run())


@billing.command()
def adopt() -> None:
    """Book what simulated and imported viewers had as invoices and payments, so that the marts of money know them."""
    from matinee.clock import SystemClock
    from matinee.console import console
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from serving.billing import adopt as adopting

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        made = adopting.adopt(connection, SystemClock().now())
    console.print(f"booked {made.invoices:,} invoices, {made.facts:,} facts; {made.customers:,} customers are new")
    console.print("`matinee billing balances` shows them, `matinee build` brings them into the marts")
