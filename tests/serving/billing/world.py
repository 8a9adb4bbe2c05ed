"""One subscriber and the real billing around them: PostgreSQL, the sandbox provider, and a clock that the test moves.

Everything is done through the core functions, each in a transaction of its own, as the API and the schedule do it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from ingest.catalog import ingest_feed
from matinee.clock import ManualClock
from matinee.db.connect import pool
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.billing import customers
from serving.billing.invoices.core import Invoice
from serving.billing.payments import core as payments
from serving.billing.payments.desk import Desk
from serving.billing.payments.rows import Payment
from serving.billing.providers.sandbox.cards import BY_NAME
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights.entitlements import Entitlements, parse
from serving.rights.welcome import Trial, welcome

T = TypeVar("T")
BEGIN = datetime(2027, 12, 1, 9, 30, tzinfo=UTC)  # a leap day is near
TITLES = ("brook", "heath")
RENT, BUY = 399, 1_200
# The tables of accounts and money, with all that refer to them. What is deleted row by row leaves plans and files as
# they are: a life costs a quarter less than after TRUNCATE.
_FILLED = """
WITH RECURSIVE filled AS (
    SELECT unnest('{account,customer,ledger_transaction,promo,provider_event,idempotency,outbox,subscription_period,
                    sandbox.method,sandbox.payment,sandbox.notice}'::regclass[])::oid AS name
    UNION SELECT conrelid FROM pg_constraint c JOIN filled f ON c.confrelid = f.name WHERE contype = 'f'
)
SELECT 'DELETE FROM ' || name::regclass AS statement FROM filled
"""


class World:
    """`run` does a thing in the world's event loop; `books` reads beside it."""

    def __init__(self, settings: Settings, country: str = "DE") -> None:
        self.settings, self.country = settings, country
        self.clock = ManualClock(BEGIN)
        self.runner = asyncio.Runner()
        self.books = psycopg.connect(settings.database(), autocommit=True)
        self.pool = self.run(_opened(settings))
        self.desk = Desk(settings, self.clock, self.pool.connection)
        self.bank: Any = self.desk.provider("sandbox")
        self.account_id = self.customer_id = ""
        self._emptying = "; ".join(found["statement"] for found in self.rows(_FILLED))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self.desk.aclose())
        self.run(self.pool.close())
        self.books.close()
        self.runner.close()

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def begin(self, *, trial_days: int, at: datetime = BEGIN) -> None:
        """An empty world with a new account."""
        role = "SET session_replication_role"  # no trigger and no foreign key stands in the way
        self.books.execute(f"{role} = replica; {self._emptying}; {role} = origin".encode())
        self.clock.moment = at
        self.join(trial_days=trial_days)

    def join(self, *, trial_days: int, email: str = "ada@example.org") -> None:
        """A new account, which everything is about from now on."""
        self.account_id = uuid7()

        async def register(connection: AsyncConnection) -> str:
            await connection.execute(
                "INSERT INTO account (account_id, email, country) VALUES (%s, %s, %s)",
                (self.account_id, email, self.country),
            )
            trial = Trial("standard", trial_days) if trial_days else None
            await welcome(connection, self.account_id, self.country, self.now, trial)
            return await customers.of_account(connection, self.account_id, self.now)

        self.customer_id = self.do(register)

    def do(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do it in one transaction.

        Raises:
            Problem: as it does; nothing was done then.
        """

        async def inner() -> T:
            async with self.desk.transaction() as connection:
                return await work(connection)

        return self.run(inner())

    def ask(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T | str:
        """Do it; a refusal is its code."""
        return self._told(lambda: self.do(work))

    def tried(self, work: Coroutine[Any, Any, T]) -> T | str:
        """Do it, with transactions of its own; a refusal is its code."""
        return self._told(lambda: self.run(work))

    def _told(self, does: Callable[[], T]) -> T | str:
        try:
            return does()
        except Problem as refused:
            return refused.code

    def viewer(self) -> Viewer:
        return Viewer(self.account_id, "p", 18, "en", self.country)

    def page(self, invoice: Invoice) -> Payment:
        """A hosted page for the invoice."""
        address = "http://matinee.test/billing/return?payment={payment_id}"
        return self.run(payments.begin(self.desk, invoice, return_url=address, save_method=True, at=self.now))

    def give_card(self, payment: Payment, card: str) -> None:
        """What the subscriber does on the page; we hear of it when somebody tells us."""
        assert payment.provider_ref is not None
        paid = self.run(self.bank.submit(payment.provider_ref, BY_NAME[card], save=True))
        if paid.waits_for_bank:
            self.run(self.bank.confirm(payment.provider_ref, is_owner=True))

    def hear(self, payment_id: str) -> Payment:
        """As a webhook, the page of return or the sweep do."""
        return self.run(payments.settle(self.desk, payment_id, self.now))

    def rights(self, at: datetime | None = None) -> Entitlements:
        (found,) = self.rows("SELECT entitlements_of(%s, %s) AS held", self.account_id, at or self.now)
        return parse(found["held"])

    def plans(self, at: datetime | None = None) -> list[str]:
        """The plans that are open at a moment."""
        return opened(self.rights(at), at or self.now)[0]

    def titles(self, at: datetime | None = None) -> list[tuple[str, str]]:
        """(title, kind) of what is open at a moment."""
        return opened(self.rights(at), at or self.now)[1]

    def one(self, query: str) -> dict[str, Any]:
        """The row of a query about the subscriber, now."""
        asked = {
            "account_id": self.account_id, "at": self.now, "customers": [self.customer_id], "currencies": ["EUR"],
        }  # fmt: skip
        with self.books.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(query, asked).fetchone()  # pyright: ignore[reportArgumentType,reportCallIssue] - ours
        assert found is not None
        return found

    def rows(self, query: str, *given: Any) -> list[dict[str, Any]]:
        with self.books.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, given).fetchall()  # pyright: ignore[reportArgumentType,reportCallIssue] - ours

    def advance(self, **life: float) -> None:
        self.clock.advance(timedelta(**life))


def opened(held: Entitlements, at: datetime) -> tuple[list[str], list[tuple[str, str]]]:
    """The plans, and the (title, kind), that are open at a moment."""
    plans = sorted(plan.plan_id for plan in held.plans_at(at))
    return plans, sorted((one.title_id, one.kind) for one in held.titles if one.window.holds(at))


async def _opened(settings: Settings) -> Any:
    made = pool(settings, size=4)
    await made.open(wait=True)
    return made


def stock(settings: Settings, folder: Any) -> None:
    """Films to rent and buy, and `lake` for subscribers, with packages."""
    offers = [
        {"kind": "rent", "price": "3.99", "currency": "EUR"}, {"kind": "buy", "price": "12.00", "currency": "EUR"},
        {"kind": "rent", "price": "199", "currency": "RUB"}, {"kind": "buy", "price": "490", "currency": "RUB"},
    ]  # fmt: skip
    sold = {**dict.fromkeys(TITLES, offers), "lake": [{"kind": "subscription", "plans": ["basic"]}]}
    lines = [
        {"id": name, "kind": "film", "titles": {"en": name}, "maturity": 6, "offers": terms}
        for name, terms in sold.items()
    ]
    feed = folder / "feed.jsonl"
    feed.write_text("\n".join(map(json.dumps, lines)))
    with psycopg.connect(settings.database()) as connection:
        assert not ingest_feed(connection, feed).rejected
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "SELECT title_id, title_id, 'film.mp4', 'x', 1, 'accepted' FROM title"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
            "SELECT title_id, title_id, title_id, 'published', 1000 FROM master"
        )
