"""Lives of subscriptions on real PostgreSQL: what is billed, what is open, and what was said of it, day by day."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from matinee.clock import ManualClock
from matinee.db.subscriptions import Period, add_periods
from matinee.ids import uuid7
from serving.billing import customers
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.ledger import core as ledger
from serving.billing.ledger import facts
from serving.billing.ledger.money import Money
from serving.billing.payments import fulfilment
from serving.billing.payments.rows import Payment
from serving.billing.products.core import ProductError
from serving.billing.products.pricing import NewPrice, set_price
from serving.billing.promo import core as promo
from serving.billing.subscriptions import core
from serving.billing.subscriptions.rows import Subscription
from serving.db import row, rows
from serving.problems import Problem
from serving.rights.entitlements import parse
from serving.rights.welcome import Trial, welcome

BEGIN = datetime(2028, 1, 31, 18, tzinfo=UTC)  # a month's end, and a leap day is near
DAY = timedelta(days=1)


@dataclass
class Life:
    """One subscriber; money is settled at once, as `payments.settle` does it, without a provider."""

    connection: psycopg.AsyncConnection[Any]
    clock: ManualClock
    customer_id: str
    account_id: str
    language: str = "en"

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def wait(self, **life: float) -> None:
        self.clock.advance(timedelta(**life))

    def until(self, text: str) -> None:
        self.clock.moment = datetime.fromisoformat(text).replace(tzinfo=UTC)

    async def start(self, price: str = "standard-month-eur", **options: Any) -> Invoice:
        options = {"language": self.language, "country": "DE", **options}
        return await core.start(self.connection, self.customer_id, price, self.now, **options)

    async def pay(self, invoice: Invoice, *, card: bool = True, attempt: int = 1, own: bool = True) -> None:
        """The provider says that it was paid; `card`: and keeps the way for us. `own`: on a page."""
        if invoice.due_minor == 0:
            await fulfilment.closed(self.connection, invoice, self.now)
            return
        payment = await self._payment(invoice, "succeeded", card=card, attempt=attempt, own=own)
        money = Money(invoice.due_minor, invoice.currency)
        fact = facts.payment(payment.payment_id, self.customer_id, "sandbox", money, self.now)
        await ledger.post(self.connection, [fact])
        paid = await invoices.paid(self.connection, invoice.invoice_id, self.now)
        await fulfilment.fulfil(self.connection, paid, payment, self.now)

    async def refuse(self, invoice: Invoice, *, attempt: int = 1, own: bool = False) -> None:
        payment = await self._payment(invoice, "failed", card=not own, attempt=attempt, own=own)
        await fulfilment.refused_many(self.connection, [(invoice, payment)], self.now)

    async def _payment(self, invoice: Invoice, state: str, *, card: bool, attempt: int, own: bool) -> Payment:
        method = uuid7() if card else None
        if method:
            await self.connection.execute(
                "INSERT INTO payment_method (method_id, customer_id, provider, provider_ref, label, created_at) "
                "VALUES (%s, %s, 'sandbox', %s, 'Visa', %s)", (method, self.customer_id, method, self.now),
            )  # fmt: skip
        payment = Payment(
            uuid7(), invoice.invoice_id, self.customer_id, "sandbox", state, invoice.due_minor, invoice.currency,
            self.now, method_id=None if own else method, saved_id=method if own else None, attempt=attempt,
            failure=None if state == "succeeded" else "card_declined", settled_at=self.now,
        )  # fmt: skip
        await self.connection.execute(
            "INSERT INTO payment (payment_id, invoice_id, customer_id, provider, state, amount_minor, currency, "
            "method_id, attempt, failure, created_at, settled_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (payment.payment_id, payment.invoice_id, payment.customer_id, payment.provider, state, payment.amount_minor,
             payment.currency, payment.method_id, attempt, payment.failure, self.now, self.now),
        )  # fmt: skip
        return payment

    async def turn(self) -> list[core.Charge]:
        return await core.turn_many(self.connection, await core.due(self.connection, self.now, 100), self.now)

    async def renew(self, *, times: int = 1) -> None:
        """Wait for the end of the period and pay for the next one, so often."""
        for _ in range(times):
            self.clock.moment = (await self.subscription()).until
            for charge in await self.turn():
                await self.pay(charge.invoice, attempt=charge.attempt, own=False)

    async def subscription(self) -> Subscription:
        found = await core.of_customer(self.connection, self.customer_id)
        assert found is not None, "there is no subscription"
        return found

    async def open_plans(self, **later: float) -> dict[str, int]:
        """Plan -> streams, now or later."""
        moment = self.now + timedelta(**later)
        given = {"account": self.account_id, "moment": moment}
        found = await row(self.connection, "SELECT entitlements_of(%(account)s, %(moment)s) AS held", given)
        assert found is not None
        return {plan.plan_id: plan.streams for plan in parse(found["held"]).plans_at(moment)}

    async def history(self) -> list[tuple[str, str, str, str, str | None]]:
        """(state, plan, from, until, why) of the rows that the marts read."""
        found = await rows(
            self.connection, "SELECT * FROM subscription_period WHERE account_id = %(a)s ORDER BY opened",
            {"a": self.account_id},
        )  # fmt: skip
        return [
            (
                each["state"],
                each["plan"],
                f"{each['opened']:%m-%d}",
                f"{each['closed']:%m-%d}" if each["closed"] else "",
                each["end_reason"],
            )
            for each in found
        ]

    async def events(self) -> list[str]:
        query = (
            "SELECT event FROM subscription_event JOIN subscription USING (subscription_id) "
            "WHERE customer_id = %(customer)s ORDER BY event_id"
        )
        return [each["event"] for each in await rows(self.connection, query, {"customer": self.customer_id})]

    async def letters(self) -> list[str]:
        query = "SELECT payload->>'template' AS template FROM outbox WHERE topic = 'mail' AND key = %(a)s ORDER BY id"
        return [each["template"] for each in await rows(self.connection, query, {"a": self.account_id})]

    async def told(self) -> int:
        query = "SELECT count(*) AS count FROM outbox WHERE topic = 'account' AND key = %(a)s"
        found = await row(self.connection, query, {"a": self.account_id})
        return found["count"] if found else 0

    async def balance(self) -> int:
        return await invoices.balance(self.connection, self.customer_id, "EUR")


@pytest.fixture
async def life(connection, customer, books):
    customer_id = customer("DE", at=BEGIN)
    account_id = await customers.account_of(connection, customer_id)
    yield Life(connection, ManualClock(BEGIN), customer_id, account_id)
    await connection.commit()  # so that the books are looked at


async def test_from_the_trial_to_a_paid_year_of_month_ends(life: Life):
    await welcome(life.connection, life.account_id, "DE", life.now, Trial("premium", 14))
    assert await life.open_plans() == {"premium": 4}
    life.wait(days=11)
    assert await life.turn() == []
    assert await life.letters() == ["trial_ending"]
    invoice = await life.start("basic-month-eur")
    assert (invoice.total_minor, invoice.tax_minor) == (599, 96)
    await life.pay(invoice)
    assert await life.open_plans() == {"premium": 4}, "what was paid for begins when the trial ends"
    assert await life.open_plans(days=3, seconds=1) == {"basic": 1}
    life.wait(days=3)
    assert await life.turn() == []
    assert (await life.subscription()).until == datetime(2028, 3, 14, 18, tzinfo=UTC)
    await life.renew(times=10)
    assert await life.history() == [
        ("trial", "premium", "01-31", "02-14", "paid"),
        ("active", "basic", "02-14", "01-16", "payment"),  # one row for all of it: nothing changed
    ]
    assert await life.events() == ["tried", "paid", "trial_over", *["renewing", "paid"] * 10]


async def test_who_begins_on_the_last_day_pays_on_last_days(life: Life):
    await life.pay(await life.start(zone="Europe/Berlin"))
    ends = []
    for _ in range(4):
        ends.append(f"{(await life.subscription()).until:%m-%d %H}")
        await life.renew()
    assert ends == ["02-29 18", "03-31 17", "04-30 17", "05-31 17"], "18:00 in UTC is 19:00 in Berlin, all year"


async def test_access_ends_by_itself_when_nobody_runs_renewals_and_time_without_it_is_not_billed(life: Life):
    await life.pay(await life.start())
    end = (await life.subscription()).until
    life.clock.moment = end + DAY
    assert await life.open_plans() == {"standard": 2}, "a day late is no harm"
    assert await life.open_plans(days=1) == {}
    life.wait(days=70)
    (charge,) = await life.turn()
    assert charge.invoice.period.lower == life.now
    await life.pay(charge.invoice, own=False)
    assert await life.open_plans() == {"standard": 2}
    assert await life.turn() == [], "the months in which nobody could watch are gone"
    life.wait(days=40)
    (charge,) = await life.turn()
    life.wait(days=40)
    (again,) = await life.turn()
    assert again.invoice.invoice_id != charge.invoice.invoice_id, "billed, but never charged: billed anew"
    assert (await invoices.get(life.connection, charge.invoice.invoice_id)).state == "void"
    assert again.invoice.period.lower == life.now


async def test_without_a_way_to_pay_it_ends_with_what_is_paid_for(life: Life):
    await life.pay(await life.start(), card=False)
    life.clock.moment = (await life.subscription()).until
    assert await life.open_plans(seconds=-1) == {"standard": 2}
    assert await life.open_plans() == {}
    assert await life.turn() == []
    assert await core.of_customer(life.connection, life.customer_id) is None
    assert (await life.letters())[-1] == "subscription_ended"
    assert await life.history() == [("active", "standard", "01-31", "02-29", "payment")]


async def test_a_refused_renewal_is_tried_again_and_comes_after_all(life: Life):
    await life.pay(await life.start())
    life.clock.moment = end = (await life.subscription()).until
    (charge,) = await life.turn()
    assert await life.turn() == [], "it is under way"
    life.wait(hours=2)
    (same,) = await life.turn()
    assert (same.invoice.invoice_id, same.attempt) == (charge.invoice.invoice_id, 1)
    await life.refuse(charge.invoice)
    await life.refuse(charge.invoice)  # told twice
    assert (await life.subscription()).attempts == 1
    assert await life.open_plans() == {"standard": 2}
    tries = []
    for attempt in (2, 3):
        life.clock.moment = (await life.subscription()).due_at
        tries.append(life.now - end - timedelta(hours=2))
        (charge,) = await life.turn()
        assert charge.attempt == attempt
        await life.refuse(charge.invoice, own=True)  # by hand: counts for nothing
        if attempt == 2:
            await life.refuse(charge.invoice, attempt=2)
    assert tries == [2 * DAY, 7 * DAY]
    await life.pay(charge.invoice, attempt=3, own=False)
    subscription = await life.subscription()
    assert (subscription.state, subscription.attempts) == ("active", 0)
    assert subscription.until == datetime(2028, 3, 31, 18, tzinfo=UTC), "access went on, so the period is that owed"
    assert await life.history() == [
        ("active", "standard", "01-31", "02-29", "payment"),
        ("past_due", "standard", "02-29", "03-07", "payment"),
        ("active", "standard", "03-07", "04-02", "payment"),
    ]


async def test_letters_of_refused_charges_say_what_is_open_and_when_on_the_subscribers_clocks(life: Life):
    await life.pay(await life.start(zone="Asia/Vladivostok"))
    subscription_id = (await life.subscription()).subscription_id
    life.clock.moment = (await life.subscription()).until
    (charge,) = await life.turn()
    await life.refuse(charge.invoice)
    await life.pay(charge.invoice, attempt=2, own=False)
    await core.pause(life.connection, subscription_id, life.now, days=1)
    for _ in range(2):  # the pause begins, then it is over
        life.clock.moment = (await life.subscription()).due_at
        charges = await life.turn()
    await life.refuse(charges[0].invoice)
    assert await life.letters() == ["receipt", "payment_failed", "receipt", "payment_failed_shut"]
    query = "SELECT payload->'data'->>'again' AS again FROM outbox WHERE payload->>'template' LIKE 'payment_failed%%'"
    told = [each["again"][:10] for each in await rows(life.connection, query + " ORDER BY id")]
    assert told == ["2028-03-03", "2028-04-04"], "it is 18:00 of the day before in UTC"


async def test_after_the_last_try_it_is_over_and_who_comes_back_begins_anew(life: Life):
    await welcome(life.connection, life.account_id, "DE", life.now, Trial("premium", 14))
    await life.pay(await life.start("premium-month-eur"))
    life.clock.moment = (await life.subscription()).until
    await life.turn()
    life.clock.moment = begin = (await life.subscription()).due_at
    for attempt in range(1, 6):
        assert await life.open_plans() == {"premium": 4}
        (charge,) = await life.turn()
        assert charge.attempt == attempt
        await life.refuse(charge.invoice, attempt=attempt)
        found = await core.of_customer(life.connection, life.customer_id)
        if found is not None:
            life.clock.moment = found.due_at
    assert life.now - begin == 21 * DAY
    assert await core.of_customer(life.connection, life.customer_id) is None
    assert await life.open_plans() == {}
    assert (await invoices.get(life.connection, charge.invoice.invoice_id)).state == "void"
    assert await life.letters() == ["receipt", *["payment_failed"] * 4, "subscription_ended"]
    life.wait(days=60)
    assert await life.turn() == []
    invoice = await life.start("premium-month-eur")
    assert invoice.period.lower == life.now, "there is no second trial"
    await life.pay(invoice)
    assert await life.open_plans() == {"premium": 4}


async def test_a_cancellation_keeps_what_was_paid_for_and_can_be_taken_back(life: Life):
    await life.pay(await life.start())
    life.wait(days=10)
    subscription = await life.subscription()
    await core.cancel(life.connection, subscription.subscription_id, life.now)
    await core.cancel(life.connection, subscription.subscription_id, life.now)
    await core.keep(life.connection, subscription.subscription_id, life.now)
    await life.renew()
    assert (await life.subscription()).until == datetime(2028, 3, 31, 18, tzinfo=UTC)
    await core.cancel(life.connection, subscription.subscription_id, life.now)
    life.clock.moment = datetime(2028, 3, 31, 18, tzinfo=UTC)
    assert await life.open_plans(seconds=-1) == {"standard": 2}
    assert await life.open_plans() == {}
    life.wait(hours=5)
    assert await life.turn() == []
    assert await life.history() == [("active", "standard", "01-31", "03-31", "cancelled")]
    with pytest.raises(Problem) as refused:
        await core.keep(life.connection, subscription.subscription_id, life.now)
    assert refused.value.code == "not_now"
    assert (await life.events())[-3:] == ["paid", "cancelled", "ended"]


async def test_who_cancels_while_the_renewal_is_charged_owes_nothing(life: Life):
    await life.pay(await life.start())
    life.clock.moment = (await life.subscription()).until
    (charge,) = await life.turn()
    subscription = await life.subscription()
    await core.cancel(life.connection, subscription.subscription_id, life.now)
    assert (await invoices.get(life.connection, charge.invoice.invoice_id)).state == "void"
    assert await life.open_plans() == {}


async def test_upgrade_now_pays_the_difference_and_downgrade_now_gives_it_back(life: Life):
    await life.pay(await life.start("basic-month-eur"))
    subscription_id = (await life.subscription()).subscription_id
    life.wait(days=14, hours=12)  # half of the 29 days
    seen = await core.preview(
        life.connection, life.customer_id, "premium-month-eur", life.now, language="en", country="DE"
    )
    invoice = await core.change(life.connection, subscription_id, "premium-month-eur", life.now, now=True)
    assert invoice is not None
    assert seen.due_minor == invoice.due_minor == 400  # (1399 - 599) / 2, each half to even
    assert await life.open_plans() == {"basic": 1}, "not before it is paid"
    again = await core.change(life.connection, subscription_id, "standard-month-eur", life.now, now=True)
    assert again is not None
    assert (await invoices.get(life.connection, invoice.invoice_id)).state == "void", "or it would be set off twice"
    await life.pay(again)
    assert await life.open_plans() == {"standard": 2}
    assert (await life.subscription()).until == datetime(2028, 2, 29, 18, tzinfo=UTC)
    assert await core.change(life.connection, subscription_id, "basic-month-eur", life.now, now=True) is None
    assert await life.open_plans() == {"basic": 1}
    assert await life.balance() == again.total_minor
    await life.renew()
    assert await life.balance() == 0, "the next invoice took it"
    assert [each[1] for each in await life.history()] == ["basic", "basic"]


async def test_a_downgrade_waits_for_the_next_period_and_a_year_begins_at_once(life: Life):
    await life.pay(await life.start("premium-month-eur"))
    subscription_id = (await life.subscription()).subscription_id
    await core.change(life.connection, subscription_id, "basic-month-eur", life.now, now=False)
    next_ = await core.upcoming(life.connection, subscription_id, life.now)
    assert next_ is not None
    assert next_.total_minor == 599
    await life.renew()
    assert await life.open_plans() == {"basic": 1}
    life.wait(days=10)
    invoice = await core.change(life.connection, subscription_id, "basic-year-eur", life.now, now=True)
    assert invoice is not None
    assert [line.kind for line in invoice.lines] == ["plan", "unused"]
    await life.pay(invoice)
    subscription = await life.subscription()
    assert subscription.until == datetime(2029, 3, 10, 18, tzinfo=UTC)
    life.wait(days=100)
    assert await core.change(life.connection, subscription_id, "basic-month-eur", life.now, now=True) is None
    left = 5990 * 265 / 365
    assert abs(await life.balance() - (left - 599)) <= 1
    assert (await life.subscription()).until == datetime(2028, 7, 18, 18, tzinfo=UTC)


async def test_a_pause_begins_with_the_period_and_ends_by_itself(life: Life):
    await life.pay(await life.start())
    subscription_id = (await life.subscription()).subscription_id
    for days in (0, 91):
        with pytest.raises(Problem) as refused:
            await core.pause(life.connection, subscription_id, life.now, days=days)
        assert refused.value.code == "pause_too_long"
    await core.pause(life.connection, subscription_id, life.now, days=30)
    assert await core.resume(life.connection, subscription_id, life.now) is None, "it had not begun"
    await core.pause(life.connection, subscription_id, life.now, days=30)
    life.clock.moment = (await life.subscription()).until
    assert await life.turn() == []
    assert (await life.subscription()).state == "paused"
    assert await life.open_plans() == {}
    life.wait(days=10)
    await core.change(life.connection, subscription_id, "basic-month-eur", life.now, now=True)
    life.wait(days=20)
    (charge,) = await life.turn()
    assert (charge.invoice.reason, charge.invoice.total_minor) == ("resume", 599)
    await life.refuse(charge.invoice)
    assert await life.open_plans() == {}, "nothing is paid"
    life.clock.moment = (await life.subscription()).due_at
    (charge,) = await life.turn()
    await life.pay(charge.invoice, attempt=charge.attempt, own=False)
    assert await life.open_plans() == {"basic": 1}
    assert [each[0] for each in await life.history()] == ["active", "paused", "active"]
    assert (await life.history())[1][2:] == ("02-29", "04-01", "resumed")


async def test_who_ends_a_pause_pays_and_watches_at_once(life: Life):
    await life.pay(await life.start())
    subscription_id = (await life.subscription()).subscription_id
    await core.pause(life.connection, subscription_id, life.now, days=90)
    life.clock.moment = (await life.subscription()).until
    await life.turn()
    life.wait(days=3)
    invoice = await core.resume(life.connection, subscription_id, life.now)
    assert invoice is not None
    assert await core.resume(life.connection, subscription_id, life.now) == invoice
    life.wait(days=5)
    await life.pay(invoice)
    subscription = await life.subscription()
    assert subscription.period.lower == life.now, "who pays late has not lost the days before"
    assert (await invoices.get(life.connection, invoice.invoice_id)).period == subscription.period
    assert await life.open_plans() == {"standard": 2}


@pytest.mark.parametrize("why", ["refunded", "dispute_lost"])
async def test_what_goes_back_closes_at_once_but_not_for_a_period_that_is_over(life: Life, why: Any):
    first = await life.start()
    await life.pay(first)
    await life.renew()
    second = (await rows(life.connection, "SELECT invoice_id FROM invoice WHERE reason = 'renewal'"))[0]["invoice_id"]
    await core.withdrawn(life.connection, await invoices.get(life.connection, first.invoice_id), life.now, why)
    assert await life.open_plans() == {"standard": 2}
    life.wait(days=5)
    await core.withdrawn(life.connection, await invoices.get(life.connection, second), life.now, why)
    assert await life.open_plans() == {}
    assert await life.turn() == []
    await core.withdrawn(life.connection, await invoices.get(life.connection, second), life.now, why)
    assert (await life.events())[-1] == "withdrawn"


async def test_a_refunded_upgrade_is_undone_and_a_partial_refund_is_not_given_back_twice(life: Life):
    await life.pay(await life.start("basic-month-eur"))
    subscription_id = (await life.subscription()).subscription_id
    life.wait(days=7)
    invoice = await core.change(life.connection, subscription_id, "premium-month-eur", life.now, now=True)
    assert invoice is not None
    await life.pay(invoice)
    await core.withdrawn(life.connection, invoice, life.now)
    assert await life.open_plans() == {"basic": 1}
    before = await life.subscription()
    await core.reduced(life.connection, invoice, before.worth_minor - 10, life.now)
    assert (await life.subscription()).worth_minor == 10


async def test_in_the_trial_a_refund_leaves_the_trial(life: Life):
    await welcome(life.connection, life.account_id, "DE", life.now, Trial("premium", 14))
    invoice = await life.start("basic-month-eur")
    await life.pay(invoice)
    await core.withdrawn(life.connection, invoice, life.now)
    assert await life.open_plans() == {"premium": 4}
    life.wait(days=14)
    assert await life.open_plans() == {}
    await life.turn()
    await life.turn()
    assert await life.history() == [("trial", "premium", "01-31", "02-14", "cancelled")]


async def test_what_was_paid_ahead_of_the_trials_end_is_changed_as_a_whole(life: Life):
    await welcome(life.connection, life.account_id, "DE", life.now, Trial("premium", 14))
    await life.pay(await life.start("basic-month-eur"))
    subscription_id = (await life.subscription()).subscription_id
    invoice = await core.change(life.connection, subscription_id, "standard-month-eur", life.now, now=True)
    assert invoice is not None
    assert invoice.total_minor == 999 - 599
    await life.pay(invoice)
    year = await core.change(life.connection, subscription_id, "basic-year-eur", life.now, now=True)
    assert year is not None
    assert year.total_minor == 5990 - 999
    await life.pay(year)
    assert await life.history() == [
        ("trial", "premium", "01-31", "02-14", "paid"),
        ("active", "basic", "02-14", "02-16", "payment"),
    ]
    await core.cancel(life.connection, subscription_id, life.now)
    life.wait(days=14)
    await life.turn()
    assert (await life.subscription()).until == datetime(2029, 2, 14, 18, tzinfo=UTC)
    assert (await life.history())[-1] == ("active", "basic", "02-14", "02-14", "cancelled")
    await core.withdrawn(life.connection, year, life.now)
    assert await life.open_plans() == {}
    assert await life.balance() == 999, "what the refunded year had set off"


async def test_a_code_goes_on_for_its_periods_and_who_takes_less_does_not_pay_for_it(life: Life):
    await promo.add(life.connection, promo.NewPromo("FREE", "free_period", 2), life.now)
    invoice = await life.start("premium-month-eur", promo="free")
    assert invoice.due_minor == 0
    await life.pay(invoice)
    subscription_id = (await life.subscription()).subscription_id
    assert await core.change(life.connection, subscription_id, "basic-month-eur", life.now, now=True) is None
    assert (await life.open_plans(), await life.balance()) == ({"basic": 1}, 0)
    life.clock.moment = (await life.subscription()).until
    (charge,) = await life.turn()
    assert (charge.invoice.due_minor, charge.method_id) == (0, None)
    await life.pay(charge.invoice)
    life.clock.moment = (await life.subscription()).until
    assert await life.turn() == [], "there is no way to pay for the third month"
    assert await core.of_customer(life.connection, life.customer_id) is None


async def test_of_an_erased_account_nothing_is_billed(life: Life):
    await life.pay(await life.start())
    life.clock.moment = (await life.subscription()).until
    await life.connection.execute("DELETE FROM account WHERE account_id = %s", (life.account_id,))
    assert await life.turn() == []
    assert await core.of_customer(life.connection, life.customer_id) is None
    with pytest.raises(Problem) as refused:
        await life.start()
    assert refused.value.code == "no_account"


@pytest.mark.parametrize("hours", [20, 72])
async def test_who_comes_back_after_a_trial_that_nobody_has_turned_has_no_period_twice(life: Life, hours: int):
    await welcome(life.connection, life.account_id, "DE", life.now, Trial("premium", 14))
    first = await life.start("premium-month-eur")
    await life.pay(first)
    life.wait(days=14, hours=hours)
    await core.withdrawn(life.connection, first, life.now)
    assert await life.open_plans() == {}
    await life.pay(await life.start("standard-month-eur"))
    assert await life.open_plans() == {"standard": 2}
    await life.turn()
    assert (await life.subscription()).state == "active"
    await life.renew()
    assert [each[:2] for each in await life.history()] == [
        ("trial", "premium"), ("active", "premium"), ("active", "standard"),
    ]  # fmt: skip


async def test_two_orders_and_one_subscription(life: Life):
    first, same = await life.start(), await life.start()
    assert same == first, "the same order once more"
    other = await life.start("premium-month-eur")
    assert (await invoices.get(life.connection, first.invoice_id)).state == "void"
    await life.connection.execute(
        "INSERT INTO payment (payment_id, invoice_id, customer_id, provider, state, amount_minor, currency, "
        "created_at) VALUES ('p', %s, %s, 'sandbox', 'pending', 1399, 'EUR', %s)",
        (other.invoice_id, life.customer_id, life.now),
    )
    third = await life.start("basic-month-eur")
    assert (await invoices.get(life.connection, other.invoice_id)).state == "open", "somebody is paying it"
    await life.pay(third)
    await life.connection.execute("DELETE FROM payment WHERE payment_id = 'p'")
    await life.pay(other)
    assert await life.open_plans() == {"basic": 1}
    assert await life.balance() == 1399
    for wrong, code in [("basic-month-usd", "not_sold"), ("nothing", "not_sold"), ("basic-month-eur", "subscribed")]:
        with pytest.raises(Problem) as refused:
            await life.start(wrong)
        assert refused.value.code == code


async def test_an_order_that_nobody_pays_is_dropped(life: Life):
    invoice = await life.start()
    life.wait(hours=24)
    assert await life.turn() == []
    assert (await invoices.get(life.connection, invoice.invoice_id)).state == "void"
    assert await life.events() == ["ordered", "abandoned"]
    assert await life.open_plans() == {}


async def test_changes_that_cannot_be_are_refused(life: Life):
    await life.pay(await life.start())
    subscription_id = (await life.subscription()).subscription_id
    for wrong, now, code in [
        ("basic-month-usd", True, "currency"), ("nothing", True, "not_sold"), ("standard-month-eur", True, "same_plan"),
    ]:  # fmt: skip
        with pytest.raises(Problem) as refused:
            await core.change(life.connection, subscription_id, wrong, life.now, now=now)
        assert refused.value.code == code
    life.clock.moment = (await life.subscription()).until
    with pytest.raises(Problem) as refused:
        await core.change(life.connection, subscription_id, "premium-month-eur", life.now, now=True)
    assert refused.value.code == "not_now"
    with pytest.raises(Problem) as refused:
        await core.cancel(life.connection, "nobody's", life.now)
    assert refused.value.status == 404


async def test_a_trial_of_an_import_is_taken_up_and_what_runs_elsewhere_is_not_doubled(life: Life, customer, books):
    bare = Period("b1", "b1", life.account_id, "old plan", "trial", 0, "EUR", life.now, life.now + 5 * DAY, "cancelled")
    with psycopg.connect(books.info.dsn) as connection:
        add_periods(connection, [bare])
    await life.pay(await life.start("basic-month-eur"))
    assert (await life.subscription()).subscription_id == "b1"
    assert await life.open_plans() == {"old plan": 1}
    assert await life.open_plans(days=5) == {"basic": 1}
    other = customer("DE")
    elsewhere = Period("b2", "b2", other.removeprefix("customer of "), "basic", "active", 500, "EUR", life.now)
    with psycopg.connect(books.info.dsn) as connection:
        add_periods(connection, [elsewhere])
    with pytest.raises(Problem) as refused:
        await core.start(life.connection, other, "basic-month-eur", life.now, language="en", country="DE")
    assert refused.value.code == "subscribed"


async def test_a_clock_that_jumps_bills_nothing_twice_and_takes_nothing_away(life: Life):
    await life.pay(await life.start())
    end = (await life.subscription()).until
    life.clock.moment = end + timedelta(hours=20)
    (charge,) = await life.turn()
    await life.pay(charge.invoice, own=False)
    history, told = await life.history(), await life.told()
    for moment in (end - 400 * DAY, end - DAY, end + timedelta(hours=21)):  # back, and forth again
        life.clock.moment = moment
        assert await life.turn() == []
    assert (await life.history(), await life.told()) == (history, told)
    subscription = await life.subscription()
    life.clock.moment = end - 400 * DAY
    await core.cancel(life.connection, subscription.subscription_id, life.now)
    assert [each[:4] for each in await life.history()] == [("active", "standard", "01-31", "03-31")]
    assert (await life.subscription()).moved_at == end + timedelta(hours=20)


async def test_who_subscribed_keeps_the_price_until_the_announced_day(life: Life):
    await life.connection.execute("UPDATE account SET language = 'ru' WHERE account_id = %s", (life.account_id,))
    await life.pay(await life.start("basic-month-eur"))
    dearer = NewPrice("basic", 1, Money(799, "EUR"), streams=3)
    kept = await set_price(life.connection, dearer, life.now, existing=None)
    assert (kept.price_id, kept.version, kept.replaced) == ("basic-month-eur-2", 2, ("basic-month-eur",))
    with pytest.raises(Problem, match="not sold"):
        await life.start("basic-month-eur")
    await life.renew()
    assert (await life.open_plans(), (await life.subscription()).worth_minor) == ({"basic": 1}, 599)
    for wrong, when in [
        (replace(dearer, plan_id="gold"), None), (replace(dearer, months=3), None),
        (replace(dearer, regions=["Germany"]), None), (replace(dearer, money=Money(49, "EUR")), None),
        (dearer, life.now + 29 * DAY),
    ]:  # fmt: skip
        with pytest.raises(ProductError):
            await set_price(life.connection, wrong, life.now, existing=when)
    announced = replace(dearer, money=Money(899, "EUR"))
    made = await set_price(life.connection, announced, life.now, existing=life.now + 40 * DAY)
    assert made.told == 1
    (letter,) = await rows(
        life.connection, "SELECT payload->'data' AS data FROM outbox WHERE payload->>'template' = 'price_change'"
    )
    assert (letter["data"]["plan"], letter["data"]["was"]) == ("Базовый", "5,99\xa0€")
    await life.renew()
    assert (await life.subscription()).worth_minor == 599, "not yet"
    await life.renew()
    assert (await life.open_plans(), (await life.subscription()).worth_minor) == ({"basic": 3}, 899)
    assert [each[1:3] for each in await life.history()] == [("basic", "01-31"), ("basic", "04-30")]


async def test_renewals_of_many_take_as_many_statements_as_that_of_one(
    life: Life, customer: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    ids = [customer() for _ in range(12)]
    lives = {each: Life(life.connection, life.clock, each, each.removeprefix("customer of ")) for each in ids}
    for each in lives.values():
        await each.pay(await each.start())
    life.clock.moment = (await lives[ids[0]].subscription()).until
    execute, statements = psycopg.AsyncCursor.execute, []

    async def counted(self: Any, query: Any, *given: Any, **options: Any) -> Any:
        statements.append(query)
        return await execute(self, query, *given, **options)

    counts = []
    for some in (ids[:1], ids[1:]):
        found = [await lives[each].subscription() for each in some]
        statements.clear()
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.AsyncCursor, "execute", counted)
            charges = await core.turn_many(life.connection, found, life.now)
        counts.append(len(statements))
        assert {charge.invoice.customer_id for charge in charges} == set(some)
        for charge in charges:
            await lives[charge.invoice.customer_id].pay(charge.invoice, own=False)
    assert counts[0] == counts[1] <= 20, counts
    assert {f"{(await each.subscription()).until:%m-%d}" for each in lives.values()} == {"03-31"}
