"""Money over HTTP: one effect for one key, nobody else's things, nothing from a child's profile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from matinee.clock import ManualClock
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.billing.promo import core as promos
from serving.billing.providers.sandbox.cards import BY_NAME
from serving.billing.renewals import core as renewals
from serving.billing.subscriptions import core as subscriptions
from tests.serving.billing.pdf_text import pdf_text

Problem = Callable[[httpx.Response], tuple[int, str]]


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


async def trial_over(app: FastAPI, person: Any, clock: ManualClock) -> None:
    clock.advance(timedelta(days=14, minutes=1))
    async with app.state.context.transaction() as connection:
        await subscriptions.turn_many(connection, await subscriptions.due(connection, clock.now(), 10), clock.now())
    await person.post("/api/auth/refresh")


async def dies_before_it_answers(
    app: FastAPI, person: Any, transactions: int, path: str, body: dict[str, Any]
) -> dict[str, str]:
    """A request whose process ends with what it did written and its answer not; the key with which to ask again."""
    billing, mine, count = app.state.context.billing, key(), 0
    through = billing.transaction

    @asynccontextmanager
    async def fails() -> AsyncIterator[psycopg.AsyncConnection]:
        nonlocal count
        count += 1
        if count > transactions:
            raise psycopg.OperationalError("the server closed the connection")
        async with through() as connection:
            yield connection

    billing.transaction = fails
    assert (await person.post(path, json=body, headers=mine)).status_code == 503
    billing.transaction = through
    return mine


async def test_who_asks_again_hears_what_became_of_a_request_that_died(app, ada, books, clock):
    wanted = {"price_id": "standard-month-eur"}
    mine = await dies_before_it_answers(app, ada, 3, "/api/billing/checkout", wanted)
    ((payment_id, ref),) = books.execute("SELECT payment_id, provider_ref FROM payment").fetchall()
    await app.state.context.billing.provider("sandbox").submit(ref, BY_NAME["good"], save=True)
    await ada.get(f"/api/billing/payments/{payment_id}")
    clock.advance(timedelta(seconds=31))
    order = (await ada.post("/api/billing/checkout", json=wanted, headers=mine)).json()
    assert (order["paid"], order["payment"]["payment_id"], order["payment"]["state"]) == (True, payment_id, "succeeded")
    await trial_over(app, ada, clock)
    change = {"price_id": "basic-month-eur", "now": False}
    mine = await dies_before_it_answers(app, ada, 1, "/api/billing/subscription/change", change)
    clock.advance(timedelta(seconds=31))
    moved = books.execute("SELECT count(*) FROM subscription_event").fetchall()
    again = await ada.post("/api/billing/subscription/change", json=change, headers=mine)
    assert again.json() == {"invoice_id": None, "total": None, "paid": True, "payment": None}
    assert books.execute("SELECT count(*) FROM subscription_event").fetchall() == moved


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
    less = await ada.post("/api/billing/checkout", json={**wanted, "expected_minor": 998}, headers=key())
    assert problem(less) == (409, "price_changed")
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


async def staff(app: FastAPI, person: Any, books: psycopg.Connection[Any]) -> Any:
    """A sign-in that may run the money."""
    await person.sign_up("root@example.org")
    books.execute("UPDATE account SET role = 'admin' WHERE email = 'root@example.org'")
    await app.state.context.revoked.refresh()
    await person.post("/api/auth/login", json={"email": "root@example.org", "password": "correct horse"})
    return person


async def test_ones_own_data_has_what_was_paid_and_no_token(app, ada):
    await subscribed(app, ada)
    text = (await ada.get("/api/account/export")).text
    tables = json.loads(text)["tables"]
    assert {
        "invoice",
        "invoice_line",
        "payment",
        "payment_method",
        "subscription",
        "subscription_event",
    } <= tables.keys()
    assert (tables["invoice"][0]["total_minor"], tables["payment_method"][0]["label"]) == (999, "Visa •••• 4242")
    assert "sbx_" not in text


async def test_refunds_are_of_what_was_paid_and_written_down(app, ada, books, browser, problem):
    paid = await subscribed(app, ada)
    async with browser(app) as root:
        await staff(app, root, books)
        address = f"/api/admin/billing/payments/{paid['payment_id']}"
        wrong: list[tuple[Any, Any, int]] = [
            (0, "EUR", 422), (-1, "EUR", 422), (10**12, "EUR", 422), (1.5, "EUR", 422), ("1", "EUR", 422),
            (True, "EUR", 422), (1000, "EUR", 422), (100, "USD", 422), (100, None, 422), (None, "EUR", 422),
            (100, "eur", 422),
        ]  # fmt: skip
        for minor, currency, status in wrong:
            body = {"amount_minor": minor, "currency": currency, "reason": "test"}
            answer = await root.post(f"{address}/refunds", json=body, headers=key())
            assert answer.status_code == status, (minor, currency, answer.text)
        part = {"amount_minor": 99, "currency": "EUR", "reason": "a bad evening"}
        mine = key()
        same = [await root.post(f"{address}/refunds", json=part, headers=mine) for _ in range(3)]
        assert len({answer.content for answer in same}) == 1
        assert same[0].json()["amount"]["text"] == "€0.99"
        rest = await root.post(f"{address}/refunds", json={"reason": "all of it"}, headers=key())
        assert rest.json()["amount"]["minor"] == 900
        none = await root.post(f"{address}/refunds", json={"reason": "more"}, headers=key())
        assert problem(none)[0] == 422
        seen = (await root.get(address)).json()
        assert (seen["refunded"]["minor"], len(seen["refunds"])) == (999, 2)
        for q in (ada.session["account_id"], "ADA@example.org", seen["number"], seen["payment_id"]):
            (found,) = (await root.get("/api/admin/billing/payments", params={"q": q})).json()["items"]
            assert found["payment_id"] == paid["payment_id"]
        ledger = await root.get(f"/api/admin/billing/accounts/{ada.session['account_id']}/ledger", params={"limit": 2})
        assert [fact["kind"] for fact in ledger.json()["items"]] == ["refund", "credit"]
        assert ledger.json()["balances"] == [{"minor": 0, "currency": "EUR", "text": "€0.00"}]
        further = {"limit": 50, "cursor": ledger.json()["cursor"]}
        older = await root.get(f"/api/admin/billing/accounts/{ada.session['account_id']}/ledger", params=further)
        assert [fact["kind"] for fact in older.json()["items"]] == ["refund", "credit", "payment", "charge"]
        audit = (await root.get("/api/admin/audit", params={"action": "payment.refund_asked"})).json()["items"]
        assert [entry["details"]["amount_minor"] for entry in audit][:2] == [None, None]
        assert audit[-1]["subject"] == ada.session["account_id"]
    notes = (await ada.get("/api/billing/invoices")).json()["items"]
    assert [one["purpose"] for one in notes] == ["credit", "credit", "subscription"]
    assert "Credit note" in (await ada.get(notes[0]["html"])).text
    assert (await ada.get("/api/billing")).json()["subscription"]["next_plan"] is None

    await subscribed(app, ada)
    async with browser(app) as root:
        await root.post("/api/auth/login", json={"email": "root@example.org", "password": "correct horse"})
        cancel = f"/api/admin/billing/accounts/{ada.session['account_id']}/subscription/cancel"
        assert (await root.post(cancel)).json()["state"] == "trialing"
        mine = (await ada.get("/api/billing")).json()["subscription"]
        assert (mine["ends"], mine["next_charge"]) == (True, None)
        audit = (await root.get("/api/admin/audit", params={"action": "subscription.cancelled"})).json()["items"]
        assert [entry["subject"] for entry in audit] == [ada.session["account_id"]]


async def test_codes_are_made_by_staff_and_refused_for_a_reason(app, ada, books, browser, problem, clock):
    wanted = {"price_id": "standard-month-eur"}
    async with browser(app) as root:
        await staff(app, root, books)
        codes = "/api/admin/billing/promo-codes"
        rouble = {"code": "RUBLE", "kind": "amount", "value": 10000, "currency": "RUB"}
        old = {"code": "OLD", "kind": "percent", "value": 1000, "until": (clock.now()).isoformat()}
        once = {"code": "Весна-1", "kind": "percent", "value": 5000, "limit_total": 1}
        for body in (rouble, old, once, {"code": "BASIC", "kind": "percent", "value": 100, "plans": ["basic"]}):
            assert (await root.post(codes, json=body)).status_code == 201, body
        assert problem(await root.post(codes, json=once)) == (409, "promo_taken")
        for body in ({**once, "code": "A B!"}, {**once, "code": "NEXT", "value": 10001}, {**once, "code": "N", "x": 1}):
            assert (await root.post(codes, json=body)).status_code == 422
        for code, told in (
            ("ruble", "promo_currency"), ("OLD", "promo_expired"), ("basic", "promo_not_for_this"),
            ("nobody", "promo_unknown"), ("\u202e", "promo_unknown"), ("' OR 1=1", "promo_unknown"),
        ):  # fmt: skip
            for route in ("preview", "checkout"):
                answer = await ada.post(f"/api/billing/{route}", json={**wanted, "promo": code}, headers=key())
                assert problem(answer) == (422, told), (route, code)
        seen = (await ada.post("/api/billing/preview", json={**wanted, "promo": "весна-1"})).json()
        assert [line["amount"]["minor"] for line in seen["lines"]] == [999, -500]
        assert seen["due"]["minor"] == 499
        order = (await ada.post("/api/billing/checkout", json={**wanted, "promo": "весна-1"}, headers=key())).json()
        assert order["payment"]["amount"]["minor"] == 499
        async with browser(app) as bob:
            await bob.sign_up("bob@example.org")
            late = await bob.post("/api/billing/checkout", json={**wanted, "promo": "ВЕСНА-1"}, headers=key())
            assert problem(late) == (422, "promo_exhausted")
        listed = {one["code"]: one for one in (await root.get(codes)).json()["items"]}
        for status in (204, 404):
            assert (await root.delete(f"{codes}/{listed['ВЕСНА-1']['promo_id']}")).status_code == status
        assert (listed["ВЕСНА-1"]["used"], listed["ВЕСНА-1"]["redeemed"]) == (1, 0)
        assert (await ada.get(codes)).status_code == 403
    await pay(app, order)
    done = (await ada.get(f"/api/billing/payments/{order['payment']['payment_id']}")).json()
    assert done["state"] == "succeeded", "who has a code keeps it"


async def test_a_plan_is_changed_cancelled_kept_and_paused(app, ada, clock, problem):
    await subscribed(app, ada)
    await trial_over(app, ada, clock)
    mine = (await ada.get("/api/billing")).json()["subscription"]
    assert (mine["state"], mine["plan"]["plan_id"], mine["until"][:10]) == ("active", "standard", "2026-04-24")
    move = "/api/billing/subscription"
    assert problem(await ada.post(f"{move}/resume", headers=key())) == (409, "not_now")
    again = await ada.post("/api/billing/checkout", json={"price_id": "basic-month-eur"}, headers=key())
    assert problem(again) == (409, "subscribed")
    seen = (await ada.post("/api/billing/preview", json={"price_id": "premium-month-eur"})).json()
    assert [line["kind"] for line in seen["lines"]] == ["plan", "unused"]
    assert 390 <= seen["due"]["minor"] <= 400
    wanted = {"price_id": "premium-month-eur", "expected_minor": seen["due"]["minor"] - 1}
    assert problem(await ada.post(f"{move}/change", json=wanted, headers=key())) == (409, "price_changed")
    wanted["expected_minor"] += 1
    changed = await ada.post(f"{move}/change", json=wanted, headers=key())
    assert changed.json()["paid"] is True, "the saved card was charged"
    assert changed.json()["payment"]["amount"] == seen["due"]
    later = await ada.post(f"{move}/change", json={"price_id": "basic-month-eur", "now": False}, headers=key())
    assert later.json() == {"invoice_id": None, "total": None, "paid": True, "payment": None}
    mine = (await ada.get("/api/billing")).json()["subscription"]
    assert (mine["plan"]["plan_id"], mine["next_plan"]["plan_id"]) == ("premium", "basic")
    assert (mine["next_charge"]["minor"], mine["next_charge_at"][:10]) == (599, "2026-04-24")
    assert (await ada.post(f"{move}/keep")).json()["subscription"]["next_plan"] is None
    paused = (await ada.post(f"{move}/pause", json={"days": 30})).json()["subscription"]
    assert (paused["pauses"], paused["resumes_at"][:10]) == (True, "2026-05-24")
    assert (await ada.post(f"{move}/pause", json={"days": 91})).status_code == 422
    ends = (await ada.post(f"{move}/cancel")).json()["subscription"]
    assert (ends["ends"], ends["until"][:10], ends["next_charge"]) == (True, "2026-04-24", None)
    assert (await ada.post(f"{move}/keep")).json()["subscription"]["next_charge"]["minor"] == 1399


async def test_nobody_spends_from_a_childs_profile(app, ada, problem):
    kid = await ada.kid()
    for pin, told in ((None, "childs_profile"), ("4711", "pin_required")):
        if pin:
            assert (await ada.put("/api/profile/pin", json={"pin": pin})).status_code == 204
        assert (await ada.post(f"/api/profile/{kid}/enter", json={})).status_code == 200
        assert (await ada.get("/api/billing/plans")).status_code == 200
        for verb, path, body in (
            ("GET", "/api/billing", None), ("GET", "/api/billing/invoices", None),
            ("POST", "/api/billing/checkout", {"price_id": "standard-month-eur"}),
            ("POST", "/api/billing/purchase", {"title_id": "x", "kind": "rent"}),
            ("POST", "/api/billing/preview", {"price_id": "standard-month-eur"}),
            ("POST", "/api/billing/subscription/cancel", None),
        ):  # fmt: skip
            assert problem(await ada.request(verb, path, json=body, headers=key())) == (403, told), path


async def test_a_wish_that_is_none_is_refused(ada, problem):
    for body in (
        {}, {"price_id": "a", "title_id": "b", "kind": "rent"}, {"title_id": "b"}, {"kind": "rent"},
        {"price_id": "x" * 65}, {"price_id": "basic-month-eur", "amount": 1}, {"price_id": "a\x00b"},
        {"price_id": "basic-month-eur", "promo": "\x00"}, {"title_id": "b", "kind": "steal"},
    ):  # fmt: skip
        assert problem(await ada.post("/api/billing/preview", json=body)) == (422, "invalid_request"), body


async def test_a_refused_renewal_is_paid_by_hand_while_one_can_still_watch(app, ada, clock, problem):
    answer = await ada.post("/api/billing/checkout", json={"price_id": "standard-month-eur"}, headers=key())
    await pay(app, answer.json(), "later_poor")
    await ada.get(f"/api/billing/payments/{answer.json()['payment']['payment_id']}")
    for days in (14, 31):
        clock.advance(timedelta(days=days, minutes=5))
        await renewals.renew(app.state.context.billing, clock.now())
    await ada.post("/api/auth/login", json={"email": "ada@example.org", "password": "correct horse"})
    mine = (await ada.get("/api/billing")).json()["subscription"]
    assert (mine["state"], mine["next_charge"]["minor"]) == ("past_due", 999)
    assert mine["next_charge_at"] > clock.now().isoformat()[:10]
    (renewal, _) = (await ada.get("/api/billing/invoices")).json()["items"]
    assert (renewal["state"], renewal["invoice_id"]) == ("open", mine["to_pay"])
    assert "Invoice" in (await ada.get(renewal["html"])).text
    order = await ada.post(f"/api/billing/invoices/{mine['to_pay']}/pay", json={}, headers=key())
    await pay(app, order.json())
    done = (await ada.get(f"/api/billing/payments/{order.json()['payment']['payment_id']}")).json()
    assert (done["state"], done["reason"]) == ("succeeded", "renewal")
    mine = (await ada.get("/api/billing")).json()
    assert (mine["subscription"]["state"], mine["subscription"]["to_pay"]) == ("active", None)
    assert [one["label"] for one in mine["methods"]] == ["Visa •••• 4242", "Visa •••• 0341"]
    late = await ada.post(f"/api/billing/invoices/{renewal['invoice_id']}/pay", json={}, headers=key())
    assert problem(late) == (409, "invoice_settled")


async def test_codes_are_not_guessed_by_the_preview(settings, clock, running, browser, problem):
    """Wrong codes count, right ones do not, and prices are told on."""
    wanted = {"price_id": "basic-month-eur"}
    async with running(settings, clock) as app, browser(app) as bob:
        await bob.sign_up("bob@example.org")
        async with app.state.context.transaction() as connection:
            await promos.add(connection, promos.NewPromo("REAL", "percent", 1_000), clock.now())
        codes = [*(f"GUESS{count}" for count in range(9)), "REAL", "REAL", "GUESS9"]
        told = [await bob.post("/api/billing/preview", json={**wanted, "promo": code}) for code in codes]
        assert [each.status_code for each in told] == [422] * 9 + [200] * 2 + [422]
        refused = await bob.post("/api/billing/preview", json={**wanted, "promo": "REAL"})
        assert problem(refused) == (429, "too_many_attempts")
        assert 0 < int(refused.headers["retry-after"]) <= 300
        assert (
            problem(await bob.post("/api/billing/checkout", json={**wanted, "promo": "REAL"}, headers=key()))[0] == 429
        )
        assert (await bob.post("/api/billing/preview", json=wanted)).status_code == 200
