"""The same marts on both engines, row for row, on a simulated month, and the same iALS by MLlib and by `implicit`.

`make test-spark` installs what it needs.
"""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="Spark is not installed: `make test-spark` installs it")

from ingest.catalog import ingest_feed
from ingest.collector import drain
from matinee.db.connect import connect
from matinee.pseudonyms import destroy, salts
from matinee.settings import Settings
from models.evaluation.metrics import evaluate
from models.evaluation.splits import leave_one_out
from models.interactions import Interactions
from models.recommenders.ials import Ials
from models.recommenders.ials_spark import IalsSpark
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


def test_spark_fits_the_ials_that_implicit_fits(tmp_path: Path) -> None:
    """Nearly the same order of titles for each viewer, nearly the same first ten, and worth the same."""
    rng = np.random.default_rng(1)
    titles, fame = rng.dirichlet(np.full(6, 0.2), 90), rng.lognormal(0, 1, 90)
    users, items = [], []
    for user in range(400):
        liked = titles @ rng.dirichlet(np.full(6, 0.2)) * fame
        chosen = rng.choice(90, int(rng.integers(5, 28)), replace=False, p=liked / liked.sum())
        users += [user] * len(chosen)
        items += chosen.tolist()
    data = Interactions.sorted(users, items, rng.random(len(users)), 400, 91)  # nobody took the last one
    task, parameters = leave_one_out(data), {"factors": 6, "penalty": 5.0, "confidence": 4.0}

    by_spark = IalsSpark(Settings.load(home=tmp_path), **parameters).fit(task.train)
    by_implicit = Ials(**parameters).fit(task.train)
    scores = [model.score(task.histories) for model in (by_spark, by_implicit)]
    assert not scores[0][:, 90].any()
    ranks = [made.argsort(axis=1).argsort(axis=1) for made in scores]
    order = [np.corrcoef(one, other)[0, 1] for one, other in zip(*ranks, strict=True)]
    best = []
    for made in scores:
        made[task.histories.rows, task.histories.values] = -np.inf
        best.append(np.argsort(-made, axis=1)[:, :10])
    overlap = [len(np.intersect1d(one, other)) / 10 for one, other in zip(*best, strict=True)]
    worth = [evaluate(model.score, task).ndcg.mean() for model in (by_spark, by_implicit)]
    assert np.mean(order) > 0.98
    assert np.mean(overlap) > 0.9
    assert abs(worth[0] - worth[1]) < 0.02
