"""What one signs in with: address, password, second factor, a television's code. Each code once, and in its time."""

import asyncio
import re
from datetime import timedelta

import httpx
import psycopg
import pyotp
import pytest

from matinee.clock import ManualClock, SystemClock
from serving.erase import drop_sessions
from serving.letters import compose

PASSWORD = "correct horse"
OTHER = "battery staple"
EMAIL = "ada@example.org"


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
        yield await client.sign_up(EMAIL, language="ru")


@pytest.fixture
async def eve(here, browser):
    """Somebody else's browser, not signed in."""
    async with browser(here) as client:
        yield client


@pytest.fixture
def letters(settings):
    """The letters that wait in the outbox: (template, to, what the link's token is, text), the oldest first."""

    def read():
        with psycopg.connect(settings.database()) as connection:
            rows = connection.execute("SELECT payload FROM outbox WHERE topic = 'mail' ORDER BY id").fetchall()
        found = []
        for (payload,) in rows:
            letter = compose(payload["template"], payload["language"], payload["data"])
            token = re.search(r"token=([\w-]+)", letter.text)
            found.append((payload["template"], payload["to"], token[1] if token else None, letter))
        return found

    return read


async def test_an_address_is_confirmed_by_a_letter_once_and_within_a_day(ada, eve, letters, clock, problem):
    ((template, to, token, letter),) = letters()
    assert (template, to, letter.subject) == ("confirm", EMAIL, "Подтвердите адрес почты")
    assert (await ada.get("/api/account")).json()["email_confirmed"] is False
    assert (await ada.post("/api/auth/confirm/letter")).status_code == 202
    newer = letters()[-1][2]
    assert problem(await eve.post("/api/auth/confirm", json={"token": token})) == (400, "bad_link")
    assert (await eve.post("/api/auth/confirm", json={"token": newer})).status_code == 204
    assert (await ada.get("/api/account")).json()["email_confirmed"] is True
    assert problem(await eve.post("/api/auth/confirm", json={"token": newer})) == (400, "bad_link")
    assert (await eve.post("/api/auth/register", json={"email": "eve@example.org", "password": PASSWORD})).is_success
    late = letters()[-1][2]
    clock.advance(timedelta(hours=24))
    assert problem(await eve.post("/api/auth/confirm", json={"token": late})) == (400, "bad_link")


async def test_a_forgotten_password_is_chosen_anew_by_a_letter_and_every_session_ends(
    ada, eve, letters, clock, problem
):
    known = await eve.post("/api/auth/recover", json={"email": " ADA@example.org"})
    nobody = await eve.post("/api/auth/recover", json={"email": "nobody@example.org"})
    assert (known.status_code, known.text) == (nobody.status_code, nobody.text) == (202, known.text)
    assert [(template, to) for template, to, *_ in letters()[1:]] == [("reset", EMAIL)]
    first = letters()[-1][2]
    for _ in range(4):
        await eve.post("/api/auth/recover", json={"email": EMAIL})
    assert len(letters()) == 4, "three links live at most: each of them still works"
    weak = {"token": first, "password": "password1"}
    assert problem(await eve.post("/api/auth/reset", json=weak)) == (422, "weak_password")
    good = {"token": first, "password": OTHER}
    assert (await eve.post("/api/auth/reset", json=good)).status_code == 204
    assert problem(await eve.post("/api/auth/reset", json=good)) == (400, "bad_link")
    assert problem(await eve.post("/api/auth/reset", json=good | {"token": letters()[2][2]})) == (400, "bad_link")
    assert problem(await ada.get("/api/account")) == (401, "session_over")
    assert problem(await ada.post("/api/auth/refresh")) == (401, "invalid_refresh_token")
    old = await eve.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    assert problem(old) == (401, "wrong_credentials")
    assert (await eve.post("/api/auth/login", json={"email": EMAIL, "password": OTHER})).status_code == 200
    assert (await eve.get("/api/account")).json()["email_confirmed"] is True
    assert letters()[-1][0] == "password_changed"
    clock.advance(timedelta(days=1, seconds=1))
    await eve.post("/api/auth/recover", json={"email": EMAIL})
    late = {"token": letters()[-1][2], "password": PASSWORD}
    clock.advance(timedelta(hours=1))
    assert problem(await eve.post("/api/auth/reset", json=late)) == (400, "bad_link")


