"""The embedded provider: its bank, its faults, its notices."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from matinee.clock import ManualClock
from matinee.errors import SettingsError
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.billing.ledger.money import Money
from serving.billing.providers import provider_of
from serving.billing.providers.base import Order, Outcome, ProviderAwayError, ProviderRefusedError, State
from serving.billing.providers.sandbox.cards import BY_NAME, CARDS, card_of
from serving.billing.providers.sandbox.commands import app as commands
from serving.billing.providers.sandbox.core import Sandbox
from serving.billing.providers.sandbox.faults import Calls, Faults
from serving.billing.providers.sandbox.notices import deliver
from tests.providers.sandbox_bench import SandboxBench
from tests.serving.billing.provider_contract import ProviderContract


def order(**changes: Any) -> Order:
    made = Order(
        uuid7(), Money(44_900, "RUB"), "Standard", "M-1", "ada", "ada@example.org", "ru", "http://here/#/back"
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture(scope="module")
def home(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One database for all tests here: a new one for each costs more than most of them."""
    name = f"sandbox_{uuid7().replace('-', '')}"
    path = tmp_path_factory.mktemp("sandbox") / "home"
    own = base.model_copy(update={"home_path": path, "database_url": base.database().replace("/matinee?", f"/{name}?")})
    own = own.model_copy(update={"redis_url": base.redis()})
    own.home.create()
    admin = psycopg.conninfo.make_conninfo(base.database(), dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_matinee STRATEGY file_copy".encode())
        yield own
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def settings(home: Settings) -> Settings:
    """The home with empty books."""
    with psycopg.connect(home.database(), autocommit=True) as connection:
        connection.execute("TRUNCATE sandbox.payment, sandbox.method, sandbox.notice, sandbox.switches CASCADE")
    return home


@pytest.fixture
async def sandbox(settings: Settings, clock: ManualClock) -> AsyncIterator[Sandbox]:
    made = provider_of(settings, "sandbox", clock)
    assert isinstance(made, Sandbox)
    yield made
    await made.aclose()


async def paid(sandbox: Sandbox, card: str = "good", **changes: Any) -> Any:
    """A payment on the hosted page with a card that is kept."""
    asked = order(save_method=True, **changes)
    opened = await sandbox.open(asked)
    await sandbox.submit(opened.ref, BY_NAME[card])
    return asked, await sandbox.look(asked.payment_id, opened.ref)


async def test_a_card_that_was_kept_is_charged_once_however_often_it_is_asked(sandbox: Sandbox) -> None:
    _, first = await paid(sandbox)
    assert (first.state, first.money, first.fee_minor) == (State.succeeded, Money(44_900, "RUB"), 1_302)
    assert first.method.label == "Visa •••• 4242"
    renewal = order(method_ref=first.method.ref)
    said = await asyncio.gather(*(sandbox.charge(renewal) for _ in range(20)))
    assert len(set(said)) == 1
    assert said[0].state is State.succeeded
    with pytest.raises(ProviderRefusedError, match="another payment"):
        await sandbox.charge(replace(renewal, money=Money(1, "RUB")))
    stranger = await sandbox.charge(order(method_ref=first.method.ref, customer_id="bob"))
    assert (stranger.state, stranger.failure) == (State.failed, "method_gone")
    await sandbox.forget(first.method.ref)
    assert (await sandbox.charge(order(method_ref=first.method.ref))).failure == "method_gone"


@pytest.mark.parametrize("card", [card.name for card in CARDS])
async def test_each_card_does_what_the_page_says(sandbox: Sandbox, card: str) -> None:
    it = BY_NAME[card]
    asked, said = await paid(sandbox, card)
    match it.present:
        case "refused":
            assert (said.state, said.failure, said.method) == (State.failed, it.failure, None)
            return
        case "challenge":
            assert said.state is State.action
            assert said.checkout_url
            await sandbox.confirm(said.ref, is_owner=True)
            said = await sandbox.look(asked.payment_id, said.ref)
    assert said.state is State.succeeded
    absent = await sandbox.charge(order(method_ref=said.method.ref))
    assert absent.state.value == {"paid": "succeeded", "refused": "failed", "challenge": "action"}[it.absent.value]
    assert absent.failure == (it.failure if it.absent.value == "refused" else None)


async def test_the_page_pays_without_javascript_and_says_that_no_money_moves(
    settings: Settings, clock: ManualClock, sandbox: Sandbox, running: Any, browser: Any
) -> None:
    opened = await sandbox.open(order(save_method=True, description="<b>Standard</b>"))
    page = "/sandbox/pay/" + opened.ref
    async with running(settings, clock) as app, browser(app) as buyer:
        shown = await buyer.get(page)
        assert "Никогда не вводите здесь номер настоящей карты" in shown.text
        assert "449,00" in shown.text
        assert "&lt;b&gt;Standard" in shown.text
        assert "form-action 'self' http://here;" in shown.headers["content-security-policy"]
        assert shown.headers["referrer-policy"] == "same-origin"
        forged = await buyer.post(page, data={"do": "pay"}, headers={"origin": "http://elsewhere"})
        assert forged.status_code == 403
        real = await buyer.post(page, data={"do": "pay", "number": "4111 1111 1111 1111"})
        assert (real.status_code, "4111" in real.text) == (422, False)
        asked = await buyer.post(page, data={"do": "pay", "number": "4000 0025 0000 3155", "save": "on"})
        assert (asked.status_code, asked.headers["location"]) == (303, page)
        assert "3-D Secure" in (await buyer.get(page)).text
        confirmed = await buyer.post(page, data={"do": "confirm"})
        assert (confirmed.status_code, confirmed.headers["location"]) == (303, "http://here/#/back")
        assert "Оплачено" in (await buyer.get(page)).text
        assert (await buyer.get("/sandbox/pay/none")).status_code == 404
        # The app tells its own webhook at once; what it tells is of no payment that billing knows.
        with psycopg.connect(settings.database(), autocommit=True) as connection:
            for _ in range(500):
                if told := connection.execute("SELECT kind, ref FROM provider_event").fetchall():
                    break
                await asyncio.sleep(0.02)
    assert told == [("payment", opened.ref)]
    said = await sandbox.look("", opened.ref)
    assert said is not None
    assert said.state is State.succeeded
    assert said.method is not None
    assert said.method.label == "Visa •••• 3155"


async def test_what_goes_wrong_goes_wrong_again_with_the_same_seed(sandbox: Sandbox) -> None:
    _, first = await paid(sandbox)
    await sandbox.switch("declines=0.3 before=0.2 after=0.2 seed=5")
    orders = [order(method_ref=first.method.ref) for _ in range(100)]
    told = await asyncio.gather(*(sandbox.charge(each) for each in orders), return_exceptions=True)
    calls, faults = Calls(), Faults.parse("declines=0.3 before=0.2 after=0.2 seed=5")
    fates = [calls.fate(faults, "charge", each.payment_id) for each in orders]
    for asked, said, fate in zip(orders, told, fates, strict=True):
        assert isinstance(said, ProviderAwayError if fate else Outcome), fate
        if isinstance(said, Outcome):
            assert (said.failure == "card_declined") is faults.declined(asked.payment_id)
    assert {None, "before", "after"} == set(fates)
    await sandbox.switch(None)
    known = [await sandbox.look(each.payment_id, None) for each in orders]
    assert [found is None for found in known] == [fate == "before" for fate in fates]
    # Whoever asks again gets one answer, whatever went wrong before.
    again = await sandbox.charge_many(orders)
    kept = [(found, said) for found, said in zip(known, again, strict=True) if found is not None]
    assert all(found == said for found, said in kept)


async def test_a_page_is_open_for_a_day_and_a_disputed_card_is_disputed(sandbox: Sandbox, clock: ManualClock) -> None:
    asked, disputed = await paid(sandbox, "disputed")
    opened = await sandbox.open(order())
    clock.advance(timedelta(minutes=2))
    seen = await sandbox.look(asked.payment_id, disputed.ref)
    assert seen is not None
    assert [(each.state, each.money, each.fee_minor) for each in seen.disputes] == [("open", asked.money, 0)]
    with pytest.raises(ProviderRefusedError, match="the bank decides"):
        await sandbox.refund(uuid7(), disputed.ref, Money(1, "RUB"))
    clock.advance(timedelta(hours=24))
    late = await sandbox.submit(opened.ref, BY_NAME["good"])
    assert (late.state, late.failure) == ("failed", "expired")


async def test_notices_are_told_until_heard_may_be_lost_and_may_come_twice(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    heard: list[bytes] = []
    answers = [503, 200, 200, 200]

    async def post(body: bytes, headers: Mapping[str, str]) -> int:
        heard.append(body)
        return answers.pop(0)

    await paid(sandbox)
    assert await deliver(sandbox, post) == 0
    assert await deliver(sandbox, post) == 0  # not before its time
    clock.advance(timedelta(seconds=10))
    assert await deliver(sandbox, post) == 1
    assert heard[0] == heard[1]
    await sandbox.switch("twice=1")
    await paid(sandbox)
    assert await deliver(sandbox, post) == 1
    assert (len(heard), heard[2] == heard[3]) == (4, True)
    await sandbox.switch("lost=1")
    await paid(sandbox)
    assert await deliver(sandbox, post) == 0


def test_what_a_bank_does_is_done_by_commands(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    def cli(*words: str) -> str:
        done = CliRunner().invoke(commands, words)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    assert "declines=0.5" in cli("faults", "declines=0.5 seed=3").replace("declines: ", "declines=")
    assert "declines=0.0" in cli("faults", "--off")
    assert CliRunner().invoke(commands, ["dispute", "sbx_pay_none"]).exit_code == 1

    async def pay() -> str:
        sandbox = Sandbox(settings)
        _, said = await paid(sandbox)
        await sandbox.aclose()
        return said.ref

    disputed = re.search(r"sbx_dispute_\S+", cli("dispute", asyncio.run(pay())).replace("\n", ""))
    assert disputed is not None
    assert "lost" in cli("decide", disputed[0], "--lost")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"payments": "stripe"}, "moves no money"), ({"sandbox_faults": "sloth=1"}, "no fault of the sandbox"),
        ({"sandbox_faults": "declines=2"}, "0 to 1"), ({"sandbox_faults": "before=0.6,after=0.6"}, "together"),
        ({"sandbox_faults": "declines=often"}, "give a number"),
    ],
)  # fmt: skip
def test_it_runs_alone_and_by_switches_that_it_knows(more: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        provider_of(Settings.model_validate(more), "sandbox")


@pytest.mark.parametrize("more", [{"sandbox_faults": "sloth=1"}, {"payments": "yookassa"}])
async def test_the_api_does_not_start_with_a_provider_that_cannot_work(
    settings: Settings, running: Any, more: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        async with running(settings.model_copy(update=more)):
            pass


def test_test_cards_alone_are_cards() -> None:
    assert {card_of(f" {card.grouped} ") for card in CARDS} == set(CARDS)
    assert [card_of(number) for number in ("", "4242", "4111111111111111", "4242424242424242x")] == [None] * 4


class TestSandbox(ProviderContract):
    @pytest.fixture
    async def bench(self, settings: Settings, clock: ManualClock) -> AsyncIterator[SandboxBench]:
        made = SandboxBench(settings, clock)
        yield made
        await made.aclose()
