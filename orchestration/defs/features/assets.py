"""Features: definitions applied, values in the online store, and whether both can be believed."""

from collections.abc import Iterator

import dagster as dg

from matinee.settings import Settings
from orchestration.markdown import table
from orchestration.policies import room
from orchestration.resources import MatineeResource

SKEW, DRIFT = "train_serve_skew", "drift"
DRIFT_LIMIT = 0.2  # population stability index
_SHOWN = 50
_ONLINE = ["features", "online"]


@dg.asset(
    **room("features"),
    deps=[["warehouse", "snapshot"]],
    kinds={"feast", "redis"},
    check_specs=[
        dg.AssetCheckSpec(SKEW, asset=_ONLINE, description="Rows that serving reads equal those that training reads."),
        dg.AssetCheckSpec(DRIFT, asset=_ONLINE, description="Features of the last week's impressions against before."),
    ],
)
def online(matinee: MatineeResource) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """The feature views of the current snapshot in Redis, and beside them histories and recent playbacks of viewers."""
    from features.seed import seed
    from features.store import apply_and_materialise

    settings = matinee.settings()
    applied, seeded = apply_and_materialise(settings), seed(settings)
    yield dg.MaterializeResult(metadata={**vars(applied), **vars(seeded)})
    yield _skew(settings)
    yield _drift(settings)


def _skew(settings: Settings) -> dg.AssetCheckResult:
    from features.checks import skew

    found = skew(settings)
    metadata = {
        "why": dg.MetadataValue.text(f"{len(found.wrong)} values online are not those of the marts"),
        "rows compared": dg.MetadataValue.int(found.compared),
        "newer than the snapshot": dg.MetadataValue.int(found.live),
        "different": dg.MetadataValue.int(len(found.wrong)),
        "values": table(("profile", "feature", "online", "should be"), found.wrong[:_SHOWN]),
    }
    return dg.AssetCheckResult(check_name=SKEW, passed=not found.wrong, metadata=metadata)


def _drift(settings: Settings) -> dg.AssetCheckResult:
    """A warning, not an error: people may change. Who trains a model decides what it means."""
    from features.checks import recent_and_before
    from models.evaluation.drift import moved

    found = moved(recent_and_before(settings))
    far = {name: value for name, value in found.items() if value >= DRIFT_LIMIT}
    rows = sorted(found.items(), key=lambda row: -row[1])
    return dg.AssetCheckResult(
        check_name=DRIFT,
        passed=not far,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"features": len(found), "moved": len(far), "PSI": table(("feature", "PSI"), rows)},
    )