async def test_password_and_address_are_changed_by_who_proves_who_they_are(ada, eve, letters, clock, problem):
    await eve.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    for given, expected in (
        ({"password": OTHER, "new_password": OTHER}, (401, "wrong_credentials")),
        ({"password": PASSWORD, "new_password": "Matinee-2026"}, (422, "weak_password")),
    ):
        assert problem(await ada.put("/api/auth/password", json=given)) == expected
    change = {"password": PASSWORD, "new_password": OTHER}
    assert (await ada.put("/api/auth/password", json=change)).status_code == 204
    assert problem(await eve.get("/api/account")) == (401, "session_over")
    assert (await ada.get("/api/account")).status_code == 200

    clock.advance(timedelta(minutes=6))
    new = {"email": "ada@new.example"}
    assert problem(await ada.put("/api/auth/email", json=new)) == (403, "fresh_required")
    wrong = await ada.post("/api/auth/reauthenticate", json={"password": PASSWORD})
    assert problem(wrong) == (401, "wrong_credentials")
    assert (await ada.post("/api/auth/reauthenticate", json={"password": OTHER})).status_code == 200
    assert (await ada.put("/api/auth/email", json=new)).status_code == 202
    warning, proof = letters()[-1], letters()[-2]
    assert (warning[0], warning[1]) == ("email_changing", EMAIL)
    assert (proof[0], proof[1]) == ("new_email", "ada@new.example")
    assert (await ada.get("/api/account")).json()["email"] == EMAIL, "nothing changes before the letter was read"
    assert (await eve.post("/api/auth/confirm", json={"token": proof[2]})).status_code == 204
    assert (await ada.get("/api/account")).json()["email"] == "ada@new.example"
    assert (await eve.post("/api/auth/register", json={"email": EMAIL, "password": PASSWORD})).status_code == 201
    count = len(letters())
    assert (await ada.put("/api/auth/email", json={"email": EMAIL})).status_code == 202, "taken: the same answer"
    assert [template for template, *_ in letters()[count:]] == ["email_changing"]
    assert (await ada.post("/api/auth/refresh")).status_code == 200
    assert (await ada.put("/api/auth/email", json=new)).status_code == 202, "a renewed token keeps the proof's time"


