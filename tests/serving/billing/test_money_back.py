"""Money on its way back where balances, disputes and other people's hands were there before."""

from datetime import timedelta

import pytest

from serving.billing.invoices import core as invoices
from serving.billing.ledger.money import Money
from serving.billing.payments.refunds import refund
from serving.billing.payments.rows import Payment
from serving.billing.payments.sweep import sweep
from serving.billing.providers.sandbox.cards import BY_NAME
from serving.billing.reconcile.core import reconcile
from serving.billing.subscriptions import core as subscriptions
from tests.serving.billing.test_payments import PRICE, Books, Shop, shop, state_of

__all__ = ["shop"]  # the fixture


async def downgraded(shop: Shop, payment: Payment) -> None:
    """To the cheaper plan now; the difference goes to the balance."""
    at = shop.clock.now()
    async with shop.desk.transaction() as connection:
        whose = await subscriptions.of_customer(connection, payment.customer_id)
        assert whose is not None
        await subscriptions.change(connection, whose.subscription_id, "basic-month-eur", at, now=True)


def state(books: Books) -> list[str]:
    return [one for (one,) in books.execute("SELECT state FROM subscription ORDER BY created_at").fetchall()]


async def test_all_that_is_left_after_a_downgrade_ends_the_right(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    await downgraded(shop, payment)
    done = await refund(shop.desk, payment.payment_id, None, "unhappy", shop.clock.now(), asked_by="staff")
    async with shop.desk.transaction() as connection:
        kept = await invoices.balance(connection, payment.customer_id, "EUR")
    assert done.amount_minor + kept == payment.amount_minor
    assert 0 < kept < payment.amount_minor
    assert state(books) == ["expired"]


async def test_more_refunded_there_than_the_invoice_has_left_stops_nothing(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    await downgraded(shop, payment)
    async with shop.desk.transaction() as connection:
        kept = await invoices.balance(connection, payment.customer_id, "EUR")
    ref, by_hand = payment.provider_ref or "", payment.amount_minor - 100
    await shop.sandbox.refund("by hand", ref, Money(by_hand, "EUR"))
    dispute = await shop.sandbox.dispute(ref)
    await shop.sandbox.close_dispute(dispute or "", won=False)
    assert (await shop.settle(payment)).refunded_minor == 0  # as it was before
    assert (await shop.settle(payment)).refunded_minor == by_hand
    assert books.execute("SELECT state FROM dispute").fetchall() == [("lost",)]
    assert state(books) == ["expired"]
    async with shop.desk.transaction() as connection:  # all that was paid is at the bank: nothing of it on the balance
        assert await invoices.balance(connection, payment.customer_id, "EUR") == 0 < kept
    assert (await reconcile(shop.desk, "sandbox", None)).agrees


async def test_a_surplus_on_its_way_back_takes_nothing_of_a_downgrade(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    books.execute(
        """INSERT INTO payment (payment_id, invoice_id, customer_id, provider, state, amount_minor, currency, attempt,
                                created_at, settled_at, surplus, refunded_minor)
           SELECT 'second', invoice_id, customer_id, provider, 'succeeded', amount_minor, currency, 2, created_at,
                  settled_at, true, amount_minor FROM payment"""
    )
    books.execute(
        "INSERT INTO refund (refund_id, payment_id, state, amount_minor, currency, reason, created_at) "
        "SELECT 'r', 'second', 'pending', amount_minor, currency, 'surplus', created_at FROM payment WHERE surplus"
    )
    await downgraded(shop, payment)
    assert books.execute("SELECT credited_minor > 0 FROM invoice WHERE purpose <> 'credit'").fetchall() == [(True,)]
    books.execute("DELETE FROM refund")
    books.execute("DELETE FROM payment WHERE payment_id = 'second'")


async def test_a_second_plan_paid_by_somebody_who_has_one_goes_back_to_the_card(shop: Shop, books: Books) -> None:
    someone = shop.customer()
    pages = [await shop.page(await shop.order(someone, price)) for price in (PRICE, "basic-month-eur")]
    for page in pages:
        await shop.sandbox.submit(page.provider_ref or "", BY_NAME["good"])
    done = [await shop.settle(page) for page in pages]
    assert sorted(payment.surplus for payment in done) == [False, True]
    given = books.execute("SELECT state, reason FROM refund").fetchall()
    assert given == [("succeeded", "surplus")]
    async with shop.desk.transaction() as connection:
        assert await invoices.balance(connection, someone, "EUR") == 0


async def test_a_page_that_cannot_be_closed_is_asked_about_until_it_is(
    shop: Shop, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_offered(ref: str) -> None: ...  # as providers without a way to close a page have it

    monkeypatch.setattr(shop.sandbox, "cancel", not_offered)
    payment = await shop.page(await shop.order())
    books.execute("UPDATE sandbox.payment SET expires_at = expires_at + interval '9 days'")
    shop.clock.advance(timedelta(hours=25))
    assert (await shop.settle(payment)).state == "pending"
    await shop.sandbox.submit(payment.provider_ref or "", BY_NAME["good"])
    await shop.sweep()
    assert state_of(books, payment) == ("paid", "active", "succeeded", False)


@pytest.mark.parametrize("won", [True, False])
async def test_a_surplus_whose_refund_was_refused_goes_back_once(shop: Shop, books: Books, won: bool) -> None:
    """When its dispute is won by us, and by the bank when it is lost."""
    invoice = await shop.order()
    payment = await shop.page(invoice)
    ref = payment.provider_ref or ""
    await shop.sandbox.submit(ref, BY_NAME["good"])
    async with shop.desk.transaction() as connection:
        await invoices.void(connection, invoice.invoice_id, shop.clock.now())
    dispute = await shop.sandbox.dispute(ref)  # before we heard of the money
    assert (await shop.settle(payment)).surplus
    assert books.execute("SELECT state FROM refund").fetchall() == [("failed",)]
    assert (await shop.sweep()).refunds == 0
    await shop.sandbox.close_dispute(dispute or "", won=won)
    await shop.settle(payment)
    if not won:
        async with shop.desk.transaction() as connection:
            assert await invoices.balance(connection, payment.customer_id, "EUR") == 0
        lost = "SELECT coalesce(sum(amount_minor), 0) FROM posting WHERE ledger = %s"
        assert books.execute(lost, ("receivable",)).fetchall() == [(0,)]
        assert books.execute(lost, ("loss",)).fetchall() == books.execute("SELECT fee_minor FROM dispute").fetchall()
        shop.clock.advance(timedelta(days=30))
        assert (await shop.sweep()).refunds == 0
        return
    assert (await sweep(shop.desk, shop.clock.now())).refunds == 0  # it was refused a moment ago
    shop.clock.advance(timedelta(hours=1))
    assert (await sweep(shop.desk, shop.clock.now())).refunds == 1
    assert books.execute("SELECT state FROM refund ORDER BY created_at").fetchall() == [("failed",), ("succeeded",)]
    assert books.execute("SELECT sum(amount_minor) FROM posting WHERE ledger = 'receivable'").fetchall() == [(0,)]
    assert (await shop.sweep()).refunds == 0
