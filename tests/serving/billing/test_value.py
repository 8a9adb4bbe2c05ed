"""What goes back takes back what it paid for: nobody has money and plan both, however they changed before."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from matinee.settings import Settings
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.ledger.money import Money
from serving.billing.payments import core as payments
from serving.billing.payments import refunds
from serving.billing.payments.rows import Payment
from serving.billing.products.pricing import NewPrice, set_price
from serving.billing.promo import core as promos
from serving.billing.promo.core import NewPromo
from serving.billing.reconcile.verify import verify
from serving.billing.renewals.core import renew
from serving.billing.subscriptions import core as subscriptions
from serving.problems import Problem
from tests.serving.billing.world import World


@dataclass
class Buyer:
    """Somebody who pays by card, at once, and what they have."""

    world: World

    def order(self, price: str, code: str | None = None, card: str = "good") -> Payment:
        world = self.world
        made = world.do(
            lambda connection: subscriptions.start(
                connection, world.customer_id, price, world.now, language="en", country="DE", promo=code
            )
        )
        return self.pay(made, card)

    def take_free(self, price: str, code: str) -> None:
        world = self.world
        made = world.do(
            lambda connection: subscriptions.start(
                connection, world.customer_id, price, world.now, language="en", country="DE", promo=code
            )
        )
        world.do(lambda connection: payments.closed(connection, made, world.now))

    def change(self, price: str) -> Payment | None:
        world, one = self.world, self.row()["subscription_id"]
        made = world.do(lambda connection: subscriptions.change(connection, one, price, world.now, now=True))
        if made is not None and made.due_minor == 0:
            world.do(lambda connection: payments.closed(connection, made, world.now))
            return None
        return self.pay(made) if made else None

    def pay(self, invoice: Invoice, card: str = "good") -> Payment:
        payment = self.world.page(invoice)
        self.world.give_card(payment, card)
        return self.world.hear(payment.payment_id)

    def refund(self, payment: Payment | None, minor: int | None = None) -> int:
        assert payment is not None
        world = self.world
        made = world.run(payments.refund(world.desk, payment.payment_id, minor, "asked", world.now, asked_by=None))
        return made.amount_minor

    def dispute(self, payment: Payment) -> str:
        ref = self.world.run(self.world.bank.dispute(payment.provider_ref))
        self.world.hear(payment.payment_id)
        return ref

    def lose(self, payment: Payment, ref: str) -> None:
        self.end_dispute(payment, ref, won=False)

    def end_dispute(self, payment: Payment, ref: str, *, won: bool) -> None:
        self.world.run(self.world.bank.close_dispute(ref, won=won))
        self.world.hear(payment.payment_id)

    def look(self, price: str) -> Any:
        world = self.world
        return world.do(
            lambda connection: subscriptions.preview(
                connection, world.customer_id, price, world.now, language="en", country="DE"
            )
        )

    def renew(self) -> None:
        """The next moment that means something, and the run after it."""
        self.world.clock.moment = self.row()["due_at"]
        self.world.run(renew(self.world.desk, self.world.now))

    def row(self) -> dict[str, Any]:
        return self.world.rows("SELECT * FROM subscription ORDER BY created_at DESC LIMIT 1")[0]

    def balance(self) -> int:
        return self.world.do(lambda connection: invoices.balance(connection, self.world.customer_id, "EUR"))


@pytest.fixture
def buyer(settings: Settings, whole: Any) -> Iterator[Buyer]:
    world = World(settings)
    world.begin(trial_days=0)
    yield Buyer(world)
    whole(world.books)
    assert world.do(verify).findings == ()
    world.close()


def test_what_went_to_the_balance_is_owed_when_the_bank_gives_it_back_too(buyer: Buyer) -> None:
    payment = buyer.order("premium-year-eur")
    buyer.change("basic-month-eur")
    assert buyer.balance() == 13_990 - 599
    buyer.lose(payment, buyer.dispute(payment))
    assert (buyer.balance(), buyer.world.plans()) == (0, [])
    again = buyer.order("premium-month-eur")
    assert again.amount_minor == 1_399


def test_who_spent_it_meanwhile_owes_it(buyer: Buyer) -> None:
    payment = buyer.order("premium-year-eur")
    buyer.change("basic-month-eur")
    buyer.change("premium-month-eur")  # of the balance
    assert 13_990 - 599 - buyer.balance() == 1_399 - 599
    buyer.world.advance(days=31 / 4)
    buyer.lose(payment, buyer.dispute(payment))
    spent = (1_399 - 599) // 4  # what was watched of it; what is unused is the balance's again
    assert (buyer.balance(), buyer.world.plans()) == (-spent, [])
    again = buyer.order("basic-month-eur")
    assert (again.amount_minor, buyer.balance()) == (599, -spent), "the next one costs what it costs"


@pytest.mark.parametrize("won", [True, False])
def test_what_is_disputed_goes_to_the_balance_once_it_is_won(buyer: Buyer, won: bool) -> None:
    payment = buyer.order("premium-year-eur")
    ref = buyer.dispute(payment)
    buyer.change("basic-month-eur")
    assert buyer.balance() == 0
    buyer.end_dispute(payment, ref, won=won)
    assert (buyer.balance(), buyer.world.plans()) == ((13_990 - 599, ["basic"]) if won else (0, []))


def test_a_year_is_not_lost_with_the_disputed_month_that_it_set_off(buyer: Buyer) -> None:
    month = buyer.order("premium-month-eur")
    year = buyer.change("premium-year-eur")
    assert year is not None
    of_month, of_year = buyer.dispute(month), buyer.dispute(year)
    buyer.lose(month, of_month)
    assert (buyer.balance(), buyer.world.plans()) == (0, [])
    buyer.end_dispute(year, of_year, won=True)
    buyer.world.hear(year.payment_id)
    assert buyer.balance() == year.amount_minor == 13_990 - 1_399


@pytest.mark.parametrize("by", ["refund", "dispute"])
def test_the_month_that_a_year_set_off_takes_the_year_with_it(buyer: Buyer, by: str) -> None:
    month = buyer.order("premium-month-eur")
    year = buyer.change("premium-year-eur")
    assert year is not None
    assert year.amount_minor == 13_990 - 1_399
    buyer.world.advance(days=40)
    if by == "refund":
        assert buyer.refund(month) == 1_399
        assert 10_000 < buyer.balance() < year.amount_minor, "what is unused of the rest"
    else:
        buyer.lose(month, buyer.dispute(month))
    assert buyer.world.plans() == []


@pytest.mark.parametrize("by", ["refund", "dispute"])
def test_a_month_in_a_year_that_was_changed_since_takes_what_stands_on_it(buyer: Buyer, by: str) -> None:
    """The month is long over, and half of it was set off by the year, which was changed to another one since."""
    world = buyer.world
    month = buyer.order("standard-month-eur")
    world.advance(days=15.5)
    buyer.change("standard-year-eur")
    first = buyer.row()
    world.clock.moment = first["worth_from"] + (first["paid_until"] - first["worth_from"]) / 2
    buyer.change("premium-year-eur")
    world.clock.moment = buyer.row()["worth_from"] + (buyer.row()["paid_until"] - buyer.row()["worth_from"]) / 2
    if by == "refund":
        buyer.refund(month)
    else:
        buyer.lose(month, buyer.dispute(month))
    assert world.plans() == []
    stood = 999 / 2 / 2  # of half the month half of the year was left
    worth = 13_990 / 2
    assert buyer.balance() == pytest.approx((worth - stood) / 2, abs=2), "what is unused of what others paid"


def test_some_of_a_month_that_a_year_set_off_is_set_off_no_more(buyer: Buyer) -> None:
    month = buyer.order("standard-month-eur")
    buyer.world.advance(days=15.5)
    buyer.change("standard-year-eur")
    buyer.world.advance(days=40)
    buyer.refund(month, 400)
    assert buyer.row()["worth_minor"] == 9_990 - 200, "half of it was used up when the year began"
    assert buyer.world.plans() == ["standard"]


def test_what_goes_back_while_a_change_is_paid_is_not_set_off(buyer: Buyer) -> None:
    world, month = buyer.world, buyer.order("premium-month-eur")
    one = buyer.row()["subscription_id"]
    year = world.do(lambda connection: subscriptions.change(connection, one, "premium-year-eur", world.now, now=True))
    assert year is not None
    buyer.refund(month, 1_000)
    buyer.pay(year)
    assert (buyer.row()["worth_minor"], world.plans()) == (13_990 - 1_000, ["premium"])
    buyer.refund(month)
    assert (buyer.balance(), world.plans()) == (year.total_minor, []), "all that was kept"


def test_a_month_that_is_used_up_takes_nothing_of_what_runs(buyer: Buyer) -> None:
    month = buyer.order("standard-month-eur")
    buyer.renew()
    buyer.change("premium-month-eur")
    worth = buyer.row()["worth_minor"]
    buyer.refund(month)
    assert (buyer.world.plans(), buyer.row()["worth_minor"]) == (["premium"], worth)


def test_a_bank_that_has_an_upgrade_back_leaves_what_was_paid_before_it(buyer: Buyer) -> None:
    buyer.order("basic-month-eur")
    upgrade = buyer.change("premium-month-eur")
    assert upgrade is not None
    buyer.world.advance(days=15.5)
    buyer.lose(upgrade, buyer.dispute(upgrade))
    assert (buyer.world.plans(), buyer.balance()) == ([], 300), "half of the basic month was not disputed"


def test_a_refunded_upgrade_leaves_the_one_after_it(buyer: Buyer) -> None:
    buyer.order("basic-month-eur")
    first = buyer.change("standard-month-eur")
    buyer.change("premium-month-eur")
    assert buyer.refund(first) == 400
    assert (buyer.world.plans(), buyer.row()["worth_minor"]) == (["premium"], 1_399 - 400)


@pytest.mark.parametrize(("second", "then"), [(None, [599, 599]), ("HALF3", [299, 299, 299, 599])])
def test_the_code_of_an_order_that_was_given_back_is_over(buyer: Buyer, second: str | None, then: list[int]) -> None:
    world = buyer.world
    world.begin(trial_days=14)
    for new in (NewPromo("FOREVER", "percent", 9_000, periods=None), NewPromo("HALF3", "percent", 5_000, periods=3)):
        world.do(lambda connection, new=new: promos.add(connection, new, world.now))
    buyer.refund(buyer.order("basic-month-eur", "FOREVER"))
    buyer.order("basic-month-eur", second)
    buyer.renew()  # the trial is over
    for _ in then[1:]:
        buyer.renew()
    paid = world.rows("SELECT total_minor FROM invoice WHERE reason IN ('start', 'renewal') AND credited_minor = 0 "
                      "AND credits IS NULL ORDER BY number")  # fmt: skip
    assert [one["total_minor"] for one in paid] == then


@pytest.mark.parametrize(
    ("new", "upgrade", "then"),
    [
        (NewPromo("CODE", "percent", 5_000), (1_400 - 600) // 4, 1_399),
        (NewPromo("CODE", "amount", 500, currency="EUR", periods=2), (1_399 - 599) // 2, 899),
        (NewPromo("CODE", "free_period", 1), 0, 1_399),
        (NewPromo("CODE", "percent", 5_000, plans=("basic",)), 700 - 150, 1_399),  # of another plan it promised nothing
    ],
)
def test_a_code_prices_what_is_changed_to_within_its_period(
    buyer: Buyer, new: NewPromo, upgrade: int, then: int
) -> None:
    world = buyer.world
    world.do(lambda connection: promos.add(connection, new, world.now))
    if new.kind == "free_period":
        buyer.take_free("basic-month-eur", "CODE")
    else:
        buyer.order("basic-month-eur", "CODE")
    world.advance(days=15.5)
    ahead = buyer.look("premium-month-eur")
    paid = buyer.change("premium-month-eur")
    assert (paid.amount_minor if paid else 0, ahead.due_minor) == (pytest.approx(upgrade, abs=1), ahead.total_minor)
    assert ahead.total_minor == (paid.amount_minor if paid else 0)
    assert world.plans() == ["premium"]
    coming = world.do(lambda connection: subscriptions.upcoming(connection, buyer.row()["subscription_id"], world.now))
    assert coming is not None
    assert coming.total_minor == then


def test_a_year_takes_what_a_code_has_left_and_an_order_that_nobody_pays_gives_it_back(buyer: Buyer) -> None:
    world = buyer.world
    world.do(lambda connection: promos.add(connection, NewPromo("HALF2", "percent", 5_000, periods=2), world.now))
    buyer.order("basic-month-eur", "HALF2")
    one, ahead = buyer.row()["subscription_id"], buyer.look("basic-year-eur").total_minor
    years = [
        world.do(lambda connection: subscriptions.change(connection, one, "basic-year-eur", world.now, now=True))
        for _ in range(2)  # the second one takes the first one back
    ]
    assert [(year.total_minor, year.discount_minor) for year in years if year] == [(2_995 - 299, 2_995)] * 2
    assert buyer.look("basic-year-eur").total_minor == ahead == 2_995 - 299, "as yet another one would cost"
    assert years[1] is not None
    buyer.pay(years[1])
    assert buyer.row()["worth_minor"] == 2_995
    coming = world.do(lambda connection: subscriptions.upcoming(connection, one, world.now))
    assert coming is not None
    assert coming.total_minor == 5_990, "both periods of it are used"


def test_a_code_pays_for_no_change_that_takes_none_of_its_uses(buyer: Buyer) -> None:
    world = buyer.world
    new = NewPromo("FREE", "free_period", 2, plans=("premium",))
    world.do(lambda connection: promos.add(connection, new, world.now))
    buyer.take_free("premium-month-eur", "FREE")
    world.advance(days=29)
    paid = buyer.change("basic-year-eur")
    for due in (5_990, 1_399, 1_399):  # each round a month of premium
        assert paid is not None
        assert paid.amount_minor == due
        assert buyer.change("premium-month-eur") is None
        assert (world.plans(), buyer.balance()) == (["premium"], 5_990 - 1_399)
        world.clock.moment = buyer.row()["paid_until"] - timedelta(seconds=1)
        paid = buyer.change("basic-year-eur")


def test_a_price_list_that_was_cut_anew_locks_nobody_out_nor_in(buyer: Buyer) -> None:
    world = buyer.world
    buyer.order("basic-month-eur")
    for minor, regions in ((1_499, ["DE"]), (999, ["FR"])):
        new = NewPrice("premium", 1, Money(minor, "EUR"), regions=regions)
        made = world.do(lambda connection, new=new: set_price(connection, new, world.now, existing=None))
        if regions == ["DE"]:
            assert buyer.change(made.price_id) is not None
            assert world.plans() == ["premium"]
        else:
            with pytest.raises(Problem, match="region"):
                buyer.change(made.price_id)


@pytest.mark.parametrize("leaves", ["waits", "cancels"])
def test_free_weeks_of_refused_renewals_come_once(buyer: Buyer, leaves: str) -> None:
    world = buyer.world

    def owes() -> bool:
        """Whether anything is open once the renewal was refused."""
        buyer.order("basic-month-eur", card="later_poor")
        buyer.renew()
        assert buyer.row()["state"] == "past_due"
        return bool(world.plans())

    assert owes()
    if leaves == "cancels":
        one = buyer.row()["subscription_id"]
        world.do(lambda connection: subscriptions.cancel(connection, one, world.now))
    while buyer.row()["state"] != "expired":
        buyer.renew()
    assert not owes()
    (due,) = world.rows("SELECT invoice_id FROM invoice WHERE state = 'open'")
    buyer.pay(world.do(lambda connection: invoices.get(connection, due["invoice_id"])), "later_poor")
    assert world.plans() == ["basic"]
    buyer.renew()
    assert (buyer.row()["state"], world.plans()) == ("past_due", ["basic"]), "a renewal was paid"


def test_who_comes_to_a_price_after_its_end_was_announced_is_told_too(buyer: Buyer) -> None:
    world = buyer.world

    def order(connection: Any) -> Any:
        return subscriptions.start(
            connection, world.customer_id, "basic-month-eur", world.now, language="en", country="DE"
        )

    def told() -> list[str]:
        found = world.rows("SELECT payload->'data'->>'becomes' AS becomes FROM outbox "
                           "WHERE payload->>'template' = 'price_change'")  # fmt: skip
        return [one["becomes"] for one in found]

    def dearer(plan: str, minor: int) -> None:
        new, later = NewPrice(plan, 1, Money(minor, "EUR")), world.now + timedelta(days=31)
        world.do(lambda connection: set_price(connection, new, world.now, existing=later))

    ordered = world.do(order)
    dearer("basic", 799)
    assert told() == []
    buyer.pay(ordered)
    assert told() == ["€7.99"]
    one = buyer.row()["subscription_id"]
    upgrade = world.do(
        lambda connection: subscriptions.change(connection, one, "premium-month-eur", world.now, now=True)
    )
    dearer("premium", 1_599)
    assert upgrade is not None
    buyer.pay(upgrade)
    assert told() == ["€7.99", "€15.99"]
    world.do(lambda connection: subscriptions.change(connection, one, "standard-month-eur", world.now, now=False))
    dearer("premium", 1_699)
    world.do(lambda connection: subscriptions.keep(connection, one, world.now))
    assert told() == ["€7.99", "€15.99", "€16.99"]


def test_a_change_from_what_was_undone_meanwhile_changes_nothing(buyer: Buyer) -> None:
    world = buyer.world
    buyer.order("basic-month-eur")
    first = buyer.change("standard-month-eur")
    one = buyer.row()["subscription_id"]
    second = world.do(
        lambda connection: subscriptions.change(connection, one, "premium-month-eur", world.now, now=True)
    )
    assert second is not None
    page = world.page(second)
    buyer.refund(first)
    assert world.plans() == ["basic"]
    world.give_card(page, "good")
    late = world.hear(page.payment_id)
    assert (world.plans(), late.surplus, late.refunded_minor) == (["basic"], True, late.amount_minor)


def test_what_a_refund_on_its_way_will_take_is_not_given_by_a_downgrade(buyer: Buyer) -> None:
    world = buyer.world
    payment = buyer.order("premium-month-eur")
    world.books.execute("UPDATE payment SET refunded_minor = 1000")
    world.books.execute(
        "INSERT INTO refund (refund_id, payment_id, state, amount_minor, currency, reason, created_at, asked_at) "
        "VALUES ('r', %s, 'pending', 1000, 'EUR', 'asked', %s, %s)", (payment.payment_id, world.now, world.now),
    )  # fmt: skip
    buyer.change("basic-month-eur")
    assert buyer.balance() == 399
    world.run(refunds.push(world.desk, "r", world.now))
    assert buyer.balance() == 399


def test_who_owes_a_renewal_and_has_no_card_any_more_is_done_with_by_a_late_run(buyer: Buyer) -> None:
    world = buyer.world
    buyer.order("basic-month-eur", card="later_poor")
    buyer.renew()
    there = buyer.row()
    assert there["state"] == "past_due"
    one = there["subscription_id"]
    world.do(lambda connection: subscriptions.change_method(connection, one, None, world.now))
    world.clock.moment = there["due_at"] + timedelta(days=3)
    world.run(renew(world.desk, world.now))
    assert buyer.row()["state"] == "expired"
