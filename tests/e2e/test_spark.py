"""The same marts on both engines, row for row, on a simulated month. `make test-spark` installs what it needs."""

from datetime import date
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="Spark is not installed: `make test-spark` installs it")

from ingest.catalog import ingest_feed
from ingest.collector import drain
from matinee.db.connect import connect
from matinee.pseudonyms import destroy, salts
from matinee.settings import Settings
from simulation.catalogue import write_feed
from simulation.parameters import Plan
from simulation.viewers import simulate
from warehouse import dbt, spark
from warehouse.export import export_tables
from warehouse.load import load_days

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# They stand on dbt's snapshots, which need a table format that Spark does not bring.
DUCKDB_ALONE = {"dim_title_history", "dim_account_history"}


@pytest.fixture(scope="module")
def home(own_home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings, feed = own_home, tmp_path_factory.mktemp("spark") / "feed.jsonl"
    write_feed(feed)
    with connect(settings) as connection:
        ingest_feed(connection, feed)
    simulate(settings, Plan(end=date(2026, 11, 1), viewers=120, days=40, seed=7))
    drain(settings)
    with connect(settings) as connection:  # somebody whose rows the landed files still hold
        who = connection.execute("SELECT account_id FROM account_salt ORDER BY account_id LIMIT 1").fetchall()[0][0]
        key = salts(connection, [who])[who].key(who)
        destroy(connection, [who], {"account_key": [key]})
    assert load_days(settings).held == ()
    export_tables(settings)
    assert dbt.run(settings, ["run", "--exclude", "config.materialized:snapshot+"]).success
    return settings


def test_spark_builds_the_same_marts_row_for_row(home: Settings) -> None:
    built = spark.build(home)
    assert built.success, [(node.name, node.message) for node in built.failed]
    found = spark.differences(home)
    models = Path(dbt.PROJECT) / "models"
    expected = {path.stem for folder in ("marts", "features") for path in (models / folder).rglob("*.sql")}
    assert {difference.model for difference in found} == expected - DUCKDB_ALONE
    assert [difference for difference in found if not difference.same] == []
    assert sum(difference.rows for difference in found) > 20_000
