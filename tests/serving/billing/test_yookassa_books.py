"""YooKassa and our books: whatever its notices do on their way, both end up telling the same, to the kopeck."""

from collections.abc import Iterator
from typing import Any

import pytest

from matinee.clock import ManualClock
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
from tests.providers.faults import Fault, mangled
from tests.providers.yookassa_bench import YooKassaBench, given
from tests.providers.yookassa_server import CARDS, YooKassaServer
from tests.serving.billing.world import World, stock

_STATES = """
SELECT i.reason, i.title_id, i.state AS invoice, p.state, p.failure, p.amount_minor, p.fee_minor, p.refunded_minor,
       p.saved_id IS NOT NULL AS saved
FROM payment p JOIN invoice i USING (invoice_id) ORDER BY p.created_at, i.title_id
"""


class Town(World):
    """A subscriber in Russia who pays by YooKassa; its shop has a cash register."""

    def __init__(self, settings: Settings, server: YooKassaServer) -> None:
        super().__init__(settings, country="RU")
        server.clock = self.clock
        self.sandboxed, self.yookassa = self.desk, YooKassaBench(server, self.clock)
        self.desk = Desk(settings.model_copy(update=given(server)), self.clock, self.pool.connection)

    def close(self) -> None:
        self.run(self.desk.aclose())
        self.run(self.yookassa.aclose())
        self.desk = self.sandboxed
        super().close()

    def pays(self, invoice: Invoice, card: str) -> Payment:
        page = self.page(invoice)
        self.run(self.yookassa.pay(page.checkout_url or "", card))
        self.advance(seconds=1)
        return page

    def orders(self, title_id: str) -> Invoice:
        return self.do(lambda c: purchases.order(c, self.customer_id, self.viewer(), title_id, "buy", self.now))

    def lives(self) -> None:
        """All that happens at YooKassa, before we hear of any of it."""
        self.yookassa.server.reset()
        self.begin(trial_days=0)
        price = "standard-month-rub"
        start = self.do(
            lambda c: subscriptions.start(c, self.customer_id, price, self.now, language="ru", country="RU")
        )
        self.pays(start, "good")
        self.pays(self.orders("heath"), "secure")
        self.pays(self.orders("brook"), "poor")

    def hears(self, seed: int | None) -> None:
        """Each notice once and in order, or as a bad day has it; then what is done where nobody told."""
        told = self.run(self.yookassa.webhooks())
        for each in told if seed is None else mangled(told, seed, lost=0.5, doubled=0.5):
            self.run(webhooks.receive(self.desk, "yookassa", each.headers, each.body, each.address))
        self.advance(minutes=20)
        self.run(sweep(self.desk, self.now))

    def agrees(self) -> None:
        compared = self.run(reconcile(self.desk, "yookassa", None))
        assert compared.agrees, compared.differences
        owed = self.run(self.yookassa.balance())
        assert compared.balances == {"RUB": (owed, owed)}
        assert self.do(verify).findings == ()


@pytest.fixture(scope="module")
def server() -> Iterator[YooKassaServer]:
    with YooKassaServer(ManualClock()).serving() as running:
        yield running


@pytest.fixture
def town(settings: Settings, server: YooKassaServer, tmp_path: Any) -> Iterator[Town]:
    stock(settings, tmp_path)
    made = Town(settings, server)
    yield made
    made.close()


def test_notices_lost_doubled_and_out_of_order_end_in_the_same_books(town: Town) -> None:
    ends = []
    for seed in (None, 1):
        town.lives()
        town.hears(seed)
        town.agrees()
        ends.append((town.rows(_STATES), town.plans(), town.titles()))
    assert ends[0][1:] == (["standard"], [("heath", "buy")])
    assert [each["failure"] for each in ends[0][0]] == [None, None, "insufficient_funds"]
    assert ends[1] == ends[0]


def test_renewals_that_nobody_heard_of_and_refunds_with_receipts_agree(town: Town) -> None:
    town.lives()
    town.hears(None)
    town.advance(days=31)
    town.yookassa.faults.plan(Fault.gateway_done, on="POST /v3/payments")
    town.run(renew(town.desk, town.now))
    town.advance(minutes=20)
    town.run(sweep(town.desk, town.now))
    assert len(town.yookassa.server.charged(_last(town))) == 1
    assert town.plans() == ["standard"]
    town.yookassa.server.methods.update(dict.fromkeys(town.yookassa.server.methods, CARDS["later_revoked"]))
    town.advance(days=31)
    assert town.run(renew(town.desk, town.now)).refused == 1
    (bought,) = town.rows("SELECT payment_id FROM payment JOIN invoice USING (invoice_id) WHERE title_id = 'heath'")
    given = payments.refund(town.desk, bought["payment_id"], 12_345, "the sound was bad", town.now, asked_by=None)
    assert town.run(given).state == "succeeded"
    assert town.run(town.yookassa.refunded(bought["payment_id"])) == [12_345]
    town.advance(minutes=20)
    town.agrees()


def _last(town: Town) -> str:
    return town.rows("SELECT payment_id FROM payment ORDER BY created_at DESC LIMIT 1")[0]["payment_id"]
