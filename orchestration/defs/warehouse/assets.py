"""The lake: landed files and PostgreSQL exports into the build file, the audited build out as a snapshot."""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg

from matinee.settings import Settings
from orchestration import REPOSITORY
from orchestration.partitions import RECEIVED_DAYS
from orchestration.policies import BUILD_FILE_POOL, RETRIES, room
from orchestration.resources import MatineeResource

TABLES = ("title", "account", "profile", "package", "probe", "subscription", "title_cost")
# What a snapshot holds: every model of these folders of the dbt project.
_MODELS = REPOSITORY / "transforms" / "models"
PUBLISHED = sorted(model.stem for folder in ("marts", "features") for model in (_MODELS / folder).rglob("*.sql"))
GATE = "landing_gate"
GATE_SAYS = "Great Expectations over the new landed files. A batch that fails is held back whole, the rest goes on."


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            ["warehouse", name],
            deps=[["ingest", "catalogue"], ["transcoding", "packages"]],
            group_name="warehouse",
            owners=["team:data"],
            kinds={"duckdb", "postgres"},
            description=f"`raw.{name}`: the export of PostgreSQL's `export_{name}`, people by their keys only.",
        )
        for name in TABLES
    ],
    retry_policy=RETRIES,
    pool=BUILD_FILE_POOL,
)
def exports(matinee: MatineeResource) -> Iterator[dg.MaterializeResult]:
    """PostgreSQL's tables in the lake and in the build file."""
    from warehouse.export import export_tables

    for table in export_tables(matinee.settings()):
        yield dg.MaterializeResult(asset_key=["warehouse", table.name], metadata={"rows": table.rows})


@dg.asset(
    **room("warehouse"),
    deps=[["ingest", "landing"], ["warehouse", "imports"]],
    partitions_def=RECEIVED_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec(GATE, asset=["warehouse", "events"], description=GATE_SAYS)],
    pool=BUILD_FILE_POOL,
    kinds={"duckdb", "greatexpectations"},
)
def events(context: dg.AssetExecutionContext, matinee: MatineeResource) -> dg.MaterializeResult:
    """`raw.events`: the landed files of these received days that passed the gate, each loaded exactly once.

    What earlier days still have waiting (a replayed dead letter, a batch let in late) is loaded with them.
    """
    from warehouse.load import load_days, waiting_days

    window = context.partition_key_range
    first, last = date.fromisoformat(window.start), date.fromisoformat(window.end)
    days = {first + timedelta(days=offset) for offset in range((last - first).days + 1)}
    settings = matinee.settings()
    summary = load_days(settings, days | {day for day in waiting_days(settings) if day < first})
    return dg.MaterializeResult(
        metadata={"files": summary.files, "rows": summary.rows},
        check_results=[_gate(settings, imports=False)],
    )


def _gate(settings: Settings, *, imports: bool) -> dg.AssetCheckResult:
    """Red as long as anything is held back, not only in the run that held it."""
    from matinee.db.connect import connect
    from warehouse.held import held

    with connect(settings) as connection:
        out = [
            file for file in held(connection) if file.state == "held" and file.batch.startswith("import:") == imports
        ]
    return dg.AssetCheckResult(
        check_name=GATE,
        passed=not out,
        metadata={file.path: dg.MetadataValue.json(list(file.reasons)) for file in out},
    )


@dg.asset(
    **room("warehouse"),
    deps=[["ingest", "landing"]],
    check_specs=[dg.AssetCheckSpec(GATE, asset=["warehouse", "imports"], description=GATE_SAYS)],
    pool=BUILD_FILE_POOL,
    kinds={"duckdb", "greatexpectations"},
)
def imports(matinee: MatineeResource) -> dg.MaterializeResult:
    """Imported histories in `raw.events`: no lateness rule, no day partitions."""
    from warehouse.load import load_imports

    settings = matinee.settings()
    summary = load_imports(settings)
    return dg.MaterializeResult(
        metadata={"files": summary.files, "rows": summary.rows}, check_results=[_gate(settings, imports=True)]
    )


@dg.asset(
    **room("warehouse"),
    deps=[["models", "experiment_result"], *(["transforms", name] for name in PUBLISHED)],
    pool=BUILD_FILE_POOL,
    kinds={"duckdb", "parquet"},
)
def snapshot(matinee: MatineeResource) -> dg.MaterializeResult:
    """The published marts: read-only, switched atomically, only after every blocking test of the build passed."""
    from models.experiments.readout import RESULT_FILE
    from warehouse.publish import publish

    settings = matinee.settings()
    made = publish(settings, extra={"mart_experiment_result": settings.lake.root / RESULT_FILE})
    return dg.MaterializeResult(
        metadata={"snapshot": made.snapshot_id, "changed": made.changed, "path": dg.MetadataValue.path(made.path)}
    )


@dg.asset(**room("warehouse"), deps=[snapshot], kinds={"html"})
def report(matinee: MatineeResource) -> dg.MaterializeResult:
    """A page of charts over the snapshot that opens from disk."""
    from warehouse.report import write_report

    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(write_report(matinee.settings()))})


@dg.asset(**room("warehouse"), deps=[snapshot], kinds={"dbt", "html"})
def docs(matinee: MatineeResource) -> dg.MaterializeResult:
    """The dbt documentation as one page: every model, column and test."""
    from warehouse.dbt import docs as write_docs

    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(write_docs(matinee.settings()))})
