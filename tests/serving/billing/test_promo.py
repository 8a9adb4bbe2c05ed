"""Promo codes: what they take off, for whom, and exactly how often."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from serving.billing.invoices import core as invoices
from serving.billing.invoices.lines import Draft, Line, taxed
from serving.billing.promo import core
from serving.billing.promo.codes import PromoError, key_of, written
from serving.billing.promo.core import NewPromo
from serving.billing.promo.terms import Promo, apply, left_after

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
MONTH = Line("plan", 999, names={"en": "Basic"}, plan_id="basic", price_id="basic-month-eur", months=1)
YEAR = replace(MONTH, amount_minor=9_990, months=12, price_id="basic-year-eur")
FILM = Line("rent", 399, title_id="film")


@given(st.text("ABCЯЁ0O-О", min_size=3, max_size=20))
def test_a_code_is_found_however_it_is_written(text):
    try:
        code = written(text)
    except PromoError:
        return
    for other in (code.lower(), code.replace("-", " "), code.replace("-", "–"), f" {code}\u200b"):
        assert key_of(other) == key_of(code)


def test_the_database_finds_codes_as_we_do(books):
    every = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"
    for start in range(0, len(every) - 16, 8):
        code = every[start : start + 16].strip("-")
        books.execute(
            "INSERT INTO promo (promo_id, code, kind, value, created_at) VALUES (%s, %s, 'percent', 1, %s)",
            (code, code, AT),
        )
    kept = books.execute("SELECT code, key FROM promo").fetchall()
    assert kept
    assert all(key_of(code) == key for code, key in kept)


@given(
    kind=st.sampled_from(["percent", "amount", "free_period"]),
    value=st.integers(1, 24) | st.integers(1, 10_000),
    lines=st.lists(st.sampled_from([MONTH, YEAR, FILM, replace(MONTH, plan_id="premium", amount_minor=1)]), min_size=1),
    unused=st.integers(0, 500),
    plans=st.sampled_from([frozenset(), frozenset({"basic"})]),
    tax=st.sampled_from([0, 700, 2_000, 2_200]),
)
def test_never_more_comes_off_than_there_is_to_pay(kind, value, lines, unused, plans, tax):
    promo = Promo("p", "CODE", kind, value, "EUR" if kind == "amount" else None, left=value, plans=plans)
    lines = [*lines, Line("unused", -min(unused, sum(line.amount_minor for line in lines)))]
    after = apply(promo, lines, 50)
    rest = sum(line.amount_minor for line in after)
    covered = sum(
        line.amount_minor
        for line in lines
        if line.amount_minor > 0
        and (line.plan_id == "basic" or not plans)
        and (line.kind == "plan" or kind != "free_period")
    )
    before = sum(line.amount_minor for line in lines)
    assert max(0, before - covered) <= rest <= before
    assert [line.kind for line in after[len(lines) :]] == (["discount"] if rest < before else [])
    assert sum(line.tax_minor for line in taxed(after, tax)) == round(rest * tax / (10_000 + tax))
    assert 0 <= (left_after(promo, after) or 0) <= value


@pytest.mark.parametrize(
    ("promo", "lines", "off", "left"),
    [
        (Promo("p", "C", "percent", 2_500, left=3), [MONTH], 250, 2),  # 249.75
        (Promo("p", "C", "percent", 10_000, left=None), [MONTH], 999, None),
        (Promo("p", "C", "percent", 9_600), [MONTH], 999, 0),  # nobody is asked for 0.40
        (Promo("p", "C", "amount", 949, "EUR"), [MONTH], 949, 0),
        (Promo("p", "C", "amount", 2_000, "EUR"), [MONTH], 999, 0),
        (Promo("p", "C", "amount", 300, "EUR", left=2), [FILM], 300, 0),  # a title has one period
        (Promo("p", "C", "free_period", 3, left=3), [MONTH], 999, 2),
        (Promo("p", "C", "free_period", 3, left=3), [YEAR], 2_498, 0),  # a quarter of 99.90 is 24.975: to the even
        (Promo("p", "C", "free_period", 3, left=3), [FILM], 0, 3),
        (Promo("p", "C", "percent", 5_000, titles=frozenset({"film"})), [MONTH, FILM], 200, 0),
    ],
)
def test_what_comes_off_and_what_is_left(promo, lines, off, left):
    assert -sum(line.amount_minor for line in apply(promo, lines, 50)[len(lines) :]) == off
    assert left_after(promo, lines) == left


async def take(connection, customer_id, code, lines=(MONTH,), currency="EUR", *, at=AT):
    """An open invoice with the code, as subscriptions and purchases issue it."""
    promo = await core.reserve(connection, code, customer_id, lines, currency, at)
    purpose = "subscription" if lines[0].kind == "plan" else lines[0].kind
    draft = Draft(purpose, "start", currency, apply(promo, lines, 50), "DE", 1_900, "DE")
    invoice = await invoices.issue(connection, customer_id, draft, at)
    await core.attach(connection, promo, invoice, at)
    return invoice


async def end(connection, invoice, at=AT, *, paid: bool):
    if paid:
        await invoices.paid(connection, invoice.invoice_id, at)
        await core.redeemed(connection, invoice.invoice_id, at)
    else:
        await invoices.void(connection, invoice.invoice_id, at)
        await core.released(connection, invoice.invoice_id, at)
        await core.released(connection, invoice.invoice_id, at)  # told twice


async def test_ten_uses_and_a_hundred_at_once(settings, books, customer):
    people = [customer() for _ in range(100)]
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        await core.add(connection, NewPromo("TEN-ONLY", "percent", 10_000, limit_total=10), AT)
    opened = [await psycopg.AsyncConnection.connect(settings.database()) for _ in range(50)]
    held: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
    for one in opened:
        held.put_nowait(one)

    async def redeem(customer_id):
        connection = await held.get()
        try:
            async with connection.transaction():
                await end(connection, await take(connection, customer_id, "ten only"), paid=True)
        except PromoError as error:
            return error.code
        finally:
            held.put_nowait(connection)
        return "paid"

    told = await asyncio.gather(*(redeem(one) for one in people))
    for one in opened:
        await one.close()
    assert sorted(told) == ["paid"] * 10 + ["promo_exhausted"] * 90
    assert books.execute("SELECT used FROM promo").fetchone() == (10,)
    assert books.execute("SELECT count(*), sum(total_minor), sum(tax_minor) FROM invoice").fetchone() == (10, 0, 0)


async def test_one_person_many_times_at_once_gets_it_once(settings, books, customer):
    who = customer()
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        await core.add(connection, NewPromo("ONCE", "percent", 5_000, limit_total=10, first_time=True), AT)

    async def redeem():
        async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
            try:
                await take(connection, who, "once")
            except PromoError as error:
                return error.code
            return "taken"

    assert sorted(await asyncio.gather(*(redeem() for _ in range(8)))) == ["promo_used"] * 7 + ["taken"]
    assert books.execute("SELECT used FROM promo").fetchone() == (1,)


async def test_a_use_comes_back_when_its_invoice_is_void_and_stays_used_when_paid(connection, books, customer):
    who, other = customer(), customer()
    await core.add(connection, NewPromo("LAST", "amount", 9_999, "EUR", limit_total=1), AT)
    first = await take(connection, who, "LAST")
    with pytest.raises(PromoError, match="as often as it could be"):
        await take(connection, other, "LAST")
    await end(connection, first, paid=False)
    again = await take(connection, other, "LAST")
    await end(connection, again, paid=True)
    await core.released(connection, again.invoice_id, AT)  # paid: nothing to release
    with pytest.raises(PromoError) as refused:
        await take(connection, other, "LAST")
    assert refused.value.code == "promo_exhausted"
    await connection.commit()
    assert books.execute("SELECT used FROM promo").fetchone() == (1,)


async def test_who_may_use_what_when(connection, customer):
    who = customer()
    day = timedelta(days=1)
    for new in (
        NewPromo("ONCE", "percent", 1_000),
        NewPromo("NEW-HERE", "percent", 5_000, first_time=True),
        NewPromo("PREMIUM", "percent", 1_000, plans=("premium",)),
        NewPromo("ROUBLES", "amount", 10_000, "RUB"),
        NewPromo("SOON", "percent", 1_000, from_=AT + day),
        NewPromo("OVER", "percent", 1_000, until=AT),
        NewPromo("СНЕГ-2026", "percent", 1_000, limit_person=None),
    ):
        await core.add(connection, new, AT)
    refused = {}
    await end(connection, await take(connection, who, "once"), paid=True)
    for code in ("ONCE", "new here", "premium", "roubles", "soon", "over", "none such", "", "\0", "x" * 1_000):
        with pytest.raises(PromoError) as error:
            await take(connection, who, code)
        refused[code] = error.value.code.removeprefix("promo_")
        with pytest.raises(PromoError) as error:
            await core.look(connection, code, who, [MONTH], "EUR", AT)
        assert error.value.code.endswith(refused[code])
    assert list(refused.values()) == [
        "used", "first_time", "not_for_this", "currency", "early", "expired", *["unknown"] * 4,
    ]  # fmt: skip
    invoice = await take(connection, who, "chег 2026")  # three of its letters typed with the other layout
    assert (invoice.total_minor, invoice.discount_minor, invoice.tax_minor) == (899, 100, 144)
    assert await core.look(connection, "снег2026", who, [MONTH], "EUR", AT)
    await core.withdraw(connection, "Снег 2026", AT)
    with pytest.raises(PromoError) as error:
        await core.look(connection, "снег2026", who, [MONTH], "EUR", AT)
    assert error.value.code == "promo_expired"
    await core.add(connection, NewPromo("СНЕГ2026", "percent", 1_000), AT)  # the word is free again
    with pytest.raises(PromoError) as error:
        await core.add(connection, NewPromo("CHEГ2О26", "percent", 1_000), AT)
    assert (error.value.status, error.value.code) == (409, "promo_taken")


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (NewPromo("a!", "percent", 1_000), "3 to 32"),
        (NewPromo("CODE", "percent", 10_001), "between 1 and 10000"),
        (NewPromo("CODE", "percent", -1), "between 1 and 10000"),
        (NewPromo("CODE", "amount", 100), "needs a currency"),
        (NewPromo("CODE", "percent", 100, "EUR"), "has no currency"),
        (NewPromo("CODE", "percent", 100, limit_total=0), "at least 1"),
        (NewPromo("CODE", "percent", 100, plans=("gold",)), "no plan or title gold"),
        (NewPromo("CODE", "percent", 100, titles=("none",)), "no plan or title none"),
        (NewPromo("CODE", "free_period", 2, titles=("none",)), "of plans, not of titles"),
        (NewPromo("CODE", "percent", 100, from_=AT, until=AT), "end after it starts"),
    ],
)
async def test_codes_that_make_no_sense_are_not_made(connection, new, says):
    with pytest.raises(PromoError, match=says) as error:
        await core.add(connection, new, AT)
    assert error.value.code == "promo_invalid"


def test_the_command_makes_lists_and_withdraws(settings, books, monkeypatch):
    from serving.billing.promo.commands import promo

    monkeypatch.setenv("MATINEE_HOME", str(settings.home.root))
    monkeypatch.setenv("MATINEE_DATABASE_URL", settings.database())
    monkeypatch.setenv("MATINEE_REDIS_URL", settings.redis())
    run = CliRunner()

    def told(*words):
        answer = run.invoke(promo, words)
        return answer.exit_code, answer.output

    assert told("add", "spring-26", "--percent", "12.5", "--uses", "10", "--periods", "0")[0] == 0
    assert told("add", "three-off", "--amount", "3,00", "--currency", "EUR", "--plan", "basic")[0] == 0
    assert books.execute("SELECT code, value, periods, limit_total FROM promo ORDER BY promo_id").fetchall() == [
        ("SPRING-26", 1_250, None, 10), ("THREE-OFF", 300, 1, None),
    ]  # fmt: skip
    assert "12.5 %" in told("list")[1]
    assert told("withdraw", "Spring 26")[0] == 0
    assert "withdrawn" in told("list")[1]
    assert told("add", "x-y-z", "--percent", "1", "--free-months", "1")[0] == 2
    assert told("add", "x-y-z", "--amount", "3.001", "--currency", "EUR")[0] == 2
    assert told("withdraw", "nothing")[0] == 1
