"""A subscriber's life at random, against a model of what the rules say: the books whole and the rights right after each
step.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from matinee.settings import Settings
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.payments import core as payments
from serving.billing.promo import core as promos
from serving.billing.promo.core import NewPromo
from serving.billing.purchases import core as purchases
from serving.billing.reconcile.core import reconcile
from serving.billing.reconcile.verify import verify
from serving.billing.renewals.core import renew
from serving.billing.subscriptions import core as subscriptions
from serving.rights import rentals
from serving.rights.entitlements import Entitlements, parse
from tests.serving.billing.model import CODES, GRACE, PRICES, Model, Order, months_after, standing
from tests.serving.billing.world import BEGIN, BUY, RENT, TITLES, World, opened, stock

TRIAL_DAYS = 14
ABSENT = {"good", "secure"}  # cards that may be charged without their owner
CARDS = ["good", "good", "secure", "later_poor", "always_secure", "declined"]
LIFE = [{"hours": 1}, {"hours": 23}, {"days": 1, "hours": 2}, {"days": 3}, {"days": 8}, {"days": 31}, {"days": 400}]
prices, codes = st.sampled_from(sorted(PRICES)), st.none() | st.sampled_from(sorted(CODES))
_PROMOS = [
    NewPromo("HALF3", "percent", 5_000, periods=3),
    NewPromo("FOREVER", "percent", 1_000, periods=None),
    NewPromo("FIVER", "amount", 500, "EUR", first_time=True),
    NewPromo("TWO-FREE", "free_period", 2),
    NewPromo("ALL", "percent", 10_000, limit_total=2, limit_person=None),
]


# What is open; what is on the balance, what is set aside from it, and what was paid and never went back. In one
# statement, since it is asked after each step.
_SEEN = f"""
WITH credit AS ({invoices.QUERIES["credits"]})
SELECT entitlements_of(%(account_id)s, %(at)s) AS held, coalesce((SELECT credit_minor FROM credit), 0) AS balance,
    (SELECT coalesce(sum(from_balance), 0) FROM invoice WHERE state = 'open') AS aside,
    (SELECT coalesce(sum(amount_minor), 0) FROM payment WHERE state = 'succeeded')
    - (SELECT coalesce(sum(amount_minor), 0) FROM refund WHERE state = 'succeeded')
    - (SELECT coalesce(sum(amount_minor), 0) FROM dispute WHERE state = 'lost') AS kept,
    EXISTS (
        SELECT FROM posting JOIN ledger_transaction USING (transaction_id)
        WHERE ledger = 'receivable' AND kind <> 'dispute_lost'  -- what the bank gave a second time
        GROUP BY party HAVING sum(amount_minor) > (
            SELECT coalesce(sum(total_minor - from_balance), 0) FROM invoice
            WHERE state = 'open' AND customer_id = party)) AS owes,
    EXISTS (SELECT FROM payment WHERE surplus AND refunded_minor < amount_minor) AS keeps
