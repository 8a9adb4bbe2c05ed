"""YooKassa against a local server of its API: what every provider keeps, and what is its own."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from starlette.responses import Response

from matinee.clock import ManualClock
from matinee.errors import SettingsError
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.billing.documents.fiscal import Item
from serving.billing.ledger.money import Money
from serving.billing.providers import provider_of
from serving.billing.providers.base import (
    FAILURES,
    ForgedError,
    Order,
    ProviderAwayError,
    ProviderRefusedError,
    State,
)
from serving.billing.providers.yookassa import YooKassa, objects
from tests.providers.running import Running
from tests.providers.yookassa_bench import YooKassaBench, configured
from tests.providers.yookassa_server import YooKassaServer
from tests.serving.billing.provider_contract import ProviderContract, again, moved, order, saved, seen

ORDER = Order(
    uuid7(), Money(999, "RUB"), "Premium", "M-1", "ada", None, "ru", "http://here/",
    method_ref="1-2",
)  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[YooKassaServer]:
    with YooKassaServer(ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))).serving() as server:
        yield server


@pytest.fixture
async def bench(running: YooKassaServer) -> AsyncIterator[YooKassaBench]:
    running.reset()
    assert isinstance(running.clock, ManualClock)
    made = YooKassaBench(running, running.clock)
    yield made
    await made.aclose()


class TestYooKassa(ProviderContract):
    # Not offered by its API, which the three tests below hold to what it does instead.
    test_a_closed_page_takes_nothing_and_a_paid_one_stays_paid = None
    test_a_forgotten_method_takes_nothing = None
    test_a_bank_that_wants_the_owner_gives_a_page = None
    test_disputes_take_money_and_give_it_back_when_won = None
    test_what_is_listed_sums_up_to_the_balance = None

    async def test_a_page_that_nobody_paid_closes_by_itself(self, bench: YooKassaBench) -> None:
        page = await bench.provider.open(asked := order(bench))
        await bench.provider.cancel(page.ref)
        assert (await seen(bench, asked.payment_id, page.ref)).state is State.action
        bench.clock.advance(timedelta(hours=1))
        await bench.pay(page.checkout_url or "", "good")
        now = await seen(bench, asked.payment_id, page.ref)
        assert (now.state, now.failure) == (State.failed, "expired")
        with pytest.raises(ProviderRefusedError):
            await bench.provider.cancel("00000000-0000-4000-8000-000000000000")

    @pytest.mark.parametrize(
        ("card", "failure"),
        [
            ("later_poor", "insufficient_funds"),
            ("later_revoked", "method_gone"),
            ("always_secure", "authentication_failed"),
        ],
    )
    async def test_an_automatic_payment_asks_nobody(self, bench: YooKassaBench, card: str, failure: str) -> None:
        first, method = await saved(bench, card)
        assert (await bench.provider.charge(again(bench, first, method))).failure == failure
        assert failure in FAILURES
        with pytest.raises(ProviderRefusedError) as refused:
            await bench.provider.charge(again(bench, first, replace(method, ref="gone")))
        assert refused.value.code == "method_gone"

    async def test_what_is_listed_sums_up_to_the_cent(self, bench: YooKassaBench) -> None:
        first, method = await saved(bench)
        for minor in (1, 2_000, 10_000_001):
            done = await bench.provider.charge(again(bench, first, method, minor))
        given = await bench.provider.refund("r-1", done.ref, Money(500, "RUB"), (Item("Premium", 500, 1),))
        moves = await moved(bench)
        assert sum(each.money.minor for each in moves) == await bench.balance()
        assert [(m.kind, m.refund_id) for m in moves if m.ref == given.ref] == [("refund", "r-1")]
        assert next(m for m in moves if m.ref == given.ref).payment_id
        assert [
            m async for m in bench.provider.listed(bench.clock.now() + timedelta(seconds=1), datetime.now(UTC))
        ] == []

    async def test_lists_are_read_to_their_end_and_old_payments_found(self, bench: YooKassaBench) -> None:
        first, method = await saved(bench)
        asked = again(bench, first, method, 2_000)
        done = await bench.provider.charge(asked)
        for each in range(120):  # later ones of others
            bench.clock.advance(timedelta(seconds=1))
            at = bench.clock.now().isoformat()
            about = {"id": f"other-{each}", "metadata": {}, "created_at": at, "captured_at": at}
            bench.server.payments[f"other-{each}"] = bench.server.payments[done.ref] | about
        bench.clock.advance(timedelta(hours=30))  # longer than keys are remembered
        assert await bench.provider.look(asked.payment_id, None) == done
        assert len([m for m in await moved(bench) if m.kind == "payment"]) == 122

    async def test_a_reference_of_another_shop_says_nothing_of_what_was_charged(self, bench: YooKassaBench) -> None:
        with pytest.raises(ProviderRefusedError) as refused:
            await bench.provider.look(uuid7(bench.clock), "00000000-0000-4000-8000-000000000000")
        assert refused.value.code == "not_found"

    async def test_a_new_e_mail_makes_no_other_payment_of_it(self, bench: YooKassaBench) -> None:
        first, method = await saved(bench)
        done = await bench.provider.charge(asked := again(bench, first, method))
        moved_away = replace(asked, email="ada@example.com", description="Renamed")
        assert await bench.provider.charge(moved_away) == done
        with pytest.raises(ProviderRefusedError, match="duplicated"):
            await bench.provider.charge(replace(moved_away, customer_id="somebody else"))
        assert await bench.charged(asked.payment_id) == [999]

    async def test_the_receipt_is_of_what_is_paid_and_given_back(self, bench: YooKassaBench) -> None:
        asked = order(bench, 1_000, receipt=(Item("Film", 1_000, 11, "intellectual_activity"),))
        page = await bench.provider.open(asked)
        await bench.pay(page.checkout_url or "", "good")
        with pytest.raises(ProviderRefusedError, match=r"receipt\.items"):
            await bench.provider.refund(uuid7(), page.ref, Money(300, "RUB"), (Item("Film", 200, 11),))
        with pytest.raises(ProviderRefusedError, match="Receipt is missing") as refused:
            await bench.provider.open(order(bench, receipt=()))
        assert (refused.value.code, refused.value.status) == ("invalid_request", 400)
        with pytest.raises(ProviderRefusedError, match="roubles"):
            await bench.provider.open(order(bench, money=Money(100, "EUR")))

    async def test_a_payment_that_is_processed_later_is_waited_for(self, bench: YooKassaBench) -> None:
        first, method = await saved(bench)
        bench.server.processing = 2
        assert (await bench.provider.charge(again(bench, first, method))).state is State.succeeded
        bench.server.processing = 100
        with pytest.raises(ProviderAwayError):
            await bench.impatient.charge(asked := again(bench, first, method))
        bench.server.processing = 0
        assert await bench.provider.look(asked.payment_id, None) is None
        assert (await bench.provider.charge(asked)).state is State.succeeded

    async def test_notifications_come_until_they_are_answered(self, bench: YooKassaBench) -> None:
        await saved(bench)
        answers = iter([503, 500, 200])
        heard: list[bytes] = []

        async def post(body: bytes, address: str) -> int:
            heard.append(body)
            return next(answers)

        for _ in range(3):
            await bench.server.notify(post)
            bench.clock.advance(timedelta(minutes=2))
        assert len(set(heard)) == 1
        assert not bench.server.notifications

    async def test_a_wrong_key_is_told_without_the_key(self, bench: YooKassaBench) -> None:
        stranger = YooKassa(configured(bench.server, yookassa_secret_key="live_other_secret"))
        with pytest.raises(ProviderRefusedError, match="invalid_credentials") as refused:
            await stranger.look(uuid7(), None)
        await stranger.aclose()
        assert "live_other_secret" not in f"{refused.value!r} {refused.value.__context__!r} {stranger!r}"


@pytest.mark.parametrize(
    ("address", "heard"),
    [
        ("185.71.76.0", True), ("185.71.76.32", False), ("77.75.156.11", True), ("77.75.156.12", False),
        ("77.75.154.200", True), ("2a02:5180:0000:0001", True), ("2a02:5180::7", True), ("127.0.0.1", False),
    ],
)  # fmt: skip
def test_notices_are_heard_from_the_documented_networks(address: str, heard: bool) -> None:
    provider = provider_of(Settings.model_validate({"yookassa_shop_id": "1", "yookassa_secret_key": "k"}), "yookassa")
    body = orjson.dumps({"type": "notification", "event": "payment.succeeded", "object": {"id": "1-2", "status": "x"}})
    if heard:
        told = provider.notice({}, body, datetime.now(UTC), address)
        assert (told.event_id, told.payment_id) == ("payment.succeeded:1-2", None)
    else:
        with pytest.raises(ForgedError):
            provider.notice({}, body, datetime.now(UTC), address)


SILENCE = [
    (200, "<html>"), (200, "[]"), (200, "{}"), (200, '{"id": 7, "status": "succeeded"}'), (204, ""), (302, "{}"),
    (400, "<html>"), (400, '{"message": "no"}'), (404, "not here"), (409, '{"type": "error"}'), (502, "<html>"),
    (500, '{"type": "error", "code": "internal_server_error"}'), (503, '{"type": "error", "code": "x"}'),
    (200, '{"id": "1", "status": "lost", "items": [{"id": 1}], "next_cursor": "1"}'),
]  # fmt: skip


async def test_an_answer_that_says_nothing_leaves_it_open() -> None:
    told = Response()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await told(scope, receive, send)

    with Running(answer) as running:
        url = {"yookassa_shop_id": "1", "yookassa_secret_key": "k", "yookassa_url": running.url}
        provider = YooKassa(Settings.model_validate(url))
        calls = (
            lambda: provider.open(ORDER),
            lambda: provider.charge(ORDER),
            lambda: provider.look(ORDER.payment_id, "1-2"),
            lambda: provider.look(ORDER.payment_id, None),
            lambda: provider.refund("r", "1-2", ORDER.money),
        )
        for status, body in SILENCE:
            told = Response(body, status)
            for place, call in enumerate(calls):
                with pytest.raises(ProviderAwayError):
                    pytest.fail(f"call {place} understood {status} {body}: {await call()}")
        await provider.aclose()


@pytest.mark.parametrize("value", ["1e3", "12.345", "-1.00", "", "NaN", 12.34, None, "1 000.00", "9" * 20])
def test_an_amount_that_is_none_is_no_answer(value: Any) -> None:
    body = {"id": "1", "status": "succeeded", "amount": {"value": value, "currency": "RUB"}}
    with pytest.raises(ProviderAwayError):
        objects.payment(body)


@pytest.mark.parametrize("minor", [1, 10, 999, 10_000_000, 10**11])
def test_amounts_are_exact_both_ways(minor: int) -> None:
    told = objects.amount(Money(minor, "RUB"))
    assert objects.payment({"id": "1", "status": "succeeded", "amount": told}).money == Money(minor, "RUB")
    assert re.fullmatch(r"[0-9]+\.[0-9]{2}", told["value"])


@pytest.mark.parametrize(
    "more",
    [
        {"yookassa_secret_key": None}, {"yookassa_url": "http://api.example.org/v3"}, {"yookassa_networks": "nowhere"},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_told(more: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="MATINEE_YOOKASSA"):
        YooKassa(Settings.model_validate({"yookassa_shop_id": "1", "yookassa_secret_key": "k", **more}))
