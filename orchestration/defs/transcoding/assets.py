"""A master becomes a package."""

import dagster as dg

from orchestration.policies import room
from orchestration.resources import MatineeResource


@dg.asset(**room("transcoding"), deps=[["ingest", "masters"]], kinds={"ffmpeg", "hls"})
def packages(context: dg.AssetExecutionContext, matinee: MatineeResource) -> dg.MaterializeResult:
    """Adaptive packages in the media store, one for each accepted master; published whole or not at all."""
    from matinee.db.connect import connect
    from transcoding.build import transcode_pending

    settings = matinee.settings()
    for outcome in transcode_pending(settings):
        context.log.info("%s", outcome)
    with connect(settings) as connection:
        counts = dict(connection.execute("SELECT state, count(*) FROM package GROUP BY state").fetchall())
    return dg.MaterializeResult(metadata={"published": counts.get("published", 0), "failed": counts.get("failed", 0)})
