"""How models are written, by sqlfluff, and which layer may read which."""

import json
from pathlib import Path

import pytest

from warehouse import dbt

RULES = "CP01,CP04,CP05,AL01,AM01,AM02,AM05,CV01,CV05,RF01,ST03"

# A layer reads those named here. Facts and dimensions stand below the marts for people, whatever folder they lie in.
READS = {
    "staging": {"source", "staging"},
    "snapshots": {"staging"},
    "intermediate": {"staging", "intermediate", "facts"},
    "facts": {"staging", "snapshots", "intermediate", "facts"},
    "marts": {"staging", "intermediate", "facts", "marts"},
    "features": {"intermediate", "facts"},
}
PREFIXES = {"staging": "stg_", "intermediate": "int_", "features": "feat_", "snapshots": "snap_", "marts": "mart_"}
CONTROL = "source.matinee.raw.touched_days"  # what incremental models have to build, not data


@pytest.fixture(scope="module")
def compiled(empty) -> Path:
    """The models as SQL, incremental ones in the form that adds to what is there."""
    assert dbt.run(empty, ["compile"]).success
    return dbt.home_folder(empty) / "target" / "compiled" / "matinee" / "models"


def layer(manifest, node_id):
    if node_id.startswith("source."):
        return "source"
    node = manifest["nodes"][node_id]
    if node["resource_type"] == "snapshot":
        return "snapshots"
    folder = node["fqn"][1]
    return "facts" if folder == "marts" and node["name"].startswith(("fct_", "dim_")) else folder


def test_models_are_written_alike(compiled):
    from sqlfluff.core import FluffConfig, Linter

    linter = Linter(config=FluffConfig(overrides={"dialect": "duckdb", "templater": "raw", "rules": RULES}))
    # Tests that ran before are compiled below folders called as the YAML that they stand in.
    models = [path for path in sorted(compiled.rglob("*.sql")) if ".yml/" not in str(path)]
    assert len(models) > 30
    odd = [
        f"{path.name}:{found.line_no} {found.rule_code()} {found.desc()}"
        for path in models
        for found in linter.lint_string(path.read_text(), fname=path.name).get_violations()
    ]
    assert odd == []


def test_a_model_reads_only_the_layers_below_it(empty):
    manifest = json.loads(dbt.parse(empty).read_text())
    nodes = {
        key: node
        for key, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "snapshot") and "semantic" not in node["fqn"]
    }
    for key, node in nodes.items():
        own = layer(manifest, key)
        assert own == "facts" or node["name"].startswith(PREFIXES[own]), f"{node['name']} lies in {own}"
        reads = {layer(manifest, parent) for parent in node["depends_on"]["nodes"] if parent != CONTROL}
        assert reads <= READS[own], f"{node['name']} ({own}) reads {reads - READS[own]}"
