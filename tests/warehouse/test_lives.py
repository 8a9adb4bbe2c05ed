"""The marts of money after what subscribers really did: billed, paid, refused and refunded by the service itself."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from matinee.db.connect import connect
from serving.billing.invoices import core as invoices
from serving.billing.payments import refunds
from serving.billing.promo import core as promos
from serving.billing.promo.core import NewPromo
from serving.billing.renewals.core import renew
from serving.billing.subscriptions import core as subscriptions
from tests.serving.billing.world import World, stock
from tests.warehouse.conftest import Landing, event, home_of_its_own, take_over
from warehouse import build_file, dbt, spark
from warehouse.export import export_tables
from warehouse.load import load_days

SAME = yaml.safe_load((Path(__file__).parent / "books.yml").read_text())
BASIC, STANDARD, PREMIUM = 503, 839, 1176  # a month in euros without German tax: 5.99, 9.99 and 13.99 with it
HALF = 251  # of basic: 2.99 with tax
ENDS = ("2026-01-31 23:59Z", "2026-02-28 23:59Z", "2026-03-31 23:59Z", "2026-04-30 23:59Z")
# Past: what is to end at a moment that has not come has no end in the lake.
BEGIN, LAST = datetime(2026, 1, 1, 9, 30, tzinfo=UTC), datetime(2026, 4, 30, 12, tzinfo=UTC)
MODELS = (
    "dim_date", "int_plan_price", "fct_subscription_day", "int_subscription_month", "fct_mrr_movement",
    "mart_mrr_month", "mart_churn_month", "fct_posting", "int_revenue_line", "mart_revenue_month", "mart_ledger_month",
)  # fmt: skip

# Net minor units that recur at the end of January, February, March and April.
RECURS = {
    "pays in the trial": (STANDARD, STANDARD, STANDARD, STANDARD),
    "upgrades": (BASIC, PREMIUM, PREMIUM, PREMIUM),
    "takes an upgrade back": (HALF, HALF, HALF, BASIC),
    "pauses": (BASIC, BASIC, 0, BASIC),
    "pays late": (BASIC, BASIC, BASIC, BASIC),
    "leaves": (STANDARD, STANDARD, 0, 0),
    "only tries": (0, 0, 0, 0),
}
# What a month's invoices for whole periods say: all but those of February, in which somebody changed the plan.
INVOICED = """
    SELECT sum(l.amount_minor - l.tax_minor)::bigint FROM invoice i JOIN invoice_line l USING (invoice_id)
    WHERE i.purpose = 'subscription' AND i.state = 'paid' AND coalesce(l.period, i.period) @> %s::timestamptz
