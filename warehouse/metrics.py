"""The metrics of the semantic layer (`transforms/semantic/`), asked of the published snapshot.

MetricFlow turns a question into SQL; the SQL runs on the snapshot, read-only, never on the build file.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from matinee.settings import Settings
from warehouse import dbt
from warehouse.ask import Answer
from warehouse.errors import WarehouseError
from warehouse.snapshot import Snapshot, hold

if TYPE_CHECKING:
    import duckdb
    from metricflow.engine.metricflow_engine import MetricFlowEngine

GRAINS = ("hour", "day", "week", "month", "quarter", "year")
_TIME = "metric_time"
_DATABASE = "warehouse"  # what dbt calls the build file, and so the generated SQL


@dataclass(frozen=True)
class Metric:
    """`by`: what it is always divided by; `dimensions`: what it can be; `grains`: the times, the finest first."""

    name: str
    label: str
    description: str
    unit: str
    by: tuple[str, ...]
    dimensions: tuple[str, ...]
    grains: tuple[str, ...]

    def dimension(self, wanted: str) -> str:
        """The full name (`account__account_country`) of what may be called by its end (`country`).

        Raises:
            WarehouseError: no dimension ends so, or several do.
        """
        found = [name for name in self.dimensions if name == wanted]
        found = found or [name for name in self.dimensions if name.split("__")[-1] == wanted]
        found = found or [name for name in self.dimensions if name.endswith(f"_{wanted}")]
        if len(found) != 1:
            what = f"{' and '.join(found)} are both called {wanted!r}" if found else f"nothing is called {wanted!r}"
            raise WarehouseError(f"{self.name}: {what}; it can be divided by {', '.join(self.dimensions)}")
        return found[0]


def metrics(settings: Settings) -> list[Metric]:
    """All metrics of the project, by name."""
    return list(_layer(settings)[1].values())


def measure(
    settings: Settings,
    name: str,
    *,
    by: Sequence[str] = (),
    grain: str | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Answer:
    """One metric over the current snapshot, ordered by time and dimensions; `since` and `until` are both counted in.

    Without a `grain` the whole time is one; a metric of a state (subscribers) is then as of its last day.

    Raises:
        NoSnapshotError: nothing is published yet.
        WarehouseError: no such metric, dimension or grain, or the snapshot is older than the metric.
    """
    from metricflow.engine.metricflow_engine import MetricFlowQueryRequest, OutputColumnOrderMode

    engine, known = _layer(settings)
    if name not in known:
        raise WarehouseError(f"no metric is called {name!r}: `matinee metric` lists them ({', '.join(known)})")
    metric = known[name]
    if grain is not None and grain not in metric.grains:
        raise WarehouseError(f"{name} is not known by {grain!r}: choose of {', '.join(metric.grains)}")
    columns = [f"{_TIME}__{grain}"] if grain else []
    columns += dict.fromkeys([*metric.by, *(metric.dimension(wanted) for wanted in by)])
    request = MetricFlowQueryRequest.create(
        metric_names=[name],
        group_by_names=columns,
        order_by_names=columns,
        output_column_order_mode=OutputColumnOrderMode.INPUT_ORDER,
        time_constraint_start=datetime.combine(since, time.min) if since else None,
        time_constraint_end=datetime.combine(until, time(23, 59, 59)) if until else None,
    )
    query = engine.explain(request).sql_statement.sql
    with hold(settings.lake) as snapshot, _published(snapshot, query) as connection:
        return _answer(connection, query, snapshot)


def _answer(connection: "duckdb.DuckDBPyConnection", query: str, snapshot: Snapshot) -> Answer:
    import duckdb

    try:
        cursor = connection.execute(query)
    except duckdb.CatalogException as error:
        reason = str(error).strip().splitlines()[0]
        raise WarehouseError(
            f"snapshot {snapshot.snapshot_id} is older than this metric ({reason}): run `matinee build`"
        ) from None
    columns = [name.removeprefix(f"{_TIME}__") for name, *_ in cursor.description or ()]
    return Answer(columns, [tuple(map(_plain, row)) for row in cursor.fetchall()], snapshot.snapshot_id)


def _plain(value: Any) -> Any:
    """Days as days, though MetricFlow makes moments of them."""
    return value.date() if isinstance(value, datetime) and value.time() == time.min else value


@contextmanager
def _published(snapshot: Snapshot, query: str) -> Iterator["duckdb.DuckDBPyConnection"]:
    """The snapshot's tables that the query names, under the names that the build file has for them."""
    import duckdb

    path = str(snapshot.marts).replace("'", "''")
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS published (READ_ONLY)")
        connection.execute(f"ATTACH ':memory:' AS {_DATABASE}; USE {_DATABASE}; CREATE SCHEMA marts")
        for name in (name for name in snapshot.tables if f'"{name}"' in query):
            connection.execute(f'CREATE VIEW marts."{name}" AS FROM published.main."{name}"')
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


class _Dialect:
    """What MetricFlow asks of a connection to write SQL for it; the SQL is run here, not there."""

    def __init__(self) -> None:
        from metricflow.protocols.sql_client import SqlEngine
        from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer

        self.sql_engine_type = SqlEngine.DUCKDB
        self.sql_plan_renderer = DuckDbSqlPlanRenderer()


def _layer(settings: Settings) -> "tuple[MetricFlowEngine, dict[str, Metric]]":
    return _made(dbt.semantic_manifest(settings).read_text())


@lru_cache(maxsize=2)
def _made(text: str) -> "tuple[MetricFlowEngine, dict[str, Metric]]":
    from metricflow.engine.metricflow_engine import MetricFlowEngine
    from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
    from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

    manifest = parse_manifest_from_dbt_generated_manifest(text)
    engine = MetricFlowEngine(SemanticManifestLookup(manifest), _Dialect())  # pyright: ignore[reportArgumentType] - runs nothing
    known = (_metric(told) for told in engine.list_metrics())
    return engine, {metric.name: metric for metric in sorted(known, key=lambda metric: metric.name)}


def _metric(told: Any) -> Metric:
    meta = told.config.meta if told.config else {}
    names = [dimension.dunder_name for dimension in told.dimensions]
    finest = [name.split("__")[1] for name in names if name.startswith(f"{_TIME}__")]
    return Metric(
        name=told.name,
        label=told.label or told.name,
        description=" ".join((told.description or "").split()),
        unit=str(meta.get("unit", "")),
        by=tuple(meta.get("by", ())),
        dimensions=tuple(
            dimension.dunder_name for dimension in told.dimensions if dimension.type.value == "categorical"
        ),
        grains=GRAINS[GRAINS.index(finest[0]) :] if finest else (),
    )
