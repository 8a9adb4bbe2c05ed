"""Invoices: what they add up to, whose credit they spend, and what is given back of them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.range import Range

from matinee.settings import Settings
from serving.billing.errors import BilledAlreadyError, InvoiceError, LedgerError, MoneyError, VoidInvoiceError
from serving.billing.invoices import core
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Draft, Line, finished, returned, spent, taxed
from serving.billing.ledger import core as ledger
from serving.billing.ledger import facts
from serving.billing.ledger.money import Money, least, tax_included

AT = datetime(2026, 3, 31, 12, tzinfo=UTC)
PERIOD = Range(AT, AT + timedelta(days=30), "[)")


def draft(*amounts: int, **more: Any) -> Draft:
    """A plan's invoice in EUR with German tax; amounts below zero are discounts."""
    lines = [Line("plan" if amount >= 0 else "discount", amount, names={"en": "Plan"}) for amount in amounts]
    given = {"purpose": "subscription", "reason": "start", "tax_country": "DE", "tax_bp": 1900, **more}
    return Draft(currency="EUR", lines=lines, **given)


@pytest.fixture
async def books(settings: Settings) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        await connection.execute("INSERT INTO customer (customer_id, created_at) VALUES ('c', now()), ('d', now())")
        await connection.commit()
        yield connection


async def pay(connection: psycopg.AsyncConnection, invoice: Invoice) -> Invoice:
    """As payments do it, but for the payment's own row."""
    if invoice.due_minor:
        money = Money(invoice.due_minor, invoice.currency)
        await ledger.post(connection, [facts.payment(f"p-{invoice.number}", invoice.customer_id, "sandbox", money, AT)])
    return await core.paid(connection, invoice.invoice_id, AT)


async def owed(connection: psycopg.AsyncConnection, customer: str = "c") -> int:
    return await ledger.balance(connection, "receivable", customer, "EUR")


async def test_an_invoice_is_as_it_was_issued(books: psycopg.AsyncConnection) -> None:
    lines = [
        Line("plan", 999, names={"en": "Standard", "ru": "Стандартный"}, plan_id="standard", months=1, period=PERIOD,
             price_id="standard-month-eur"),
        Line("discount", -250, names={"en": "SPRING"}),
    ]  # fmt: skip
    asked = Draft("subscription", "start", "EUR", lines, "DE", 1900, "DE", "ru", period=PERIOD)
    made = await core.issue(books, "c", asked, AT)
    assert await core.get(books, made.invoice_id) == made
    assert (made.total_minor, made.discount_minor, made.tax_minor, made.due_minor) == (749, 250, 120, 749)
    assert await owed(books) == 749
    assert await ledger.balance(books, "tax", "DE", "EUR") == -120
    assert await ledger.balance(books, "discount", "", "EUR") == 210  # 250 without the tax in it
    assert await ledger.balance(books, "subscription", "", "EUR") == -839
    paid = await pay(books, made)
    assert (paid.state, paid.paid_at) == ("paid", AT)
    assert await core.paid(books, made.invoice_id, AT + timedelta(days=1)) == paid  # once
    assert await owed(books) == 0
    with pytest.raises(InvoiceError, match=f"{made.number} is paid: give it back by a credit note"):
        await core.void(books, made.invoice_id, AT)


async def test_an_invoice_of_nothing_has_no_fact(books: psycopg.AsyncConnection) -> None:
    free = await core.issue(books, "c", draft(0), AT)
    given = await core.issue(books, "c", draft(500, -500), AT)
    assert (free.due_minor, given.due_minor, given.tax_minor) == (0, 0, 0)
    cursor = await books.execute("SELECT source FROM ledger_transaction")
    assert await cursor.fetchall() == [(given.invoice_id,)]
    await core.void(books, free.invoice_id, AT)
    assert (await core.void(books, given.invoice_id, AT)).state == "void"
    assert await ledger.balance(books, "discount", "", "EUR") == 0


