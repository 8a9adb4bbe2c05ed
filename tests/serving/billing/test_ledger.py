"""The ledger against those who would have it lie: code, SQL by hand, two at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matinee.settings import Settings
from serving.billing import customers
from serving.billing.errors import AlreadyPostedError, LedgerError, MoneyError
from serving.billing.ledger import core, facts, money
from serving.billing.ledger.core import Posting, Transaction
from serving.billing.ledger.money import Money

AT = datetime(2026, 3, 31, 12, tzinfo=UTC)
CURRENCIES = st.sampled_from(["EUR", "RUB", "JPY", "KWD"])
AMOUNTS = st.integers(1, 10**11)


@pytest.fixture
async def book(settings: Settings) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection to a ledger with one fact, a payment of customer `c` for 10.00 EUR, committed."""
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        await connection.execute("INSERT INTO customer (customer_id, created_at) VALUES ('c', now()), ('d', now())")
        await core.post(connection, [facts.payment("p1", "c", "sandbox", Money(1000, "EUR"), AT)])
        await connection.commit()
        yield connection


async def known(connection: psycopg.AsyncConnection) -> tuple[Any, ...]:
    """How many facts and postings there are, and what all of them add up to."""
    query = "SELECT (SELECT count(*) FROM ledger_transaction), count(*), sum(amount_minor) FROM posting"
    cursor = await connection.execute(query)
    found = await cursor.fetchone()
    assert found
    return found


_FACT: LiteralString = """
    WITH made AS (INSERT INTO ledger_transaction (kind, source, occurred_at) VALUES ('correction', 'x', now())
                  RETURNING transaction_id)
    INSERT INTO posting SELECT made.transaction_id, p.* FROM made, """
CHEATS: dict[str, tuple[LiteralString, str]] = {
    "one leg": (_FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 5)) AS p", "does not balance"),
    "two currencies": (
        _FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 5), (2, 'clearing', 'sandbox', 'USD', -5)) AS p",
        "does not balance",
    ),
    "more of an old fact": (
        (
            "INSERT INTO posting SELECT transaction_id, p.* FROM ledger_transaction, "
            "(VALUES (3, 'bank', 'sandbox', 'EUR', 5), (4, 'clearing', 'sandbox', 'EUR', -5)) AS p"
        ),
        "is closed",
    ),
    "more of an old fact, behind a table of the same name": (
        (
            "CREATE TEMPORARY TABLE posting (LIKE public.posting); "
            "INSERT INTO pg_temp.posting SELECT transaction_id, p.* FROM ledger_transaction, "
            "(VALUES (3, 'bank', 'sandbox', 'EUR', 5), (4, 'bank', 'sandbox', 'EUR', -5)) AS p; "
            "INSERT INTO public.posting SELECT * FROM pg_temp.posting"
        ),
        "is closed",
    ),
    "nobody's receivable": (
        _FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 5), (2, 'receivable', 'nobody', 'EUR', -5)) AS p",
        "party nobody does not fit ledger receivable",
    ),
    "a receivable of no party": (
        _FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 5), (2, 'receivable', '', 'EUR', -5)) AS p",
        "does not fit ledger receivable",
    ),
    "revenue of a party": (
        _FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 5), (2, 'rental', 'c', 'EUR', -5)) AS p",
        "party c does not fit ledger rental",
    ),
    "tax of no country": (
        _FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 5), (2, 'tax', 'Germany', 'EUR', -5)) AS p",
        "party Germany does not fit ledger tax",
    ),
    "no such ledger": (
        _FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 5), (2, 'piggy', '', 'EUR', -5)) AS p",
        "posting_ledger_fkey",
    ),
    "a posting of nothing": (_FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 0)) AS p", "posting_amount_minor_check"),
    "more than there is": (
        _FACT + "(VALUES (1, 'bank', 'sandbox', 'EUR', 9e18), (2, 'clearing', 'sandbox', 'EUR', -9e18)) AS p",
        "posting_amount_is_sane",
    ),
    "no postings": (
        "INSERT INTO ledger_transaction (kind, source, occurred_at) VALUES ('payment', 'x', now())",
        "has no postings",
    ),
    "another kind": (
        "INSERT INTO ledger_transaction (kind, source, occurred_at) VALUES ('gift', 'x', now())",
        "ledger_transaction_kind_check",
    ),
    "another amount": ("UPDATE posting SET amount_minor = amount_minor * 2", "append-only: UPDATE of posting"),
    "another amount, by upsert": (
        (
            "INSERT INTO posting SELECT transaction_id, line, ledger, party, currency, amount_minor * 2 FROM posting "
            "ON CONFLICT (transaction_id, line) DO UPDATE SET amount_minor = EXCLUDED.amount_minor"
        ),
        "append-only: UPDATE of posting",
    ),
    "another amount, by merge": (
        (
            "MERGE INTO posting p USING posting q ON (p.transaction_id, p.line) = (q.transaction_id, q.line) "
            "WHEN MATCHED THEN UPDATE SET amount_minor = 1"
        ),
        "append-only: UPDATE of posting",
    ),
    "another day": ("UPDATE ledger_transaction SET occurred_at = now()", "append-only: UPDATE of ledger_transaction"),
    "a posting less": ("DELETE FROM posting WHERE line = 1", "append-only: DELETE of posting"),
    "a fact less": ("DELETE FROM ledger_transaction", "append-only: DELETE of ledger_transaction"),
    "no postings any more": ("TRUNCATE posting", "append-only: TRUNCATE of posting"),
    "nothing any more": ("TRUNCATE ledger_account CASCADE", "append-only: TRUNCATE of"),
    "another meaning": (
        "UPDATE ledger_account SET party = NULL, kind = 'asset'",
        "append-only: UPDATE of ledger_account",
    ),
    "a customer less": ("DELETE FROM customer WHERE customer_id = 'c'", "has postings"),
}


