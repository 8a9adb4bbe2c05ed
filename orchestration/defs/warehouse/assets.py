"""The lake: landed files and PostgreSQL exports into the build file, the audited build out as a snapshot."""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg

from matinee.settings import Settings
from orchestration import REPOSITORY
from orchestration.markdown import table
from orchestration.partitions import RECEIVED_DAYS
from orchestration.policies import BUILD_FILE_POOL, RETRIES, room
from orchestration.resources import MatineeResource
from warehouse.anomalies import CHECKS

TABLES = (
    "title", "account", "profile", "package", "probe", "subscription", "title_cost",
    "customer", "posting", "ledger_total", "invoice_line", "subscription_event",
)  # fmt: skip
# What a snapshot holds: every model of these folders of the dbt project.
_MODELS = REPOSITORY / "transforms" / "models"
PUBLISHED = sorted(model.stem for folder in ("marts", "features") for model in (_MODELS / folder).rglob("*.sql"))
GATE = "landing_gate"
_SHOWN = 50  # rows of a check
_BACKFILL = "dagster/backfill"  # Dagster's tag on the runs of a backfill
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

    for made in export_tables(matinee.settings()):
        yield dg.MaterializeResult(asset_key=["warehouse", made.name], metadata={"rows": made.rows})


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

    What earlier days still have waiting (a replayed dead letter, a batch let in late) is loaded with them. A backfill
    also marks what was received on its days as changed, so that the models make it anew.
    """
    from warehouse.backfill import touch_received_days
    from warehouse.load import load_days, waiting_days

    window = context.partition_key_range
    first, last = date.fromisoformat(window.start), date.fromisoformat(window.end)
    days = {first + timedelta(days=offset) for offset in range((last - first).days + 1)}
    settings = matinee.settings()
    summary = load_days(settings, days | {day for day in waiting_days(settings) if day < first})
    metadata = {"files": summary.files, "rows": summary.rows}
    if _BACKFILL in context.run.tags:
        metadata["event days to build again"] = len(touch_received_days(settings, first, last))
    return dg.MaterializeResult(metadata=metadata, check_results=[_gate(settings, imports=False)])


def _gate(settings: Settings, *, imports: bool) -> dg.AssetCheckResult:
    """Red as long as anything is held back, not only in the run that held it."""
    from matinee.db.connect import connect
    from warehouse.held import held

    with connect(settings) as connection:
        out = [
            file for file in held(connection) if file.state == "held" and file.batch.startswith("import:") == imports
        ]
    found = [
        {
            "batch": file.batch,
            "file": file.path,
            "expectation": reason["check"],
            "column": reason["column"] or "",
            "wrong": reason["unexpected"],
            "values": ", ".join(reason["sample"]),
        }
        for file in out
        for reason in file.reasons
    ]
    metadata: dict[str, dg.MetadataValue] = {
        "files held back": dg.MetadataValue.int(len(out)),
        "pages": dg.MetadataValue.path(settings.home.reports / "data-docs" / "index.html"),
    }
    if found:
        rows = [list(row.values()) for row in found[:_SHOWN]]
        metadata |= {"found": dg.MetadataValue.json(found[:_SHOWN]), "reasons": table(list(found[0]), rows)}
    return dg.AssetCheckResult(check_name=GATE, passed=not out, metadata=metadata)


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


@dg.asset(**room("warehouse"), deps=[events, imports], kinds={"greatexpectations", "html"})
def data_docs(matinee: MatineeResource) -> dg.MaterializeResult:
    """What the landing gate saw: Great Expectations' pages of the newest batches and of all that were held back."""
    from warehouse.datadocs import write_data_docs

    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(write_data_docs(matinee.settings()))})


@dg.asset(
    **room("warehouse"),
    deps=[["models", "experiment_result"], *(["transforms", name] for name in PUBLISHED)],
    check_specs=[
        dg.AssetCheckSpec(name, asset=["warehouse", "snapshot"], description=description)
        for name, description in CHECKS.items()
    ],
    pool=BUILD_FILE_POOL,
    kinds={"duckdb", "parquet"},
)
def snapshot(matinee: MatineeResource) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """The published marts: read-only, switched atomically, only after every blocking check of the build passed.

    Its own checks compare the last days with those before. A finding stops publication until somebody has looked.
    """
    from models.experiments.readout import RESULT_FILE
    from warehouse.publish import AnomalyError, AuditError, publish
    from warehouse.retention import archive

    settings = matinee.settings()
    try:
        made = publish(
            settings, extra={"mart_experiment_result": settings.lake.root / RESULT_FILE, **archive(settings.lake)}
        )
    except AuditError as error:
        if isinstance(error, AnomalyError):
            yield from _looks(settings)
        # The same build is not better the second time.
        raise dg.Failure(str(error), allow_retries=False) from error
    yield from _looks(settings)
    yield dg.MaterializeResult(
        metadata={"snapshot": made.snapshot_id, "changed": made.changed, "path": dg.MetadataValue.path(made.path)}
    )


def _looks(settings: Settings) -> Iterator[dg.AssetCheckResult]:
    from warehouse.anomalies.record import known_anomalies

    head = ("id", "found", "expected", "low", "high", "accepted by", "why")
    for look in known_anomalies(settings):
        metadata: dict[str, dg.MetadataValue] = {"numbers compared": dg.MetadataValue.int(look.judged)}
        if not look.judged:
            metadata["note"] = dg.MetadataValue.text("too little history to compare with")
        if look.found:
            told = [(known.finding, known) for known in look.found[:_SHOWN]]
            metadata["unlike the days before"] = table(
                head,
                ((f.finding_id, f.observed, f.expected, f.low, f.high, k.accepted_by, k.why) for f, k in told),
            )
        yield dg.AssetCheckResult(check_name=look.check, passed=look.passed, metadata=metadata)


@dg.asset(**room("warehouse"), deps=[snapshot, ["serving", "books"]], kinds={"html"})
def report(matinee: MatineeResource) -> dg.MaterializeResult:
    """A page of charts over the snapshot that opens from disk. It tells of money: not written while books are wrong."""
    from warehouse.report import write_report

    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(write_report(matinee.settings()))})


@dg.asset(**room("warehouse"), deps=[snapshot], kinds={"dbt", "html"})
def docs(matinee: MatineeResource) -> dg.MaterializeResult:
    """The dbt documentation as one page: every model, column and test."""
    from warehouse.dbt import docs as write_docs

    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(write_docs(matinee.settings()))})
