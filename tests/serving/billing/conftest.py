"""Customers, a clock that the test moves, and what must hold of the books at any moment."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.rows import tuple_row

from matinee.clock import ManualClock
from matinee.ids import uuid7
from matinee.settings import Settings

# Every one of these has to come back empty.
_WHOLE: dict[str, LiteralString] = {
    "a transaction does not sum to zero": """
        SELECT transaction_id, currency, sum(amount_minor) FROM posting
        GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0""",
    "a transaction has no postings": """
        SELECT transaction_id FROM ledger_transaction t
        WHERE NOT EXISTS (SELECT FROM posting p WHERE p.transaction_id = t.transaction_id)""",
    "an invoice's lines do not make its total": """
        SELECT invoice_id, i.total_minor, sum(l.amount_minor), i.tax_minor, sum(l.tax_minor)
        FROM invoice i JOIN invoice_line l USING (invoice_id) GROUP BY i.invoice_id
        HAVING i.total_minor <> sum(l.amount_minor) OR i.tax_minor <> sum(l.tax_minor)""",
    "more was given back than paid": """
        SELECT payment_id, p.amount_minor, sum(r.amount_minor) FROM payment p JOIN refund r USING (payment_id)
        WHERE r.state <> 'failed' GROUP BY payment_id HAVING sum(r.amount_minor) > p.amount_minor""",
    "an invoice is paid and nobody paid it": """
        SELECT invoice_id FROM invoice i WHERE state = 'paid' AND purpose <> 'credit' AND total_minor > from_balance
        AND NOT EXISTS (SELECT FROM payment p WHERE p.invoice_id = i.invoice_id AND p.state = 'succeeded')""",
    "a code's uses are not its redemptions": """
        SELECT promo_id, used FROM promo p WHERE used <> (
            SELECT count(*) FROM promo_redemption r
            WHERE r.promo_id = p.promo_id AND r.repeats IS NULL AND r.state <> 'released')""",
    "a code is redeemed by an invoice that is not paid, or reserved by one that is not open": """
        SELECT redemption_id, r.state, i.state FROM promo_redemption r JOIN invoice i USING (invoice_id)
        WHERE (r.state, i.state) NOT IN (('reserved', 'open'), ('redeemed', 'paid'), ('released', 'void'))""",
    "a customer's account in the ledger is not what invoices and payments say": """
        SELECT customer_id, currency, sum(amount_minor) FROM (
            SELECT party AS customer_id, currency, amount_minor FROM posting WHERE ledger = 'receivable'
            UNION ALL
            SELECT p.customer_id, d.currency, -least(d.amount_minor, greatest(i.credited_minor - coalesce((
                SELECT sum(r.amount_minor) FROM refund r
                WHERE r.payment_id = p.payment_id AND r.state = 'succeeded'), 0), 0))
            FROM dispute d JOIN payment p USING (payment_id) JOIN invoice i USING (invoice_id)
            WHERE d.state = 'lost' AND NOT p.surplus
            UNION ALL
            SELECT p.customer_id, d.currency, -least(d.amount_minor, p.amount_minor - coalesce((
                SELECT sum(r.amount_minor) FROM refund r
                WHERE r.payment_id = p.payment_id AND r.state = 'succeeded'), 0))
            FROM dispute d JOIN payment p USING (payment_id) WHERE d.state = 'lost' AND p.surplus
            UNION ALL
            SELECT customer_id, currency, CASE WHEN purpose = 'credit' THEN total_minor ELSE -total_minor END
            FROM invoice WHERE state <> 'void'
            UNION ALL
            SELECT customer_id, currency, amount_minor FROM payment WHERE state = 'succeeded'
            UNION ALL
            SELECT p.customer_id, r.currency, -r.amount_minor FROM refund r JOIN payment p USING (payment_id)
            WHERE r.state = 'succeeded'
        ) said GROUP BY customer_id, currency HAVING sum(amount_minor) <> 0""",
}


_ASKED = " UNION ALL ".join(
    f"SELECT '{name.replace(chr(39), chr(39) * 2)}' AS name, (SELECT jsonb_agg(x) FROM ({query}) x) AS found"
    for name, query in _WHOLE.items()
)


def ledger_is_whole(connection: psycopg.Connection[Any]) -> None:
    """Fails where the books contradict themselves."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_ASKED)  # pyright: ignore[reportArgumentType,reportCallIssue] - of what stands above
        wrong = {name: found for name, found in cursor.fetchall() if found}
    assert not wrong, wrong


@pytest.fixture
def whole() -> Callable[[psycopg.Connection[Any]], None]:
    return ledger_is_whole


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """One transaction on a migrated database of the test's own."""
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        yield connection


@pytest.fixture
def books(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """Reads and writes beside the code under test, each statement for itself; at the end the books must be whole."""
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        yield connection
        ledger_is_whole(connection)


@pytest.fixture
def customer(books: psycopg.Connection[Any]) -> Callable[..., str]:
    """Make an account with a customer; returns the customer's id, which is `customer of <account's id>`."""

    def make(country: str | None = "DE", *, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> str:
        account_id = uuid7()
        books.execute(
            "INSERT INTO account (account_id, email, country) VALUES (%s, %s, %s)",
            (account_id, f"{account_id}@example.org", country),
        )
        books.execute("INSERT INTO customer VALUES (%s, %s, %s)", (f"customer of {account_id}", account_id, at))
        return f"customer of {account_id}"

    return make