async def test_credit_is_spent_once_and_comes_back_with_what_it_was_spent_on(books: psycopg.AsyncConnection) -> None:
    first = await pay(books, await core.issue(books, "c", draft(1000), AT))
    waiting = await core.issue(books, "c", draft(700), AT)  # open before there was credit: it keeps owing all
    note = await core.credit(books, first.invoice_id, 600, "change", AT)
    assert (note.purpose, note.credits, note.total_minor, note.tax_minor) == ("credit", first.invoice_id, 600, 96)
    assert await core.balance(books, "c", "EUR") == 600
    one, two, three = await core.issue_many(books, [("c", draft(400)), ("d", draft(50)), ("c", draft(400))], AT)
    assert [(each.customer_id, each.from_balance, each.due_minor) for each in (one, two, three)] == [
        ("c", 400, 0), ("d", 0, 50), ("c", 200, 200)]  # fmt: skip
    assert await core.balance(books, "c", "EUR") == 0
    await core.void(books, one.invoice_id, AT)
    await core.void(books, one.invoice_id, AT)
    assert await core.balance(books, "c", "EUR") == 400
    for each in (waiting, two, three):
        await pay(books, each)
    assert (await core.balance(books, "c", "EUR"), await owed(books), await owed(books, "d")) == (400, -400, 0)
    assert await core.balance(books, "c", "USD") == 0
    last = await core.issue(books, "c", draft(1000), AT)
    assert (last.from_balance, last.due_minor) == (400, 600)
    with pytest.raises(VoidInvoiceError, match="void: money for it is the customer's credit"):
        await core.paid_many(books, [last.invoice_id, one.invoice_id], AT)
    assert (await core.get(books, last.invoice_id)).state == "open"


async def test_two_at_once_do_not_spend_the_same_credit(books: psycopg.AsyncConnection, settings: Settings) -> None:
    first = await pay(books, await core.issue(books, "c", draft(1000), AT))
    await core.credit(books, first.invoice_id, 600, "change", AT)
    await books.commit()

    async def issue() -> int:
        async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
            made = await core.issue(connection, "c", draft(500), AT)
            return made.from_balance

    assert sorted(await asyncio.gather(*(issue() for _ in range(6)))) == [0, 0, 0, 0, 100, 500]
    assert await owed(books) == 6 * 500 - 600


async def test_two_at_once_do_not_give_the_same_back(books: psycopg.AsyncConnection, settings: Settings) -> None:
    made = await pay(books, await core.issue(books, "c", draft(1000), AT))
    await books.commit()

    async def give() -> int:
        async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
            try:
                return (await core.credit(connection, made.invoice_id, 400, "refund", AT)).total_minor
            except InvoiceError:
                return 0

    assert sorted(await asyncio.gather(*(give() for _ in range(5)))) == [0, 0, 0, 400, 400]
    assert (await core.get(books, made.invoice_id)).credited_minor == 800
    await core.credit(books, made.invoice_id, 200, "refund", AT)
    await books.commit()
    for ledger_name, party in (("subscription", ""), ("tax", "DE")):
        assert await ledger.balance(books, ledger_name, party, "EUR") == 0


async def test_what_is_refunded_already_is_kept_for_the_refund(books: psycopg.AsyncConnection) -> None:
    made = await pay(books, await core.issue(books, "c", draft(1000), AT))
    await books.execute(
        "INSERT INTO payment (payment_id, invoice_id, customer_id, provider, state, amount_minor, currency, "
        "created_at, settled_at) VALUES ('p', %s, 'c', 'sandbox', 'succeeded', 1000, 'EUR', now(), now())",
        (made.invoice_id,),
    )
    await books.execute(
        "INSERT INTO refund (refund_id, payment_id, state, amount_minor, currency, reason, created_at) "
        "VALUES ('r', 'p', 'pending', 700, 'EUR', 'late', now())"
    )
    with pytest.raises(InvoiceError, match="has 300 EUR"):
        await core.credit(books, made.invoice_id, 301, "change", AT)
    await core.credit(books, made.invoice_id, 300, "change", AT)
    await core.credit(books, made.invoice_id, 700, "refund", AT, refund_id="r")


CHEATS = [
    "UPDATE invoice SET total_minor = 1",
    "UPDATE invoice SET customer_id = 'd'",
    "UPDATE invoice SET number = 'M-1'",
    "UPDATE invoice SET state = 'open', paid_at = NULL",
    "UPDATE invoice SET state = 'void', paid_at = NULL",
    "UPDATE invoice SET paid_at = now()",
    "UPDATE invoice SET credited_minor = 0",
    "DELETE FROM invoice",
    "TRUNCATE customer CASCADE",
    "UPDATE invoice_line SET amount_minor = amount_minor + 1",
    "UPDATE invoice_line SET names = '{}'",
    "INSERT INTO invoice_line SELECT invoice_id, 9, kind, NULL, NULL, NULL, NULL, NULL, 5, 1 FROM invoice_line",
    "INSERT INTO invoice_line SELECT invoice_id, 9, kind, NULL, NULL, NULL, NULL, NULL, 0, 0 FROM invoice_line",
    "DELETE FROM invoice_line",
    "TRUNCATE invoice_line",
]


