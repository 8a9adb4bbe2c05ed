"""What Dagster knows of each asset: when it was made, how fresh it must be, and which of its checks failed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from matinee.settings import Settings
from orchestration.alerts import Target

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph


def targets(graph: "BaseAssetGraph", instance: dg.DagsterInstance) -> list[Target]:
    """Every asset with a time window, and when it was made last."""
    promised = {
        key: policy
        for key in graph.materializable_asset_keys
        if isinstance(policy := graph.get(key).freshness_policy_or_from_metadata, TimeWindowFreshnessPolicy)
    }
    made = {}
    for record in instance.get_asset_records(list(promised)):
        if newest := record.asset_entry.last_materialization_record:
            made[record.asset_entry.asset_key] = datetime.fromtimestamp(newest.timestamp, UTC)
    return [
        Target("/".join(key.path), _owner(graph, key), policy.fail_window.to_timedelta(), made.get(key))
        for key, policy in promised.items()
    ]


def failed_checks(graph: "BaseAssetGraph", instance: dg.DagsterInstance) -> dict[str, str]:
    """Checks whose last result is a failure that matters (a warning is none) -> what they say."""
    return dict(_failed(graph, instance))


def _failed(graph: "BaseAssetGraph", instance: dg.DagsterInstance) -> Iterator[tuple[str, str]]:
    keys = sorted(graph.asset_check_keys, key=str)
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    for key in keys:
        record = records.get(key)
        event = record.event.dagster_event if record and record.event else None
        if event is None:
            continue
        evaluation = event.asset_check_evaluation_data
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            why = evaluation.metadata["why"].value if "why" in evaluation.metadata else evaluation.description
            yield f"{'/'.join(key.asset_key.path)}: {key.name}", str(why or "")


def of_home(settings: Settings) -> tuple[list[Target], dict[str, str]]:
    """The targets and the failed checks of this home, for people who are not at Dagster's page."""
    from orchestration.instance import definitions, prepare

    prepare(settings)
    graph = definitions().resolve_asset_graph()
    with dg.DagsterInstance.get() as instance:
        return targets(graph, instance), failed_checks(graph, instance)


def _owner(graph: "BaseAssetGraph", key: dg.AssetKey) -> str:
    return ", ".join(graph.get(key).owners) or "nobody"