"""


class Life(RuleBasedStateMachine):
    """One subscriber. What was issued is kept in `orders`; whether it is open still is read from the books."""

    world: World
    whole: Any
    ids: Any

    def __init__(self) -> None:
        super().__init__()
        self.model, self.orders, self.cards = Model(), dict[str, Order](), dict[str, str]()
        self.took = False  # any money

    @property
    def now(self) -> Any:
        return self.world.now

    @initialize(trial=st.booleans())
    def register(self, trial: bool) -> None:
        self.ids.made = 0
        self.world.begin(trial_days=TRIAL_DAYS if trial else 0)
        if trial:
            self.model.state, self.model.trial_until = "trial", BEGIN + timedelta(days=TRIAL_DAYS)
        for new in _PROMOS:
            self.world.do(lambda connection, new=new: promos.add(connection, new, BEGIN))

    # Orders

    @precondition(lambda self: self.model.state in ("none", "trial"))
    @rule(price=prices, code=codes, card=st.sampled_from(["good", "good", "secure", "later_poor", "always_secure"]))
    def subscribe(self, price: str, code: str | None, card: str) -> None:
        """As most people do: order, and pay at once."""
        self.start(price, code)
        if due := self._open():
            self._pay(due[-1], card, "now")

    @rule(price=prices, code=codes)
    def order_plan(self, price: str, code: str | None) -> None:
        self.start(price, code)

    def start(self, price: str, code: str | None) -> None:
        world, model, at = self.world, self.model, self.now

        async def order(connection: Any) -> Invoice:
            return await subscriptions.start(
                connection, world.customer_id, price, at, language="en", country="DE", promo=code
            )

        free = model.state == "none" or (model.state == "trial" and model.until is None)
        used = self._used(code, "reason = 'start'")
        made = world.ask(order)
        assert (made == "subscribed") == (not free), f"{made}: the model says {model.state}"
        if not isinstance(made, Invoice):
            assert free is False or self._refuses(code, used, made)
            return
        if made.invoice_id in self.orders:
            return
        assert not self._refuses(code, used, None), "it had to be refused"
        wanted, promo = PRICES[price], CODES[code] if code else None
        since = max(at, model.trial_until) if model.state == "trial" and model.trial_until else at
        self._issued(made, Order(
            made.invoice_id, "start", wanted.minor - (promo.off(wanted) if promo else 0), at, wanted, since,
            months_after(since, wanted.months), code=promo.after(wanted) if promo else None,
            stood=standing(promo, wanted), life=model.life, defaulted=model.left_owing,
        ))  # fmt: skip

    def _used(self, code: str | None, dropped: str, *, busy: bool = False) -> tuple[int, bool]:
        """How often the subscriber has the code, and whether anything was paid. What is taken back by a new order (open
        orders that are `dropped`, if nobody pays them at the moment or `busy`) gives its use free before."""
        (uses,) = self.world.rows(
            f"""SELECT count(*) AS uses
            FROM promo_redemption r JOIN promo USING (promo_id) JOIN invoice i USING (invoice_id)
            WHERE code = %s AND r.repeats IS NULL AND r.state <> 'released' AND NOT (i.state = 'open' AND {dropped}
            AND (%s OR NOT EXISTS (SELECT FROM payment p
                WHERE p.invoice_id = i.invoice_id AND p.state IN ('created', 'pending'))))""",
            code, busy,
        )  # fmt: skip
        (paid,) = self.world.rows(
            "SELECT EXISTS (SELECT FROM invoice WHERE purpose <> 'credit' AND state = 'paid') AS paid"
        )
        return uses["uses"], paid["paid"]

    def _refuses(self, code: str | None, used: tuple[int, bool], told: str | None) -> bool:
        """Whether the code is to be refused (`told`: with this)."""
        uses, paid = used
        if code is None:
            return False
        wanted = None
        if code == "ALL":
            wanted = "promo_exhausted" if uses >= 2 else None
        elif uses:
            wanted = "promo_used"
        elif code == "FIVER" and paid:
            wanted = "promo_first_time"
        return wanted is not None and told in (None, wanted)

    def _issued(self, invoice: Invoice, order: Order) -> None:
        """Remember it; what costs nothing is paid at once."""
        assert invoice.total_minor == order.total, f"{order.reason}: the model says {order.total}"
        self.orders[invoice.invoice_id] = order
        if invoice.due_minor == 0:
            self.world.do(lambda connection: payments.closed(connection, invoice, self.now))
            self._paid(order, None)

    def _paid(self, order: Order, card: str | None) -> bool:
        """Whether it was of use."""
        model = self.model
        done = model.paid(order, card, self.now)
        if done and order.reason in ("start", "resume"):  # it begins when it was paid
            self.orders[order.invoice_id] = replace(order, life=model.life, since=model.since, until=model.until)
        return done

    @rule(title=st.sampled_from(TITLES), kind=st.sampled_from(["rent", "buy"]), code=codes, pays=st.booleans())
    def take(self, title: str, kind: Any, code: str | None, pays: bool) -> None:
        self.order_title(title, kind, code)
        if pays and (due := self._open()):
            self._pay(due[-1], "good", "now")

    def order_title(self, title: str, kind: Any, code: str | None) -> None:
        world, at = self.world, self.now
        used = self._used(code, f"i.title_id IS NOT DISTINCT FROM '{title}'", busy=True)
        made = world.ask(
            lambda connection: purchases.order(
                connection, world.customer_id, world.viewer(), title, kind, at, promo=code
            )
        )
        have = dict(self.model.open_titles(at)).get(title)
        has_both = [one for one in self.model.open_titles(at) if one == (title, "buy")]
        refused = "owned" if has_both else "rented" if have == "rent" and kind == "rent" else None
        if not isinstance(made, Invoice):
            assert (
                made == refused
                or (refused is None and self._refuses(code, used, made))
                or (code == "TWO-FREE" and made == "promo_not_for_this" and refused is None)
            ), f"{made}: the model says {refused}"
            return
        assert refused is None
        if made.invoice_id in self.orders:
            return
        price = RENT if kind == "rent" else BUY
        promo = CODES[code] if code else None
        off = 0
        if promo is not None:
            off = min(promo.value, price) if promo.kind == "amount" else round(price * promo.value / 10_000)
        self._issued(made, Order(made.invoice_id, kind, price - off, at, title=title))

    @precondition(lambda self: self._rented())
    @rule(which=st.integers(0, 1), times=st.integers(1, 2))
    def play(self, which: int, times: int) -> None:
        rented = self._rented()
        title = rented[which % len(rented)]
        for _ in range(times):
            held = self.world.rights().title([title], self.now)
            assert held is not None
            if held.kind != "rent":
                return
            until = self.world.do(lambda connection, held=held: rentals.start(connection, held, self.now))
            for one in self.model.titles:
                if one.title == title and one.kind == "rent" and one.until and self.now < one.until:
                    if not one.started:
                        one.started, one.until = True, self.now + rentals.TO_WATCH
                    assert until == one.until
            self.world.advance(hours=1)

    def _rented(self) -> list[str]:
        return sorted({title for title, kind in self.model.open_titles(self.now) if kind == "rent"})

    # Payments

    def _open(self) -> list[str]:
        found = self.world.rows(
            "SELECT invoice_id FROM invoice WHERE state = 'open' AND total_minor > from_balance ORDER BY number"
        )
        return [one["invoice_id"] for one in found]

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 3), card=st.sampled_from(CARDS), told=st.sampled_from(["now", "now", "twice", "later"]))
    def pay(self, which: int, card: str, told: str) -> None:
        """On the hosted page; of what happens there we hear at once, twice, or later."""
        if due := self._open():
            self._pay(due[which % len(due)], card, told)

    def _pay(self, invoice_id: str, card: str, told: str) -> None:
        invoice = self.world.do(lambda connection: invoices.get(connection, invoice_id))
        payment = self.world.page(invoice)
        self.world.give_card(payment, card)
        self.cards.setdefault(payment.payment_id, card)
        if told != "later":
            self._hear(payment.payment_id)
        if told == "twice":
            self._hear(payment.payment_id)

    @rule()
    def sweep(self) -> None:
        """Everything that was not told is asked about."""
        found = self.world.rows(
            "SELECT payment_id FROM payment WHERE state IN ('created', 'pending') ORDER BY created_at, payment_id"
        )
        for one in found:
            self._hear(one["payment_id"])

    def _hear(self, payment_id: str) -> None:
        (before,) = self.world.rows(
            "SELECT p.state, i.state AS invoice FROM payment p JOIN invoice i USING (invoice_id) WHERE payment_id = %s",
            payment_id,
        )
        after = self.world.hear(payment_id)
        if after.state != "succeeded" or before["state"] == "succeeded":
            return
        self.took = True
        if before["invoice"] != "open":
            assert after.surplus
            return
        assert after.surplus or after.saved_id or after.method_id
        assert self._paid(self.orders[after.invoice_id], self.cards[payment_id]) is not after.surplus

    # The clock

    @rule(life=st.sampled_from(LIFE))
    def time_passes(self, life: dict[str, int]) -> None:
        self.world.advance(**life)

    @precondition(lambda self: self.model.until or self.model.again or self.model.resumes_at)
    @rule(
        late=st.sampled_from([{}, {}, {"hours": 1}, {"days": 1}, {"days": 2, "seconds": 1}, {"days": 5}, {"days": 40}])
    )
    def what_comes(self, late: dict[str, int]) -> None:
        self.next_comes(late)

    def next_comes(self, late: dict[str, int]) -> None:
        """The next moment that means something, and the run after it."""
        model = self.model
        coming = {"paused": model.resumes_at, "past_due": model.again}.get(model.state, model.until)
        if coming is not None and coming > self.now:
            self.world.clock.moment = coming + timedelta(**late)
        self.rights_are_right()
        self.turn(twice=False)

    @precondition(lambda self: self.model.until or self.model.again or self.model.resumes_at)
    @rule(times=st.integers(1, 3))
    def months_go_by(self, times: int) -> None:
        for _ in range(times):
            self.next_comes({})

    @rule(twice=st.booleans())
    def run(self, twice: bool) -> None:
        self.turn(twice=twice)

    def turn(self, *, twice: bool) -> None:
        known = set(self.orders) | {one["invoice_id"] for one in self.world.rows("SELECT invoice_id FROM invoice")}
        open_ = self.world.rows(
            """SELECT invoice_id, EXISTS (SELECT FROM payment p WHERE p.invoice_id = i.invoice_id
                                          AND p.state IN ('created', 'pending')) AS busy
            FROM invoice i WHERE state = 'open' AND reason IN ('renewal', 'resume')"""
        )
        asked = {"paused": self.model.resumes_at, "past_due": self.model.again}.get(self.model.state)
        is_late = asked is not None and self.now > asked + GRACE  # whoever was asked first has no access any more
        kept = {one["invoice_id"] for one in open_ if one["busy"] or not is_late}
        self.world.run(renew(self.world.desk, self.now))
        fresh = self.world.rows(
            "SELECT invoice_id, total_minor, from_balance, state FROM invoice "
            "WHERE reason IN ('renewal', 'resume') AND NOT invoice_id = ANY (%s) ORDER BY number",
            list(known),
        )  # fmt: skip
        note(f"run: {len(fresh)} new invoices")
        self._turn(fresh, kept)
        if twice:
            before = self.world.rows("SELECT count(*) AS n FROM payment")
            self.world.run(renew(self.world.desk, self.now))
            assert self.world.rows("SELECT count(*) AS n FROM payment") == before, "run twice, charged twice"

    def _turn(self, fresh: list[dict[str, Any]], kept: set[str]) -> None:
        """The model's turn, by the invoices that were made."""
        model, at = self.model, self.now
        for _ in range(20):
            if model.state == "trial" and model.trial_until and at >= model.trial_until:
                if model.until is None:
                    model.over()
                else:
                    model.state = "active"
            elif model.state == "active" and model.until and at >= model.until and (model.ends or model.pauses):
                if model.ends:
                    model.over()
                else:
                    model.state, model.pauses, model.tries = "paused", False, 0
            elif (
                (model.state == "active" and model.until and at >= model.until)
                or (model.state == "paused" and model.resumes_at and at >= model.resumes_at)
                or (model.state == "past_due" and model.again and at >= model.again)
            ):
                self._billed(fresh, kept)
            else:
                break
        assert not fresh, f"the model knows nothing of {fresh}"

    def _billed(self, fresh: list[dict[str, Any]], kept: set[str]) -> None:
        model, at = self.model, self.now
        reason = "resume" if model.state == "paused" else "renewal"
        open_ = [one for one in kept if self.orders[one].reason == reason and self.orders[one].life == model.life]
        if open_:
            order, due = self.orders[open_[0]], 1
            kept.discard(open_[0])
        elif fresh:
            made = fresh.pop(0)
            order = model.bill(at, made["invoice_id"])
            assert made["total_minor"] == order.total
            self.orders[order.invoice_id] = order
            due = made["total_minor"] - made["from_balance"]
        else:
            assert model.card is None, f"nothing was billed, and there is a card: {model}"
            model.over()
            return
        if due == 0:
            self._paid(order, None)
        elif model.card in ABSENT:
            self._paid(order, model.card)
            self.took = True
        else:
            model.refused(order, at)

    # What people think better of

    @precondition(lambda self: self.model.state != "none")
    @rule(price=prices, now=st.booleans())
    def change(self, price: str, now: bool) -> None:
        model, at, wanted = self.model, self.now, PRICES[price]
        subscription_id = self._subscription()
        if subscription_id is None:
            return
        planned = None
        if model.until is not None and model.state in ("active", "trial") and at < model.until and model.price:
            planned = model.changes(wanted, at)
        (last,) = [one["number"] for one in self.world.rows("SELECT coalesce(max(number), '') AS number FROM invoice")]
        made = self.world.ask(lambda connection: subscriptions.change(connection, subscription_id, price, at, now=now))
        if isinstance(made, str):
            assert made in ("not_now", "same_plan")
            return
        if not now or model.state == "paused":
            model.next_price = wanted if wanted != model.price else None
            return
        assert planned is not None, "there was nothing to change"
        assert model.price is not None
        charged, unused, since, until = planned
        takes = wanted.months != model.price.months and unused < charged < wanted.minor  # one of the code's periods
        code = model.code if takes else None
        order = Order(made.invoice_id if made else "", "change", max(charged - unused, 0), at, wanted, since, until,
                      code=code.after(wanted) if code else None, stood=standing(code, wanted), of=model.price,
                      charged=charged, life=model.life)  # fmt: skip
        if made is None:
            assert charged <= unused
            notes = self.world.rows(
                "SELECT credits, total_minor FROM invoice WHERE reason = 'change' AND credits IS NOT NULL "
                "AND number > %s", last,
            )  # fmt: skip
            model.switched(order, unused, {one["credits"]: one["total_minor"] for one in notes})
            return
        self._issued(made, order)

    @precondition(lambda self: self.model.state != "none")
    @rule(stays=st.sampled_from([True, True, False]))
    def think_better(self, stays: bool) -> None:
        if not stays:
            self._does(lambda connection, one: subscriptions.cancel(connection, one, self.now), self._cancelled)
        elif self.model.state in ("active", "trial"):
            self._does(lambda connection, one: subscriptions.keep(connection, one, self.now), self.model.keep)

    def _cancelled(self) -> None:
        self.model.cancel(self.now)

    @precondition(lambda self: self.model.state != "none")
    @rule(days=st.sampled_from([1, 30, 90]))
    def pause(self, days: int) -> None:
        def paused() -> None:
            assert self.model.until is not None
            self.model.pauses, self.model.resumes_at = True, self.model.until + timedelta(days=days)

        self._does(lambda connection, one: subscriptions.pause(connection, one, self.now, days=days), paused)

    @precondition(lambda self: self.model.state == "paused")
    @rule()
    def resume(self) -> None:
        subscription_id = self._subscription()
        assert subscription_id is not None
        made = self.world.ask(lambda connection: subscriptions.resume(connection, subscription_id, self.now))
        assert isinstance(made, Invoice)
        if made.invoice_id not in self.orders:
            self._issued(made, self.model.bill(self.now, made.invoice_id))

    def _subscription(self) -> str | None:
        found = self.world.rows("SELECT subscription_id FROM subscription WHERE state NOT IN ('expired', 'incomplete')")
        return found[0]["subscription_id"] if found else None

    def _does(self, work: Any, then: Any) -> None:
        subscription_id = self._subscription()
        if subscription_id is None:
            return
        told = self.world.ask(lambda connection: work(connection, subscription_id))
        assert told == "not_now" or not isinstance(told, str)
        if told != "not_now":
            then()

    # What comes back

    @precondition(lambda self: self.took)
    @rule(which=st.integers(0, 5), part=st.sampled_from(["all", "some", "some", "goodwill", "too much"]))
    def refund(self, which: int, part: str) -> None:
        paid = self.world.rows(
            "SELECT payment_id, invoice_id, amount_minor, refunded_minor FROM payment "
            "WHERE state = 'succeeded' AND NOT surplus ORDER BY created_at, payment_id"
        )
        if not paid:
            return
        one = paid[which % len(paid)]
        amount = {"some": 1 + which * 37, "too much": one["amount_minor"] - one["refunded_minor"] + 1}.get(part)
        made = self.world.tried(
            payments.refund(
                self.world.desk, one["payment_id"], amount, "asked for", self.now, asked_by=None,
                keeps_right=part == "goodwill",
            )
        )  # fmt: skip
        if isinstance(made, str):
            assert made in ("refund_too_much", "payment_disputed")
            return
        assert part != "too much"
        assert made.state == "succeeded"
        order = self.orders[one["invoice_id"]]
        (rest,) = self.world.rows(
            "SELECT total_minor - credited_minor AS minor FROM invoice WHERE invoice_id = %s", one["invoice_id"]
        )
        is_all = one["refunded_minor"] + made.amount_minor >= one["amount_minor"] or rest["minor"] == 0
        if part != "goodwill" and is_all:
            self.model.taken_back(order, self.now, before=one["refunded_minor"], disputed=False)
            return
        self.model.reduced(order, made.amount_minor)

    @precondition(lambda self: self.took)
    @rule(which=st.integers(0, 5), won=st.sampled_from([True, True, False]))
    def dispute(self, which: int, won: bool) -> None:
        paid = self.world.rows(
            "SELECT payment_id, invoice_id, provider_ref, refunded_minor FROM payment p "
            "WHERE state = 'succeeded' AND NOT surplus AND refunded_minor < amount_minor "
            "AND NOT EXISTS (SELECT FROM dispute d WHERE d.payment_id = p.payment_id) ORDER BY created_at, payment_id"
        )
        if not paid:
            return
        one = paid[which % len(paid)]
        ref = self.world.run(self.world.bank.dispute(one["provider_ref"]))
        if ref is None:
            return
        self.world.hear(one["payment_id"])
        self.rights_are_right()
        self.world.run(self.world.bank.close_dispute(ref, won=won))
        self.world.hear(one["payment_id"])
        if not won:
            order = self.orders[one["invoice_id"]]
            self.model.taken_back(order, self.now, before=one["refunded_minor"], disputed=True)

    def teardown(self) -> None:
        """At last all that was not told is heard of: then our books are the provider's, too."""
        if not self.world.customer_id or sys.exc_info()[0] is not None:
            return
        self.sweep()
        self.all_is_right()
        assert self.world.do(verify).findings == ()
        held = self.world.run(reconcile(self.world.desk, "sandbox", None))
        assert (held.differences, held.asked) == ((), 0), held

    # What always holds

    def rights_are_right(self) -> None:
        self._are_right(self.world.rights())

    def _are_right(self, held: Entitlements) -> None:
        plans, titles = opened(held, self.now)
        assert plans == self.model.plans(self.now), self.model
        assert titles == self.model.open_titles(self.now), self.model.titles

    @invariant()
    def all_is_right(self) -> None:
        if not self.world.customer_id:
            return
        self.whole(self.world.books)
        seen = self.world.one(_SEEN)
        self._are_right(parse(seen["held"]))
        assert seen["balance"] + seen["aside"] + self.model.unused(self.now) <= seen["kept"], "more than was paid"
        assert not seen["owes"], "a customer owes more than open invoices say"
        assert not seen["keeps"], "money was taken for nothing, and kept"


