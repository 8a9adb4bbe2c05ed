"""Renting and buying: at whose price, who may, what the money opens and its return closes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ingest.catalog import ingest_feed
from serving.billing.invoices import core as invoices
from serving.billing.promo import core as promos
from serving.billing.promo.core import NewPromo
from serving.billing.purchases import core
from serving.billing.purchases.offers import Offer, choose
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights import rentals
from serving.rights.entitlements import Entitlements as Held
from serving.rights.entitlements import HeldPlan, parse

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
PLAIN = Offer("rent", (), Decimal("3.99"), "EUR", (), None, None)


def rent(price, currency="EUR", **more):
    return {"kind": "rent", "price": price, "currency": currency, **more}


FILMS = {
    "film": (6, [rent("3.99"), rent("4.50", "GBP", regions=["GB"]), rent("199.00", "RUB"), rent("500", "JPY"),
                 {**rent("12.00"), "kind": "buy"}]),
    "french": (6, [rent("3.00", regions=["FR"])]),
    "grown": (18, [rent("3.00")]),
    "over": (6, [rent("3.00", until="2026-03-10T12:00:00Z"), {"kind": "subscription", "plans": ["premium"]}]),
    "given": (6, [rent("0.00")]),
    "planned": (6, [rent("3.00"), {"kind": "subscription", "plans": ["basic"]}]),
    "unfilmed": (6, [rent("3.00")]),
    "show": (6, [rent("9.00"), {**rent("19.00"), "kind": "buy"}]),
}  # fmt: skip


@pytest.fixture
def shop(settings, books, tmp_path):
    """A catalogue with films for all but `unfilmed`."""
    lines = [
        {"id": name, "kind": "series" if name == "show" else "film", "titles": {"en": name.title()}, "maturity": age,
         "offers": offers}
        for name, (age, offers) in FILMS.items()
    ]  # fmt: skip
    lines += [{"id": "show-e1", "kind": "episode", "parent": "show", "titles": {"en": "One"}, "maturity": 6}]
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(map(json.dumps, lines)))
    assert not ingest_feed(books, feed).rejected
    books.execute(
        "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
        "SELECT title_id, title_id, 'film.mp4', 'x', 1, 'accepted' FROM title WHERE title_id <> 'unfilmed'"
    )
    books.execute(
        "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
        "SELECT title_id, title_id, title_id, 'published', 1000 FROM master"
    )
    return books


def viewer_of(customer_id, region="DE", maturity=18):
    return Viewer(customer_id.removeprefix("customer of "), "p", maturity, "en", region)


async def pay(connection, invoice, at=AT):
    """As a payment of the whole does, but for the money: the invoice has to be of nothing, or the test void it."""
    await invoices.paid(connection, invoice.invoice_id, at)
    await promos.redeemed(connection, invoice.invoice_id, at)
    await core.paid(connection, invoice, at)
    await core.paid(connection, invoice, at)  # told twice


async def held(connection, customer_id, at=AT):
    found = await connection.execute("SELECT entitlements_of(%s, %s)", (customer_id.removeprefix("customer of "), at))
    return parse((await found.fetchone())[0])


@pytest.mark.parametrize(
    ("region", "price"), [("DE", ("EUR", 399)), ("GB", ("GBP", 450)), ("RU", ("RUB", 19_900)), ("JP", ("JPY", 500)),
                          ("FR", ("EUR", 399)), (None, ("EUR", 399))],
)  # fmt: skip
async def test_the_price_is_that_of_the_region(shop, connection, customer, region, price):
    who = customer(region)
    invoice = await core.order(connection, who, viewer_of(who, region), "film", "rent", AT)
    assert (invoice.currency, invoice.total_minor) == price
    assert (invoice.tax_country, invoice.title_id, invoice.purpose) == (region or "", "film", "rent")
    rates = {"RU": 2_200, "JP": 1_000, "DE": 1_900, None: 0}
    rate = rates.get(region, 2_000)
    assert invoice.tax_minor == round(price[1] * rate / (10_000 + rate))
    assert [line.names for line in invoice.lines] == [{"en": "Film"}]
    assert await core.order(connection, who, viewer_of(who, region), "film", "rent", AT) == invoice, "not twice"


def test_of_several_offers_the_one_that_is_meant_for_the_viewer():
    ours = replace(PLAIN, currency="GBP", regions=("GB",), price=Decimal(9))
    member = replace(PLAIN, plans=("premium",), price=Decimal(1))
    basic = Held((HeldPlan("premium", frozenset({"premium", "basic"}), 4),))
    assert choose([PLAIN, ours], "GB", Held(), AT) == ours
    assert choose([ours, PLAIN], "DE", Held(), AT) == PLAIN
    cheaper = replace(PLAIN, price=Decimal(2))
    assert choose([PLAIN, cheaper], "DE", Held(), AT) == cheaper
    assert choose([PLAIN, member], "DE", Held(), AT) == PLAIN
    assert choose([PLAIN, member], "DE", basic, AT) == member
    assert choose([replace(PLAIN, from_=AT + timedelta(1))], "DE", Held(), AT) is None


@pytest.mark.parametrize(
    ("title", "kind", "region", "maturity", "refused"),
    [
        ("none", "rent", "DE", 18, (404, "unknown_title")),
        ("french", "rent", "DE", 18, (403, "region")),
        ("french", "buy", "FR", 18, (409, "not_on_offer")),
        ("over", "rent", "DE", 18, (409, "not_on_offer")),
        ("grown", "rent", "DE", 12, (403, "maturity")),
        ("given", "rent", "DE", 18, (409, "no_price")),
        ("unfilmed", "rent", "DE", 18, (409, "not_playable")),
    ],
)
async def test_what_is_not_for_sale(shop, connection, customer, title, kind, region, maturity, refused):
    who = customer(region)
    with pytest.raises(Problem) as problem:
        await core.order(connection, who, viewer_of(who, region, maturity), title, kind, AT)
    assert (problem.value.status, problem.value.code) == refused
    assert shop.execute("SELECT count(*) FROM invoice").fetchone() == (0,)


async def test_a_price_with_wrong_decimals_from_an_older_feed_is_not_asked_for(shop, connection, customer):
    who = customer("JP")
    shop.execute("UPDATE offer SET price = 500.50 WHERE title_id = 'film' AND currency = 'JPY'")
    with pytest.raises(Problem, match="JPY has 0; mend its feed"):
        await core.order(connection, who, viewer_of(who, "JP"), "film", "rent", AT)


@pytest.mark.parametrize(("price", "told"), [("0.49", r"€0\.49 is less than providers charge, €0\.50"), ("0.50", None)])
async def test_what_no_provider_charges_is_not_for_sale(shop, connection, customer, price, told):
    who = customer("DE")
    shop.execute("UPDATE offer SET price = %s WHERE title_id = 'film' AND currency = 'EUR'", (price,))
    if told is None:
        assert (await core.order(connection, who, viewer_of(who, "DE"), "film", "rent", AT)).due_minor == 50
        return
    with pytest.raises(Problem, match=told) as refused:
        await core.order(connection, who, viewer_of(who, "DE"), "film", "rent", AT)
    assert (refused.value.status, refused.value.code) == (409, "no_price")


async def test_money_opens_the_title_once_and_its_return_closes_it(shop, connection, customer):
    who = customer()
    viewer = viewer_of(who)
    await promos.add(connection, NewPromo("FREE", "percent", 10_000, titles=("film", "show"), limit_person=9), AT)

    async def order(title, kind, at=AT):
        return await core.order(connection, who, viewer, title, kind, at, promo="free")

    first = await order("film", "rent")
    assert (first.due_minor, first.tax_minor, first.discount_minor) == (0, 0, 399)
    await pay(connection, first)
    (rental,) = (await held(connection, who)).titles
    assert (rental.kind, rental.window.until) == ("rent", AT + rentals.TO_START)
    with pytest.raises(Problem) as refused:
        await order("film", "rent")
    assert refused.value.code == "rented"
    assert await rentals.start(connection, rental, AT) == AT + rentals.TO_WATCH
    later = AT + rentals.TO_WATCH
    assert not (await held(connection, who, later)).titles
    again = await order("film", "rent", later)  # over: it may be rented anew
    bought = await order("film", "buy", later)  # thought better of
    assert (await invoices.get(connection, again.invoice_id)).state == "void"
    await pay(connection, bought, later)
    for kind in ("rent", "buy"):
        with pytest.raises(Problem) as refused:
            await order("film", kind, later)
        assert refused.value.code == "owned"
    await core.withdrawn(connection, bought, later)
    await core.withdrawn(connection, bought, later)  # told twice
    assert not (await held(connection, who, later)).titles
    assert (await order("film", "buy", later)).state == "open"
    changes = await connection.execute("SELECT payload ->> 'why' FROM outbox WHERE topic = 'account' ORDER BY id")
    assert [why for (why,) in await changes.fetchall()] == ["rent", "buy", "refunded"]
    uses = await connection.execute("SELECT used FROM promo")
    assert await uses.fetchone() == (3,), "two paid, one reserved, one given back"


async def test_a_rental_that_was_taken_back_does_not_start(shop, connection, customer):
    who = customer()
    await promos.add(connection, NewPromo("FREE", "percent", 10_000), AT)
    invoice = await core.order(connection, who, viewer_of(who), "film", "rent", AT, promo="free")
    await pay(connection, invoice)
    (rental,) = (await held(connection, who)).titles
    later = AT + timedelta(hours=1)
    await core.withdrawn(connection, invoice, later)
    assert not (await held(connection, who, later)).titles
    with pytest.raises(Problem) as refused:
        await rentals.start(connection, rental, later)
    assert refused.value.code == "rental"


async def test_an_episode_is_sold_with_its_series_and_what_a_plan_opens_is_not_rented(shop, connection, customer):
    who = customer()
    invoice = await core.order(connection, who, viewer_of(who), "show-e1", "buy", AT)
    assert (invoice.title_id, invoice.total_minor, invoice.lines[0].names) == ("show", 1_900, {"en": "Show"})
    await rentals.give(connection, who.removeprefix("customer of "), "grant", AT, plan_id="basic")
    with pytest.raises(Problem) as refused:
        await core.order(connection, who, viewer_of(who), "planned", "rent", AT)
    assert refused.value.code == "included"


async def test_who_erased_the_account_gets_nothing_and_owes_nothing(shop, connection, customer):
    who = customer()
    await promos.add(connection, NewPromo("FREE", "percent", 10_000), AT)
    invoice = await core.order(connection, who, viewer_of(who), "film", "buy", AT, promo="free")
    await connection.execute("DELETE FROM account")
    await pay(connection, invoice)
    entitlements = await connection.execute("SELECT count(*) FROM entitlement")
    assert await entitlements.fetchone() == (0,)
