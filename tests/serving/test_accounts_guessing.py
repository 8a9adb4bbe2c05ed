"""Passwords that everybody has, and attempts to guess those that people chose: refused, without locking anybody out."""

import asyncio
import hashlib
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from matinee.clock import ManualClock, SystemClock
from serving.accounts.breached import check_leaks
from serving.accounts.devices import device_name
from serving.accounts.passwords import check_strength, hash_now, normal
from serving.problems import Problem

PASSWORD = "correct horse"
EMAIL = "ada@example.org"
WRONG = {"email": EMAIL, "password": "wrong horse"}
RIGHT = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
def clock():
    return ManualClock(SystemClock().now())


@pytest.fixture
async def here(settings, running, clock):
    async with running(settings, clock) as app:
        yield app


@pytest.fixture
def at(here):
    """A client at an address of the internet."""

    def client(address):
        transport = httpx.ASGITransport(here, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url="http://matinee.test")

    return client


async def test_ten_wrong_passwords_from_an_address_and_no_more(here, at, browser, problem, clock, caplog):
    caplog.set_level("INFO", "matinee.security")
    async with browser(here) as ada, at("198.51.100.1") as thief, at("198.51.100.2") as home:
        await ada.sign_up(EMAIL)
        # All at once: none slips past a count that is written only afterwards.
        answers = await asyncio.gather(*(thief.post("/api/auth/login", json=WRONG) for _ in range(15)))
        assert sorted(a.status_code for a in answers) == [401] * 10 + [429] * 5
        refused = await thief.post("/api/auth/login", json=RIGHT)
        assert problem(refused) == (429, "too_many_attempts")
        assert 0 < int(refused.headers["retry-after"]) <= 300
        assert (await home.post("/api/auth/login", json=RIGHT)).status_code == 200, "the owner is not locked out"
        clock.advance(timedelta(minutes=5, seconds=1))
        assert (await thief.post("/api/auth/login", json=RIGHT)).status_code == 200
    told = [
        (line.getMessage(), line.fields["account_id"]) for line in caplog.records if line.name == "matinee.security"
    ]
    account = ada.session["account_id"]
    assert told == [("sign_in_refused", account)] * 10 + [("signed_in", account)] * 2
    assert EMAIL not in caplog.text


async def test_guessing_from_everywhere_gets_one_guess_an_address_and_the_owner_in(here, at, browser, problem):
    async with browser(here) as ada:
        await ada.sign_up(EMAIL)
    for number in range(10):
        async with at(f"198.51.100.{number}") as thief:
            assert problem(await thief.post("/api/auth/login", json=WRONG)) == (401, "wrong_credentials")
    async with at("203.0.113.1") as next_thief, at("203.0.113.2") as home:
        assert problem(await next_thief.post("/api/auth/login", json=WRONG)) == (401, "wrong_credentials")
        assert problem(await next_thief.post("/api/auth/login", json=RIGHT)) == (429, "too_many_attempts")
        for _ in range(3):
            assert (await home.post("/api/auth/login", json=RIGHT)).status_code == 200
        unknown = {"email": "nobody@example.org", "password": PASSWORD}
        assert problem(await home.post("/api/auth/login", json=unknown)) == (401, "wrong_credentials")


async def test_new_accounts_letters_and_proofs_are_limited(here, at, browser, problem):
    async with at("198.51.100.1") as robot:
        codes = []
        for number in range(11):
            body = {"email": f"r{number}@example.org", "password": "7"}
            codes.append((await robot.post("/api/auth/register", json=body | {"password": "password"})).status_code)
        assert codes == [422] * 10 + [429]
        asked = [(await robot.post("/api/auth/recover", json={"email": EMAIL})).status_code for _ in range(6)]
        assert asked == [202] * 5 + [429]
    async with browser(here) as ada:
        await ada.sign_up(EMAIL)
        guesses = [problem(await ada.post("/api/auth/reauthenticate", json={"password": "x"})) for _ in range(11)]
        assert guesses == [(401, "wrong_credentials")] * 10 + [(429, "too_many_attempts")]


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("password", "common"), ("PassWord1", "common"), ("qwertyuiop", "common"), ("Ада123456", None),
        ("Matinee2026!", "personal"), ("ada.lovelace", "personal"), ("lovelace1815", "personal"),
        ("ADA.LOVELACE@example.org", "personal"), ("ada loves otters", None), ("1815 12 10 1852", None),
        ("\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44", "common"),
    ],
)  # fmt: skip
def test_what_is_guessed_first_is_refused(password, reason):
    if reason is None:
        check_strength(password, "ada.lovelace@example.org")
        return
    with pytest.raises(Problem) as refused:
        check_strength(password, "ada.lovelace@example.org")
    told = refused.value
    assert (told.status, told.code, told.members["reason"]) == (422, "weak_password", reason)


async def test_one_word_on_two_keyboards_is_one_password(here, browser, problem):
    composed, decomposed = "\u0439\u043e\u0433 \u0438 \u0451\u0436 \u2116 1", None
    import unicodedata

    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    async with browser(here) as ada:
        body = {"email": EMAIL, "password": composed}
        assert (await ada.post("/api/auth/register", json=body)).status_code == 201
        assert (await ada.post("/api/auth/login", json=body | {"password": decomposed})).status_code == 200
        short = {"email": "b@example.org", "password": unicodedata.normalize("NFD", "\u0439\u0451\u0439\u0451")}
        assert len(short["password"]) == 8
        assert problem(await ada.post("/api/auth/register", json=short)) == (422, "invalid_request")


@contextmanager
def leaks(*passwords, broken=False):
    """A server of the range protocol that knows these passwords; yields its URL and what it was asked."""
    known = [hashlib.sha1(normal(p).encode(), usedforsecurity=False).hexdigest().upper() for p in passwords]
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            prefix = self.path.removeprefix("/range/")
            lines = [f"{digest[5:]}:3" for digest in known if digest.startswith(prefix)]
            body = "\r\n".join([*lines, "0" * 35 + ":0"]).encode()
            self.send_response(500 if broken else 200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_leaked_passwords_are_asked_for_by_five_digits_and_pass_where_nobody_answers(caplog):
    with leaks("a leaked phrase") as (url, asked):
        with pytest.raises(Problem, match="known from a leak"):
            await check_leaks(url, "a leaked phrase")
        await check_leaks(url, "another phrase")
        assert all(len(path) == len("/range/") + 5 for path in asked)
        assert len(asked) == 2
    await check_leaks(url, "a leaked phrase")
    with leaks("a leaked phrase", broken=True) as (url, _):
        await check_leaks(url, "a leaked phrase")
    assert caplog.text.count("the password is taken unchecked") == 2
    await check_leaks(None, "a leaked phrase")


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Version/19.0 Safari/604.1",
         "Safari, iPhone"),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537 Chrome/150.0 YaBrowser/26.1 Safari/537",
         "Yandex Browser, Android"),
        ("", "Unknown device"), ("<script>" * 500, "Unknown device"),
    ],
)  # fmt: skip
def test_a_device_is_named_as_people_know_it(agent, name):
    assert device_name(agent) == name


def test_a_hash_counts_every_character():
    from serving.accounts.passwords import _fits

    long = "п" * 255
    stored = hash_now(long + "a")
    assert _fits(stored, long + "a")
    assert not _fits(stored, long + "b")