async def test_what_was_issued_stays(books: psycopg.AsyncConnection) -> None:
    made = await pay(books, await core.issue(books, "c", draft(1000), AT))
    await core.credit(books, made.invoice_id, 10, "refund", AT)
    await books.execute("UPDATE invoice SET period = %s", (PERIOD,))  # which begins when it is paid
    await books.commit()
    told = {}
    for cheat in CHEATS:
        try:
            await books.execute(cheat.encode())
        except psycopg.Error as error:
            told[cheat] = str(error)
        await books.rollback()
    assert [cheat for cheat in CHEATS if "what was issued stays" not in told.get(cheat, "")] == []


async def test_money_on_its_way_back_is_no_credit(books: psycopg.AsyncConnection) -> None:
    made = await pay(books, await core.issue(books, "c", draft(1000), AT))
    await books.execute(
        "INSERT INTO payment (payment_id, invoice_id, customer_id, provider, state, amount_minor, currency, surplus, "
        "created_at, settled_at) VALUES ('p', %s, 'c', 'sandbox', 'succeeded', 1000, 'EUR', true, now(), now())",
        (made.invoice_id,),
    )
    await ledger.post(books, [facts.payment("p", "c", "sandbox", Money(1000, "EUR"), AT)])
    assert (await core.balance(books, "c", "EUR"), await owed(books)) == (0, -1000)
    assert (await core.issue(books, "c", draft(400), AT)).from_balance == 0
    await books.execute(
        "INSERT INTO refund (refund_id, payment_id, state, amount_minor, currency, reason, created_at, settled_at) "
        "VALUES ('r', 'p', 'succeeded', 1000, 'EUR', 'surplus', now(), now())"
    )
    await ledger.post(books, [facts.refund("r", "c", "sandbox", Money(1000, "EUR"), AT)])
    assert (await core.balance(books, "c", "EUR"), await owed(books)) == (0, 400)


@pytest.mark.parametrize("amount", [0, -5, 1001, 10**15])
async def test_an_amount_that_is_not_left_is_refused(books: psycopg.AsyncConnection, amount: int) -> None:
    made = await core.issue(books, "c", draft(1000), AT)
    with pytest.raises(InvoiceError, match="no paid invoice"):
        await core.credit(books, made.invoice_id, 1, "refund", AT)
    await pay(books, made)
    with pytest.raises(InvoiceError, match=f"to give back, not {amount}"):
        await core.credit(books, made.invoice_id, amount, "refund", AT)
    with pytest.raises(InvoiceError, match="there is no invoice 'x'"):
        await core.credit(books, "x", 1, "refund", AT)


