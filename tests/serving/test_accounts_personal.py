"""One's own data: to take along, and to be forgotten; the audit log of it."""

import asyncio
import json

import psycopg
import pytest

from matinee.clock import ManualClock, SystemClock
from matinee.db import audit


async def test_the_export_has_everything_that_hangs_on_the_account_and_no_secret(ada, app, browser, settings):
    await ada.kid()
    found = await ada.get("/api/account/export")
    assert found.status_code == 200
    assert "attachment" in found.headers["content-disposition"]
    data = found.json()
    assert {"account", "profile", "auth_session", "subscription_period"} <= set(data["tables"])
    assert data["tables"]["account"][0]["email"] == "ada@example.org"
    assert [p["name"] for p in data["tables"]["profile"]] == ["ada", "Kid"]
    with psycopg.connect(settings.database()) as connection:
        (password_hash, seed) = connection.execute(
            "SELECT a.password_hash, s.seed FROM account a JOIN auth_session s USING (account_id)"
        ).fetchone()
    assert password_hash not in found.text
    assert seed.hex() not in found.text
    assert not {"password_hash", "seed", "pin_hash", "code_hash", "sealed"} & set(_keys(data))
    async with browser(app) as eve:
        await eve.sign_up("eve@example.org")
        assert "ada@example.org" not in (await eve.get("/api/account/export")).text


