"""The marts of money against the books in PostgreSQL, to the minor unit, and that one unit would be noticed."""

from pathlib import Path

import pytest
import yaml

from matinee.db.connect import connect
from warehouse import build_file, dbt
from warehouse.publish import AuditError, audit

SAME = yaml.safe_load((Path(__file__).parent / "books.yml").read_text())

# A table, a column that is one unit too high somewhere, and the test that has to see it.
PLANTED = [
    ("raw.posting", "amount_minor", "posting_as_the_database_counts"),
    ("marts.mart_ledger_month", "debit_minor", "mart_ledger_month_as_postgresql_counts"),
    ("marts.mart_ledger_month", "closing_minor", "mart_ledger_month_opening_and_movements_make_closing"),
    ("marts.mart_revenue_month", "booked_minor", "mart_revenue_month_is_what_was_posted"),
    ("marts.mart_revenue_month", "recognised_minor", "mart_revenue_month_recognises_everything"),
    ("marts.mart_payment_month", "fee_minor", "mart_payment_month_costs_are_what_was_posted"),
    ("marts.mart_tax_month", "tax_minor", "mart_tax_month_is_what_was_posted"),
    ("marts.mart_promo_month", "discount_minor", "mart_promo_month_is_what_was_posted"),
    ("marts.mart_ltv_cohort", "revenue_minor", "mart_ltv_cohort_is_what_was_booked"),
    ("marts.mart_mrr_month", "new_minor", "mart_mrr_month_is_what_moved"),
    ("marts.mart_mrr_month", "closing_minor", "mart_mrr_month_opening_and_movements_make_closing"),
]


def test_marts_say_what_the_ledger_says(built, rows):
    for what, asked in SAME.items():
        with connect(built) as connection:
            expected = connection.execute(asked["ledger"]).fetchall()
        assert expected, what
        assert sorted(rows(built, asked["mart"])) == sorted(expected), what


def test_every_price_of_a_paying_day_is_that_of_an_invoice(built, rows):
    days = "SELECT count(*), count(*) FILTER (WHERE is_invoiced) FROM marts.fct_subscription_day WHERE is_paying"
    ((paying, invoiced),) = rows(built, days)
    assert paying == invoiced > 200


def test_one_minor_unit_anywhere_is_noticed_and_holds_publication(copy_of_built):
    with build_file.writing(copy_of_built) as warehouse:
        for table, column, _ in PLANTED:
            row = f"(SELECT {'max' if column == 'closing_minor' else 'min'}(rowid) FROM {table})"
            warehouse.execute(f"UPDATE {table} SET {column} = {column} + 1 WHERE rowid = {row}")
    tested = dbt.run(copy_of_built, ["test", "--select", *(test for _, _, test in PLANTED)])
    assert {node.name: node.status for node in tested.nodes if node.status != "success"} == {
        test: "fail" for _, _, test in PLANTED
    }
    with (
        build_file.writing(copy_of_built) as warehouse,
        pytest.raises(AuditError, match="mart_ltv_cohort_is_what_was_booked"),
    ):
        audit(warehouse)
