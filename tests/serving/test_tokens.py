"""Access tokens that nobody forges, refresh tokens that nobody uses twice, sessions that end when they should."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import jwt
import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as budget
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from matinee.clock import ManualClock, SystemClock
from matinee.secrets import renew
from serving.accounts import sessions
from serving.accounts.revoked import PERIOD_S
from serving.accounts.tokens import Tokens
from serving.problems import Problem

KEY = b"k" * 32


@pytest.fixture
def clock():
    return ManualClock(SystemClock().now())


@pytest.fixture
async def here(settings, running, clock):
    async with running(settings, clock) as app:
        yield app


@pytest.fixture
async def ada(here, browser):
    async with browser(here) as client:
        yield await client.sign_up()


async def refresh(browser, app, token):
    async with browser(app) as client:
        return await client.post("/api/auth/refresh", json={"refresh_token": token})


async def test_an_access_token_lives_ten_minutes(ada, problem, clock):
    clock.advance(timedelta(minutes=9, seconds=58))
    assert (await ada.get("/api/profile")).status_code == 200
    clock.advance(timedelta(seconds=3))
    assert problem(await ada.get("/api/profile")) == (401, "token_expired")
    assert (await ada.post("/api/auth/refresh")).status_code == 200
    assert (await ada.get("/api/profile")).status_code == 200


def test_a_new_key_signs_and_the_old_one_still_verifies(settings, clock):
    before = Tokens(settings.home, clock)
    old = before.issue("a", "s", "viewer")
    assert renew(settings.home, "token") == 2
    after = Tokens(settings.home, clock)
    new = after.issue("a", "s", "viewer")
    assert [jwt.get_unverified_header(token)["kid"] for token in (old, new)] == ["1", "2"]
    assert after.verify(old) == before.verify(new), "a process that started before finds the new key"
    (settings.home.secrets / "token").unlink()
    with pytest.raises(Problem, match="not valid"):
        Tokens(settings.home, clock).verify(old)


async def test_fifty_refreshes_at_once_end_with_one_token_and_a_late_one_ends_the_session(
    here, ada, browser, problem, clock, settings
):
    first = ada.session["refresh_token"]
    answers = await asyncio.gather(*(refresh(browser, here, first) for _ in range(50)))
    successors = {a.json()["refresh_token"] for a in answers}
    assert [a.status_code for a in answers] == [200] * 50
    assert len(successors) == 1
    second = successors.pop()
    assert second != first
    clock.advance(timedelta(seconds=31))
    third = (await refresh(browser, here, second)).json()["refresh_token"]
    fourth = (await refresh(browser, here, third)).json()["refresh_token"]
    # Two rotations ago: whoever holds it now, one of the two is a thief.
    assert problem(await refresh(browser, here, first)) == (401, "invalid_refresh_token")
    assert problem(await refresh(browser, here, fourth)) == (401, "invalid_refresh_token")
    await asyncio.sleep(PERIOD_S * 1.5)
    assert problem(await ada.get("/api/profile")) == (401, "session_over"), "its access token too"
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT action FROM audit").fetchall() == [("session.token_reused",)]


async def test_what_one_process_ends_no_other_serves_a_second_later(settings, running, browser, problem):
    async with running(settings) as one, running(settings) as other, browser(one) as client, browser(other) as far:
        await client.sign_up()
        far.headers["authorization"] = f"Bearer {client.session['access_token']}"
        routes = [("GET", "/api/account"), ("GET", "/api/recommendations"), ("POST", "/api/events")]
        for method, url in routes:
            assert (await far.request(method, url, json={"events": []})).status_code not in (401, 403), url
        assert (await client.delete("/api/auth/sessions", params={"everywhere": True})).status_code == 204
        deadline = time.monotonic() + 10  # it takes PERIOD_S, on a machine that has time for us
        while (await far.get("/api/account")).status_code == 200:
            assert time.monotonic() < deadline, "an ended session goes on elsewhere"
            await asyncio.sleep(0.05)
        for method, url in routes:
            assert problem(await far.request(method, url, json={"events": []})) == (401, "session_over"), url


class RefreshTokens(RuleBasedStateMachine):
    """Against a model that knows nothing of how tokens are made: a session has numbered ones, one of them newest."""

    connect: Callable[[], Coroutine[Any, Any, psycopg.AsyncConnection]]
    tokens = Bundle("tokens")

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.connection = self.loop.run_until_complete(type(self).connect())
        self.clock = ManualClock()
        self.model = {}
        self.values = {}

    def run(self, made):
        return self.loop.run_until_complete(made)

    @rule(target=tokens)
    def open(self):
        entry = self.run(sessions.open_session(self.connection, KEY, "ml:1", self.clock.now()))
        now = self.clock.now()
        self.model[entry.session_id] = {
            "newest": 1, "rotated": None, "opened": now, "until": now + sessions.IDLE_LIFE, "ended": False,
        }  # fmt: skip
        self.values[entry.session_id, 1] = entry.refresh_token
        return entry.session_id, 1

    @rule(target=tokens, token=tokens)
    def use(self, token):
        session, number = token
        model, now = self.model[session], self.clock.now()
        got = self.run(sessions.rotate(self.connection, KEY, self.values[token], now))
        alive = not model["ended"] and now < model["until"]
        behind = model["newest"] - number
        if alive and behind == 0:
            model["newest"] += 1
            model["rotated"] = now
            model["until"] = min(now + sessions.IDLE_LIFE, model["opened"] + sessions.LONGEST_LIFE)
        elif alive and not (behind == 1 and now - model["rotated"] <= sessions.ROTATION_GRACE):
            model["ended"], alive = True, False
        assert (got is not None) == alive
        if got is None:
            return token
        given = (session, model["newest"])
        assert got.session_id == session
        assert self.values.setdefault(given, got.refresh_token) == got.refresh_token, "one successor, always"
        return given

    @rule(token=tokens, place=st.integers(0, 70), letter=st.sampled_from("0a.z"))
    def forge(self, token, place, letter):
        value = self.values[token]
        place = min(place, len(value) - 1)
        changed = value[:place] + letter + value[place + 1 :]
        if changed not in self.values.values():
            assert self.run(sessions.rotate(self.connection, KEY, changed, self.clock.now())) is None

    @rule(token=tokens)
    def end(self, token):
        self.run(sessions.revoke(self.connection, token[0], self.clock.now()))
        self.model[token[0]]["ended"] = True

    @rule(seconds=st.sampled_from([1, 15, 29, 31, 3_600, 86_400 * 29, 86_400 * 31]))
    def wait(self, seconds):
        self.clock.advance(timedelta(seconds=seconds))

    @invariant()
    def open_sessions_are_those_of_the_model(self):
        found = self.run(sessions.sessions(self.connection, "ml:1", self.clock.now()))
        now = self.clock.now()
        assert {one["session_id"] for one in found} == {
            session for session, model in self.model.items() if not model["ended"] and now < model["until"]
        }

    def teardown(self):
        self.run(self.connection.rollback())
        self.run(self.connection.close())
        self.loop.close()


def machine(settings, examples, steps):
    class Here(RefreshTokens):
        @staticmethod
        def connect():
            return psycopg.AsyncConnection.connect(settings.database())

    checks = [HealthCheck.too_slow]
    run_state_machine_as_test(
        Here,
        settings=budget(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks),
    )


@pytest.fixture
def viewer(settings):
    from matinee.db.viewers import Viewer, add_viewers

    with psycopg.connect(settings.database()) as connection:
        add_viewers(connection, [Viewer("ml:1", "Ada", "import")])
    return settings


def test_refresh_tokens_keep_their_rules_whatever_happens(viewer):
    machine(viewer, examples=8, steps=25)


@pytest.mark.slow
def test_refresh_tokens_keep_their_rules_for_a_thousand_steps(viewer):
    machine(viewer, examples=30, steps=1_000)