async def test_sql_by_hand_cannot_make_it_lie(book: psycopg.AsyncConnection) -> None:
    before, told = await known(book), {}
    for cheat, (statement, _) in CHEATS.items():
        try:
            await book.execute(statement)
            await book.commit()
        except psycopg.Error as error:
            told[cheat] = str(error)
            await book.rollback()
    assert {cheat: says for cheat, (_, says) in CHEATS.items() if says not in told.get(cheat, "it was believed")} == {}
    assert await known(book) == before == (1, 2, 0)


async def test_copy_is_held_to_the_same(book: psycopg.AsyncConnection) -> None:
    cursor = await book.execute(
        "INSERT INTO ledger_transaction (kind, source, occurred_at) VALUES ('correction', 'x', now()) "
        "RETURNING transaction_id"
    )
    (number,) = await cursor.fetchone() or (0,)
    with pytest.raises(psycopg.Error, match="does not balance: 1 EUR are left over"):
        async with book.cursor().copy("COPY posting FROM STDIN") as copy:
            await copy.write(f"{number}\t1\tbank\tsandbox\tEUR\t6\n{number}\t2\tclearing\tsandbox\tEUR\t-5\n")


async def test_a_fact_is_written_once_by_two_at_once(book: psycopg.AsyncConnection, settings: Settings) -> None:
    fact = facts.refund("r1", "c", "sandbox", Money(400, "EUR"), AT)

    async def write() -> bool:
        async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
            await connection.execute("SELECT 1")
            await ready.wait()
            try:
                await core.post(connection, [fact])
            except AlreadyPostedError:
                await connection.rollback()
                return False
        return True

    ready = asyncio.Barrier(8)
    assert sorted(await asyncio.gather(*(write() for _ in range(8)))) == [False] * 7 + [True]
    assert await core.balance(book, "receivable", "c", "EUR") == -600
    assert await core.balance(book, "clearing", "sandbox", "EUR") == 600
    assert await core.balance(book, "clearing", "sandbox", "USD") == 0


async def test_a_fact_that_is_known_stops_the_others_and_breaks_none(book: psycopg.AsyncConnection) -> None:
    first = facts.payment("p1", "c", "sandbox", Money(1000, "EUR"), AT)
    fee = facts.fee("p1", "sandbox", Money(30, "EUR"), AT)
    with pytest.raises(AlreadyPostedError, match="fee of p1 is given twice"):
        await core.post(book, [fee, fee])
    with pytest.raises(AlreadyPostedError, match="payment of p1 is in the ledger"):
        await core.post(book, [fee, first])
    await book.commit()  # who does not roll back has whole facts
    assert await known(book) == (2, 4, 0)


