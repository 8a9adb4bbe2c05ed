"""An erased account and its money: the books stay whole, nothing charges it, no word of it is left in a table."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import serving.erase
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.accounts.personal import ask_to_be_forgotten
from serving.admin.billing import core as staff
from serving.admin.billing.types import NewRefund
from serving.billing import customers
from serving.billing.invoices import core as invoices
from serving.billing.payments import core as payments
from serving.billing.payments.sweep import sweep
from serving.billing.purchases import core as purchases
from serving.billing.reconcile.verify import verify
from serving.billing.renewals.core import renew
from serving.billing.subscriptions import core as subscriptions
from serving.problems import Problem
from tests.serving.billing.world import World, stock

PRICE = "standard-month-eur"


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[World]:
    stock(settings, tmp_path)
    made = World(settings)
    yield made
    made.close()


def texts(world: World) -> dict[str, str]:
    """Table -> all that stands in it."""
    tables = world.rows("SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'sandbox')")
    found = {}
    with psycopg.connect(world.settings.database()) as connection:
        for each in tables:
            query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(each["schemaname"], each["tablename"]))
            found[f"{each['schemaname']}.{each['tablename']}"] = "\n".join(
                row for (row,) in connection.execute(query).fetchall()
            )
    return found


def said(word: str, text: str) -> bool:
    """Whether the word stands there; digits of a card by themselves, for many an id and time has them within."""
    return bool(re.search(rf"(?<![\w.-]){word}(?!\w)", text)) if word.isdigit() else word in text


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
    wanted, refund_id = NewRefund(amount_minor=99, currency="EUR", reason="Ada rang us up"), uuid7()
    world.do(lambda c: staff.refund_asked(c, "root", paid.payment_id, refund_id, wanted, world.now))
    world.run(
        payments.refund(
            world.desk, paid.payment_id, 99, wanted.reason, world.now, asked_by=world.account_id, refund_id=refund_id
        )
    )
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
    assert [word for word in words if not any(said(word, text) for text in before.values())] == []
    postings = before["public.posting"]

    with psycopg.connect(world.settings.database()) as connection:
        serving.erase.close(connection, [world.account_id], world.now)
        connection.commit()
        done = serving.erase.leave_money(world.settings, [world.account_id], world.now)
        assert done == {
            "invoices void": 1, "subscriptions ended": 1, "ways to pay removed": 1, "payment pages": 1,
            "customers of providers": 1, "reasons of refunds": 1, "notices of providers": 1,
        }  # fmt: skip
        assert serving.erase.leave_money(world.settings, [world.account_id], world.now) == {}
        with pytest.raises(Problem, match="shut"):
            world.do(lambda c: purchases.order(c, world.customer_id, world.viewer(), "brook", "rent", world.now))
        serving.erase.forget_rows(connection, [world.account_id])

    after = texts(world)
    assert {(table, word) for table, text in after.items() for word in words if said(word, text)} == set()
    assert after["public.posting"].startswith(postings)
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
    assert world.rows("SELECT forgotten_at IS NOT NULL AS gone FROM customer") == [{"gone": True}]
    found = world.do(verify)
    assert (found.findings, found.sums) == ((), {"EUR": 0})


@pytest.mark.parametrize("how", ["disabled", "leaving"])
def test_nobody_is_charged_who_is_shut_out(world: World, how: str) -> None:
    world.begin(trial_days=0)
    subscribe(world)
    if how == "disabled":
        world.books.execute("UPDATE account SET disabled_at = now()")
    else:
        world.do(lambda c: ask_to_be_forgotten(c, world.account_id, world.now))
        assert world.rows("SELECT state, ends FROM subscription") == [{"state": "active", "ends": True}]
    world.advance(days=32)
    assert world.run(renew(world.desk, world.now)).turned == 1
    assert world.rows("SELECT amount_minor FROM payment") == [{"amount_minor": 999}]
    assert world.rows("SELECT state, due_at FROM subscription") == [{"state": "expired", "due_at": None}]
    assert world.do(verify).findings == ()
    world.books.execute("UPDATE account SET disabled_at = NULL")
    assert subscribe(world).state == "succeeded"


def test_erasing_waits_for_a_payment_that_settles(world: World) -> None:
    world.begin(trial_days=0)
    order = world.do(lambda c: subscriptions.start(c, world.customer_id, PRICE, world.now, language="en", country="DE"))
    payment = world.page(order)
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(world.settings.database()) as settling, ThreadPoolExecutor(1) as pool:
        settling.execute("SELECT FROM payment WHERE payment_id = %s FOR NO KEY UPDATE", (payment.payment_id,))
        erasing = pool.submit(serving.erase.leave_money, world.settings, [world.account_id], world.now)
        while not world.books.execute(waiting).fetchall():
            assert not erasing.done()
            time.sleep(0.01)
        settling.execute("SELECT FROM invoice WHERE invoice_id = %s FOR NO KEY UPDATE NOWAIT", (order.invoice_id,))
        settling.commit()
        assert erasing.result(10)["invoices void"] == 1


def test_a_provider_is_asked_to_forget_once_it_knows_and_ever_more_rarely(world: World) -> None:
    world.begin(trial_days=0)
    paid = subscribe(world)
    world.books.execute("UPDATE payment SET provider = 'stripe'")  # which is not configured any more
    world.books.execute("UPDATE customer SET erased_at = %s", (world.now - timedelta(days=1),))
    world.books.execute("UPDATE payment_method SET removed_at = %s, provider_ref = NULL", (world.now,))

    def asked(*, provider: str = "stripe", **later: float) -> list[bool]:
        """Whether its provider was asked about the customer just now, and forgot."""
        world.books.execute("UPDATE payment SET provider = %s", (provider,))
        world.advance(**later)
        assert world.run(sweep(world.desk, world.now)).failed == 0
        (found,) = world.rows("SELECT asked_at, forgotten_at IS NOT NULL AS gone FROM customer")
        return [found["asked_at"] == world.now, found["gone"]]

    assert paid.created_at == world.now
    assert asked(minutes=59) == [False, False], "what it finds may be older than the payment"
    assert asked(minutes=1) == [True, False]
    assert asked(hours=24) == [False, False]
    assert asked(hours=1) == [True, False]
    for _ in range(4):
        asked(days=7)
    assert asked(days=6) == [False, False]
    assert asked(provider="sandbox", days=1) == [True, True]
