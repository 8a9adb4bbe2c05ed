"""Renewals: what the clock says of subscriptions, and the charges that follow from it."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import dagster as dg

from orchestration.policies import room
from orchestration.resources import MatineeResource

if TYPE_CHECKING:
    from matinee.settings import Settings
    from serving.billing.payments.sweep import Swept
    from serving.billing.renewals.core import Renewed


@dg.asset(**room("serving"), kinds={"postgres"})
def renewals(matinee: MatineeResource) -> dg.MaterializeResult:
    """Every subscription that was due is turned, and charged where its period ended; what was half done is settled.

    Fails where the clock cannot be believed (`serving.billing.renewals.clocks`); what was half done is settled before.
    """
    renewed, swept = asyncio.run(_run(matinee.settings()))
    left = {f"{name} settled": count for name, count in asdict(swept).items() if name in ("payments", "refunds")}
    return dg.MaterializeResult(metadata={**asdict(renewed), **left})


async def _run(settings: "Settings") -> "tuple[Renewed, Swept]":
    from serving.billing.payments.desk import desk
    from serving.billing.payments.sweep import sweep
    from serving.billing.renewals.clocks import believed
    from serving.billing.renewals.core import renew

    async with desk(settings) as office:
        swept = await sweep(office, office.clock.now())  # as API processes do, by the same clock
        async with office.transaction() as connection:
            await believed(connection, office.clock.now())
        return await renew(office, office.clock.now()), swept


RENEWING = dg.define_asset_job(
    "renewals",
    dg.AssetSelection.assets(["serving", "renewals"]),
    description="Charge whose period has ended. Safe to run twice, late, or beside another run.",
)


@dg.schedule(
    job=RENEWING,
    cron_schedule="*/10 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def due_renewals(context: dg.ScheduleEvaluationContext, matinee: MatineeResource) -> dg.RunRequest | dg.SkipReason:
    """Every ten minutes, where a subscription is due."""
    count = asyncio.run(_waiting(matinee.settings()))
    if not count:
        return dg.SkipReason("no subscription is due")
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat(), tags={"matinee/due": str(count)})


async def _waiting(settings: "Settings") -> int:
    from serving.billing.payments.desk import desk
    from serving.billing.renewals.core import waiting

    async with desk(settings, size=1) as office:
        return await waiting(office, office.clock.now())