@pytest.mark.parametrize(
    ("postings", "says"),
    [
        ([], "has no postings"),
        ([("bank", "sandbox", "EUR", 1), ("clearing", "sandbox", "USD", -1)], "1 EUR are left over"),
        ([("bank", "sandbox", "EUR", 0)], "posts nothing to bank"),
    ],
)
async def test_code_is_told_before_sql_is(book: psycopg.AsyncConnection, postings: list[Any], says: str) -> None:
    made = Transaction("correction", "x", AT, tuple(Posting(*each) for each in postings))
    with pytest.raises(LedgerError, match=says):
        await core.post(book, [made])
    await book.commit()  # nothing was sent


@given(AMOUNTS, AMOUNTS, CURRENCIES)
def test_every_fact_sums_to_zero(amount: int, fee: int, currency: str) -> None:
    sum_ = Money(amount, currency)
    made = [
        facts.payment("p", "c", "stripe", sum_, AT), facts.fee("p", "stripe", sum_, AT),
        facts.refund("r", "c", "stripe", sum_, AT), facts.dispute("d", "stripe", sum_, AT),
        facts.dispute_won("d", "stripe", sum_, AT), facts.dispute_lost("d", "stripe", sum_, fee, AT),
        facts.dispute_lost("d", "stripe", sum_, 0, AT), facts.payout("o", "stripe", sum_, AT),
    ]  # fmt: skip
    for fact in made:
        core.check(fact)
        assert {posting.currency for posting in fact.postings} == {currency}
        assert max(posting.amount_minor for posting in fact.postings) == amount or fact.kind == "dispute_lost"


@pytest.mark.parametrize("minor", [0, -1])
def test_a_fact_of_nothing_is_none(minor: int) -> None:
    with pytest.raises(LedgerError, match="must be above zero"):
        facts.refund("r", "c", "stripe", Money(minor, "EUR"), AT)


@given(st.integers(-(10**11), 10**11), st.integers(0, 10**6), st.integers(1, 10**6))
@example(1, 1, 2)
@example(3, 1, 2)
@example(-1, 1, 2)
@example(-3, 1, 2)
def test_shares_are_rounded_half_even(minor: int, part: int, whole: int) -> None:
    from decimal import ROUND_HALF_EVEN, Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        exact = (Decimal(minor) * part / whole).quantize(Decimal(1), ROUND_HALF_EVEN)
    assert money.share(minor, part, whole) == int(exact)


@given(AMOUNTS, st.integers(0, 10_000))
def test_tax_and_net_make_the_gross(gross: int, rate: int) -> None:
    tax = money.tax_included(gross, rate)
    assert 0 <= tax <= gross
    # The net amount times the rate is the tax again, but for the one rounding.
    assert abs((gross - tax) * rate - tax * 10_000) <= (10_000 + rate) / 2


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.34", "EUR", 1234),
        ("12,3", "EUR", 1230),
        (" 790 ", "JPY", 790),
        ("0.005", "KWD", 5),
        ("1000000000", "RUB", 10**11),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, currency: str, minor: int) -> None:
    read = money.parse(text, currency)
    assert read == Money(minor, currency)
    assert money.parse(str(money.decimal(read)), currency) == read


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.234", "1 000", "1e3", "nan", "١٢", "1.", ".5", "0x1", "1000000000.01", "9" * 40]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(MoneyError):
        money.parse(text, "EUR")


def test_currencies_do_not_mix() -> None:
    assert Money(5, "EUR") - Money(7, "EUR") < -Money(1, "EUR")
    for mix in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a <= b):
        with pytest.raises(MoneyError, match="EUR and USD do not mix"):
            mix(Money(1, "EUR"), Money(1, "USD"))
    with pytest.raises(MoneyError, match="no currency 'EU'"):
        money.digits("EU")
    with pytest.raises(MoneyError, match=r"0\.5"):
        money.parse("0.5", "JPY")
    assert money.show(Money(123456, "RUB"), "ru") == "1\xa0234,56\xa0₽"
    assert money.show(Money(1290, "JPY"), "en") == "¥1,290"


async def test_an_account_has_one_customer_who_outlives_it(book: psycopg.AsyncConnection, settings: Settings) -> None:
    await book.execute("INSERT INTO account (account_id) VALUES ('ada')")
    await book.commit()

    async def ask() -> str:
        async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
            return await customers.of_account(connection, "ada", AT)

    (customer,) = set(await asyncio.gather(*(ask() for _ in range(6))))
    assert await customers.account_of(book, customer) == "ada"
    await book.execute("DELETE FROM account WHERE account_id = 'ada'")
    assert await customers.account_of(book, customer) is None
    with pytest.raises(customers.BillingError, match="no account 'ada'"):
        await customers.of_account(book, "ada", AT)