async def test_a_second_factor_takes_each_code_once(ada, eve, letters, clock, problem):
    offered = (await ada.post("/api/auth/totp")).json()
    assert offered["uri"].startswith("otpauth://totp/Matinee:ada%40example.org?secret=" + offered["secret"])
    assert offered["qr"].startswith("<svg")
    totp = pyotp.TOTP(offered["secret"])

    def code(steps=0):
        return totp.generate_otp(int(clock.now().timestamp()) // 30 + steps)

    login = {"email": EMAIL, "password": PASSWORD}
    assert (await eve.post("/api/auth/login", json=login)).status_code == 200, "not confirmed: it does not count yet"
    wrong = await ada.post("/api/auth/totp/confirm", json={"code": "000000"})
    assert problem(wrong) == (401, "wrong_code")
    recovery = (await ada.post("/api/auth/totp/confirm", json={"code": code()})).json()["recovery_codes"]
    assert len(set(recovery)) == 10
    assert problem(await ada.post("/api/auth/totp")) == (409, "second_factor_on")
    assert letters()[-1][0] == "second_factor_on"

    asked = await eve.post("/api/auth/login", json=login)
    assert problem(asked) == (401, "second_factor_required")
    challenge = asked.json()["challenge"]
    replayed = {"challenge": challenge, "code": code()}
    assert problem(await eve.post("/api/auth/login/code", json=replayed)) == (401, "wrong_code"), (
        "it confirmed the factor"
    )
    clock.advance(timedelta(seconds=30))
    answer = {"challenge": challenge, "code": code()}
    assert (await eve.post("/api/auth/login/code", json=answer)).status_code == 200
    assert problem(await eve.post("/api/auth/login/code", json=answer)) == (401, "invalid_challenge")
    assert problem(await eve.post("/api/auth/login", json=login | {"code": code()})) == (401, "wrong_code")
    assert problem(await eve.post("/api/auth/login", json=login | {"code": code(-1)})) == (401, "wrong_code")
    clock.advance(timedelta(minutes=5))
    by_recovery = login | {"code": recovery[3].upper().replace("-", " ")}
    assert (await eve.post("/api/auth/login", json=by_recovery)).status_code == 200
    assert problem(await eve.post("/api/auth/login", json=by_recovery)) == (401, "wrong_code")
    assert (await eve.get("/api/auth/totp")).json() == {"enabled": True, "recovery_codes_left": 9}

    clock.advance(timedelta(minutes=6))
    assert problem(await eve.delete("/api/auth/totp")) == (403, "fresh_required")
    password_alone = await eve.post("/api/auth/reauthenticate", json={"password": PASSWORD})
    assert problem(password_alone) == (401, "second_factor_required")
    assert (await eve.post("/api/auth/reauthenticate", json={"code": code()})).status_code == 200
    assert len((await eve.post("/api/auth/totp/recovery-codes")).json()["recovery_codes"]) == 10
    clock.advance(timedelta(minutes=1))
    old = login | {"code": recovery[4]}
    assert problem(await ada.post("/api/auth/login", json=old)) == (401, "wrong_code"), "new ones replace the old"
    assert (await eve.delete("/api/auth/totp")).status_code == 204
    assert (await ada.post("/api/auth/login", json=login)).status_code == 200
    assert problem(await eve.delete("/api/auth/totp")) == (409, "no_second_factor")


async def test_codes_cannot_be_guessed_and_the_secret_is_sealed(ada, eve, clock, problem, settings):
    secret = (await ada.post("/api/auth/totp")).json()["secret"]
    totp = pyotp.TOTP(secret)
    recovery = (await ada.post("/api/auth/totp/confirm", json={"code": totp.at(clock.now())})).json()["recovery_codes"]
    with psycopg.connect(settings.database()) as connection:
        stored = str(connection.execute("SELECT * FROM second_factor, recovery_code").fetchall())
    assert secret not in stored
    assert not any(code in stored or code.replace("-", "") in stored for code in recovery)
    login = {"email": EMAIL, "password": PASSWORD}
    clock.advance(timedelta(seconds=30))
    wrong = f"{(int(totp.at(clock.now())) + 1) % 1_000_000:06d}"
    answers = [problem(await eve.post("/api/auth/login", json=login | {"code": wrong})) for _ in range(6)]
    assert answers == [(401, "wrong_code")] * 5 + [(429, "too_many_attempts")]
    right = await eve.post("/api/auth/login", json=login | {"code": totp.at(clock.now())})
    assert problem(right) == (429, "too_many_attempts"), "six digits are few: nobody may guess on"
    clock.advance(timedelta(minutes=5, seconds=1))
    assert (await eve.post("/api/auth/login", json=login | {"code": totp.at(clock.now())})).status_code == 200


async def test_the_owner_of_an_address_gets_in_past_whoever_registered_it(ada, eve, letters, clock):
    secret = (await ada.post("/api/auth/totp")).json()["secret"]
    await ada.post("/api/auth/totp/confirm", json={"code": pyotp.TOTP(secret).at(clock.now())})
    await eve.post("/api/auth/recover", json={"email": EMAIL})
    reset = {"token": letters()[-1][2], "password": OTHER}
    assert (await eve.post("/api/auth/reset", json=reset)).status_code == 204
    assert (await eve.post("/api/auth/login", json={"email": EMAIL, "password": OTHER})).status_code == 200


@pytest.fixture
async def television(here):
    transport = httpx.ASGITransport(here)
    agent = "Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) AppleWebKit/538.1 SamsungBrowser/5.0"
    async with httpx.AsyncClient(
        transport=transport, base_url="http://matinee.test", headers={"user-agent": agent}
    ) as client:
        yield client


async def test_a_television_is_let_in_by_a_code(television, ada, eve, clock, problem, letters):
    asked = (await television.post("/api/auth/tv")).json()
    assert re.fullmatch(r"[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}", asked["user_code"])
    assert asked["verification_uri_complete"].endswith(f"/#/link?code={asked['user_code']}")
    assert asked["qr"].startswith("<svg")

    async def poll():
        return await television.post("/api/auth/tv/token", json={"device_code": asked["device_code"]})

    assert problem(await poll()) == (400, "authorization_pending")
    assert problem(await poll()) == (400, "slow_down")
    clock.advance(timedelta(seconds=10))
    assert problem(await poll()) == (400, "authorization_pending"), "it asks every ten seconds now"
    typed = asked["user_code"].lower().replace("-", " ")
    assert problem(await eve.post("/api/auth/tv/approve", json={"user_code": typed})) == (401, "unauthenticated")
    shown = (await ada.get(f"/api/auth/tv/{typed}")).json()
    assert shown["device"] == "Samsung Internet, Samsung TV"
    assert (await ada.post("/api/auth/tv/approve", json={"user_code": typed})).status_code == 204
    assert problem(await ada.post("/api/auth/tv/approve", json={"user_code": typed})) == (404, "unknown_code")
    assert letters()[-1][0] == "signed_in_tv"
    clock.advance(timedelta(seconds=10))
    let_in = await poll()
    assert let_in.json()["account_id"] == ada.session["account_id"]
    assert problem(await poll()) == (400, "expired_token"), "once"
    television.cookies.clear()
    bearer = {"authorization": f"Bearer {let_in.json()['access_token']}"}
    assert (await television.get("/api/account", headers=bearer)).status_code == 200
    assert problem(await television.post("/api/auth/totp", headers=bearer)) == (403, "fresh_required")

    (newest, own) = (await ada.get("/api/auth/sessions")).json()["items"]
    assert (newest["kind"], newest["device"], newest["current"]) == ("tv", "Samsung Internet, Samsung TV", False)
    assert own["current"] is True
    assert (await ada.delete(f"/api/auth/sessions/{newest['session_id']}")).status_code == 204
    assert problem(await television.get("/api/account", headers=bearer)) == (401, "session_over")
    assert problem(await ada.delete(f"/api/auth/sessions/{newest['session_id']}")) == (404, "unknown_session")
    for approve, wait, expected in ((False, 0, "access_denied"), (True, 600, "expired_token")):
        asked = (await television.post("/api/auth/tv")).json()
        await ada.post("/api/auth/tv/approve", json={"user_code": asked["user_code"], "approve": approve})
        clock.advance(timedelta(seconds=wait))
        assert problem(await poll()) == (400, expected)


@pytest.mark.parametrize("by", ["everywhere", "password", "reset"])
async def test_a_television_that_was_let_in_but_has_not_asked_is_out_with_all_others(
    television, ada, eve, letters, problem, by
):
    asked = (await television.post("/api/auth/tv")).json()
    assert (await ada.post("/api/auth/tv/approve", json={"user_code": asked["user_code"]})).status_code == 204
    if by == "everywhere":
        ended = await ada.delete("/api/auth/sessions", params={"everywhere": True})
    elif by == "password":
        ended = await ada.put("/api/auth/password", json={"password": PASSWORD, "new_password": OTHER})
    else:
        await eve.post("/api/auth/recover", json={"email": EMAIL})
        ended = await eve.post("/api/auth/reset", json={"token": letters()[-1][2], "password": OTHER})
    assert ended.status_code == 204
    late = await television.post("/api/auth/tv/token", json={"device_code": asked["device_code"]})
    assert problem(late) == (400, "expired_token")


@pytest.mark.parametrize("second_factor", [False, True])
async def test_a_sign_in_under_way_does_not_outlive_the_password_that_it_gave(
    ada, eve, settings, clock, blocked, problem, second_factor
):
    if second_factor:
        secret = (await ada.post("/api/auth/totp")).json()["secret"]
        await ada.post("/api/auth/totp/confirm", json={"code": pyotp.TOTP(secret).at(clock.now())})
    async with await psycopg.AsyncConnection.connect(settings.database()) as changing:
        await changing.execute("UPDATE account SET password_hash = 'another'")
        under_way = asyncio.create_task(eve.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD}))
        await blocked(settings, under_way)
    assert problem(await under_way) == (401, "wrong_credentials"), "nor is there a challenge to answer later"


