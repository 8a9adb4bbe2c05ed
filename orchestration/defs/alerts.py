"""Late assets and failed checks reach a person."""

import json
from datetime import UTC, datetime

import dagster as dg

from orchestration.resources import MatineeResource


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Mail to MATINEE_ALERTS_TO when an asset is past its deadline or a check fails, and when it is over.",
)
def alerts(context: dg.SensorEvaluationContext, matinee: MatineeResource) -> dg.SkipReason:
    """One mail for what began or ended since the last look; the cursor holds what is open."""
    from matinee.mail import send
    from orchestration.alerts import incidents, notice
    from orchestration.freshness import failed_checks, targets

    assert context.repository_def is not None
    graph, now = context.repository_def.asset_graph, datetime.now(UTC)
    found = incidents(targets(graph, context.instance), failed_checks(graph, context.instance), now)
    told = notice(found, json.loads(context.cursor or "{}"), now)
    if told is None:
        return dg.SkipReason(f"nothing began or ended; {len(found)} open")
    settings = matinee.settings()
    send(settings, settings.alerts_to, told.subject, told.text)
    context.update_cursor(json.dumps(told.open))
    return dg.SkipReason(f"told {settings.alerts_to}: {told.subject}")
