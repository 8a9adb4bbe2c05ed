"""What every payment provider must keep, whoever it is: a test file subclasses ProviderContract and gives a `bench`."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matinee.clock import ManualClock
from matinee.ids import uuid7
from serving.billing.documents.fiscal import Item
from serving.billing.ledger.money import Money
from serving.billing.providers.base import (
    ForgedError,
    MethodSeen,
    Movement,
    Order,
    Outcome,
    Provider,
    ProviderAwayError,
    ProviderError,
    ProviderRefusedError,
    State,
)
from tests.providers.faults import DONE, NOT_DONE, Fault, Faults, mangled

# A bench serves all examples, and the test serves all providers.
_SHARED = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)


@dataclass(frozen=True)
class Webhook:
    headers: Mapping[str, str]
    body: bytes
    address: str = "127.0.0.1"


class Bench(Protocol):
    """A provider, and what stands behind it: its server's truth, and the people who pay there.

    Cards by name: good, declined, poor, secure (3-D Secure on the page), always_secure (there too when charged saved),
    later_poor (pays on the page, is refused when charged saved).
    """

    provider: Provider
    impatient: Provider  # the same, but gives up after some 0.2 s
    faults: Faults
    clock: ManualClock
    currency: str

    async def pay(self, url: str, card: str, *, owner: bool = True) -> None:
        """Fill in the hosted page; `owner`: what is answered to a 3-D Secure challenge that follows."""
        ...

    async def confirm(self, url: str, *, owner: bool = True) -> None:
        """Answer the challenge at the address of a saved method's charge."""
        ...

    async def charged(self, payment_id: str) -> list[int]:
        """The provider's truth: amounts taken for it, each in minor units. More than one is the bug to find."""
        ...

    async def refunded(self, payment_id: str) -> list[int]: ...

    async def dispute(self, payment_id: str) -> None: ...

    async def close_dispute(self, payment_id: str, *, won: bool) -> None: ...

    async def payout(self) -> None:
        """All of the balance goes to the bank."""
        ...

    async def balance(self) -> int:
        """What the provider owes us, in minor units of `currency`."""
        ...

    async def webhooks(self) -> list[Webhook]:
        """What it has to tell since the last time, in order."""
        ...

    def forgeries(self, real: Webhook) -> list[tuple[Webhook, datetime]]:
        """What must not be believed, and when it is read."""
        ...

    def gone(self) -> AbstractContextManager[None]:
        """Meanwhile its connections are refused."""
        ...


def order(bench: Bench, minor: int = 999, **more: Any) -> Order:
    return Order(
        **{
            "payment_id": uuid7(bench.clock),
            "money": Money(minor, bench.currency),
            "description": "Premium, a month",
            "invoice_number": "M-000042",
            "customer_id": uuid7(bench.clock),
            "email": "ada@example.org",
            "language": "en",
            "return_url": "http://127.0.0.1:9/return?payment=1",
            "receipt": (Item("Premium, a month", minor, 1),),
            **more,
        }
    )


async def saved(bench: Bench, card: str = "good") -> tuple[Order, MethodSeen]:
    """Somebody who paid and let the method be kept."""
    first = order(bench, save_method=True)
    await bench.pay((await bench.provider.open(first)).checkout_url or "", card)
    outcome = await bench.provider.look(first.payment_id, None)
    assert outcome
    assert outcome.state is State.succeeded
    assert outcome.method
    return first, outcome.method


def again(bench: Bench, first: Order, method: MethodSeen, minor: int = 999) -> Order:
    return order(bench, minor, customer_id=first.customer_id, method_ref=method.ref)


async def moved(bench: Bench) -> list[Movement]:
    since = datetime(2020, 1, 1, tzinfo=bench.clock.now().tzinfo)
    return [each async for each in bench.provider.listed(since, bench.clock.now() + timedelta(days=1))]


async def seen(bench: Bench, payment_id: str, ref: str | None = None) -> Outcome:
    outcome = await bench.provider.look(payment_id, ref)
    assert outcome is not None
    return outcome


