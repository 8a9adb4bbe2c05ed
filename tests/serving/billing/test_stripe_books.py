"""Stripe and our books: whatever its webhooks do on their way, both end up telling the same."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import serving.erase
from matinee.settings import Settings
from serving.billing import webhooks
from serving.billing.invoices.core import Invoice
from serving.billing.payments import core as payments
from serving.billing.payments.desk import Desk
from serving.billing.payments.rows import Payment
from serving.billing.payments.sweep import sweep
from serving.billing.purchases import core as purchases
from serving.billing.reconcile.core import reconcile
from serving.billing.reconcile.verify import verify
from serving.billing.renewals.core import renew
from serving.billing.subscriptions import core as subscriptions
from tests.providers.faults import mangled
from tests.providers.stripe_bench import StripeBench
from tests.providers.stripe_server import CARDS, StripeServer
from tests.serving.billing.world import World, stock

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>'")
_STATES = """
SELECT i.reason, i.title_id, i.state AS invoice, i.credited_minor, p.state, p.failure, p.fee_minor, p.refunded_minor,
       p.saved_id IS NOT NULL AS saved, d.state AS dispute
FROM payment p JOIN invoice i USING (invoice_id) LEFT JOIN dispute d USING (payment_id)
ORDER BY p.created_at, i.title_id
"""
_BALANCES = """
SELECT ledger, currency, sum(amount_minor) AS minor FROM posting GROUP BY ledger, currency ORDER BY ledger, currency
"""


class Town(World):
    """The world of a subscriber who pays by Stripe."""

    def __init__(self, settings: Settings, server: StripeServer) -> None:
        super().__init__(settings)
        server.reset(self.clock)
        self.stripe = StripeBench(server, self.clock, settings.home_path)
        self.sandboxed = self.desk
        ours = self.stripe.settings.model_copy(update={"payments": "stripe", "home_path": settings.home_path})
        self.desk = Desk(ours, self.clock, self.pool.connection)

    def close(self) -> None:
        self.run(self.stripe.aclose())
        self.run(self.sandboxed.aclose())
        super().close()

    def pays(self, invoice: Invoice, card: str) -> Payment:
        page = self.page(invoice)
        self.run(self.stripe.pay(page.checkout_url or "", card))
        self.advance(seconds=1)
        return page

    def orders(self, title_id: str, kind: str) -> Invoice:
        return self.do(lambda c: purchases.order(c, self.customer_id, self.viewer(), title_id, kind, self.now))  # pyright: ignore[reportArgumentType] - a kind

    def lives(self) -> None:
        """All that happens at Stripe, before we hear of any of it."""
        price = "standard-month-eur"
        start = self.do(
            lambda c: subscriptions.start(c, self.customer_id, price, self.now, language="en", country="DE")
        )
        self.pays(start, "good")
        disputed = self.pays(self.orders("brook", "rent"), "disputed")
        self.run(self.stripe.close_dispute(disputed.payment_id, won=False))
        self.pays(self.orders("heath", "buy"), "secure")
        self.pays(self.orders("brook", "buy"), "poor")

    def hears(self, seed: int | None) -> None:
        """Each webhook once and in order, or as a bad day has it; then what is done where nobody told."""
        told = self.run(self.stripe.webhooks())
        arrived = told if seed is None else mangled(told, seed, lost=0.4, doubled=0.4)
        for each in arrived:
            self.run(webhooks.receive(self.desk, "stripe", each.headers, each.body, each.address))
        self.advance(minutes=20)
        self.run(sweep(self.desk, self.now))

    def tells(self) -> tuple[Any, ...]:
        return self.rows(_STATES), self.rows(_BALANCES), self.plans(), self.titles()


@pytest.fixture(scope="module")
def server() -> Iterator[StripeServer]:
    running = StripeServer()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def town(settings: Settings, server: StripeServer, tmp_path: Any) -> Iterator[Town]:
    stock(settings, tmp_path)
    made = Town(settings, server)
    yield made
    made.close()


def test_webhooks_lost_doubled_and_out_of_order_end_in_the_same_books(town: Town) -> None:
    ends = []
    for seed in (None, 1, 2):
        town.stripe.server.reset(town.clock)
        town.begin(trial_days=0)
        town.lives()
        town.hears(seed)
        compared = town.run(reconcile(town.desk, "stripe", None))
        assert compared.agrees, compared.differences
        assert all(ours == theirs for ours, theirs in compared.balances.values()), compared.balances
        assert town.do(verify).findings == ()
        ends.append(town.tells())
    assert ends[0][2:] == (["standard"], [("heath", "buy")])
    assert [each["dispute"] for each in ends[0][0]] == [None, "lost", None, None]
    for seed, end in enumerate(ends[1:], 1):
        assert end == ends[0], seed


def test_refunds_renewals_and_payouts_agree_to_the_cent(town: Town) -> None:
    town.begin(trial_days=0)
    town.lives()
    town.hears(None)
    bought = next(each for each in town.rows(_STATES) if each["title_id"] == "heath")
    assert bought["state"] == "succeeded"
    town.advance(days=31)
    assert town.run(renew(town.desk, town.now)).paid == 1
    town.stripe.server.store.cards.update(dict.fromkeys(town.stripe.server.store.prepared, CARDS["poor"]))
    town.advance(days=31)
    assert town.run(renew(town.desk, town.now)).refused == 1
    (paid,) = town.rows("SELECT payment_id FROM payment JOIN invoice USING (invoice_id) WHERE title_id = 'heath'")
    refund = payments.refund(town.desk, paid["payment_id"], 500, "the sound was bad", town.now, asked_by=None)
    assert town.run(refund).state == "succeeded"
    town.run(town.stripe.payout())
    town.advance(minutes=20)
    compared = town.run(reconcile(town.desk, "stripe", None))
    assert compared.agrees, compared.differences
    assert [each.kind for each in compared.booked] == ["payout"]
    assert compared.balances == {"EUR": (0, 0)}
    assert town.run(town.stripe.balance()) == 0


def test_who_is_erased_here_is_no_customer_there(town: Town) -> None:
    town.begin(trial_days=0)
    town.stripe.server.reset(town.clock)
    town.lives()
    town.hears(None)
    store = town.stripe.server.store
    assert [each["email"] for each in store.every("customer")] == ["ada@example.org"]
    waiting = town.page(town.orders("brook", "rent"))
    with psycopg.connect(town.settings.database()) as connection:
        serving.erase.close(connection, [town.account_id], town.now)
        connection.commit()
        serving.erase.leave_money(town.settings, [town.account_id], town.now)
        serving.erase.forget_rows(connection, [town.account_id])
    town.advance(minutes=10)
    town.run(sweep(town.desk, town.now))
    assert len(store.every("customer")) == 1, "a page of hers is open"
    town.advance(hours=25)
    with town.stripe.gone():
        town.run(sweep(town.desk, town.now, after=timedelta(0)))
    town.run(sweep(town.desk, town.now, after=timedelta(0)))  # the page is over
    assert town.hear(waiting.payment_id).state == "failed"
    town.run(sweep(town.desk, town.now, after=timedelta(0)))
    assert (store.every("customer"), {each["customer"] for each in store.every("payment_method")}) == ([], {None})
    (kept,) = town.rows("SELECT forgotten_at FROM customer")
    assert kept["forgotten_at"] == town.now
    asked = len(town.stripe.server.requests)
    town.run(sweep(town.desk, town.now, after=timedelta(0)))
    assert len(town.stripe.server.requests) == asked
