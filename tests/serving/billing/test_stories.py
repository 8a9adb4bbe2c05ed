"""Stories of subscribers, told over HTTP, at each provider in turn; time passes when the story says so."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from fastapi import FastAPI
from psycopg import sql
from psycopg.conninfo import make_conninfo

from matinee.clock import ManualClock
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.app import create_app
from serving.billing.ledger.money import Money
from serving.billing.payments import core as payments
from serving.billing.payments.sweep import sweep
from serving.billing.products.pricing import NewPrice, set_price
from serving.billing.promo import core as promos
from serving.billing.promo.core import NewPromo
from serving.billing.renewals.core import renew
from serving.context import Context, context_of
from tests.providers.sandbox_bench import SandboxBench
from tests.providers.stripe_bench import StripeBench
from tests.providers.stripe_server import StripeServer
from tests.providers.yookassa_bench import YooKassaBench
from tests.providers.yookassa_server import KEY, SHOP, YooKassaServer
from tests.serving.billing.conftest import ledger_is_whole
from tests.serving.billing.world import stock
from tests.serving.conftest import Browser
from transcoding.keys import content_key

pytestmark = pytest.mark.asyncio(loop_scope="module")
# What is of our own making, whoever takes the money: everyday with one of them.
mostly_ours = pytest.mark.parametrize(
    "house",
    ["sandbox", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stripe", "yookassa"))],
    indirect=True,
)
BEGIN = datetime(2027, 12, 1, 9, 30, tzinfo=UTC)
TRIAL = timedelta(days=14)


@dataclass
class House:
    """The service with one provider. `bench`: the people and the bank on its other side."""

    name: str
    app: FastAPI
    clock: ManualClock
    bench: Any
    settings: Settings

    @property
    def context(self) -> Context:
        return context_of(self.app)

    @property
    def currency(self) -> str:
        return "RUB" if self.name == "yookassa" else "EUR"

    def price(self, plan: str, interval: str = "month") -> str:
        return f"{plan}-{interval}-{self.currency.lower()}"

    async def until(self, moment: datetime) -> None:
        """Time passes to there, and the day's runs with it."""
        self.clock.moment = max(moment, self.clock.moment)
        await renew(self.context.billing, self.clock.now())
        await sweep(self.context.billing, self.clock.now())

    async def later(self, **life: float) -> None:
        await self.until(self.clock.now() + timedelta(**life))

    async def told(self) -> None:
        """The provider's notices come in, each twice."""
        for hook in await self.bench.webhooks():
            caller = httpx.ASGITransport(self.app, client=(hook.address, 443))
            async with httpx.AsyncClient(transport=caller, base_url="http://matinee.test") as provider:
                for _ in range(2):
                    path = f"/api/billing/webhooks/{self.name}"
                    answer = await provider.post(path, content=hook.body, headers=dict(hook.headers))
                    assert answer.status_code == 200, answer.text

    async def code(self, new: NewPromo) -> str:
        async with self.context.transaction() as connection:
            await promos.add(connection, new, self.clock.now())
        return new.code

    def key_of(self, title_id: str) -> str:
        with psycopg.connect(self.settings.database()) as connection:
            return f"/api/watch/keys/{content_key(connection, self.settings, title_id, 'sd', 0).key_id}"


