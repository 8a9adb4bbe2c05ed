"""The catalogue of metrics and marts: what the dbt project says of them, beside what the snapshot holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.snapshot import Snapshot


@dataclass(frozen=True)
class Metric:
    name: str
    label: str
    description: str
    kind: str
    unit: str


@dataclass(frozen=True)
class Mart:
    """`freshness_hours`: how old it may be before somebody is told; `rows` are those of the snapshot."""

    name: str
    description: str
    owner: str
    freshness_hours: int | None
    columns: int
    rows: int


def read(manifest: Path, snapshot: Snapshot) -> tuple[list[Metric], list[Mart]]:
    """Metrics and published marts by name, from dbt's `manifest.json`."""
    told = json.loads(manifest.read_text())
    metrics = [_metric(node) for node in told["metrics"].values()]
    models = {node["name"]: node for node in told["nodes"].values() if node["resource_type"] == "model"}
    marts = [_mart(models.get(name, {}), name, table.rows) for name, table in snapshot.tables.items()]
    return sorted(metrics, key=lambda metric: metric.name), sorted(marts, key=lambda mart: mart.name)


def _metric(node: Mapping[str, Any]) -> Metric:
    unit = _meta(node).get("unit") or ""
    return Metric(node["name"], node.get("label") or node["name"], _line(node), str(node.get("type") or ""), str(unit))


def _mart(node: Mapping[str, Any], name: str, rows: int) -> Mart:
    meta = _meta(node)
    return Mart(
        name, _line(node), str(meta.get("owner") or ""), meta.get("freshness_hours"), len(node.get("columns", {})), rows
    )


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("config") or {}).get("meta") or {}


def _line(node: Mapping[str, Any]) -> str:
    return " ".join(str(node.get("description") or "").split())
