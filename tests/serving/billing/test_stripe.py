"""Stripe against a local server of its API: the contract of all providers, and what is Stripe's own."""

import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe import WebhookSignature

from matinee.clock import ManualClock
from matinee.errors import SettingsError
from matinee.ids import uuid7
from serving.billing.ledger.money import Money
from serving.billing.providers.base import ForgedError, ProviderAwayError, ProviderRefusedError, State
from serving.billing.providers.stripe import Stripe
from serving.billing.providers.stripe.amounts import received, sent
from serving.billing.providers.stripe.notices import notice
from tests.providers.faults import Fault
from tests.providers.stripe_bench import StripeBench
from tests.providers.stripe_server import StripeServer
from tests.serving.billing.provider_contract import ProviderContract, again, moved, order, saved, seen

# The library gives httpx its forms as text.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>'")


@pytest.fixture(scope="module")
def server() -> Iterator[StripeServer]:
    running = StripeServer(ManualClock())
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def bench(server: StripeServer, tmp_path: Path) -> AsyncIterator[StripeBench]:
    server.reset()
    assert isinstance(server.clock, ManualClock)
    made = StripeBench(server, server.clock, tmp_path)
    yield made
    await made.aclose()


class TestStripe(ProviderContract):
    pass


async def test_one_person_is_one_customer_and_pages_are_in_their_language_and_currency(bench: StripeBench) -> None:
    first, _ = await saved(bench)
    await bench.provider.open(order(bench, customer_id=first.customer_id, language="ru", money=Money(5_000, "JPY")))
    await bench.provider.open(order(bench, email=None))
    assert len(bench.server.store.every("customer")) == 2
    russian, page = bench.server.store.every("checkout.session")[1:]
    assert (page["locale"], page["currency"], page["amount_total"]) == ("en", "eur", 999)
    assert (russian["locale"], russian["currency"], russian["amount_total"]) == ("ru", "jpy", 5_000)
    html = (await bench.browser.get(russian["url"])).text
    assert re.search("<h1>Premium, a month</h1><p>5000 JPY</p>", html)


async def test_another_card_may_be_tried_on_the_same_page(bench: StripeBench) -> None:
    page = await bench.provider.open(asked := order(bench))
    for card in ("poor", "secure", "good"):
        await bench.pay(page.checkout_url or "", card, owner=False)
    assert (await seen(bench, asked.payment_id)).state is State.succeeded
    assert await bench.charged(asked.payment_id) == [999]


async def test_pages_expire_and_are_found_among_many(bench: StripeBench) -> None:
    asked = order(bench)
    page = await bench.provider.open(asked)
    for _ in range(120):  # more than a page of Stripe's lists
        bench.server.store.make(
            "cs_test", "checkout.session", status="open", expires_at=10**11, client_reference_id="another's"
        )
    assert (await seen(bench, asked.payment_id)).ref == page.ref
    bench.clock.advance(timedelta(hours=25))
    gone = await seen(bench, asked.payment_id)
    assert (gone.state, gone.failure, gone.checkout_url) == (State.failed, "expired", None)


async def test_refunds_may_take_their_time_and_may_come_back(bench: StripeBench) -> None:
    slow, lost = [await saved(bench, card) for card in ("slow_refund", "lost_refund")]
    told = []
    for first, _ in (slow, lost):
        ref, refund_id = (await seen(bench, first.payment_id)).ref, uuid7(bench.clock)
        made = await bench.provider.refund(refund_id, ref, Money(999, "EUR"))
        bench.clock.advance(timedelta(minutes=2))
        now = await bench.provider.look_refund(refund_id, made.ref, ref)
        assert now is not None
        told.append((made.state, now.state, now.failure, (await seen(bench, first.payment_id)).refunded_minor))
    assert told == [
        (State.pending, State.succeeded, None, 999),
        (State.succeeded, State.failed, "expired_or_canceled_card", 0),
    ]
    moves = await moved(bench)
    assert [each.money.minor for each in moves if each.kind == "refund"] == [999, -999, -999]
    assert sum(each.money.minor for each in moves) == await bench.balance()


@pytest.mark.parametrize(
    ("status", "state", "failure"),
    [("processing", State.pending, None), ("requires_payment_method", State.failed, "canceled")],
)
async def test_a_bank_transfer_ends_after_its_page(bench: StripeBench, status: str, state: State, failure: str) -> None:
    page = await bench.provider.open(asked := order(bench))
    await bench.pay(page.checkout_url or "", "secure", owner=False)
    (intent,), (kept,) = (bench.server.store.every(kind) for kind in ("payment_intent", "checkout.session"))
    kept.update(status="complete", url=None)
    intent.update(status=status, last_payment_error=None)
    now = await seen(bench, asked.payment_id, page.ref)
    assert (now.state, now.failure, now.checkout_url) == (state, failure, None)


async def test_what_stripe_converts_is_told_in_the_currency_that_was_paid_in(bench: StripeBench) -> None:
    first, _ = await saved(bench)
    (change,) = bench.server.store.every("balance_transaction")
    change.update(currency="usd", amount=1_080, fee=64, net=1_016, exchange_rate=1.08)
    assert (await seen(bench, first.payment_id)).fee_minor == 59
    bench.server.store.payout("usd")
    told = [(each.kind, each.money.minor, each.money.currency) for each in await moved(bench)]
    assert told == [("payout", -1_016, "USD"), ("payment", 999, "EUR"), ("fee", -59, "EUR")]


