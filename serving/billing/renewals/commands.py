"""`matinee billing renew` and `sweep`: what schedules and API processes do by themselves."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.errors import MatineeError

if TYPE_CHECKING:
    from serving.billing.payments.desk import Desk
    from serving.billing.payments.sweep import Swept
    from serving.billing.renewals.core import Renewed

_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def renew(
    at: Annotated[
        datetime | None, typer.Option(formats=_MOMENTS, help="As if it were this moment (UTC), now at the latest.")
    ] = None,
    late: Annotated[
        bool, typer.Option("--late", help="Nothing ran for more than a month, and the clock is right.")
    ] = False,
) -> None:
    """Turn what the clock says of subscriptions: trials and periods that end, charges of renewals, tries again.

    Safe to stop at any moment, to run twice, late, or in several terminals at once. A clock that is ahead of
    PostgreSQL's is not believed, nor one that jumped by a month since anything was billed.
    """
    from matinee.console import console, progress
    from serving.billing.commands import with_desk
    from serving.billing.payments.sweep import sweep
    from serving.billing.renewals import clocks, core

    async def run(desk: "Desk") -> tuple["Renewed", "Swept"]:
        now = desk.clock.now()
        async with desk.transaction() as connection:
            await clocks.believed(connection, now, late=late)
        moment = at.replace(tzinfo=UTC) if at else now
        if moment > now:
            raise MatineeError(f"--at {moment:%Y-%m-%dT%H:%M} lies ahead: nobody is charged before their period ends")
        with progress() as bar:
            task = bar.add_task("renewing", total=await core.waiting(desk, moment))
            done = await core.renew(desk, moment, told=lambda count: bar.advance(task, count))
        return done, await sweep(desk, now)

    done, swept = with_desk(run)
    console.print(
        f"{done.turned:,} subscriptions turned: {done.paid:,} paid, {done.refused:,} refused, {done.pending:,} not "
        f"heard of yet, {done.free:,} for nothing, {done.put_off:,} put off",
        highlight=False,
    )
    _show(swept)
    console.print("the books: `matinee billing verify`, `matinee billing balances`")


def sweep(
    after: Annotated[float, typer.Option(min=0, help="Seconds that something has to be left alone for.")] = 60,
) -> None:
    """Bring to its end what crashes, lost notices and silent providers left half done, as the API does each minute."""
    from serving.billing.commands import with_desk
    from serving.billing.payments import sweep as sweeping

    async def run(desk: "Desk") -> "Swept":
        return await sweeping.sweep(desk, desk.clock.now(), after=timedelta(seconds=after))

    _show(with_desk(run))


def _show(swept: "Swept") -> None:
    from matinee.console import console

    console.print(
        f"settled: {swept.payments:,} payments, {swept.refunds:,} refunds; {swept.notices:,} notices heard, "
        f"{swept.abandoned:,} invoices taken back; {swept.failed:,} failed (see the log, they are tried again)",
        highlight=False,
    )