"""


@dataclass
class Town:
    """Subscribers in one world; each is known by what it does."""

    world: World
    people: dict[str, tuple[str, str]] = field(default_factory=dict)

    def joins(self, name: str, *, trial_days: int = 0) -> None:
        self.world.join(trial_days=trial_days, email=f"{name.replace(' ', '.')}@example.org")
        self.people[name] = self.world.account_id, self.world.customer_id

    def orders(self, name: str, price: str, card: str = "good", promo: str | None = None) -> None:
        self.world.account_id, self.world.customer_id = self.people[name]
        options: dict[str, Any] = {"language": "en", "country": "DE", "promo": promo}
        invoice = self.world.do(
            lambda connection: subscriptions.start(connection, self.world.customer_id, price, self.world.now, **options)
        )
        self.pays(invoice, card)

    def pays(self, invoice: Any, card: str) -> str:
        payment = self.world.page(invoice)
        self.world.give_card(payment, card)
        return self.world.hear(payment.payment_id).payment_id

    def subscription(self, name: str) -> str:
        found = self.world.rows("SELECT subscription_id FROM subscription WHERE customer_id = %s", self.people[name][1])
        return found[0]["subscription_id"]

    def upgrades(self, name: str) -> str:
        whose = self.subscription(name)
        invoice = self.world.do(
            lambda connection: subscriptions.change(connection, whose, "premium-month-eur", self.world.now, now=True)
        )
        return self.pays(invoice, "good")

    def until(self, month: int, day: int) -> None:
        """Days pass, and each has its run."""
        then = datetime(2026, month, day, tzinfo=UTC)
        while self.world.now < then:
            self.world.advance(days=1)
            self.world.run(renew(self.world.desk, self.world.now))


def lives(world: World) -> None:
    world.begin(trial_days=0, at=BEGIN)
    world.do(lambda connection: promos.add(connection, NewPromo("HALF3", "percent", 5_000, periods=3), world.now))
    town = Town(world)
    for name in RECURS:
        town.joins(name, trial_days=14 if name in ("pays in the trial", "only tries") else 0)
    town.orders("upgrades", "basic-month-eur")
    town.orders("takes an upgrade back", "basic-month-eur", promo="HALF3")
    town.orders("pauses", "basic-month-eur")
    town.orders("pays late", "basic-month-eur", card="later_poor")
    town.orders("leaves", "standard-month-eur")
    town.until(1, 5)
    town.orders("pays in the trial", "standard-month-eur")
    town.until(2, 4)
    (owed,) = world.rows("SELECT invoice_id FROM invoice WHERE state = 'open'")
    town.pays(world.do(lambda connection: invoices.get(connection, owed["invoice_id"])), "good")
    town.until(2, 10)
    town.upgrades("upgrades")
    taken_back = town.upgrades("takes an upgrade back")
    pausing, leaving = town.subscription("pauses"), town.subscription("leaves")
    world.do(lambda connection: subscriptions.pause(connection, pausing, world.now, days=40))
    world.do(lambda connection: subscriptions.cancel(connection, leaving, world.now))
    town.until(2, 12)
    world.run(refunds.refund(world.desk, taken_back, None, "asked for", world.now, asked_by=None))
    town.until(4, 30)


@pytest.fixture(scope="module")
def lived(base, built, tmp_path_factory):
    """What the town makes of the marts of money of another home: no more of it is built than they are made of."""
    with home_of_its_own(base) as settings:
        stock(settings, tmp_path_factory.mktemp("feed"))
        world = World(settings)
        try:
            lives(world)
        finally:
            world.close()
        take_over(built, settings)
        export_tables(settings)
        with build_file.writing(settings) as warehouse:
            # The days of the marts end with the last event.
            warehouse.execute(
                "UPDATE raw.events SET event_ts = $1, event_date = CAST($1 AS date), received_at = $1", [LAST]
            )
        made = dbt.run(settings, ["run", "--select", *MODELS])
        assert made.success, made.failed
        yield settings


def test_what_recurs_is_what_everybody_pays(lived, rows):
    found = rows(lived, "SELECT closing_minor, subscribers FROM marts.mart_mrr_month ORDER BY month")
    months = list(zip(*RECURS.values(), strict=True))
    assert found == [(sum(month), sum(1 for price in month if price)) for month in months]
    with connect(lived) as connection:
        billed = [connection.execute(INVOICED, (end,)).fetchone() for end in ENDS]
    assert [(closing,) for closing, _ in found[:1] + found[2:]] == billed[:1] + billed[2:]


def test_who_leaves_and_who_returns(lived, rows):
    counted = "subscribers_at_start, cancels, resubscribes"
    assert rows(lived, f"SELECT {counted} FROM marts.mart_churn_month ORDER BY month") == [
        (0, 0, 0), (6, 0, 0), (6, 2, 0), (4, 0, 1),
    ]  # fmt: skip
    moved = "new_minor, expansion_minor, contraction_minor, churn_minor, reactivation_minor"
    assert rows(lived, f"SELECT {moved} FROM marts.mart_mrr_month ORDER BY month") == [
        (sum(prices[0] for prices in RECURS.values()), 0, 0, 0, 0),
        (0, PREMIUM - BASIC, 0, 0, 0),
        (0, 0, 0, -BASIC - STANDARD, 0),
        (0, BASIC - HALF, 0, 0, BASIC),
    ]


def test_marts_say_what_the_ledger_says_of_what_subscribers_did(lived, rows):
    for what in ("balances", "revenue of each month", "what was earned at last"):
        with connect(lived) as connection:
            expected = connection.execute(SAME[what]["ledger"]).fetchall()
        assert expected, what
        assert sorted(rows(lived, SAME[what]["mart"])) == sorted(expected), what


def test_a_paying_day_without_an_invoice_is_noticed(lived):
    with build_file.writing(lived) as warehouse:
        warehouse.execute("DELETE FROM intermediate.int_plan_price WHERE from_day = '2026-03-01'")
    tested = dbt.run(lived, ["test", "--select", "paying_days_are_invoiced"])
    assert {node.name for node in tested.failed} == {"paying_days_are_invoiced"}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_spark_says_the_same_of_money(base, tmp_path):
    """Every mart of money on both engines, row for row; `make test-spark` installs what it needs."""
    pytest.importorskip("pyspark", reason="Spark is not installed: `make test-spark` installs it")
    with home_of_its_own(base) as settings:
        stock(settings, tmp_path)
        world = World(settings)
        try:
            lives(world)
        finally:
            world.close()
        Landing(settings).land([event(at=LAST)], LAST.date())
        assert load_days(settings).held == ()
        export_tables(settings)
        money = ["--select", "+path:models/marts/money", "--exclude", "config.materialized:snapshot+"]
        assert dbt.run(settings, ["run", *money]).success
        built = spark.build(settings, money[1])
        assert built.success, [(node.name, node.message) for node in built.failed]
        found = {each.model: each for each in spark.differences(settings)}
    assert [each for each in found.values() if not each.same] == []
    expected = {path.stem for path in (dbt.PROJECT / "models" / "marts" / "money").glob("*.sql")}
    assert found.keys() >= expected
    empty = {name for name in expected if not found[name].rows}
    assert empty <= {"mart_content_cost", "mart_funnel_day"}