class Counted:
    """Stands in for `secrets`: a life that is lived again has the same ids and names, in the same order."""

    made = 0

    def randbits(self, bits: int) -> int:
        self.made += 1
        return self.made

    def token_urlsafe(self, size: int) -> str:
        return str(self.randbits(size * 8))


@pytest.fixture
def life(settings: Settings, tmp_path: Any, whole: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Life]]:
    """A life has only what Hypothesis draws: ids and times are the same each time, and no wait is ever too long."""
    stock(settings, tmp_path)
    world, ids = World(settings.model_copy(update={"payments_patience_s": 60.0})), Counted()
    for module in ("matinee.ids", "serving.billing.providers.sandbox.books"):
        monkeypatch.setattr(f"{module}.secrets", ids)
    monkeypatch.setattr("matinee.ids.SystemClock", lambda: world.clock)
    yield type("Life", (Life,), {"world": world, "whole": staticmethod(whole), "ids": ids})
    world.close()


def _lives(life: type[Life], examples: int, steps: int, *phases: Phase) -> None:
    run_state_machine_as_test(
        life,
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            report_multiple_bugs=False,
            phases=phases or list(Phase),
        ),
    )


def test_lives(life: type[Life]) -> None:
    _lives(life, 12, 30, Phase.reuse, Phase.generate)  # the simplest failing life: below


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_many_long_lives(life: type[Life]) -> None:
    _lives(life, 500, 50)
