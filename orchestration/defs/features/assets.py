"""Features: definitions applied, values in the online store, and whether both can be believed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from matinee.settings import Settings
from orchestration.markdown import table
from orchestration.policies import room
from orchestration.resources import MatineeResource

if TYPE_CHECKING:
    import polars as pl

SKEW, DRIFT = "train_serve_skew", "drift"
DRIFT_LIMIT = 0.2  # population stability index
_ENOUGH = 1_000  # values on each side: of fewer the index says more about chance
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

    sides = recent_and_before(settings)
    found = {name: _psi(*both) for name, both in sides.items() if min(map(len, both)) >= _ENOUGH}
    moved = {name: value for name, value in found.items() if value >= DRIFT_LIMIT}
    rows = sorted(found.items(), key=lambda row: -row[1])
    return dg.AssetCheckResult(
        check_name=DRIFT,
        passed=not moved,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"features": len(found), "moved": len(moved), "PSI": table(("feature", "PSI"), rows)},
    )


def _psi(before: "pl.Series", recent: "pl.Series") -> float:
    import polars as pl

    from models.evaluation.drift import psi, psi_of_counts

    if before.dtype.is_numeric():
        expected, actual = (side.cast(pl.Float64).fill_null(float("nan")).to_numpy() for side in (before, recent))
        return psi(expected, actual)
    counted = [dict(side.value_counts().iter_rows()) for side in (before, recent)]
    kinds = sorted({*counted[0], *counted[1]}, key=str)
    return psi_of_counts(*([side.get(kind, 0) for kind in kinds] for side in counted))
