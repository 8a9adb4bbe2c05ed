"""Features: definitions applied, values in the online store."""

import dagster as dg

from orchestration.policies import room
from orchestration.resources import MatineeResource


@dg.asset(**room("features"), deps=[["warehouse", "snapshot"]], kinds={"feast", "redis"})
def online(matinee: MatineeResource) -> dg.MaterializeResult:
    """The feature views of the current snapshot, applied to the registry and materialised to Redis."""
    from features.store import apply_and_materialise

    return dg.MaterializeResult(metadata=dict(vars(apply_and_materialise(matinee.settings()))))
