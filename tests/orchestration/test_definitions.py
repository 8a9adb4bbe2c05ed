import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from orchestration.defs.warehouse.assets import PUBLISHED
from orchestration.policies import OWNERS

HEAVY = ("tensorflow", "pyspark", "great_expectations", "feast", "mlflow", "av", "sklearn", "implicit")


def test_every_asset_key_dependency_and_partition_is_as_agreed(
    loaded: dg.Definitions, snapshot: SnapshotAssertion
) -> None:
    graph = loaded.resolve_asset_graph()
    nodes = {
        "/".join(key.path): {
            "after": sorted("/".join(parent.path) for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "partitions": type(graph.get(key).partitions_def).__name__ if graph.get(key).partitions_def else None,
            "pools": sorted(graph.get(key).pools or ()),
        }
        for key in graph.materializable_asset_keys
    }
    assert dict(sorted(nodes.items())) == snapshot(extension_class=JSONSnapshotExtension)


def test_every_asset_says_what_it_is_whose_it_is_and_how_fresh(loaded: dg.Definitions) -> None:
    graph = loaded.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        room, *rest = key.path
        assert rest, key
        assert room == node.group_name
        assert OWNERS[room] in node.owners
        assert node.description, key
        assert node.freshness_policy_or_from_metadata, key
        assert node.kinds, key


def test_marts_have_checks_and_the_landing_gate_is_one(loaded: dg.Definitions) -> None:
    graph = loaded.resolve_asset_graph()
    checked = {"/".join(check.asset_key.path) for check in graph.asset_check_keys}
    marts = {
        "/".join(key.path)
        for key in graph.materializable_asset_keys
        if key.path[0] == "transforms" and key.path[1].split("_")[0] in {"dim", "fct", "mart", "feat"}
    }
    assert marts == {f"transforms/{name}" for name in PUBLISHED}
    assert marts <= checked
    assert {
        dg.AssetCheckKey(dg.AssetKey(["warehouse", loaded_asset]), "landing_gate")
        for loaded_asset in ("events", "imports")
    } <= graph.asset_check_keys


def test_the_code_location_loads_without_the_heavy_libraries(loaded: dg.Definitions) -> None:
    """They stay inside the functions that need them: this is what keeps loading below three seconds."""
    code = (
        "import sys, json; from orchestration.definitions import defs; defs(); "
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == []


def test_schedule_and_sensors_are_there(loaded: dg.Definitions) -> None:
    repository = loaded.get_repository_def()
    assert sorted(schedule.name for schedule in repository.schedule_defs) == [
        "daily_retention",
        "due_renewals",
        "nightly",
    ]
    assert sorted(sensor.name for sensor in repository.sensor_defs if "default_automation" not in sensor.name) == [
        "alerts",
        "erasure_requests",
        "feeds",
        "films",
        "upgrades",
    ]


@pytest.mark.parametrize("name", ["everything", "catalogue_changed", "masters_changed", "treatments_changed"])
def test_jobs_resolve(loaded: dg.Definitions, name: str) -> None:
    assert loaded.resolve_job_def(name).name == name