async def test_another_accounts_key_does_not_mean_that_nobody_was_charged(bench: StripeBench) -> None:
    first, _ = await saved(bench)
    ref = (await seen(bench, first.payment_id)).ref
    bench.server.store.things.clear()
    with pytest.raises(ProviderRefusedError, match=ref):
        await bench.provider.look(first.payment_id, ref)


async def test_logs_hold_neither_keys_nor_people(bench: StripeBench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    first, method = await saved(bench)
    bench.faults.plan(Fault.gateway)
    with pytest.raises(ProviderAwayError):
        await bench.provider.charge(again(bench, first, method))
    ours = [each for each in caplog.records if not each.name.startswith("http")]  # those the API silences itself
    told = "\n".join(each.getMessage() for each in ours)
    assert not re.search(f"ada@|ada%40|{bench.server.key}|4242", told)


async def test_a_wrong_key_is_refused_and_told_to_nobody(bench: StripeBench) -> None:
    secret = "sk_live_notreally000000000000"
    stranger = Stripe(bench.settings.model_copy(update={"stripe_secret_key": secret}))
    with pytest.raises(ProviderRefusedError, match="401") as refused:
        await stranger.open(order(bench))
    await stranger.aclose()
    assert secret not in f"{refused.value!r} {refused.value} {bench.settings.model_copy()!r}"
    assert bench.server.key not in repr(bench.settings)
    with pytest.raises(ProviderRefusedError, match="No such") as echoed:
        await bench.provider.look("", f"cs_{bench.server.key}")
    assert bench.server.key not in str(echoed.value)
    for update, name in (({"stripe_secret_key": None}, "SECRET_KEY"), ({"stripe_url": "http://example.org"}, "URL")):
        with pytest.raises(SettingsError, match=name):
            Stripe(bench.settings.model_copy(update=update))


async def test_webhooks_without_a_secret_or_a_sense_are_not_believed(bench: StripeBench) -> None:
    deaf = Stripe(bench.settings.model_copy(update={"stripe_webhook_secret": None}))
    now = bench.clock.now()
    for body in ("[]", '"x"', "{}", '{"id": "evt_1", "type": "x", "data": {"object": []}}', "{", "null"):
        headers, signed = bench.server.store.signed(body, int(now.timestamp()))
        for provider in (bench.provider, deaf):
            with pytest.raises(ForgedError):
                provider.notice(headers, signed, now, "")
    headers, _ = bench.server.store.signed("x", int(now.timestamp()))
    with pytest.raises(ForgedError):
        bench.provider.notice(headers, b"\xff\xfe", now, "")
    thing = {"id": "evt_9", "type": "brand.new", "data": {"object": {"id": "bn_1"}}}
    headers, signed = bench.server.store.signed(json.dumps(thing), int(now.timestamp()))
    told = bench.provider.notice(headers, signed, now, "")
    assert (told.kind, told.event_id, told.payment_id) == ("other", "evt_9", None)
    assert await bench.provider.whose(told) is None
    await deaf.aclose()


ANYTHING = st.sampled_from([None, 7, "", "text", [], [1], {}, {"payment_id": 7, "id": "pi_1"}])
THING = st.dictionaries(st.sampled_from(["id", "metadata", "payment_intent", "client_reference_id"]), ANYTHING)
EVENT = st.fixed_dictionaries(
    {"id": ANYTHING, "type": ANYTHING, "data": st.fixed_dictionaries({"object": ANYTHING | THING})}
)


@settings(max_examples=100, deadline=None)
@given(event=EVENT | ANYTHING, header=st.none() | st.text("tv10=,é ", max_size=30))
def test_whatever_a_webhook_holds_it_is_a_notice_or_a_forgery(event: Any, header: str | None) -> None:
    now, body = datetime(2026, 1, 1, tzinfo=UTC), json.dumps(event)
    signed = WebhookSignature.generate_signature_header(body, "whsec_x", int(now.timestamp()))
    try:
        told = notice({"STRIPE-Signature": signed if header is None else header}, body.encode(), now, "whsec_x")
    except ForgedError:
        return
    assert header is None
    assert told.event_id == str(event["id"])
    assert told.payment_id is None or isinstance(told.payment_id, str)


@pytest.mark.parametrize(
    ("money", "amount"),
    [("999 EUR", 999), ("500 JPY", 500), ("5 ISK", 500), ("7 UGX", 700), ("1250 HUF", 1_250), ("5120 KWD", 5_120)],
)
def test_amounts_are_of_stripes_minor_unit(money: str, amount: int) -> None:
    minor, currency = money.split()
    assert sent(Money(int(minor), currency)) == amount
    assert received(amount, currency.lower()) == Money(int(minor), currency)


def test_amounts_that_stripe_does_not_take_are_refused() -> None:
    with pytest.raises(ProviderRefusedError):
        sent(Money(5_121, "KWD"))
    assert [received(cents, "isk").minor for cents in (149, 150, 250, -150)] == [1, 2, 2, -2]
