"""The habits of the dbt project: everything described, every mart under contract, every grain tested."""

import json

import duckdb
import pytest

from warehouse import dbt

# They only name columns: there is nothing that a unit test could catch.
PLAIN = {
    "stg_events", "stg_accounts", "stg_fixed_ladder", "stg_probes", "stg_profiles", "dim_account", "stg_customers",
    "stg_postings",
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(empty):
    return json.loads(dbt.parse(empty).read_text())


@pytest.fixture(scope="module")
def models(manifest):
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


def checks_on(manifest, name):
    nodes = (node for node in manifest["nodes"].values() if node["resource_type"] == "test")
    return [node for node in nodes if node.get("attached_node") == f"model.matinee.{name}"]


def test_every_column_that_exists_is_described_and_no_other(empty, models):
    with duckdb.connect(str(empty.lake.build_file), read_only=True) as connection:
        found = connection.execute(
            "SELECT table_name, list(column_name ORDER BY ordinal_position) FROM information_schema.columns "
            "WHERE table_schema IN ('staging', 'intermediate', 'marts') GROUP BY 1"
        ).fetchall()
    assert {name for name, _ in found} == set(models)
    for name, columns in found:
        assert list(models[name]["columns"]) == columns, name
        assert all(column["description"].strip() for column in models[name]["columns"].values()), name
        assert models[name]["description"].strip()


def test_every_mart_is_under_contract_and_its_grain_is_tested(manifest, models):
    marts = [name for name, node in models.items() if node["schema"] == "marts"]
    assert marts
    for name in marts:
        assert models[name]["contract"]["enforced"], name
        kinds = {test["test_metadata"]["name"] for test in checks_on(manifest, name)}
        assert kinds & {"unique", "grain"}, name
        assert kinds & {"not_null", "complete"}, name
        meta = models[name]["config"]["meta"]
        assert meta["owner"], name
        assert meta["freshness_hours"] > 0, name


def test_every_model_with_logic_has_a_unit_test(manifest, models):
    tested = {test["model"] for test in manifest["unit_tests"].values()}
    assert tested == set(models) - PLAIN


def test_who_uses_the_marts_is_written_down(manifest):
    exposures = {exposure["name"]: exposure for exposure in manifest["exposures"].values()}
    assert set(exposures) == {"api", "books", "encoder", "recommender", "report"}
    assert all(exposure["depends_on"]["nodes"] for exposure in exposures.values())


def test_sources_have_freshness_and_descriptions(manifest):
    sources = {source["name"]: source for source in manifest["sources"].values()}
    assert sources["events"]["freshness"]["warn_after"]["count"] == 36
    assert all(source["description"] for source in sources.values())


def test_the_docs_are_one_page(empty):
    page = dbt.docs(empty)
    assert page == empty.home.reports / "dbt" / "index.html"
    text = page.read_text()
    assert "mart_experiment_moments" in text
    assert text.lstrip().lower().startswith("<!doctype html>")


def test_dbt_leaves_nothing_in_the_repository(empty):
    assert {path.name for path in dbt.home_folder(empty).iterdir()} >= {"target", "logs"}
    assert not (dbt.PROJECT / "target").exists()
    assert not (dbt.PROJECT / "logs").exists()