class ProviderContract:
    async def test_a_page_is_paid_once_however_often_it_is_opened(self, bench: Bench) -> None:
        asked = order(bench, save_method=True)
        page = await bench.provider.open(asked)
        assert page.state is State.action
        assert page.checkout_url
        assert page.money.minor == 0
        assert (await bench.provider.open(asked)).ref == page.ref
        await bench.pay(page.checkout_url, "good")
        paid = await bench.provider.open(asked)  # tells what became of it, not what it was
        assert (paid.ref, paid.state, paid.money) == (page.ref, State.succeeded, asked.money)
        assert 0 < paid.fee_minor < asked.money.minor
        assert paid.checkout_url is None
        assert paid.method
        assert paid.method.label.endswith("4242")
        assert await bench.charged(asked.payment_id) == [999]
        assert await bench.provider.look(asked.payment_id, page.ref) == paid
        assert await bench.provider.look(asked.payment_id, None) == paid
        assert await bench.provider.look(uuid7(bench.clock), None) is None

    async def test_what_was_asked_for_long_after_its_id_was_made_is_found(self, bench: Bench) -> None:
        asked = order(bench)  # a late attempt to be paid for an old invoice has that one's time
        bench.clock.advance(timedelta(days=14))
        page = await bench.provider.open(asked)
        assert (await seen(bench, asked.payment_id)).ref == page.ref

    @pytest.mark.parametrize("card", ["declined", "poor"])
    async def test_a_declined_card_takes_nothing(self, bench: Bench, card: str) -> None:
        page = await bench.provider.open(asked := order(bench))
        await bench.pay(page.checkout_url or "", card)
        now = await seen(bench, asked.payment_id, page.ref)
        assert now.state in (State.action, State.failed)  # another card on the same page, or a new page
        assert bool(now.checkout_url) == (now.state is State.action)
        assert await bench.charged(asked.payment_id) == []

    @pytest.mark.parametrize("owner", [True, False])
    async def test_three_d_secure_asks_the_owner(self, bench: Bench, owner: bool) -> None:
        page = await bench.provider.open(asked := order(bench))
        await bench.pay(page.checkout_url or "", "secure", owner=owner)
        now = await seen(bench, asked.payment_id, page.ref)
        assert (now.state is State.succeeded) is owner
        assert await bench.charged(asked.payment_id) == ([999] if owner else [])

    async def test_a_saved_method_is_charged_once_without_its_owner(self, bench: Bench) -> None:
        first, method = await saved(bench)
        asked = again(bench, first, method, 1_250)
        done = await bench.provider.charge(asked)
        assert (done.state, done.money, done.failure) == (State.succeeded, asked.money, None)
        assert await bench.provider.charge(asked) == done
        assert await bench.charged(asked.payment_id) == [1_250]
        with pytest.raises(ProviderRefusedError):
            await bench.provider.charge(replace(asked, money=Money(1, bench.currency)))
        assert await bench.charged(asked.payment_id) == [1_250]

    async def test_a_charge_made_again_days_later_is_one_still(self, bench: Bench) -> None:
        first, method = await saved(bench)
        asked = again(bench, first, method)
        bench.clock.advance(timedelta(days=2))
        done = await bench.provider.charge(asked)
        bench.clock.advance(timedelta(days=2))  # no idempotency key lives so long
        assert (await bench.provider.charge(asked)).ref == done.ref
        assert await bench.charged(asked.payment_id) == [999]

    async def test_a_saved_method_that_is_refused_fails_for_good(self, bench: Bench) -> None:
        first, method = await saved(bench, "later_poor")
        asked = again(bench, first, method)
        done = await bench.provider.charge(asked)
        assert (done.state, done.failure) == (State.failed, "insufficient_funds")
        assert (await seen(bench, asked.payment_id, done.ref)).state is State.failed
        assert await bench.charged(asked.payment_id) == []

    @pytest.mark.parametrize("owner", [True, False])
    async def test_a_bank_that_wants_the_owner_gives_a_page(self, bench: Bench, owner: bool) -> None:
        first, method = await saved(bench, "always_secure")
        asked = again(bench, first, method)
        waits = await bench.provider.charge(asked)
        assert waits.state is State.action
        assert waits.checkout_url
        assert await bench.charged(asked.payment_id) == []
        assert (await bench.provider.charge(asked)).checkout_url == waits.checkout_url
        await bench.confirm(waits.checkout_url, owner=owner)
        now = await seen(bench, asked.payment_id, None)
        assert (now.ref, now.state) == (waits.ref, State.succeeded if owner else State.failed)
        assert now.failure == (None if owner else "authentication_failed")
        assert await bench.charged(asked.payment_id) == ([999] if owner else [])

    async def test_refunds_never_pass_what_was_paid(self, bench: Bench) -> None:
        first, _ = await saved(bench)
        ref, one, two = (await seen(bench, first.payment_id)).ref, uuid7(bench.clock), uuid7(bench.clock)
        part, rest = Money(300, bench.currency), Money(699, bench.currency)
        sold = (Item("Premium, a month", 300, 1),)
        given = await bench.provider.refund(one, ref, part, sold)
        assert given.money == part
        assert given.state in (State.succeeded, State.pending)
        assert (await bench.provider.refund(one, ref, part, sold)).ref == given.ref
        assert await bench.provider.look_refund(one, None, ref) == await bench.provider.look_refund(one, given.ref, ref)
        with pytest.raises(ProviderRefusedError):
            await bench.provider.refund(two, ref, Money(700, bench.currency), (Item("Premium, a month", 700, 1),))
        assert await bench.provider.look_refund(two, None, ref) is None
        await bench.provider.refund(uuid7(bench.clock), ref, rest, (Item("Premium, a month", 699, 1),))
        assert sorted(await bench.refunded(first.payment_id)) == [300, 699]
        now = await seen(bench, first.payment_id, ref)
        assert (now.state, now.refunded_minor) == (State.succeeded, 999)

    @pytest.mark.parametrize("fault", Fault)
    async def test_a_charge_that_nobody_heard_of_is_found_and_is_one(self, bench: Bench, fault: Fault) -> None:
        first, method = await saved(bench)
        asked = again(bench, first, method)
        bench.faults.plan(fault)
        if fault is Fault.slow:
            assert (await bench.provider.charge(asked)).state is State.succeeded
        else:
            with pytest.raises(ProviderAwayError):
                await bench.impatient.charge(asked)
        assert bench.faults.met
        found = await bench.provider.look(asked.payment_id, None)
        assert (found is None) == (fault in NOT_DONE)
        try:
            done = await bench.provider.charge(asked)
        except ProviderAwayError:  # it remembers its 500
            assert fault is Fault.broken_done
            done = found
        assert done
        assert done.state is State.succeeded
        assert await bench.charged(asked.payment_id) == [999]

    @pytest.mark.parametrize("fault", [*DONE, Fault.silent])
    async def test_a_page_and_a_refund_that_nobody_heard_of(self, bench: Bench, fault: Fault) -> None:
        known, _ = await saved(bench)
        asked = order(bench, customer_id=known.customer_id)
        bench.faults.plan(fault)
        with pytest.raises(ProviderAwayError):
            await bench.impatient.open(asked)
        page = await bench.provider.look(asked.payment_id, None)
        if page is None:
            page = await bench.provider.open(asked)
        await bench.pay(page.checkout_url or "", "good")
        assert await bench.charged(asked.payment_id) == [999]
        refund_id, part = uuid7(bench.clock), Money(100, bench.currency)
        bench.faults.plan(fault)
        with pytest.raises(ProviderAwayError):
            await bench.impatient.refund(refund_id, page.ref, part, (Item("Premium, a month", 100, 1),))
        found = await bench.provider.look_refund(refund_id, None, page.ref)
        if found is None:
            found = await bench.provider.refund(refund_id, page.ref, part, (Item("Premium, a month", 100, 1),))
        assert found.money == part
        assert await bench.refunded(asked.payment_id) == [100]

    async def test_nobody_there_is_away(self, bench: Bench) -> None:
        first, method = await saved(bench)
        with bench.gone():
            for call in (
                bench.impatient.open(order(bench)),
                bench.impatient.charge(again(bench, first, method)),
                bench.impatient.look(first.payment_id, None),
            ):
                with pytest.raises(ProviderAwayError):
                    await call
        assert (await seen(bench, first.payment_id)).state is State.succeeded

    async def test_many_at_once_with_one_key_are_one_charge(self, bench: Bench) -> None:
        first, method = await saved(bench)
        asked = again(bench, first, method)
        told = await asyncio.gather(*(bench.provider.charge(asked) for _ in range(8)), return_exceptions=True)
        assert all(isinstance(each, Outcome | ProviderAwayError) for each in told), told
        assert len({each.ref for each in told if isinstance(each, Outcome)}) == 1
        assert await bench.charged(asked.payment_id) == [999]

    async def test_a_closed_page_takes_nothing_and_a_paid_one_stays_paid(self, bench: Bench) -> None:
        page = await bench.provider.open(asked := order(bench))
        await bench.provider.cancel(page.ref)
        await bench.provider.cancel(page.ref)
        await bench.pay(page.checkout_url or "", "good")
        assert (await seen(bench, asked.payment_id, page.ref)).state is State.failed
        assert await bench.charged(asked.payment_id) == []
        first, _ = await saved(bench)
        await bench.provider.cancel((await seen(bench, first.payment_id)).ref)
        assert (await seen(bench, first.payment_id)).state is State.succeeded

    async def test_a_forgotten_method_takes_nothing(self, bench: Bench) -> None:
        first, method = await saved(bench)
        await bench.provider.forget(method.ref)
        await bench.provider.forget(method.ref)
        asked = again(bench, first, method)
        try:
            assert (await bench.provider.charge(asked)).state is State.failed
        except ProviderRefusedError as error:
            assert error.code == "method_gone"  # noqa: PT017 - either answer is one
        assert await bench.charged(asked.payment_id) == []

    async def test_a_forgotten_customers_payments_stay_and_go_back(self, bench: Bench) -> None:
        first, _ = await saved(bench)
        bench.clock.advance(timedelta(minutes=2))
        for _ in range(2):
            await bench.provider.forget_customer(first.customer_id)
        await bench.provider.forget_customer("nobody")
        found = await seen(bench, first.payment_id)
        assert found.state is State.succeeded
        await bench.provider.refund(uuid7(), found.ref, first.money, first.receipt)
        assert await bench.refunded(first.payment_id) == [999]

    async def test_notices_are_believed_from_the_provider_alone(self, bench: Bench) -> None:
        first, method = await saved(bench)
        asked = again(bench, first, method)
        done = await bench.provider.charge(asked)
        refund = await bench.provider.refund(uuid7(bench.clock), done.ref, done.money, asked.receipt)
        told = await bench.webhooks()
        read = [bench.provider.notice(each.headers, each.body, bench.clock.now(), each.address) for each in told]
        whose = {notice.ref: await bench.provider.whose(notice) for notice in read if notice.kind != "other"}
        assert set(whose.values()) >= {first.payment_id, asked.payment_id}
        assert any(each.kind == "refund" for each in read)
        assert whose.get(refund.ref, asked.payment_id)
        assert len({notice.event_id for notice in read}) == len(read)
        for copy in mangled(told, seed=7, doubled=1.0):
            notice = bench.provider.notice(copy.headers, copy.body, bench.clock.now(), copy.address)
            assert notice.event_id in {each.event_id for each in read}
            assert "ada@example.org" not in str(notice.body)
        for forged, now in bench.forgeries(told[0]):
            with pytest.raises(ForgedError):
                bench.provider.notice(forged.headers, forged.body, now, forged.address)

    @pytest.mark.parametrize("won", [True, False])
    async def test_disputes_take_money_and_give_it_back_when_won(self, bench: Bench, won: bool) -> None:
        first, _ = await saved(bench)
        before = await bench.balance()
        await bench.dispute(first.payment_id)
        (opened,) = (await seen(bench, first.payment_id)).disputes
        assert (opened.state, opened.money, bool(opened.reason)) == ("open", first.money, True)
        await bench.close_dispute(first.payment_id, won=won)
        (closed,) = (await seen(bench, first.payment_id)).disputes
        assert (closed.ref, closed.state) == (opened.ref, "won" if won else "lost")
        assert await bench.balance() == before - closed.fee_minor - (0 if won else 999)

    async def test_what_is_listed_sums_up_to_the_balance(self, bench: Bench) -> None:
        first, method = await saved(bench)
        asked = again(bench, first, method, 20_000)
        done = await bench.provider.charge(asked)
        refund_id = uuid7(bench.clock)
        await bench.provider.refund(
            refund_id, done.ref, Money(500, bench.currency), (Item("Premium, a month", 500, 1),)
        )
        await bench.dispute(first.payment_id)
        await bench.close_dispute(first.payment_id, won=False)
        moves = await moved(bench)
        assert sum(each.money.minor for each in moves) == await bench.balance()
        assert len({each.ref for each in moves}) == len(moves)
        taken = {each.payment_id: each.money.minor for each in moves if each.kind == "payment"}
        assert (taken[first.payment_id], taken[asked.payment_id]) == (999, 20_000)
        assert [each.money.minor for each in moves if each.refund_id == refund_id and each.kind == "refund"] == [-500]
        lost = [each.money.minor for each in moves if each.kind == "dispute" and each.payment_id == first.payment_id]
        assert sum(lost) == -999
        fees = sum(each.money.minor for each in moves if each.kind == "fee" and each.payment_id == asked.payment_id)
        assert fees == -(await seen(bench, asked.payment_id)).fee_minor
        before = await bench.balance()
        await bench.payout()
        out = sum(each.money.minor for each in await moved(bench) if each.kind == "payout")
        assert (out, await bench.balance()) == (-before, 0)

    @settings(max_examples=10, deadline=None, suppress_health_check=_SHARED)
    @given(
        calls=st.lists(st.sampled_from(["charge", "look", "together"]), min_size=1, max_size=4),
        faults=st.lists(st.sampled_from(list(Fault)), max_size=3),
        card=st.sampled_from(["good", "later_poor", "always_secure"]),
    )
    async def test_one_payment_id_is_one_charge_at_most(
        self, bench: Bench, calls: list[str], faults: list[Fault], card: str
    ) -> None:
        bench.faults.clear()
        first, method = await saved(bench, card)
        asked = again(bench, first, method)
        bench.faults.plan(*faults)
        told: list[Outcome | None] = []
        for call in calls:
            match call:
                case "charge":
                    told += await _tried(bench.impatient.charge(asked))
                case "look":
                    told += await _tried(bench.impatient.look(asked.payment_id, None))
                case _:
                    both = (_tried(bench.impatient.charge(asked)) for _ in range(2))
                    told += [each for answers in await asyncio.gather(*both) for each in answers]
        bench.faults.clear()
        now = await bench.provider.look(asked.payment_id, None)
        taken = await bench.charged(asked.payment_id)
        assert taken == ([999] if now and now.state is State.succeeded else [])
        heard = {each.ref for each in told if each}
        assert len(heard) <= 1
        assert not heard or (now is not None and {now.ref} == heard)
        if any(each and each.state is State.succeeded for each in told):
            assert taken == [999]


async def _tried(call: Any) -> list[Outcome | None]:
    try:
        return [await call]
    except ProviderAwayError:
        return []
    except ProviderError as error:
        raise AssertionError(f"nothing was wrong with the request: {error}") from error