class Subscriber(Browser):
    """Somebody at home, with the service open."""

    house: House
    email: str

    async def moves_in(self, house: House) -> None:
        self.house, self.email = house, f"{uuid7()}@example.org"
        await self.sign_up(self.email, country="RU" if house.name == "yookassa" else "DE")
        tokens = house.context.tokens
        who = tokens.verify(self.session["access_token"])
        # For the whole story: years pass, and signing in anew costs more than what is told here.
        token = tokens.issue(who.account_id, who.session_id, "viewer", timedelta(days=36_500))
        self.headers["authorization"] = f"Bearer {token}"

    async def asks(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"idempotency-key": uuid7()}
        return await self.request(method, path, json=body, headers=headers)

    async def does(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.asks(method, path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pays(self, path: str, body: Any, card: str = "good") -> dict[str, Any]:
        """Orders, pays on the provider's page where there is one, and comes back."""
        order = await self.does("POST", path, body)
        if order["paid"]:
            return order
        if order["payment"]["checkout_url"]:
            await self.house.bench.pay(order["payment"]["checkout_url"], card)
        payment = await self.does("GET", f"/api/billing/payments/{order['payment']['payment_id']}")
        return {**order, "payment": payment, "paid": payment["state"] == "succeeded"}

    async def subscribes(self, price_id: str, card: str = "good", **more: Any) -> dict[str, Any]:
        return await self.pays("/api/billing/checkout", {"price_id": price_id, **more}, card)

    async def buys(self, title_id: str, kind: str, **more: Any) -> dict[str, Any]:
        return await self.pays("/api/billing/purchase", {"title_id": title_id, "kind": kind, **more})

    async def overview(self) -> dict[str, Any]:
        return await self.does("GET", "/api/billing")

    async def state(self) -> str | None:
        there = (await self.overview())["subscription"]
        return there["state"] if there else None

    async def until(self) -> datetime:
        return datetime.fromisoformat((await self.overview())["subscription"]["until"])

    async def watches(self, title_id: str) -> str:
        """`plays`, or why not."""
        answer = await self.asks("POST", f"/api/watch/{title_id}")
        return "plays" if answer.status_code == 200 else answer.json()["code"]

    async def invoices(self) -> list[tuple[str, str, int]]:
        """(purpose, state, total), the first one first."""
        found = (await self.does("GET", "/api/billing/invoices"))["items"]
        return [(one["purpose"], one["state"], one["total"]["minor"]) for one in reversed(found)]

    async def gets_back(self, order: dict[str, Any], minor: int | None = None, *, keeps_right: bool = False) -> None:
        """The staff gives a payment back."""
        made = await payments.refund(
            self.house.context.billing, order["payment"]["payment_id"], minor, "asked for", self.house.clock.now(),
            asked_by=None, keeps_right=keeps_right,
        )  # fmt: skip
        assert made.state == "succeeded"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sandbox", "stripe", "yookassa"])
async def house(
    request: pytest.FixtureRequest, base: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """One home for all stories of a provider, each with a subscriber of its own."""
    name, clock, folder = request.param, ManualClock(BEGIN), tmp_path_factory.mktemp("stories")
    database, admin = (
        f"stories_{uuid7().replace('-', '')}",
        make_conninfo(base.database(), dbname="postgres"),
    )
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template_matinee").format(sql.Identifier(database)))
    own: dict[str, Any] = {
        "MATINEE_HOME": folder / "home", "database_url": base.database().replace("/matinee?", f"/{database}?"),
        "redis_url": base.redis(), "payments": name, "limits_scale": 0, "trial_days": TRIAL.days,
    }  # fmt: skip
    opened, bench = ExitStack(), None
    if name == "stripe":
        server = StripeServer(clock)
        server.start()
        opened.callback(server.running.stop)
        own |= {
            "stripe_secret_key": server.key, "stripe_webhook_secret": server.webhook_secret,
            "stripe_url": server.store.url,
        }  # fmt: skip
        bench = StripeBench(server, clock, folder / "bench")
    elif name == "yookassa":
        server = opened.enter_context(YooKassaServer(clock).serving())
        own |= {"yookassa_shop_id": SHOP, "yookassa_secret_key": KEY, "yookassa_url": server.url}
        bench = YooKassaBench(server, clock)
    settings = Settings.model_validate(own)
    settings.home.create()
    stock(settings, folder)
    bench = bench or SandboxBench(settings, clock)
    app = create_app(settings, clock)
    async with app.router.lifespan_context(app):
        yield House(name, app, clock, bench, settings)
        await bench.aclose()
    opened.close()
    with psycopg.connect(settings.database()) as connection:
        ledger_is_whole(connection)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


@pytest_asyncio.fixture(loop_scope="module")
async def ada(house: House) -> AsyncIterator[Subscriber]:
    """A new subscriber, who is trying the service."""
    async with Subscriber(house.app) as ada:
        await ada.moves_in(house)
        yield ada
        if await ada.state() not in (None, "expired"):
            await ada.asks("POST", "/api/billing/subscription/cancel")


async def test_trial_to_paid_to_lapsed_to_back(house: House, ada: Subscriber) -> None:
    began = house.clock.now()
    assert await ada.state() == "trialing"
    order = await ada.subscribes(house.price("standard"))
    assert order["paid"]
    assert await ada.state() == "trialing", "who pays early loses nothing of the trial"
    await house.until(began + TRIAL)
    assert await ada.state() == "active"
    assert await ada.until() == _month_after(began + TRIAL)

    await house.until(await ada.until())
    assert await ada.state() == "active"
    assert [state for _, state, _ in await ada.invoices()] == ["paid", "paid"]
    (method,) = (await ada.overview())["methods"]
    assert (await ada.asks("DELETE", f"/api/billing/methods/{method['method_id']}")).status_code == 204
    last = await ada.until()
    await house.until(last - timedelta(seconds=1))
    assert await ada.watches("lake") == "plays", "what is paid for is there to its last second"
    house.clock.moment = last
    assert await ada.watches("lake") == "plan", "and not a second longer, though no run was made"
    await house.until(last)
    assert await ada.state() in (None, "expired")

    await house.later(days=100)
    again = await ada.subscribes(house.price("basic"))
    assert again["paid"]
    assert await ada.state() == "active"
    assert await ada.until() == _month_after(house.clock.now())
    assert await ada.watches("lake") == "plays", "at once"


def _month_after(moment: datetime) -> datetime:
    following = (moment.replace(day=1) + timedelta(days=32)).replace(day=1)
    last = (following.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return following.replace(day=min(moment.day, last.day))


async def test_upgrade_in_the_middle_of_the_month(house: House, ada: Subscriber) -> None:
    await house.later(days=20)  # the trial is over
    assert await ada.watches("lake") == "plan"
    await ada.subscribes(house.price("basic"))
    began, until = house.clock.now(), await ada.until()
    await house.until(began + (until - began) / 2)
    seen = await ada.does("POST", "/api/billing/preview", {"price_id": house.price("premium")})
    changed = await ada.does("POST", "/api/billing/subscription/change", {"price_id": house.price("premium")})
    assert changed["paid"], "by the card that it renews by"
    basic, premium = (599, 1_399) if house.currency == "EUR" else (29_900, 64_900)
    assert changed["total"]["minor"] == round(premium / 2) - round(basic / 2) == seen["due"]["minor"]
    there = (await ada.overview())["subscription"]
    assert (there["plan"]["plan_id"], await ada.until()) == ("premium", until), "the day to pay stays the same"
    await house.until(until)
    assert (await ada.invoices())[-1][2] == premium

    down = await ada.does("POST", "/api/billing/subscription/change", {"price_id": house.price("basic"), "now": False})
    assert down["paid"]
    assert (await ada.overview())["subscription"]["next_charge"]["minor"] == basic
    await house.until(await ada.until())
    there = (await ada.overview())["subscription"]
    assert (there["plan"]["plan_id"], (await ada.invoices())[-1][2]) == ("basic", basic)


async def test_a_code_then_the_money_back(house: House, ada: Subscriber) -> None:
    await house.later(days=20)
    code = await house.code(NewPromo(f"Half-{house.name}", "percent", 5_000, periods=2, first_time=True))
    whole = 999 if house.currency == "EUR" else 44_900
    half = whole - round(whole / 2)
    order = await ada.subscribes(house.price("standard"), promo=code.lower().replace("-", " "))
    assert order["total"]["minor"] == half
    refused = await ada.asks("POST", "/api/billing/preview", {"title_id": "heath", "kind": "rent", "promo": code})
    assert refused.json()["code"] == "promo_used"
    await house.until(await ada.until())
    await house.until(await ada.until())
    totals = [total for _, _, total in await ada.invoices()]
    assert totals == [half, half, whole], "two periods, then the price"

    paid = await ada.does("GET", "/api/billing/invoices")
    assert len(paid["items"]) == 3
    with psycopg.connect(house.settings.database()) as books:
        (payment_id,) = books.execute(
            "SELECT payment_id FROM payment JOIN invoice USING (invoice_id) WHERE invoice_id = %s",
            (paid["items"][0]["invoice_id"],),
        ).fetchone() or ("",)
    last = {"payment": {"payment_id": payment_id}}
    await ada.gets_back(last, 100, keeps_right=True)
    assert await ada.watches("lake") == "plays", "a part, for goodwill"
    await ada.gets_back(last)
    assert await ada.watches("lake") == "plan", "all of it: the period ends"
    assert [purpose for purpose, _, _ in await ada.invoices()][-2:] == ["credit", "credit"]
    assert [total for _, _, total in await ada.invoices()][-2:] == [100, whole - 100]
    again = await ada.asks("POST", "/api/billing/checkout", {"price_id": house.price("standard"), "promo": code})
    assert again.json()["code"] == "promo_used", "a refund gives no use of a code back"


async def test_a_rental_ends_in_the_middle_of_the_film(house: House, ada: Subscriber) -> None:
    await house.later(days=20)
    assert await ada.watches("brook") == "rental"
    order = await ada.buys("brook", "rent")
    assert order["paid"]
    twice = await ada.asks("POST", "/api/billing/purchase", {"title_id": "brook", "kind": "rent"})
    assert (twice.status_code, twice.json()["code"]) == (409, "rented")
    await house.later(days=29)
    answer = await ada.asks("POST", "/api/watch/brook")
    assert answer.status_code == 200, answer.text
    assert datetime.fromisoformat(answer.json()["plays_until"]) == house.clock.now() + timedelta(hours=48)
    house.clock.advance(timedelta(hours=47, minutes=59))
    key = house.key_of("brook")
    assert await ada.watches("brook") == "plays"
    assert (await ada.asks("GET", key)).status_code == 200
    house.clock.advance(timedelta(minutes=2))
    assert (await ada.asks("GET", key)).json()["code"] == "key_refused", "in the middle of the film"
    assert await house.context.streams.judge_all() == 1
    assert await ada.watches("brook") == "rental"

    bought = await ada.buys("brook", "buy")
    assert bought["paid"]
    await house.later(days=4_000)
    assert await ada.watches("brook") == "plays", "what is bought stays"
    await ada.gets_back(bought)
    assert await ada.watches("brook") == "rental", "what is given back does not"


@mostly_ours
async def test_a_price_that_keeps_its_promise(house: House, ada: Subscriber) -> None:
    await house.later(days=20)
    region = frozenset({"RU", "BY", "KZ"} if house.currency == "RUB" else ())
    old = (await ada.subscribes(house.price("basic", "year")))["total"]["minor"]
    dearer = old + 1_000
    new = NewPrice("basic", 12, Money(dearer, house.currency), tuple(sorted(region)))
    async with house.context.transaction() as connection:
        await set_price(connection, new, house.clock.now(), existing=None)
    async with Subscriber(house.app) as eve:
        await eve.moves_in(house)
        (basic, *_) = (await eve.does("GET", "/api/billing/plans"))["items"]
        assert basic["prices"][-1]["amount"]["minor"] == dearer, "for who comes now"
    await house.until(await ada.until())
    assert (await ada.invoices())[-1][2] == old, "who was there before keeps the price"
    async with house.context.transaction() as connection:
        await set_price(connection, new, house.clock.now(), existing=house.clock.now() + timedelta(days=40))
    until = await ada.until()
    assert (await ada.overview())["subscription"]["next_charge"]["minor"] == dearer, "announced long before"
    await house.until(until)
    assert (await ada.invoices())[-1][2] == dearer


@mostly_ours
async def test_who_subscribed_on_the_last_of_january(house: House, ada: Subscriber) -> None:
    year = next(year for year in range(house.clock.now().year + 1, 9999) if _is_leap(year))
    await house.until(datetime(year, 1, 31, 9, 30, tzinfo=UTC))
    await ada.subscribes(house.price("basic"))
    ends = []
    for _ in range(4):
        ends.append((await ada.until()).strftime("%m-%d %H:%M"))
        await house.until(await ada.until())
    assert ends == ["02-29 09:30", "03-31 09:30", "04-30 09:30", "05-31 09:30"]
    assert len(await ada.invoices()) == 5


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@mostly_ours
async def test_a_card_that_runs_dry_and_is_filled_again(house: House, ada: Subscriber) -> None:
    await house.later(days=20)
    await ada.subscribes(house.price("basic"), "later_poor")
    until = await ada.until()
    await house.until(until)
    assert await ada.state() == "past_due"
    assert await ada.watches("lake") == "plays", "while it is tried again"
    to_pay = (await ada.overview())["subscription"]["to_pay"]
    paid = await ada.pays(f"/api/billing/invoices/{to_pay}/pay", {})
    assert paid["paid"], "by another card"
    assert await ada.state() == "active"
    assert await ada.until() == _month_after(until), "the day to pay stays the same"
    await house.until(await ada.until())
    assert await ada.state() == "active", "which is the one that it renews by from now on"


@mostly_ours
async def test_a_card_that_stays_dry(house: House, ada: Subscriber) -> None:
    await house.later(days=20)
    await ada.subscribes(house.price("basic"), "later_poor")
    until = await ada.until()
    for days in (0, 2, 7, 14):
        await house.until(until + timedelta(days=days))
        assert (await ada.state(), await ada.watches("lake")) == ("past_due", "plays"), days
    await house.until(until + timedelta(days=21))
    assert await ada.state() in (None, "expired")
    assert await ada.watches("lake") == "plan"
    assert [state for _, state, _ in await ada.invoices()] == ["paid"], "and nothing is owed"


async def test_a_chargeback(house: House, ada: Subscriber) -> None:
    if house.name == "yookassa":
        pytest.skip("YooKassa tells of disputes in its registers alone")
    await house.later(days=20)
    order = await ada.subscribes(house.price("premium"))
    assert await ada.watches("lake") == "plays"
    payment_id = order["payment"]["payment_id"]
    await house.bench.webhooks()  # what was told so far was lost
    await house.bench.dispute(payment_id)
    await house.told()
    assert await ada.watches("lake") == "plays", "until it is decided"
    refused = await ada.asks("POST", "/api/billing/checkout", {"price_id": house.price("basic")})
    assert refused.json()["code"] == "subscribed"
    await house.bench.close_dispute(payment_id, won=False)
    await house.told()
    assert await ada.watches("lake") == "plan"
    assert await ada.state() in (None, "expired")

    again = await ada.subscribes(house.price("premium"))
    await house.bench.dispute(again["payment"]["payment_id"])
    await house.told()
    await house.bench.close_dispute(again["payment"]["payment_id"], won=True)
    await house.told()
    assert await ada.watches("lake") == "plays", "that one was ours"
