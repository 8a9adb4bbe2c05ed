"""An erased account and its money: the books stay whole, nothing charges it, no word of it is left in a table."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import serving.erase
from matinee.settings import Settings
from serving.billing import customers
from serving.billing.invoices import core as invoices
from serving.billing.payments import core as payments
from serving.billing.payments.sweep import sweep
from serving.billing.purchases import core as purchases
from serving.billing.reconcile.verify import verify
from serving.billing.subscriptions import core as subscriptions
from tests.serving.billing.world import World, stock

PRICE = "standard-month-eur"


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[World]:
    stock(settings, tmp_path)
    made = World(settings)
    yield made
    made.close()


def texts(world: World) -> dict[str, str]:
    """Table -> all that stands in it, but for what erasing removes in other rooms."""
    tables = world.rows(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'sandbox') AND tablename <> 'audit'"
    )
    found = {}
    with psycopg.connect(world.settings.database()) as connection:
        for each in tables:
            query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(each["schemaname"], each["tablename"]))
            found[each["tablename"]] = "\n".join(row for (row,) in connection.execute(query).fetchall())
    return found


def subscribe(world: World) -> Any:
    """Pay for a plan on the provider's page, with a card that is kept."""
    invoice = world.do(
        lambda c: subscriptions.start(c, world.customer_id, PRICE, world.now, language="en", country="DE")
    )
    payment = world.page(invoice)
    world.give_card(payment, "good")
    return world.hear(payment.payment_id)


def test_books_outlive_the_account_and_lead_nowhere(world: World) -> None:
    world.begin(trial_days=0)
    paid = subscribe(world)
    world.run(payments.refund(world.desk, paid.payment_id, 99, "Ada rang us up", world.now, asked_by=world.account_id))
    order = world.do(lambda c: purchases.order(c, world.customer_id, world.viewer(), "brook", "rent", world.now))
    waiting = world.page(order)  # a page on which she may still pay
    (token,) = (each["provider_ref"] for each in world.rows("SELECT provider_ref FROM payment_method"))
    body = '{"name": "payment.succeeded", "payer": "ada@example.org"}'
    world.books.execute(
        "INSERT INTO provider_event (provider, event_id, kind, ref, body, received_at) "
        "VALUES ('sandbox', 'e', 'payment', %s, %s, now())",
        (paid.provider_ref, body),
    )
    words = ["ada@example.org", world.account_id, "Ada rang", "4242"]
    before = texts(world)
    assert all(any(word in text for text in before.values()) for word in words)
    postings = before["posting"]

    with psycopg.connect(world.settings.database()) as connection:
        serving.erase.close(connection, [world.account_id], world.now)
        connection.commit()
        done = serving.erase.leave_money(world.settings, [world.account_id], world.now)
        assert done == {
            "invoices void": 1, "subscriptions ended": 1, "ways to pay removed": 1, "payment pages": 1,
            "reasons of refunds": 1, "notices of providers": 1,
        }  # fmt: skip
        assert serving.erase.leave_money(world.settings, [world.account_id], world.now) == {}
        serving.erase.forget_rows(connection, [world.account_id])

    after = texts(world)
    assert {(table, word) for table, text in after.items() for word in words if word in text} == set()
    assert after["posting"].startswith(postings)
    assert world.do(lambda c: customers.account_of(c, world.customer_id)) is None
    assert world.do(lambda c: invoices.get(c, order.invoice_id)).state == "void"

    # Nobody renews it, the provider forgets the card, and what is paid all the same goes back.
    world.advance(days=40)
    assert world.do(lambda c: subscriptions.due(c, world.now, 10)) == []
    world.clock.moment -= timedelta(days=40) - timedelta(hours=1)
    world.give_card(waiting, "good")
    assert world.hear(waiting.payment_id).surplus
    world.run(sweep(world.desk, world.now))
    assert world.rows("SELECT provider_ref FROM payment_method") == [{"provider_ref": None}]
    assert world.rows("SELECT forgotten_at IS NOT NULL AS gone FROM sandbox.method WHERE ref = %s", token) == [
        {"gone": True}
    ]
    assert world.rows("SELECT state FROM refund ORDER BY created_at") == [{"state": "succeeded"}] * 2
    found = world.do(verify)
    assert (found.findings, found.sums) == ((), {"EUR": 0})