async def test_a_renewal_is_billed_once(books: psycopg.AsyncConnection) -> None:
    await books.execute(
        "INSERT INTO subscription (subscription_id, customer_id, state, price_id, created_at) "
        "VALUES ('s', 'c', 'active', 'basic-month-eur', now())"
    )
    asked = draft(599, reason="renewal", subscription_id="s", period=PERIOD)
    first = await core.issue(books, "c", asked, AT)
    await books.commit()
    with pytest.raises(BilledAlreadyError, match="subscription s: this period has an invoice"):
        await core.issue(books, "c", asked, AT)
    await books.rollback()
    await core.void(books, first.invoice_id, AT)
    again = await core.issue(books, "c", asked, AT)
    assert again.number > first.number
    await pay(books, again)
    await core.credit(books, again.invoice_id, 99, "refund", AT)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (draft(), InvoiceError, "without lines"),
        (draft(5, -6), InvoiceError, "of -1 EUR cannot be"),
        (draft(10**11 + 1), InvoiceError, "cannot be"),
        (draft(5, tax_country=""), InvoiceError, "names none"),
        (Draft("rent", "purchase", "EUR", [Line("gift", 5)]), InvoiceError, "lines of kind gift"),
        (Draft("rent", "purchase", "EURO", [Line("rent", 5)]), MoneyError, "no currency 'EURO'"),
    ],
)
def test_a_draft_that_cannot_be_is_refused(wrong: Draft, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        finished(wrong)


async def test_nobody_has_no_invoice(books: psycopg.AsyncConnection) -> None:
    with pytest.raises(InvoiceError, match="no customer 'nobody'"):
        await core.issue(books, "nobody", draft(5), AT)


LINES = st.lists(st.integers(1, 10**8), min_size=1, max_size=4).flatmap(
    lambda amounts: st.tuples(
        st.just([Line("plan", amount) for amount in amounts]),
        st.integers(0, sum(amounts) - 1).map(lambda off: [Line("discount", -off)] if off else []),
    ).map(lambda pair: pair[0] + pair[1])
)


@given(LINES, st.integers(0, 10_000))
def test_taxes_of_lines_make_the_tax_of_the_total(lines: list[Line], rate: int) -> None:
    made = taxed(lines, rate)
    assert sum(line.tax_minor for line in made) == tax_included(sum(line.amount_minor for line in lines), rate)
    for line in made:
        assert abs(line.tax_minor - line.amount_minor * rate / (10_000 + rate)) <= 1 + 1e-6


@given(st.integers(0, 300), st.integers(-300, 400))
def test_credit_is_used_up_but_for_a_tiny_rest_to_pay(total: int, credit: int) -> None:
    used = spent(total, credit, 50)
    assert 0 <= used <= max(0, credit)
    due = total - used
    assert due == 0 or due >= 50 or (used, total) == (0, due)
    assert used in (min(total, max(0, credit)), max(0, total - 50))


@pytest.mark.parametrize(
    ("currency", "minor"), [("EUR", 50), ("RUB", 100), ("GBP", 30), ("CZK", 1_500), ("JPY", 50), ("KWD", 500)]
)
def test_the_smallest_charge_is_that_of_the_currency(currency: str, minor: int) -> None:
    assert least(currency) == minor


ANY_LINES = st.lists(
    st.tuples(st.sampled_from(["plan", "unused", "rent", "buy", "discount"]), st.integers(-(10**6), 10**6)).map(
        lambda pair: Line(*pair)
    ),
    min_size=1,
    max_size=6,
)


@given(ANY_LINES, st.sampled_from([0, 700, 2_200]))
def test_a_charge_is_its_lines_and_void_takes_back_all_of_it(lines: list[Line], rate: int) -> None:
    made = _Bill(taxed(lines, rate))
    fact, undone = facts.charge(made, AT), facts.void(made, AT)
    sums = {(posting.ledger, posting.party): posting.amount_minor for posting in fact.postings}
    if fact.postings:
        ledger.check(fact)
    assert sums.get(("receivable", "c"), 0) == sum(line.amount_minor for line in lines)
    assert sums.get(("tax", "RU"), 0) == -sum(line.tax_minor for line in made.lines)
    for name, kinds in {"subscription": ("plan", "unused"), "rental": ("rent",), "discount": ("discount",)}.items():
        net = sum(line.amount_minor - line.tax_minor for line in made.lines if line.kind in kinds)
        assert sums.get((name, ""), 0) == -net
    assert {(posting.ledger, posting.party): -posting.amount_minor for posting in undone.postings} == sums


@dataclass(frozen=True)
class _Bill:
    lines: tuple[Line, ...]
    invoice_id: str = "i"
    customer_id: str = "c"
    currency: str = "RUB"
    tax_country: str = "RU"


@pytest.mark.parametrize(
    ("bill", "says"),
    [
        (_Bill((Line("gift", 5),)), "no ledger is for lines of kind 'gift'"),
        (_Bill((Line("plan", 122, 22),), tax_country=""), "no country"),
    ],
)
def test_a_bill_that_no_ledger_knows_is_refused(bill: _Bill, says: str) -> None:
    with pytest.raises(LedgerError, match=says):
        facts.charge(bill, AT)


@given(LINES, st.integers(0, 5_000), st.lists(st.floats(0.01, 1), max_size=5))
def test_notes_never_give_back_more_and_together_give_all_back(
    lines: list[Line], rate: int, steps: list[float]
) -> None:
    made, done = taxed(lines, rate), 0
    total = sum(line.amount_minor for line in made)
    sums = [[0, 0] for _ in made]
    while done < total:
        amount = max(1, int((total - done) * steps.pop())) if steps else total - done
        note = returned([_marked(line, place) for place, line in enumerate(made)], done, amount)
        assert sum(line.amount_minor for line in note) == amount
        assert 0 <= sum(line.tax_minor for line in note) <= amount
        for line in note:
            place = int(line.title_id or 0)
            sums[place][0] += line.amount_minor
            sums[place][1] += line.tax_minor
        done += amount
    assert sums == [[line.amount_minor, line.tax_minor] for line in made]


def _marked(line: Line, place: int) -> Line:
    return replace(line, title_id=str(place))
