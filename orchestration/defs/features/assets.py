"""Features: definitions applied, values in the online store."""

import dagster as dg

from orchestration.policies import room
from orchestration.resources import MatineeResource


@dg.asset(**room("features"), deps=[["warehouse", "snapshot"]], kinds={"feast", "redis"})
def online(matinee: MatineeResource) -> dg.MaterializeResult:
    """The feature views of the current snapshot in Redis, and beside them histories and recent playbacks of viewers."""
    from features.seed import seed
    from features.store import apply_and_materialise

    settings = matinee.settings()
    applied, seeded = apply_and_materialise(settings), seed(settings)
    return dg.MaterializeResult(metadata={**vars(applied), **vars(seeded)})