def _keys(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


async def test_who_asks_to_be_forgotten_is_shut_out_at_once_and_needs_a_fresh_proof(
    catalogue, running, browser, problem
):
    from datetime import timedelta

    clock = ManualClock(SystemClock().now())
    async with running(catalogue, clock) as app, browser(app) as client, browser(app) as bare:
        await client.sign_up()
        clock.advance(timedelta(minutes=6))
        assert problem(await client.post("/api/account/erase")) == (403, "fresh_required")
        again = await client.post("/api/auth/reauthenticate", json={"password": "correct horse"})
        assert again.status_code == 200
        bearer = {"authorization": f"Bearer {again.json()['access_token']}"}
        assert (await client.post("/api/account/erase")).status_code == 202
        for url in ("/api/account", "/api/recommendations", "/api/profile"):
            assert problem(await bare.get(url, headers=bearer)) == (401, "session_over"), url
        login = {"email": "ada@example.org", "password": "correct horse"}
        assert problem(await bare.post("/api/auth/login", json=login)) == (401, "account_disabled")


def test_the_running_stack_forgets_who_asked(catalogue, running, browser, monkeypatch):
    import dagster as dg

    from orchestration.defs.retention.erasures import erasure_requests, erasures
    from orchestration.resources import MatineeResource

    for name, value in catalogue.environment().items():
        monkeypatch.setenv(name, value)

    async def ask():
        async with running(catalogue) as app, browser(app) as client:
            await client.sign_up()
            assert (await client.post("/api/account/erase")).status_code == 202
            return client.session

    resources = {"matinee": MatineeResource(home=str(catalogue.home_path))}
    with dg.DagsterInstance.ephemeral() as instance:

        def tick():
            context = dg.build_sensor_context(instance=instance, resources=resources)
            return erasure_requests.evaluate_tick(context).run_requests

        assert not tick()
        session = asyncio.run(ask())
        assert len(tick()) == 1
        assert dg.materialize([erasures], instance=instance, resources=resources).success
        assert not tick()
    with psycopg.connect(catalogue.database()) as connection:
        left = connection.execute("SELECT count(*) FROM account").fetchone()
        rows = connection.execute("SELECT count(*) FROM outbox WHERE key = %s", (session["account_id"],)).fetchone()
        assert (left, rows) == ((0,), (0,))
        said = audit.tail(connection, 10)
        connection.commit()
        assert audit.verify(connection) is None
    assert [entry.action for entry in said] == ["account.erasure_requested", "account.erased"]
    assert len({entry.subject for entry in said}) == 1
    assert session["account_id"] not in str(said)
    proofs = list((catalogue.home.reports / "erasures").glob("*.json"))
    assert len(proofs) == 1
    assert len(json.loads(proofs[0].read_text())["accounts"]) == 1

    async def still_out():
        async with running(catalogue) as app, browser(app) as client:
            bearer = {"authorization": f"Bearer {session['access_token']}"}
            return (await client.get("/api/account", headers=bearer)).json()["code"]

    assert asyncio.run(still_out()) == "session_over", "a process that starts later knows it too"


@pytest.fixture
async def root(app, browser, settings):
    """An admin."""
    async with browser(app) as client:
        await client.sign_up("root@example.org")
        with psycopg.connect(settings.database()) as connection:
            connection.execute("UPDATE account SET role = 'admin' WHERE email = 'root@example.org'")
        login = {"email": "root@example.org", "password": "correct horse"}
        client.session = (await client.post("/api/auth/login", json=login)).json()
        yield client


async def test_admins_find_change_and_shut_out_and_the_log_says_so(ada, root, settings, problem):
    account = ada.session["account_id"]
    assert problem(await ada.get("/api/admin/accounts")) == (403, "forbidden")
    found = (await root.get("/api/admin/accounts", params={"q": "ADA@example.org"})).json()["items"]
    assert [one["account_id"] for one in found] == [account]
    first = (await root.get("/api/admin/accounts", params={"limit": 1})).json()
    second = (await root.get("/api/admin/accounts", params={"limit": 1, "cursor": first["cursor"]})).json()
    assert {first["items"][0]["email"], second["items"][0]["email"]} == {"ada@example.org", "root@example.org"}

    url = f"/api/admin/accounts/{account}"
    changed = await root.patch(url, json={"role": "moderator"})
    assert (changed.json()["role"], changed.json()["sessions"]) == ("moderator", 0)
    assert problem(await ada.get("/api/account")) == (401, "session_over")
    login = {"email": "ada@example.org", "password": "correct horse"}
    assert (await ada.post("/api/auth/login", json=login)).json()["role"] == "moderator"
    assert problem(await ada.get("/api/admin/accounts")) == (403, "forbidden")
    assert (await root.patch(url, json={"disabled": True})).json()["disabled_at"] is not None
    assert problem(await ada.get("/api/account")) == (401, "session_over")
    assert problem(await ada.post("/api/auth/refresh")) == (401, "invalid_refresh_token")
    assert problem(await ada.post("/api/auth/login", json=login)) == (401, "account_disabled")
    (shut,) = (await root.get("/api/admin/accounts", params={"disabled": True})).json()["items"]
    assert shut["account_id"] == account
    await root.patch(url, json={"disabled": False})
    assert (await ada.post("/api/auth/login", json=login)).status_code == 200
    assert (await root.delete(f"{url}/sessions")).json() == {"sessions": 1}
    own = root.session["account_id"]
    assert problem(await root.patch(f"/api/admin/accounts/{own}", json={"role": "viewer"})) == (409, "own_account")
    assert problem(await root.patch("/api/admin/accounts/nobody", json={"role": "viewer"})) == (404, "unknown_account")
    assert problem(await root.patch(url, json={"rolle": "admin"})) == (422, "invalid_request")

    log = (await root.get("/api/admin/audit", params={"account": account, "limit": 3})).json()
    assert [e["action"] for e in log["items"]] == ["session.ended", "account.enabled", "account.disabled"]
    rest = (await root.get("/api/admin/audit", params={"account": account, "cursor": log["cursor"], "limit": 3})).json()
    assert [(e["action"], e["details"]) for e in rest["items"]] == [
        ("account.role_changed", {"from": "viewer", "to": "moderator"})
    ]
    assert {(e["actor"], e["subject"]) for e in log["items"] + rest["items"]} == {(own, account)}
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        assert audit.verify(connection) is None


async def test_two_admins_cannot_shut_each_other_out(ada, root, settings):
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE account SET role = 'admin'")
    login = {"email": "ada@example.org", "password": "correct horse"}
    await ada.post("/api/auth/login", json=login)
    urls = [f"/api/admin/accounts/{client.session['account_id']}" for client in (root, ada)]
    answers = await asyncio.gather(
        *(c.patch(u, json={"disabled": True}) for c, u in zip((ada, root), urls, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])
