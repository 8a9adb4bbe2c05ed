"""The dbt project as Dagster assets: keys, groups and owners of the house, one build over the touched days."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, DbtProjectComponent

from matinee.settings import Settings
from orchestration.policies import FRESHNESS, FULL_REFRESH, OWNERS

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
            freshness_policy=FRESHNESS,
        )

    def get_cli_args(self, context: dg.AssetExecutionContext) -> list[str]:
        """The component's arguments, and a full refresh where the run's tag asks for one."""
        refresh = ["--full-refresh"] if context.run.tags.get(FULL_REFRESH) == "true" else []
        return [*super().get_cli_args(context), *refresh]

    def execute(self, context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        """Build over the touched days, on the claimed build file; the project's own hooks record what became of it."""
        from warehouse import build_file

        with build_file.claim(Settings.load()) as path:
            with build_file.opened(path):
                pass  # makes the raw tables where they are missing
            yield from super().execute(context, dbt)
