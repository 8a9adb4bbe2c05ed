"""Twenty-four months of two hundred subscribers, by a clock of their own: what a service goes through in two years.

People register and try, order (some with a promo code), pay on hosted pages by cards that are good, poor later, or
declined, or are not kept; then they upgrade, downgrade, pause, cancel, change their mind, ask for money back, dispute,
lapse and come back. Every day the renewal run does what the clock says. All of it goes through the core of billing and
the embedded provider, on PostgreSQL as people run it (fsync on). At the end of every month whoever may watch is held
against whose subscription says so; at the end of all the ledger is verified.

    python -m benchmarks.billing_life [--months 24 --people 200]
"""

import argparse
import asyncio
import json as json_module
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from psycopg import AsyncConnection, AsyncCursor

from matinee.clock import ManualClock
from matinee.errors import MatineeError
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.billing import customers
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.payments import core as payments
from serving.billing.payments.desk import Desk
from serving.billing.promo import core as promos
from serving.billing.providers.sandbox.cards import BY_NAME
from serving.billing.renewals.core import renew
from serving.billing.subscriptions import core as subscriptions
from serving.billing.subscriptions.machine import State
from serving.billing.subscriptions.rows import Subscription, subscription
from serving.db import rows as rows_of
from serving.problems import Problem
from serving.rights.welcome import Trial, welcome

BEGIN = datetime(2026, 1, 31, 7, tzinfo=UTC)
MONTHS, PEOPLE, GOAL_S = 24, 200, 60.0
CODE = "THREE-FOR-LESS"
_COUNTRIES = {"DE": "eur", "RU": "rub", "US": "usd"}
_CARDS = {"good": 70, "later_poor": 12, "poor": 8, "secure": 6, "disputed": 4}
# A day, of a subscription that is active.
_HAZARDS = {
    "upgrade": 0.0012, "downgrade": 0.0006, "later": 0.0006, "pause": 0.0008, "cancel": 0.0010, "refund": 0.0004,
    "goodwill": 0.0004, "year": 0.0004,
}  # fmt: skip
_LIVE = """
SELECT s.*, c.account_id, a.email, a.language, a.disabled_at IS NOT NULL AS shut
FROM subscription s JOIN customer c USING (customer_id) JOIN account a USING (account_id)
WHERE s.state NOT IN ('expired', 'incomplete')
"""
T = TypeVar("T")


@dataclass
class Person:
    account_id: str
    customer_id: str
    country: str
    card: str
    keeps_card: bool
    orders_at: datetime | None  # when this person next orders or pays by hand; None: no more

    def price(self, plan: str, interval: str = "month") -> str:
        return f"{plan}-{interval}-{_COUNTRIES[self.country]}"


