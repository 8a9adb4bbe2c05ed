"""`matinee billing`: what a person reads about the books, and what they put right."""

import psycopg
import pytest
from typer.testing import CliRunner, Result

from matinee.console import console
from matinee.errors import MatineeError
from matinee.settings import Settings
from serving.billing.commands import billing

# Money came at the provider's, says the ledger alone.
CLAIM = """
    WITH made AS (INSERT INTO ledger_transaction (kind, source, occurred_at)
                  VALUES ('payment', 'p1', now() - interval '1 hour') RETURNING transaction_id)
    INSERT INTO posting SELECT made.transaction_id, p.* FROM made,
        (VALUES (1, 'clearing', 'sandbox', 'JPY', 12345), (2, 'receivable', 'c', 'JPY', -12345)) AS p"""


def test_what_is_wrong_is_named_corrected_and_agrees(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(console, "width", 200)  # a table that wraps would hide words

    def ask(*words: str) -> Result:
        return CliRunner().invoke(billing, words)

    assert "nothing wrong" in ask("verify").output
    assert "nobody has paid yet" in ask("reconcile").output
    with psycopg.connect(settings.database()) as connection:
        connection.execute("INSERT INTO customer (customer_id, created_at) VALUES ('c', now())")
        connection.execute(CLAIM)
    for command, says in {
        ("verify",): ("p1", "payment of 12345 JPY is only in the ledger"),
        ("reconcile", "--look-only"): ("p1", "missing there", "¥12,345"),
        ("reconcile", "--all"): ("balance there ¥0, in the ledger ¥12,345", "missing there"),
    }.items():
        done = ask(*command)
        assert isinstance(done.exception, MatineeError), done.output
        assert [word for word in says if word not in done.output] == [], done.output

    correction = ("correct", "p1", "loss:sandbox", "clearing:sandbox", "12345", "JPY", "--reason", "never came")
    assert ask(*correction).exit_code == 0
    assert "is in the ledger" in str(ask(*correction).exception)
    assert "decimal places" in str(ask(*correction[:4], "1.5", *correction[5:]).exception)
    assert "both agree" in ask("reconcile", "--since", "2026-01-01").output
    shown = ask("balances").output
    assert "1 customers" in shown
    assert "-12,345" in shown
    assert ask("reconcile", "--since", "2026-01-01", "--all").exit_code == 2
    with psycopg.connect(settings.database()) as connection:
        kept = connection.execute("SELECT details ->> 'why' FROM audit WHERE action = 'ledger.corrected'").fetchall()
    assert kept == [("never came",)]
