"""Decisions on treatments start the encoder."""

import dagster as dg

from orchestration.resources import MatineeResource

UPGRADE_JOB = dg.define_asset_job(
    "treatments_changed",
    dg.AssetSelection.assets(["transcoding", "packages"]),
    description="Make the packages that were decided on.",
)


@dg.sensor(job=UPGRADE_JOB, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def upgrades(context: dg.SensorEvaluationContext, matinee: MatineeResource) -> dg.RunRequest | dg.SkipReason:
    """A title is to get another treatment than its package has: once for each round of decisions."""
    from matinee.db.connect import connect
    from transcoding.treatments import last_decision, waiting

    with connect(matinee.settings()) as connection:
        left, decided = waiting(connection), last_decision(connection)
    if not left or decided is None or decided.isoformat() == context.cursor:
        return dg.SkipReason("every package is made as it was decided")
    context.update_cursor(decided.isoformat())
    return dg.RunRequest(run_key=decided.isoformat())
