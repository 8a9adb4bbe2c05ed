"""The nightly build: the whole graph, over yesterday's and today's received days."""

from datetime import timedelta

import dagster as dg

EVERYTHING = dg.define_asset_job(
    "everything",
    dg.AssetSelection.all(),
    description="The whole graph, from what waits in the inbox and the event log to the lists on the screen.",
)


@dg.schedule(
    job=EVERYTHING,
    cron_schedule="15 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """What was received yesterday and in the first hours of today, built before the morning."""
    today = context.scheduled_execution_time
    yesterday = today - timedelta(days=1)
    return dg.RunRequest(
        run_key=today.date().isoformat(), tags=received_between(yesterday.date().isoformat(), today.date().isoformat())
    )


def received_between(first: str, last: str) -> dict[str, str]:
    """The tags of one run over a range of received days, both included."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
