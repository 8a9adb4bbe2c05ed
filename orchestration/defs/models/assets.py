"""What is fitted to data: experiment readouts, the recommender, and its export for serving."""

import dagster as dg

from orchestration.policies import BUILD_FILE_POOL, room
from orchestration.resources import MatineeResource


@dg.asset(
    **room("models"),
    deps=[["transforms", "mart_experiment_moments"]],
    pool=BUILD_FILE_POOL,
    kinds={"python", "parquet"},
)
def experiment_result(matinee: MatineeResource) -> dg.MaterializeResult:
    """Difference, interval and sample ratio check of every experiment and metric, from dbt's moments."""
    from models.experiments.readout import readout

    results = readout(matinee.settings())
    table = "\n".join(
        ["| experiment | metric | difference | 95 % interval | SRM p |", "|---|---|---|---|---|"]
        + [
            f"| {r.experiment} | {r.metric} | {r.difference:.4g} | {r.low:.4g} .. {r.high:.4g} | {r.srm_p_value:.3g} |"
            for r in results
        ]
    )
    return dg.MaterializeResult(metadata={"results": len(results), "table": dg.MetadataValue.md(table)})


@dg.asset(
    **room("models"), deps=[["warehouse", "snapshot"], ["features", "online"]], kinds={"mlflow", "numpy", "keras"}
)
def recommender(matinee: MatineeResource) -> dg.MaterializeResult:
    """Every recommender fitted, compared and recorded; the champion changes only where the gate says so."""
    from models.recommenders.train import train
    from models.recommenders.zoo import Zoo

    result = train(matinee.settings(), zoo=Zoo.whole())
    return dg.MaterializeResult(
        metadata={
            "winner": result.winner,
            "promoted": result.promoted,
            "verdict": result.verdict,
            "run": result.run_id,
            "table": dg.MetadataValue.md(result.table()),
            "gate": dg.MetadataValue.md(result.gate or result.verdict),
        }
    )


@dg.asset(**room("models"), deps=[recommender], kinds={"numpy"})
def exported(matinee: MatineeResource) -> dg.MaterializeResult:
    """The champion (without one, popularity) as plain arrays where the API looks; what fails leaves what serves."""
    from models.recommenders.follow import bring

    return dg.MaterializeResult(metadata=dict(vars(bring(matinee.settings()))))
