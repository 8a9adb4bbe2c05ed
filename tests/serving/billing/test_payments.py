"""Payments, refunds, disputes and notices on the embedded provider: each ends once, in one transaction, forward."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.billing_renewals import world
from matinee.clock import ManualClock
from matinee.settings import Settings
from serving.billing import webhooks
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.ledger.money import Money
from serving.billing.payments import core, methods
from serving.billing.payments.desk import Desk, desk
from serving.billing.payments.forward import Heard, forward
from serving.billing.payments.refunds import refund
from serving.billing.payments.rows import Payment, PaymentError
from serving.billing.payments.sweep import sweep
from serving.billing.providers.base import Outcome, State
from serving.billing.providers.sandbox.cards import BY_NAME
from serving.billing.providers.sandbox.core import Sandbox
from serving.billing.providers.sandbox.faults import Faults
from serving.billing.providers.sandbox.notices import HEADER, sign
from serving.billing.reconcile.core import reconcile
from serving.billing.reconcile.verify import verify
from serving.billing.renewals.core import AT_ONCE, LANES, Renewed, renew
from serving.billing.subscriptions import core as subscriptions
from serving.db import rows
from serving.problems import Problem

PRICE = "standard-month-eur"
MONTH = timedelta(days=31)


@dataclass
class Shop:
    """A desk, the provider behind it, and what a subscriber does."""

    desk: Desk
    sandbox: Sandbox
    clock: ManualClock
    customer: Callable[..., str]

    async def order(self, customer: str | None = None, price: str = PRICE) -> Invoice:
        async with self.desk.transaction() as connection:
            return await subscriptions.start(
                connection, customer or self.customer(), price, self.clock.now(), language="en", country="DE"
            )

    async def page(self, invoice: Invoice, *, keep: bool = True) -> Payment:
        return await core.begin(
            self.desk, invoice, return_url="http://here/#/paid?of={payment_id}", save_method=keep, at=self.clock.now()
        )

    async def settle(self, payment: Payment) -> Payment:
        return await core.settle(self.desk, payment.payment_id, self.clock.now())

    async def subscriber(self, card: str = "good") -> Payment:
        """Somebody who has paid by this card and lets us keep it."""
        payment = await self.page(await self.order())
        await self.sandbox.submit(payment.provider_ref or "", BY_NAME[card])
        return await self.settle(payment)

    async def renew(self, **more: Any) -> Renewed:
        return await renew(self.desk, self.clock.now(), **more)

    async def whole(self) -> None:
        async with self.desk.transaction() as connection:
            assert (await verify(connection)).findings == ()

    async def sweep(self) -> Any:
        return await sweep(self.desk, self.clock.now(), after=timedelta(0))


@pytest.fixture
async def shop(settings: Settings, clock: ManualClock, customer: Callable[..., str]) -> AsyncIterator[Shop]:
    async with desk(settings, clock, size=8) as made:
        sandbox = made.provider()
        assert isinstance(sandbox, Sandbox)
        shop = Shop(made, sandbox, clock, customer)
        yield shop
        await shop.whole()


Books = psycopg.Connection[Any]


def state_of(books: Books, payment: Payment) -> tuple[Any, ...]:
    return books.execute(
        "SELECT i.state, s.state, p.state, p.surplus FROM payment p JOIN invoice i USING (invoice_id) "
        "JOIN subscription s USING (subscription_id) WHERE payment_id = %s", (payment.payment_id,),
    ).fetchone() or ()  # fmt: skip


def may_watch(books: Books, payment: Payment, clock: ManualClock) -> bool:
    (plans,) = books.execute(
        "SELECT entitlements_of(account_id, %s)->'plans' FROM customer WHERE customer_id = %s",
        (clock.now(), payment.customer_id),
    ).fetchone() or ([],)
    return any(plan["plan"] == "standard" for plan in plans)


def letters(books: Books, payment: Payment) -> list[str]:
    found = books.execute(
        "SELECT payload->>'template' FROM outbox JOIN customer c ON c.account_id = key "
        "WHERE topic = 'mail' AND customer_id = %s ORDER BY transaction, id", (payment.customer_id,),
    )  # fmt: skip
    return [template for (template,) in found]


@given(st.lists(st.sampled_from(["pending", "action", "failed", "succeeded", "nobody knows", "gave up"]), max_size=8))
def test_a_payment_only_goes_forward_and_taken_money_is_never_overlooked(told: list[str]) -> None:
    at = datetime(2026, 3, 10, tzinfo=UTC)
    payment = Payment("p", "i", "c", "sandbox", "created", 599, "EUR", at)
    rank = ["created", "pending", "failed", "succeeded"].index
    for word in told:
        heard = Heard("p")
        if word == "gave up":
            heard = Heard("p", failure="expired")
        elif word != "nobody knows":
            money = Money(599 if word == "succeeded" else 0, "EUR")
            heard = Heard("p", Outcome("ref", State(word), money))
        after = forward(payment, heard, at)
        assert rank(after.state) >= rank(payment.state)
        assert after.settled == (after.settled_at is not None)
        payment = after
    assert (payment.state == "succeeded") == ("succeeded" in told)
    assert (payment.state == "failed") == (bool({"failed", "gave up"} & {*told}) and "succeeded" not in told)


@pytest.mark.parametrize("taken", [Money(598, "EUR"), Money(599, "USD"), Money(0, "EUR")])
def test_another_amount_than_asked_for_is_not_believed(taken: Money) -> None:
    at = datetime(2026, 3, 10, tzinfo=UTC)
    payment = Payment("p", "i", "c", "sandbox", "pending", 599, "EUR", at)
    with pytest.raises(PaymentError, match="instead of 599 EUR"):
        forward(payment, Heard("p", Outcome("ref", State.succeeded, taken)), at)


async def test_a_page_is_paid_once_and_opens_what_was_bought(shop: Shop, books: Books) -> None:
    invoice = await shop.order()
    first, again = await shop.page(invoice), await shop.page(invoice)
    assert (first.payment_id, first.state) == (again.payment_id, "pending")
    assert first.checkout_url == again.checkout_url
    assert not may_watch(books, first, shop.clock)
    assert (await shop.settle(first)).state == "pending"
    await shop.sandbox.submit(first.provider_ref or "", BY_NAME["good"])
    done = await asyncio.gather(*(shop.settle(first) for _ in range(8)))
    assert {payment.state for payment in done} == {"succeeded"}
    assert state_of(books, first) == ("paid", "active", "succeeded", False)
    assert may_watch(books, first, shop.clock)
    assert letters(books, first).count("receipt") == 1
    assert done[0].fee_minor == 29
    (saved,) = books.execute("SELECT method_id, label FROM payment_method").fetchall()
    assert saved == (done[0].saved_id, "Visa •••• 4242")
    with pytest.raises(Problem, match="nothing is to be paid"):
        await shop.page(invoice)


async def test_no_card_is_kept_against_the_last_word_of_its_owner(shop: Shop, books: Books) -> None:
    invoice = await shop.order()
    keeps = await shop.page(invoice)
    shop.sandbox.faults = Faults(before=1.0)
    with pytest.raises(Problem, match="does not answer"):
        await shop.page(invoice, keep=False)
    shop.sandbox.faults = Faults()
    page = await shop.page(invoice, keep=False)
    assert page.payment_id != keeps.payment_id
    assert page == await shop.page(invoice, keep=False)
    closed = await shop.settle(keeps)
    assert (closed.state, closed.failure) == ("failed", "canceled")
    await shop.sandbox.submit(page.provider_ref or "", BY_NAME["good"])
    assert (await shop.settle(page)).state == "succeeded"
    assert state_of(books, page)[:2] == ("paid", "active")
    assert books.execute("SELECT label FROM payment_method").fetchall() == []


async def test_a_refused_card_ends_the_order_and_another_try_is_a_new_one(shop: Shop, books: Books) -> None:
    someone = shop.customer()
    payment = await shop.page(await shop.order(someone))
    await shop.sandbox.submit(payment.provider_ref or "", BY_NAME["poor"])
    done = await shop.settle(payment)
    assert (done.state, done.failure) == ("failed", "insufficient_funds")
    assert state_of(books, payment)[0] == "void"
    anew = await shop.page(await shop.order(someone))
    await shop.sandbox.submit(anew.provider_ref or "", BY_NAME["secure"])
    assert (await shop.settle(anew)).state == "pending"  # its bank asks
    await shop.sandbox.confirm(anew.provider_ref or "", is_owner=True)
    assert (await shop.settle(anew)).state == "succeeded"


async def test_money_for_a_page_that_was_given_up_goes_back_and_is_told(shop: Shop, books: Books) -> None:
    payment = await shop.page(await shop.order())
    books.execute("UPDATE sandbox.payment SET expires_at = expires_at + interval '9 days'")
    shop.clock.advance(timedelta(hours=25))
    await shop.sandbox.submit(payment.provider_ref or "", BY_NAME["good"])
    async with shop.desk.transaction() as connection:
        await invoices.void(connection, payment.invoice_id, shop.clock.now())
    late = await shop.settle(payment)
    assert (late.state, late.surplus) == ("succeeded", True)
    assert books.execute("SELECT state, note_id FROM refund").fetchall() == [("succeeded", None)]
    bank = await shop.sandbox.look(payment.payment_id, payment.provider_ref)
    assert bank is not None
    assert bank.refunded_minor == payment.amount_minor
    assert "refunded" in letters(books, payment)
    assert not may_watch(books, payment, shop.clock)


async def test_a_page_that_nobody_pays_is_closed_after_a_day(shop: Shop, books: Books) -> None:
    paid_late, left = await shop.page(await shop.order()), await shop.page(await shop.order())
    nobody = await shop.order()  # the process died before it began a payment
    shop.clock.advance(timedelta(hours=23))
    await shop.sandbox.submit(paid_late.provider_ref or "", BY_NAME["good"])
    shop.clock.advance(timedelta(hours=2))
    await shop.sweep()
    assert state_of(books, paid_late) == ("paid", "active", "succeeded", False)
    assert state_of(books, left)[::2] == ("void", "failed")
    found = books.execute("SELECT state FROM invoice WHERE invoice_id = %s", (nobody.invoice_id,))
    assert found.fetchall() == [("void",)]


async def test_of_two_payments_of_an_invoice_one_pays_and_the_other_goes_back(shop: Shop, books: Books) -> None:
    await shop.subscriber("later_poor")
    shop.clock.advance(MONTH)
    assert (await shop.renew()).refused == 1
    ((open_,),) = books.execute("SELECT invoice_id FROM invoice WHERE state = 'open'").fetchall()
    async with shop.desk.transaction() as connection:
        invoice = await invoices.get(connection, open_)
        (method,) = await methods.listed(connection, invoice.customer_id)
    page = await shop.page(invoice)
    await shop.sandbox.submit(page.provider_ref or "", BY_NAME["good"])
    books.execute("UPDATE sandbox.method SET card = 'good'")
    charged, settled = await asyncio.gather(
        core.charge(shop.desk, invoice, method, 2, shop.clock.now()), shop.settle(page)
    )
    assert {charged.state, settled.state} == {"succeeded"}
    assert charged.surplus != settled.surplus
    await shop.sweep()
    assert books.execute("SELECT state, amount_minor FROM refund").fetchall() == [("succeeded", invoice.due_minor)]
    balance = books.execute("SELECT sum(amount_minor) FROM posting WHERE ledger = 'receivable'")
    assert balance.fetchall() == [(0,)]


async def test_refunds_are_never_above_what_was_paid_however_many_ask_at_once(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    at, half = shop.clock.now(), payment.amount_minor // 2
    asked = [
        refund(shop.desk, payment.payment_id, half, "slow film", at, asked_by="staff", keeps_right=True)
        for _ in range(6)
    ]
    said = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in said) == 2
    assert {each.code for each in said if isinstance(each, Problem)} == {"refund_too_much"}
    assert may_watch(books, payment, shop.clock)
    rest = await refund(shop.desk, payment.payment_id, None, "gone", at, asked_by="staff")
    assert rest.amount_minor == payment.amount_minor - 2 * half
    bank = await shop.sandbox.look(payment.payment_id, payment.provider_ref)
    assert bank is not None
    assert bank.refunded_minor == payment.amount_minor
    for amount in (None, 1, 0, -1):
        with pytest.raises(Problem, match="are left to give"):
            await refund(shop.desk, payment.payment_id, amount, "more", at, asked_by="staff")


async def test_a_refund_ends_the_right_unless_it_is_goodwill(shop: Shop, books: Books) -> None:
    kind, strict = await shop.subscriber(), await shop.subscriber()
    at = shop.clock.now()
    await refund(shop.desk, kind.payment_id, None, "goodwill", at, asked_by="staff", keeps_right=True)
    done = await refund(shop.desk, strict.payment_id, None, "wrong one", at, asked_by="staff", refund_id="r")
    assert done == await refund(shop.desk, strict.payment_id, None, "wrong one", at, asked_by="staff", refund_id="r")
    assert may_watch(books, kind, shop.clock)
    assert not may_watch(books, strict, shop.clock)
    assert letters(books, strict)[-2:] == ["subscription_ended", "refunded"]


async def test_what_was_paid_from_the_balance_goes_back_there_with_the_right(shop: Shop, books: Books) -> None:
    first = await shop.subscriber()
    async with shop.desk.transaction() as connection:
        await invoices.credit(connection, first.invoice_id, 400, "goodwill", shop.clock.now())
    shop.clock.advance(MONTH)
    assert (await shop.renew()).paid == 1
    (renewal,) = books.execute("SELECT payment_id, amount_minor FROM payment WHERE attempt = 1 AND method_id <> ''")
    assert renewal[1] == first.amount_minor - 400
    await refund(shop.desk, renewal[0], None, "gone", shop.clock.now(), asked_by="staff")
    async with shop.desk.transaction() as connection:
        assert await invoices.balance(connection, first.customer_id, "EUR") == 400
    assert not may_watch(books, first, shop.clock)


async def test_a_refund_that_the_provider_refuses_gives_its_reserve_back(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    books.execute("UPDATE sandbox.payment SET refunded_minor = amount_minor")  # they say that nothing is left
    done = await refund(shop.desk, payment.payment_id, 100, "x", shop.clock.now(), asked_by="staff")
    assert done.state == "failed"
    assert done.failure
    assert books.execute("SELECT refunded_minor FROM payment").fetchone() == (0,)
    await shop.settle(payment)  # and so it is: somebody gave it back there
    assert books.execute("SELECT reason, amount_minor FROM refund WHERE state = 'succeeded'").fetchall() == [
        ("provider", payment.amount_minor)
    ]
    assert not may_watch(books, payment, shop.clock)


@pytest.mark.parametrize("won", [True, False])
async def test_a_dispute_holds_the_money_and_ends_the_right_only_when_it_is_lost(
    shop: Shop, books: Books, won: bool
) -> None:
    payment = await shop.subscriber()
    dispute = await shop.sandbox.dispute(payment.provider_ref or "")
    await asyncio.gather(*(shop.settle(payment) for _ in range(3)))
    assert books.execute("SELECT sum(amount_minor) FROM posting WHERE ledger = 'disputed'").fetchone() == (
        payment.amount_minor,
    )
    assert may_watch(books, payment, shop.clock)
    with pytest.raises(Problem, match="cannot go twice"):
        await refund(shop.desk, payment.payment_id, None, "x", shop.clock.now(), asked_by="staff")
    await shop.sandbox.close_dispute(dispute or "", won=won)
    await shop.settle(payment)
    await shop.settle(payment)
    assert books.execute("SELECT state FROM dispute").fetchall() == [("won" if won else "lost",)]
    assert may_watch(books, payment, shop.clock) is won
    held = books.execute("SELECT sum(amount_minor) FROM posting WHERE ledger = 'disputed'").fetchone()
    assert held == (0,)


async def test_a_method_is_forgotten_there_too_even_if_they_were_away(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    shop.sandbox.faults = Faults(before=1.0)
    with pytest.raises(Problem, match="no way to pay"):
        await methods.remove(shop.desk, "somebody else", payment.saved_id or "", shop.clock.now())
    await methods.remove(shop.desk, payment.customer_id, payment.saved_id or "", shop.clock.now())
    async with shop.desk.transaction() as connection:
        assert await methods.listed(connection, payment.customer_id) == []
    assert books.execute("SELECT method_id FROM subscription").fetchall() == [(None,)]
    shop.sandbox.faults = Faults()
    await shop.sweep()
    assert books.execute("SELECT provider_ref FROM payment_method").fetchall() == [(None,)]
    assert books.execute("SELECT forgotten_at IS NOT NULL FROM sandbox.method").fetchall() == [(True,)]


@pytest.mark.parametrize("fate", ["before", "after"])
async def test_a_charge_that_nobody_heard_the_answer_of_is_made_once(shop: Shop, books: Books, fate: str) -> None:
    first = await shop.subscriber()
    shop.clock.advance(MONTH)
    shop.sandbox.faults = Faults(before=float(fate == "before"), after=float(fate == "after"))
    assert (await shop.renew()).pending == 1
    assert (await shop.renew()).turned == 0
    shop.sandbox.faults = Faults()
    await shop.sweep()
    assert books.execute("SELECT state FROM payment ORDER BY created_at").fetchall() == [("succeeded",)] * 2
    assert books.execute("SELECT count(*) FROM sandbox.payment").fetchone() == (2,)
    assert may_watch(books, first, shop.clock)


async def test_a_page_that_nobody_heard_the_address_of_is_the_same_when_asked_for_again(
    shop: Shop, books: Books
) -> None:
    invoice = await shop.order()
    shop.sandbox.faults = Faults(after=1.0)
    with pytest.raises(Problem) as away:
        await shop.page(invoice)
    assert (away.value.status, away.value.code) == (503, "provider_unavailable")
    shop.sandbox.faults = Faults()
    payment = await shop.page(invoice)
    assert payment.checkout_url
    assert books.execute("SELECT payment_id FROM sandbox.payment").fetchall() == [(payment.payment_id,)]


async def test_what_another_provider_took_or_keeps_is_left_to_it(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    books.execute("UPDATE payment SET provider = 'stripe'")
    books.execute("UPDATE payment_method SET provider = 'stripe'")
    with pytest.raises(Problem, match="give it back there"):
        await refund(shop.desk, payment.payment_id, None, "x", shop.clock.now(), asked_by="staff")
    shop.clock.advance(MONTH)
    assert (await shop.renew()).refused == 1  # its owner is asked for another way to pay
    assert letters(books, payment)[-1] == "payment_failed"
    books.execute("UPDATE payment SET provider = 'sandbox'")


async def test_a_saved_card_that_wants_its_owner_is_not_waited_for(shop: Shop, books: Books) -> None:
    payment = await shop.page(await shop.order())
    await shop.sandbox.submit(payment.provider_ref or "", BY_NAME["always_secure"])
    await shop.sandbox.confirm(payment.provider_ref or "", is_owner=True)
    await shop.settle(payment)
    shop.clock.advance(MONTH)
    assert (await shop.renew()).refused == 1
    assert books.execute("SELECT failure FROM payment WHERE state = 'failed'").fetchall() == [
        ("authentication_required",)
    ]
    assert books.execute("SELECT state FROM sandbox.payment WHERE state <> 'succeeded'").fetchall() == [("failed",)]
    assert state_of(books, payment)[1] == "past_due"


async def test_a_renewal_that_cannot_be_made_holds_up_no_other(shop: Shop, books: Books) -> None:
    people = [await shop.subscriber() for _ in range(4)]
    broken = "(SELECT subscription_id FROM subscription ORDER BY subscription_id LIMIT 1)"
    books.execute(f"UPDATE subscription SET zone = 'Nowhere/Else' WHERE subscription_id = {broken}".encode())
    shop.clock.advance(MONTH)
    done = await shop.renew(batch=3)
    assert (done.paid, done.put_off) == (len(people) - 1, 1)
    assert await shop.renew() == Renewed()
    books.execute("UPDATE subscription SET zone = 'UTC'")
    shop.clock.advance(timedelta(hours=1))
    assert (await shop.renew()).paid == 1


async def breaks(shop: Shop, lost: int, work: Callable[[Desk], Awaitable[object]]) -> bool:
    """Whether work ended where its `lost`-th transaction could not be committed: it has so many."""
    count, through = 0, shop.desk.transaction

    @asynccontextmanager
    async def fails() -> AsyncIterator[psycopg.AsyncConnection]:
        nonlocal count
        count += 1
        async with through() as connection:
            yield connection
            if count == lost:
                raise psycopg.OperationalError("the server closed the connection")

    breaking = Desk(shop.desk.settings, shop.clock, fails)
    try:
        await work(breaking)
    except psycopg.OperationalError:
        return True
    finally:
        await breaking.aclose()
    return False


async def test_a_page_is_one_page_wherever_the_database_went_away(shop: Shop, books: Books) -> None:
    for lost in (1, 2):
        invoice = await shop.order()
        opening = {"return_url": "http://here/{payment_id}", "save_method": True, "at": shop.clock.now()}
        assert await breaks(shop, lost, lambda desk, of=invoice, how=opening: core.begin(desk, of, **how))
        page = await shop.page(invoice)
        assert page.checkout_url
        assert books.execute("SELECT count(*) FROM sandbox.payment").fetchone() == (lost,)


async def test_a_refund_is_one_refund_wherever_the_database_went_away(shop: Shop, books: Books) -> None:
    lost = broke = 0
    while lost == broke:
        lost += 1
        paid, at = await shop.subscriber(), shop.clock.now()
        asked: dict[str, Any] = {"asked_by": "staff", "refund_id": f"r{lost}"}
        giving = partial(refund, payment_id=paid.payment_id, amount_minor=None, reason="x", at=at, **asked)
        broke += await breaks(shop, lost, giving)
        assert (await giving(shop.desk)).state == "succeeded"
        bank = await shop.sandbox.look(paid.payment_id, paid.provider_ref)
        assert bank is not None
        assert bank.refunded_minor == paid.amount_minor
        assert not may_watch(books, paid, shop.clock)
    assert broke >= 2
    assert books.execute("SELECT count(*) FROM sandbox.refund").fetchone() == (lost,)


async def test_surplus_goes_back_once_wherever_the_database_went_away(shop: Shop, books: Books) -> None:
    lost, broke, amount = 0, 0, 0
    while lost == broke:
        lost += 1
        page = await shop.page(await shop.order())
        amount += page.amount_minor
        await shop.sandbox.submit(page.provider_ref or "", BY_NAME["good"])
        async with shop.desk.transaction() as connection:
            await invoices.void(connection, page.invoice_id, shop.clock.now())
        broke += await breaks(shop, lost, partial(core.settle, payment_id=page.payment_id, at=shop.clock.now()))
        await shop.sweep()
        assert state_of(books, page)[2:] == ("succeeded", True)
    assert broke >= 3
    found = books.execute("SELECT count(*), sum(amount_minor) FROM sandbox.refund").fetchone()
    assert found == (lost, amount)
    assert books.execute("SELECT state, count(*) FROM refund GROUP BY state").fetchall() == [("succeeded", lost)]


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_charge_is_one_charge_wherever_the_database_went_away(shop: Shop, books: Books, lost: int) -> None:
    """Each transaction of a charge fails in turn, the one after the provider took the money too."""
    first = await shop.subscriber("later_poor")
    shop.clock.advance(MONTH)
    await shop.renew()
    books.execute("UPDATE sandbox.method SET card = 'good'")
    async with shop.desk.transaction() as connection:
        (method,) = await methods.listed(connection, first.customer_id)
        open_ = await rows(connection, "SELECT invoice_id FROM invoice WHERE state = 'open'")
        invoice = await invoices.get(connection, open_[0]["invoice_id"])
    broke = await breaks(shop, lost, lambda desk: core.charge(desk, invoice, method, 2, shop.clock.now()))
    assert broke is (lost < 3)
    done = await core.charge(shop.desk, invoice, method, 2, shop.clock.now())
    assert done.state == "succeeded"
    taken = books.execute("SELECT count(*) FROM sandbox.payment WHERE state = 'succeeded' AND amount_minor > 0")
    assert taken.fetchone() == (2,)
    assert state_of(books, done)[:2] == ("paid", "active")


async def test_renewals_by_two_runs_at_once_and_again_are_billed_once(shop: Shop, books: Books) -> None:
    people = [await shop.subscriber() for _ in range(8)]
    shop.clock.advance(MONTH)
    runs = await asyncio.gather(*(shop.renew(batch=3) for _ in range(3)))
    assert sum(run.paid for run in runs) == len(people)
    assert await shop.renew() == Renewed()
    assert books.execute("SELECT count(*) FROM invoice WHERE reason = 'renewal' AND state = 'paid'").fetchone() == (8,)
    assert books.execute("SELECT count(*) FROM sandbox.payment").fetchone() == (16,)


async def test_charges_of_a_run_that_died_wait_in_line_for_the_few_connections(shop: Shop, books: Books) -> None:
    now = shop.clock.now()
    world(shop.desk.settings, 40, now)
    shop.sandbox.faults = Faults(before=1.0)
    assert (await shop.renew()).pending == 40
    shop.sandbox.faults = Faults()
    books.execute("UPDATE payment SET state = 'created'")
    books.execute("UPDATE subscription SET due_at = %s", (now,))
    wanted: set[object] = set()
    most = 0

    @asynccontextmanager
    async def counted() -> AsyncIterator[psycopg.AsyncConnection]:
        nonlocal most
        wanted.add(one := object())
        most = max(most, len(wanted))
        async with shop.desk.transaction() as connection:
            yield connection
        wanted.remove(one)

    office = Desk(shop.desk.settings, shop.clock, counted)
    assert (await renew(office, now)).paid == 40
    await office.aclose()
    assert most <= LANES * AT_ONCE


async def test_notices_in_any_order_twice_or_lost_end_in_the_same_state(shop: Shop, books: Books) -> None:
    """Fifty notices of ten payments, shuffled, doubled and dropped; of disputes too, which begin in between."""
    seed = int(os.environ.get("MATINEE_CHAOS_SEED", random.randrange(1_000_000)))
    print(f"seed {seed}: repeat with MATINEE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    cards = ["good", "poor", "good", "secure", "good", "declined", "good", "good", "mir", "good"]
    begun = [(await shop.page(await shop.order()), card) for card in cards]
    for payment, card in begun:
        ref = payment.provider_ref or ""
        await shop.sandbox.submit(ref, BY_NAME[card])
        if card == "secure":
            await shop.sandbox.confirm(ref, is_owner=True)
    bodies = [
        (f"event-{number}-{copy}", name, payment)
        for number, (payment, _) in enumerate(begun)
        for copy, name in enumerate(("payment.succeeded", "payment.failed", "dispute.opened", "dispute.closed"))
    ]
    told = [each for each in bodies if luck.random() > 0.2]
    told += luck.sample(told, 50 - len(told)) if len(told) < 50 else []
    luck.shuffle(told)
    for place, (event, name, payment) in enumerate(told):
        if place in (20, 30):
            disputed, _ = begun[{20: 2, 30: 6}[place]]
            dispute = await shop.sandbox.dispute(disputed.provider_ref or "")
            await shop.sandbox.close_dispute(dispute or "", won=place == 20)
        body = webhook(event, name, payment)
        header = {HEADER: sign(shop.desk.settings, body, shop.clock.now())}
        await webhooks.receive(shop.desk, "sandbox", header, body, "127.0.0.1")
    shop.clock.advance(timedelta(hours=1))
    await shop.sweep()
    await reconcile(shop.desk, "sandbox", None)  # hears of disputes of which every notice was lost
    assert (await reconcile(shop.desk, "sandbox", None)).agrees
    expected = {"poor": "failed", "declined": "failed"}
    for number, (payment, card) in enumerate(begun):
        wanted = expected.get(card, "succeeded")
        assert state_of(books, payment)[2] == wanted, (number, card)
        assert may_watch(books, payment, shop.clock) is (wanted == "succeeded" and number != 6)
    kept = books.execute("SELECT count(*), count(handled_at) FROM provider_event").fetchone()
    assert kept == (len({event for event, _, _ in told}),) * 2
    books.execute("UPDATE provider_event SET handled_at = NULL WHERE event_id = %s", (told[0][0],))  # no use yet
    shop.clock.advance(webhooks.KEPT - timedelta(hours=2))
    async with shop.desk.transaction() as connection:
        assert await webhooks.prune(connection, shop.clock.now()) == 0
    shop.clock.advance(timedelta(hours=2))
    async with shop.desk.transaction() as connection:
        assert await webhooks.prune(connection, shop.clock.now()) == kept[0] - 1
    assert books.execute("SELECT event_id FROM provider_event").fetchall() == [(told[0][0],)]


def webhook(event: str, name: str, payment: Payment) -> bytes:
    import orjson

    return orjson.dumps(
        {"event_id": event, "name": name, "ref": payment.provider_ref, "payment_id": payment.payment_id}
    )


async def test_a_notice_that_is_not_theirs_is_refused(shop: Shop, books: Books) -> None:
    payment = await shop.page(await shop.order())
    body = webhook("e", "payment.succeeded", payment)
    good = {HEADER: sign(shop.desk.settings, body, shop.clock.now())}
    old = {HEADER: sign(shop.desk.settings, body, shop.clock.now() - timedelta(hours=1))}
    ahead = {HEADER: sign(shop.desk.settings, body, shop.clock.now() + timedelta(hours=1))}
    for header, sent in ((good, body + b" "), ({}, body), (old, body), (ahead, body)):
        with pytest.raises(Problem) as refused:
            await webhooks.receive(shop.desk, "sandbox", header, sent, "127.0.0.1")
        assert (refused.value.status, refused.value.code) == (400, "forged_notice")
    for name in ("stripe", "paypal"):
        with pytest.raises(Problem) as unknown:
            await webhooks.receive(shop.desk, name, good, body, "127.0.0.1")
        assert unknown.value.status == 404
    assert books.execute("SELECT count(*) FROM provider_event").fetchone() == (0,)


async def paused(shop: Shop) -> tuple[Payment, str]:
    """Somebody in the middle of a pause of ninety days, and their subscription."""
    paid = await shop.subscriber()
    async with shop.desk.transaction() as connection:
        whose = await subscriptions.of_customer(connection, paid.customer_id)
        assert whose is not None
        await subscriptions.pause(connection, whose.subscription_id, shop.clock.now(), days=90)
    shop.clock.advance(MONTH)
    await shop.renew()
    return paid, whose.subscription_id


async def test_a_pause_lasts_though_its_owner_failed_to_end_it(shop: Shop, books: Books) -> None:
    paid, subscription_id = await paused(shop)
    before = books.execute("SELECT state, due_at, resumes_at, attempts FROM subscription").fetchall()
    for way in ("refused", "nobody began to pay"):
        async with shop.desk.transaction() as connection:
            invoice = await subscriptions.resume(connection, subscription_id, shop.clock.now())
            (method,) = await methods.listed(connection, paid.customer_id)
        assert invoice is not None
        if way == "refused":
            books.execute("UPDATE sandbox.method SET card = 'later_poor'")
            charged = await core.charge(shop.desk, invoice, method, 1, shop.clock.now(), present=True)
            assert charged.state == "failed"
        shop.clock.advance(timedelta(days=2))
        await shop.sweep()
        assert books.execute("SELECT state FROM invoice WHERE state = 'open'").fetchall() == []
        assert books.execute("SELECT state, due_at, resumes_at, attempts FROM subscription").fetchall() == before
        assert (await shop.renew()).turned == 0


@pytest.mark.parametrize("first", ["the clock", "its owner"])
async def test_an_invoice_is_charged_once_by_its_owner_and_the_clock(shop: Shop, books: Books, first: str) -> None:
    """The answer of the first of them is lost."""
    paid, subscription_id = await paused(shop)
    if first == "the clock":
        shop.clock.advance(timedelta(days=90))

    async def by_hand() -> Payment:
        async with shop.desk.transaction() as connection:
            invoice = await subscriptions.resume(connection, subscription_id, shop.clock.now())
            (method,) = await methods.listed(connection, paid.customer_id)
        assert invoice is not None
        return await core.charge(shop.desk, invoice, method, 1, shop.clock.now(), present=True)

    shop.sandbox.faults = Faults(after=1.0)
    if first == "the clock":
        assert (await shop.renew()).pending == 1
    else:
        assert (await by_hand()).state == "pending"
    shop.sandbox.faults = Faults()
    if first == "the clock":
        assert (await by_hand()).state == "succeeded"
    else:
        books.execute("UPDATE subscription SET due_at = %s", (shop.clock.now(),))
        assert (await shop.renew()).paid == 1
    assert books.execute("SELECT count(*) FROM sandbox.payment").fetchone() == (2,)
    assert books.execute("SELECT state FROM subscription").fetchone() == ("active",)


async def test_what_nobody_can_forget_or_use_keeps_no_other_waiting(shop: Shop, books: Books) -> None:
    payment = await shop.subscriber()
    long_ago = shop.clock.now() - timedelta(days=2)
    books.execute(  # of a provider that is used no more
        "INSERT INTO payment_method SELECT 'old' || n, customer_id, 'stripe', 'pm_' || n, '', created_at, %s "
        "FROM payment_method, generate_series(1, 60) n", (long_ago,),
    )  # fmt: skip
    books.execute(
        "INSERT INTO provider_event SELECT 'sandbox', 'of nobody ' || n, 'payment', NULL, "
        "'{\"name\": \"x\", \"payment_id\": \"nobody\"}', %s FROM generate_series(1, 60) n", (long_ago,),
    )  # fmt: skip
    page = await shop.page(await shop.order())
    body = webhook("of somebody", "payment.succeeded", page)
    shop.sandbox.faults = Faults(before=1.0)
    header = {HEADER: sign(shop.desk.settings, body, shop.clock.now())}
    await webhooks.receive(shop.desk, "sandbox", header, body, "127.0.0.1")
    await methods.remove(shop.desk, payment.customer_id, payment.saved_id or "", shop.clock.now())
    shop.sandbox.faults = Faults()
    shop.clock.advance(timedelta(minutes=2))
    for _ in range(2):
        await sweep(shop.desk, shop.clock.now(), most=50)
    assert books.execute("SELECT provider_ref FROM payment_method WHERE provider = 'sandbox'").fetchall() == [(None,)]
    heard = books.execute("SELECT event_id FROM provider_event WHERE handled_at IS NOT NULL").fetchall()
    assert heard == [("of somebody",)]
    # The longer something failed, the rarer it is tried.
    for minutes, failed in ((2, 0), (61, 50), (61, 10), (61, 0)):
        done = await sweep(shop.desk, shop.clock.now() + timedelta(minutes=minutes), most=50)
        assert (minutes, done.failed) == (minutes, failed)


async def test_an_outage_leaves_renewals_to_their_run(shop: Shop, books: Books) -> None:
    paid = await shop.subscriber()
    shop.clock.advance(MONTH)
    shop.sandbox.faults = Faults(before=1.0)
    assert (await shop.renew()).pending == 1
    shop.sandbox.faults = Faults()
    shop.clock.advance(timedelta(minutes=2))
    assert (await sweep(shop.desk, shop.clock.now(), most=50)).payments == 0
    books.execute("UPDATE payment SET state = 'created' WHERE payment_id <> %s", (paid.payment_id,))
    shop.clock.advance(timedelta(hours=1))
    assert (await shop.renew()).paid == 1
