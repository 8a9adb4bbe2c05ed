"""Money over HTTP: one effect for one key, nobody else's things, nothing from a child's profile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from matinee.clock import ManualClock
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.billing.providers.sandbox.cards import BY_NAME
from tests.serving.billing.pdf_text import pdf_text

Problem = Callable[[httpx.Response], tuple[int, str]]
OFFERS = [{"kind": "rent", "price": "3.99", "currency": "EUR"}, {"kind": "buy", "price": "9.99", "currency": "EUR"}]


@pytest.fixture
async def app(
    settings: Settings, clock: ManualClock, running: Callable[..., AbstractAsyncContextManager[FastAPI]]
) -> AsyncIterator[FastAPI]:
    own = settings.model_copy(update={"limits_scale": 100, "seller_name": "Matinee OOO"})
    async with running(own, clock) as app:
        yield app


def key() -> dict[str, str]:
    return {"idempotency-key": uuid7()}


async def pay(app: FastAPI, order: dict[str, Any], card: str = "good") -> None:
    """Pay an order on the sandbox's page, as its owner would."""
    sandbox = app.state.context.billing.provider("sandbox")
    ref = order["payment"]["checkout_url"].rsplit("/", 1)[1]
    await sandbox.submit(ref, BY_NAME[card], save=True)


async def subscribed(app: FastAPI, person: Any, price_id: str = "standard-month-eur") -> dict[str, Any]:
    answer = await person.post("/api/billing/checkout", json={"price_id": price_id}, headers=key())
    assert answer.status_code == 200, answer.text
    await pay(app, answer.json())
    settled = await person.get(f"/api/billing/payments/{answer.json()['payment']['payment_id']}")
    assert settled.json()["state"] == "succeeded", settled.text
    return settled.json()


async def test_plans_are_those_of_the_region_in_the_words_of_the_reader(app, client, browser):
    said = (await client.get("/api/billing/plans", headers={"accept-language": "ru-RU,ru;q=0.9,en;q=0.5"})).json()
    assert [plan["name"] for plan in said["items"]] == ["Базовый", "Стандартный", "Премиум"]
    assert said["items"][0]["prices"][0]["amount"] == {"minor": 599, "currency": "EUR", "text": "5,99\xa0€"}
    assert said["items"][0]["prices"][1]["monthly"]["minor"] == 499
    async with browser(app) as tokyo:
        await tokyo.sign_up("kei@example.org", country="JP")
        yen = (await tokyo.get("/api/billing/plans")).json()
    assert yen["items"][2]["prices"][0]["amount"] == {"minor": 1980, "currency": "JPY", "text": "¥1,980"}


async def test_a_plan_is_ordered_once_for_a_key_and_opens_when_it_is_paid(app, ada, books, browser, problem):
    wanted = {"price_id": "standard-month-eur"}
    assert problem(await ada.post("/api/billing/checkout", json=wanted)) == (400, "idempotency_key_missing")
    mine = key()
    same = await asyncio.gather(*(ada.post("/api/billing/checkout", json=wanted, headers=mine) for _ in range(20)))
    assert {answer.status_code for answer in same} == {200}
    assert len({answer.content for answer in same}) == 1
    order = same[0].json()
    assert (order["paid"], order["payment"]["state"], order["total"]["minor"]) == (False, "pending", 999)
    assert books.execute("SELECT count(*) FROM invoice").fetchone() == (1,)
    other = await ada.post("/api/billing/checkout", json={"price_id": "basic-month-eur"}, headers=mine)
    assert problem(other) == (422, "idempotency_key_reused")
    await pay(app, order)
    address = f"/api/billing/payments/{order['payment']['payment_id']}"
    assert (await ada.get(address)).json()["state"] == "succeeded"
    seen = (await ada.get("/api/billing")).json()
    assert seen["subscription"]["state"] == "trialing"
    assert seen["subscription"]["next_plan"]["price_id"] == "standard-month-eur"
    assert seen["subscription"]["next_charge"]["minor"] == 999
    assert [one["label"] for one in seen["methods"]] == ["Visa •••• 4242"]

    (receipt,) = (await ada.get("/api/billing/invoices")).json()["items"]
    pdf = await ada.get(receipt["pdf"], params={"language": "ru"})
    assert (pdf.headers["content-type"], pdf.headers["cache-control"]) == ("application/pdf", "no-store")
    text = pdf_text(pdf.content)
    for told in ("Квитанция", receipt["number"], "Стандартный, 1 месяц", "9,99 €", "Visa •••• 4242", "Matinee OOO"):
        assert told in text
    assert "Standard, 1 month" in (await ada.get(receipt["html"])).text
    async with browser(app) as bob:
        await bob.sign_up("bob@example.org")
        method = seen["methods"][0]["method_id"]
        not_his = [
            ("GET", address, None), ("GET", receipt["pdf"], None), ("GET", receipt["html"], None),
            ("DELETE", f"/api/billing/methods/{method}", None),
            ("POST", f"/api/billing/invoices/{receipt['invoice_id']}/pay", {}),
            ("POST", "/api/billing/checkout", {**wanted, "method_id": method}),
        ]  # fmt: skip
        for verb, path, body in not_his:
            assert (await bob.request(verb, path, json=body, headers=key())).status_code == 404, path
        assert (await bob.get("/api/billing/invoices")).json()["items"] == []
    assert (await ada.delete(f"/api/billing/methods/{method}")).status_code == 204
    assert (await ada.get("/api/billing")).json()["subscription"]["next_charge"] is None
