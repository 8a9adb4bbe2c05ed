"""The embedded provider: its bank, its faults, its notices."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from matinee.clock import ManualClock
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.billing.ledger.money import Money
from serving.billing.providers import provider_of
from serving.billing.providers.base import Order, ProviderRefusedError, State
from serving.billing.providers.sandbox.cards import BY_NAME, CARDS
from serving.billing.providers.sandbox.core import Sandbox


def order(**changes: Any) -> Order:
    made = Order(
        uuid7(), Money(44_900, "RUB"), "Standard", "M-1", "ada", "ada@example.org", "ru", "http://here/#/back"
    )  # fmt: skip
    return replace(made, **changes)


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
    said = await sandbox.look("", opened.ref)
    assert said is not None
    assert said.state is State.succeeded
    assert said.method is not None
    assert said.method.label == "Visa •••• 3155"
