"""Stripe against a local server of its API: the contract of all providers, and what is Stripe's own."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from matinee.clock import ManualClock
from matinee.errors import SettingsError
from matinee.settings import Settings
from serving.billing.ledger.money import Money
from serving.billing.providers.base import ForgedError, Provider, ProviderRefusedError, State
from serving.billing.providers.stripe import Stripe
from serving.billing.providers.stripe.amounts import received, sent
from tests.providers.stripe_server import CARDS, StripeServer
from tests.serving.billing.provider_contract import ProviderContract, Webhook, order, saved, seen

PATIENCE_S = 0.2
# The library gives httpx its forms as text.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>'")


class StripeBench:
    currency = "EUR"

    def __init__(self, server: StripeServer, clock: ManualClock, home: Path) -> None:
        self.server, self.clock, self.faults = server, clock, server.faults
        self.settings = Settings.load(home).model_copy(
            update={
                "stripe_secret_key": server.key,
                "stripe_webhook_secret": server.webhook_secret,
                "stripe_url": server.store.url,
            }
        )
        self.provider: Provider = Stripe(self.settings, clock)
        self.impatient: Provider = Stripe(self.settings.model_copy(update={"payments_patience_s": PATIENCE_S}), clock)
        self.browser = httpx.AsyncClient(timeout=10)

    async def pay(self, url: str, card: str, *, owner: bool = True) -> None:
        number = CARDS["good" if card == "later_poor" else card]
        answer = await self.browser.post(url, data={"card": number})
        if "/3d_secure/" in answer.headers.get("location", ""):
            await self.confirm(answer.headers["location"], owner=owner)
        if card == "later_poor":  # no card of Stripe's list does that: the account behind it runs dry
            self.server.store.cards.update(dict.fromkeys(self.server.store.prepared, CARDS["poor"]))

    async def confirm(self, url: str, *, owner: bool = True) -> None:
        assert (await self.browser.get(url)).status_code == 200
        await self.browser.post(url, data={"answer": "complete" if owner else "fail"})

    async def charged(self, payment_id: str) -> list[int]:
        taken = self.server.store.every("charge", status="succeeded")
        return [each["amount"] for each in taken if each["metadata"]["payment_id"] == payment_id]

    async def refunded(self, payment_id: str) -> list[int]:
        return [each["amount"] for each in self.server.store.every("refund", charge=self._charge(payment_id)["id"])]

    async def dispute(self, payment_id: str) -> None:
        self.server.store.dispute(self._charge(payment_id))

    async def close_dispute(self, payment_id: str, *, won: bool) -> None:
        (made,) = self.server.store.every("dispute", charge=self._charge(payment_id)["id"])
        self.server.store.close_dispute(made, won=won)

    async def payout(self) -> None:
        self.server.store.payout("eur")

    async def balance(self) -> int:
        return self.server.store.balance("eur")

    async def webhooks(self) -> list[Webhook]:
        return [Webhook(*each) for each in self.server.store.untold()]

    def forgeries(self, real: Webhook) -> list[tuple[Webhook, datetime]]:
        now, body = self.clock.now(), real.body
        moment, signature = str(int(now.timestamp())), real.headers["Stripe-Signature"].partition("v1=")[2]
        stranger = self.server.store.signed(body.decode(), int(now.timestamp()), "whsec_stranger")
        headers = [
            f"t={int(moment) + 1},v1={signature}",  # another time than was signed
            f"t={moment},v0={signature}",
            f"t={moment},v1=",
            f"t={moment},v1=é{signature}",
            f"t=1_{moment[1:]},v1={signature}",
            f"t={moment},t={int(moment) + 400},v1={signature}",
            "",
        ]
        return [
            (Webhook(real.headers, body.replace(b"evt_", b"evil")), now),
            (Webhook(*stranger), now),
            (real, now + timedelta(seconds=301)),
            (real, now - timedelta(seconds=61)),
            (Webhook({}, body), now),
            *((Webhook({"stripe-signature": header}, body), now) for header in headers),
        ]

    def gone(self) -> AbstractContextManager[None]:
        return self.server.running.gone()

    def _charge(self, payment_id: str) -> dict[str, object]:
        taken = self.server.store.every("charge", status="succeeded")
        return next(each for each in taken if each["metadata"]["payment_id"] == payment_id)

    async def aclose(self) -> None:
        for each in (self.provider, self.impatient, self.browser):
            await each.aclose()


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


async def test_a_wrong_key_is_refused_and_told_to_nobody(bench: StripeBench) -> None:
    secret = "sk_live_notreally000000000000"
    stranger = Stripe(bench.settings.model_copy(update={"stripe_secret_key": secret}))
    with pytest.raises(ProviderRefusedError, match="401") as refused:
        await stranger.open(order(bench))
    await stranger.aclose()
    assert secret not in f"{refused.value!r} {refused.value} {bench.settings.model_copy()!r}"
    assert bench.server.key not in repr(bench.settings)
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
