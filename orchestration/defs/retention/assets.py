"""Retention: once a day, what is older than its period goes."""

import dagster as dg

from orchestration.policies import BUILD_FILE_POOL, room
from orchestration.resources import MatineeResource


@dg.asset(**room("warehouse"), pool=BUILD_FILE_POOL, kinds={"duckdb", "postgres"})
def retention(matinee: MatineeResource) -> dg.MaterializeResult:
    """Events, dead letters, snapshots, sessions and logs that are older than `MATINEE_RETENTION_*` say are dropped."""
    from orchestration.retention import enforce, said

    return dg.MaterializeResult(metadata=dict(said(enforce(matinee.settings()))))


KEEPING = dg.define_asset_job(
    "retention", dg.AssetSelection.assets(["warehouse", "retention"]), description="What is older than its period goes."
)


@dg.schedule(
    job=KEEPING,
    cron_schedule="45 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_retention(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """After the nightly build, which has read what goes now."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.date().isoformat())
