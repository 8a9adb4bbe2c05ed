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
from serving.billing.providers.sandbox import Sandbox
from serving.billing.providers.sandbox.cards import BY_NAME, CARDS


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
    asked = order(**changes)
    opened = await sandbox.open(asked)
    await sandbox.submit(opened.ref, BY_NAME[card], save=True)
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