@pytest.mark.parametrize(("kind", "dropped"), [("password", 1), ("command", 0)])
async def test_the_token_of_a_command_stays_ended_until_it_expires(ada, settings, clock, kind, dropped):
    ended = clock.now() - timedelta(days=8)
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE auth_session SET kind = %s, revoked_at = %s", (kind, ended))
        assert drop_sessions(connection, ended + timedelta(days=1)) == dropped


async def test_another_ones_session_is_not_there_and_all_others_end_at_once(ada, eve, here, browser, problem):
    await eve.post("/api/auth/register", json={"email": "eve@example.org", "password": PASSWORD})
    (mine,) = (await ada.get("/api/auth/sessions")).json()["items"]
    assert problem(await eve.delete(f"/api/auth/sessions/{mine['session_id']}")) == (404, "unknown_session")
    async with browser(here) as second, browser(here) as third:
        for client in (second, third):
            await client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
        assert len((await ada.get("/api/auth/sessions")).json()["items"]) == 3
        assert (await second.delete("/api/auth/sessions")).status_code == 204
        assert problem(await third.get("/api/account")) == (401, "session_over")
        assert problem(await ada.get("/api/account")) == (401, "session_over")
        assert (await second.get("/api/account")).status_code == 200
        assert (await second.delete("/api/auth/sessions", params={"everywhere": True})).status_code == 204
        assert problem(await second.get("/api/account")) == (401, "session_over")
    assert (await eve.get("/api/account")).status_code == 200


async def test_the_letter_that_a_person_gets_opens_what_it_says(ada, eve, settings):
    """All the way: the outbox's worker, the mail, the link in it."""
    import mailbox

    from serving import outbox

    assert await asyncio.to_thread(outbox.drain, settings) == 1
    (mail,) = mailbox.Maildir(settings.home.mail)
    assert mail["to"] == EMAIL
    text = mail.get_payload(decode=True).decode()
    token = re.search(r"http://127\.0\.0\.1\S*/#/confirm\?token=([\w-]+)", text)
    assert token is not None, text
    assert (await eve.post("/api/auth/confirm", json={"token": token[1]})).status_code == 204
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT count(*) FROM outbox WHERE topic = 'mail'").fetchone() == (0,)
