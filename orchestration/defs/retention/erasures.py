"""Erasures: who asks on their page to be forgotten, is, within minutes."""

import hashlib
from datetime import UTC, datetime

import dagster as dg

from orchestration.policies import BUILD_FILE_POOL, room
from orchestration.resources import MatineeResource


@dg.asset(**room("warehouse"), pool=BUILD_FILE_POOL, kinds={"duckdb", "postgres"})
def erasures(matinee: MatineeResource) -> dg.MaterializeResult:
    """Everybody who asked for it is forgotten, as `matinee erase` does; the proof lies in `reports/erasures`."""
    from orchestration.erase import erase_requested

    proof = erase_requested(matinee.settings())
    if proof is None:
        return dg.MaterializeResult(metadata={"accounts": 0})
    removed = sum(trace.removed for trace in proof.traces)
    return dg.MaterializeResult(
        metadata={"accounts": len(proof.accounts), "removed": removed, "proof": dg.MetadataValue.path(str(proof.path))}
    )


ERASING = dg.define_asset_job(
    "erasures", dg.AssetSelection.assets(["warehouse", "erasures"]), description="Forget who asked for it."
)


@dg.sensor(job=ERASING, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def erasure_requests(matinee: MatineeResource) -> dg.RunRequest | dg.SkipReason:
    """Somebody waits to be forgotten. The hour is in the run's key: what failed is tried again in the next one."""
    from matinee.db.connect import connect
    from serving.erase import requested

    with connect(matinee.settings()) as connection:
        waiting = requested(connection)
    if not waiting:
        return dg.SkipReason("nobody asked to be forgotten")
    key = hashlib.sha256("\n".join(waiting).encode()).hexdigest()
    return dg.RunRequest(run_key=f"{key}-{datetime.now(UTC):%Y%m%d%H}")
