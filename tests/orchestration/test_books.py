"""The books as an operator sees them in Dagster."""

import dagster as dg
import psycopg

from matinee.settings import Settings
from orchestration.defs.billing.books import books
from orchestration.defs.warehouse.assets import report
from orchestration.resources import MatineeResource

# Somebody says that money came: no payment says so, nor does the provider.
CLAIM = """
    WITH made AS (INSERT INTO ledger_transaction (kind, source, occurred_at)
                  VALUES ('payment', 'p1', now() - interval '1 hour') RETURNING transaction_id)
    INSERT INTO posting SELECT made.transaction_id, p.* FROM made,
        (VALUES (1, 'clearing', 'sandbox', 'EUR', 500), (2, 'receivable', 'c', 'EUR', -500)) AS p"""


def test_both_checks_name_what_is_wrong(settings: Settings, monkeypatch) -> None:
    monkeypatch.setenv("MATINEE_DATABASE_URL", settings.database())
    monkeypatch.setenv("MATINEE_REDIS_URL", settings.redis())
    resources = {"matinee": MatineeResource(home=str(settings.home_path))}

    def looked() -> dict[str, dg.AssetCheckEvaluation]:
        done = dg.materialize([books, report], resources=resources, raise_on_error=False)
        tried = [event.step_key for event in done.all_events if event.is_step_start]
        found = {each.check_name: each for each in done.get_asset_check_evaluations()}
        assert ("warehouse__report" in tried) == found["whole"].passed, "no report of figures that the books deny"
        return found

    assert {name: each.passed for name, each in looked().items()} == {"whole": True, "agrees_with_providers": True}
    with psycopg.connect(settings.database()) as connection:
        connection.execute("INSERT INTO customer (customer_id, created_at) VALUES ('c', now())")
        connection.execute(CLAIM)
    found = looked()
    assert [each.passed for each in found.values()] == [False, False]
    whole, agrees = found["whole"].metadata, found["agrees_with_providers"].metadata
    assert "| p1 | payment of 500 EUR is only in the ledger |" in str(whole["what is wrong"].value)
    assert "| sandbox | payment | p1 | missing there | 500 |" in str(agrees["what differs"].value)
    assert found["whole"].blocking