@dataclass
class Lives:
    desk: Desk
    clock: ManualClock
    luck: random.Random
    people: dict[str, Person] = field(default_factory=dict)  # by customer
    done: Counter[str] = field(default_factory=Counter)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    async def do(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T | None:
        """In one transaction; what is refused is counted."""
        try:
            async with self.desk.transaction() as connection:
                return await work(connection)
        except Problem as refused:
            self.done[f"refused: {refused.code}"] += 1
            return None

    async def day(self, joining: int) -> None:
        """Who joins, what the clock says, what people do."""
        for _ in range(joining):
            await self.register()
        renewed = await renew(self.desk, self.now, lanes=1)
        self.done["renewals paid"] += renewed.paid
        self.done["renewals refused"] += renewed.refused
        live = {each.customer_id: each for each in await self.live()}
        for person in self.people.values():
            there = live.get(person.customer_id)
            if person.orders_at is not None and person.orders_at <= self.now:
                await self.come(person, there)
            elif there is not None and there.state is State.ACTIVE:
                await self.act(person, there)
            elif there is None and person.orders_at is None and self.luck.random() < 0.004:
                person.orders_at = self.now + timedelta(days=1)

    async def register(self) -> None:
        country = self.luck.choice(sorted(_COUNTRIES))
        account_id = uuid7()

        async def work(connection: AsyncConnection) -> str:
            await connection.execute(
                "INSERT INTO account (account_id, email, country) VALUES (%s, %s, %s)",
                (account_id, f"{account_id}@example.org", country),
            )
            await welcome(connection, account_id, country, self.now, Trial("premium", 14))
            return await customers.of_account(connection, account_id, self.now)

        customer_id = await self.do(work)
        assert customer_id is not None, "nothing refuses a new account"
        (card,) = self.luck.choices(list(_CARDS), list(_CARDS.values()))
        orders = self.now + timedelta(days=self.luck.randint(1, 20)) if self.luck.random() < 0.85 else None
        person = Person(account_id, customer_id, country, card, self.luck.random() < 0.93, orders)
        self.people[customer_id] = person
        self.done["trials"] += 1

    async def live(self) -> list[Subscription]:
        async with self.desk.transaction() as connection:
            return [subscription(found) for found in await rows_of(connection, _LIVE)]

    async def come(self, person: Person, there: Subscription | None) -> None:
        """Order, or come back, or pay by hand what is owed."""
        person.orders_at = None
        if there is not None and there.state is State.PAST_DUE:
            await self.pay_by_hand(person, there)
            return
        if there is not None and (there.state is not State.TRIALING or there.paid_until is not None):
            return
        plan = self.luck.choice(("basic", "standard", "premium"))
        promo = CODE if self.luck.random() < 0.2 else None

        async def order(connection: AsyncConnection) -> Invoice:
            return await subscriptions.start(
                connection, person.customer_id, person.price(plan), self.now, language="en", country=person.country,
                promo=promo, zone="Europe/Berlin",
            )  # fmt: skip

        invoice = await self.do(order)
        if invoice is None or not await self.page(person, invoice):
            if person.card == "poor":
                person.card = "good"
            person.orders_at = self.now + timedelta(days=1)
            return
        self.done["orders paid"] += 1

    async def page(self, person: Person, invoice: Invoice) -> bool:
        """Pay on the hosted page; False: the card was refused."""
        if invoice.due_minor == 0:
            await self.do(lambda connection: payments.closed(connection, invoice, self.now))
            return True
        payment = await payments.begin(
            self.desk, invoice, return_url="http://localhost/{payment_id}", save_method=person.keeps_card, at=self.now
        )
        bank: Any = self.desk.provider("sandbox")
        assert payment.provider_ref is not None, "the sandbox answers"
        seen = await bank.submit(payment.provider_ref, BY_NAME[person.card], save=person.keeps_card)
        if seen.waits_for_bank:
            await bank.confirm(payment.provider_ref, is_owner=True)
        return (await payments.settle(self.desk, payment.payment_id, self.now)).state == "succeeded"

    async def pay_by_hand(self, person: Person, there: Subscription) -> None:
        async with self.desk.transaction() as connection:
            found = await rows_of(
                connection, "SELECT invoice_id FROM invoice WHERE subscription_id = %(s)s AND state = 'open'",
                {"s": there.subscription_id},
            )  # fmt: skip
            invoice = await invoices.get(connection, found[0]["invoice_id"]) if found else None
        person.card = "good"
        if invoice is not None and await self.page(person, invoice):
            self.done["paid by hand"] += 1

    async def act(self, person: Person, there: Subscription) -> None:
        chance = self.luck.random()
        for act, hazard in _HAZARDS.items():
            chance -= hazard
            if chance < 0:
                await self.acted(person, there, act)
                return
        if there.ends and self.luck.random() < 0.03:
            await self.do(lambda c: subscriptions.keep(c, there.subscription_id, self.now))
            self.done["kept"] += 1

    async def acted(self, person: Person, there: Subscription, act: str) -> None:
        key = there.subscription_id
        self.done[act] += 1
        if act in ("upgrade", "downgrade", "later", "year"):
            plan = {"upgrade": "premium", "year": "standard"}.get(act, "basic")
            price = person.price(plan, "year" if act == "year" else "month")
            change = subscriptions.change
            invoice = await self.do(lambda c: change(c, key, price, self.now, now=act != "later"))
            if invoice is not None:
                await self.page(person, invoice)
        elif act == "pause":
            await self.do(lambda c: subscriptions.pause(c, key, self.now, days=self.luck.randint(7, 90)))
        elif act == "cancel":
            await self.do(lambda c: subscriptions.cancel(c, key, self.now))
        else:
            await self.give_back(there, in_full=act == "refund")

    async def give_back(self, there: Subscription, *, in_full: bool) -> None:
        async with self.desk.transaction() as connection:
            found = await rows_of(
                connection, "SELECT p.payment_id, p.amount_minor FROM payment p JOIN invoice i USING (invoice_id) "
                "WHERE i.subscription_id = %(s)s AND p.state = 'succeeded' AND p.refunded_minor = 0 "
                "ORDER BY p.created_at DESC LIMIT 1", {"s": there.subscription_id},
            )  # fmt: skip
        if found:
            amount = None if in_full else max(1, found[0]["amount_minor"] // 4)
            reason = "refund" if in_full else "goodwill"
            await payments.refund(
                self.desk, found[0]["payment_id"], amount, reason, self.now, asked_by="bench", keeps_right=not in_full
            )

    async def lapse(self) -> None:
        """Who is past due may mean to pay by hand."""
        for each in await self.live():
            person = self.people[each.customer_id]
            if each.state is State.PAST_DUE and person.orders_at is None and self.luck.random() < 0.5:
                person.orders_at = self.now + timedelta(days=self.luck.randint(1, 9))

    async def wrong(self) -> list[str]:
        """Whoever may watch without a subscription that says so, or the other way round."""
        open_ = {
            each.customer_id
            for each in await self.live()
            if each.state is not State.PAUSED and not (each.state is State.PAST_DUE and each.defaulted)
        }
        async with self.desk.transaction() as connection:
            found = await rows_of(
                connection, "SELECT c.customer_id FROM customer c JOIN subscription_period p USING (account_id) "
                "WHERE p.state <> 'paused' AND p.opened <= %(at)s AND p.closed > %(at)s", {"at": self.now},
            )  # fmt: skip
        may = Counter(each["customer_id"] for each in found)
        twice = [f"{customer} watches by {count} periods" for customer, count in may.items() if count > 1]
        return twice + [f"{customer}: watching and subscribing differ" for customer in open_ ^ set(may)]


@contextmanager
def _statements() -> Iterator[Counter[str]]:
    """Counts what this process asks PostgreSQL, the embedded provider's too."""
    counted, execute = Counter[str](), AsyncCursor.execute

    def one(self: AsyncCursor, *asked: Any, **how: Any) -> Any:
        counted["statements"] += 1
        return execute(self, *asked, **how)

    AsyncCursor.execute = one
    try:
        yield counted
    finally:
        AsyncCursor.execute = execute


async def live(settings: Settings, months: int, people: int) -> tuple[Counter[str], float, int]:
    """What happened, in how many seconds, and how many facts the ledger has.

    Raises:
        MatineeError: somebody may watch who should not, or not who should; or the books are not right.
    """
    from serving.billing.payments.desk import desk
    from serving.billing.reconcile.verify import verify

    clock = ManualClock(BEGIN)
    async with desk(settings, clock) as office:
        lives = Lives(office, clock, random.Random(7))
        new = promos.NewPromo(CODE, "percent", 2_000, periods=3)
        await lives.do(lambda connection: promos.add(connection, new, clock.now()))
        started = time.monotonic()
        days = months * 365 // 12
        for day in range(days):
            joining = people * (day + 1) // (days // 2) - people * day // (days // 2) if day < days // 2 else 0
            await lives.day(joining)
            if day % 7 == 0:
                await lives.lapse()
            if day % 30 == 0 and (wrong := await lives.wrong()):
                raise MatineeError(f"on day {day}: {'; '.join(wrong[:3])}")
            clock.advance(timedelta(days=1))
        seconds = time.monotonic() - started
        async with office.transaction() as connection:
            books = await verify(connection)
    if books.findings:
        raise MatineeError(f"the books are not right: {books.findings[:3]}")
    return lives.done, seconds, books.facts


def rows(months: int = MONTHS, people: int = PEOPLE) -> list[dict[str, Any]]:
    """The row of this benchmark, for the table of billing."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    try:
        settings = Settings.load(home=root)
        with services(settings), _statements() as counted:
            began = time.process_time()
            done, seconds, facts = asyncio.run(live(settings, months, people))
            cpu = time.process_time() - began
    finally:
        shutil.rmtree(root, ignore_errors=True)
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(done.items()))
    print(f"{facts:,} facts in the ledger; {told}")
    print(f"{seconds:.1f} s, {cpu:.1f} s of this process's CPU, {counted['statements']:,} statements")
    goal = GOAL_S if (months, people) == (MONTHS, PEOPLE) else None
    return [
        {
            "name": f"{months} months of {people} subscribers", "value": round(seconds, 1), "unit": "s",
            "reference": None, "ratio": None, "goal": goal, "holds": seconds <= goal if goal else None,
        }
    ]  # fmt: skip


def run(json: bool = False) -> list[dict[str, Any]]:
    made = rows()
    if json:
        print(json_module.dumps(made, indent=1))
    return made


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--months", type=int, default=MONTHS)
    arguments.add_argument("--people", type=int, default=PEOPLE)
    given = arguments.parse_args()
    print(json_module.dumps(rows(given.months, given.people), indent=1))


if __name__ == "__main__":
    main()
