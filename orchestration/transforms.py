"""The dbt project as Dagster assets: keys, groups and owners of the house, one build over the touched days."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, DbtProjectComponent
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from matinee.settings import Settings
from orchestration.markdown import table
from orchestration.policies import FRESHNESS, FULL_REFRESH, OWNERS

if TYPE_CHECKING:
    from warehouse.failures import Failure

# Sources that a load writes in the same transaction as the events.
_LOADED_WITH: dict[str, str] = {"touched_days": "events", "loaded_file": "events"}


class TransformsComponent(DbtProjectComponent):
    """`DbtProjectComponent` with the house's asset keys: `[transforms, model]`, sources `[warehouse, table]`."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] == "source":
            table = str(node["name"])
            return spec.replace_attributes(key=dg.AssetKey(["warehouse", _LOADED_WITH.get(table, table)]))
        return spec.replace_attributes(
            key=dg.AssetKey(["transforms", node["name"]]),
            group_name="transforms",
            owners=[OWNERS["transforms"]],
            freshness_policy=_promised(node.get("config", {}).get("meta", {})),
        )

    def get_cli_args(self, context: dg.AssetExecutionContext) -> list[str]:
        """The component's arguments, and a full refresh where the run's tag asks for one."""
        refresh = ["--full-refresh"] if context.run.tags.get(FULL_REFRESH) == "true" else []
        return [*super().get_cli_args(context), *refresh]

    def execute(self, context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        """Build over the touched days, on the claimed build file; the project's own hooks record what became of it."""
        from warehouse import build_file
        from warehouse.failures import failures

        bad: list[dg.AssetCheckResult] = []
        with build_file.claim(Settings.load()) as path:
            with build_file.opened(path):
                pass  # makes the raw tables where they are missing
            failed: DagsterDbtCliRuntimeError | None = None
            try:
                for event in super().execute(context, dbt):
                    if isinstance(event, dg.AssetCheckResult) and not event.passed:
                        bad.append(event)  # its rows are known when dbt has ended
                    else:
                        yield event
            except DagsterDbtCliRuntimeError as error:
                failed = error
            with build_file.opened(path) as warehouse:
                found = {failure.node_id: failure for failure in failures(warehouse)}
        yield from (_with_rows(check, found) for check in bad)
        if failed is not None:
            raise failed


def _promised(meta: Mapping[str, Any]) -> dg.FreshnessPolicy:
    """The hours that the model's own YAML promises, else the house's."""
    hours = meta.get("freshness_hours")
    if hours is None:
        return FRESHNESS
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours), warn_window=timedelta(hours=0.75 * hours))


def _with_rows(check: dg.AssetCheckResult, found: "Mapping[str, Failure]") -> dg.AssetCheckResult:
    """The check's result with what an operator asks next: how many rows broke it, and which."""
    node = check.metadata["unique_id"].value if "unique_id" in check.metadata else None
    failure = found.get(str(node))
    if failure is None:
        return check
    more: dict[str, dg.MetadataValue] = {"why": dg.MetadataValue.text(failure.message)}
    if failure.rows:
        rows = ([row.get(column) for column in failure.columns] for row in failure.rows)
        more |= {"rows": dg.MetadataValue.int(failure.count), "first rows": table(failure.columns, rows)}
    return check._replace(metadata={**check.metadata, **more})
