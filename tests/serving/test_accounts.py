"""Registration, signing in and out, cookies."""

import time

import psycopg
import pytest

PASSWORD = "correct horse"


@pytest.fixture
async def app(settings, running):
    """Without a catalogue: nobody watches here."""
    async with running(settings) as app:
        yield app


async def test_a_person_registers_logs_in_and_out(client, app, browser, problem):
    await client.sign_up("Ada@Example.org", language="ru", country="FR")
    async with browser(app) as other:
        answer = await other.post("/api/auth/login", json={"email": " ada@example.ORG ", "password": PASSWORD})
        assert answer.status_code == 200
        assert answer.json()["account_id"] == client.session["account_id"]
        bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
        async with browser(app) as third:
            profiles = (await third.get("/api/profile", headers=bearer)).json()
        assert [p["language"] for p in profiles["profiles"]] == ["ru"]
        assert (await other.post("/api/auth/logout")).status_code == 204
        assert problem(await other.get("/api/profile")) == (401, "unauthenticated")
        refused = await third_refresh(browser, app, answer.json()["refresh_token"])
        assert problem(refused) == (401, "invalid_refresh_token")


async def third_refresh(browser, app, token):
    async with browser(app) as client:
        return await client.post("/api/auth/refresh", json={"refresh_token": token})


async def test_what_was_given_out_before_a_logout_opens_nothing_more(app, client, browser, problem):
    await client.sign_up()
    bearer = {"authorization": f"Bearer {client.session['access_token']}"}
    assert (await client.post("/api/auth/logout")).status_code == 204
    assert problem(await client.get("/api/profile")) == (401, "unauthenticated")
    assert problem(await client.post("/api/watch/otters")) == (401, "unauthenticated")
    async with browser(app) as bare:
        for url in ("/api/profile", "/api/recommendations", "/api/media"):
            assert problem(await bare.get(url, headers=bearer)) == (401, "session_over"), url
        refused = await bare.post("/api/auth/refresh", json={"refresh_token": client.session["refresh_token"]})
        assert problem(refused) == (401, "invalid_refresh_token")


async def test_passwords_are_kept_as_argon2id_and_refresh_tokens_as_hashes(ada, settings):
    with psycopg.connect(settings.database()) as connection:
        (stored,) = connection.execute("SELECT password_hash FROM account").fetchone()
        everything = str(connection.execute("SELECT s.* FROM auth_session s").fetchall())
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert ada.session["refresh_token"] not in everything


async def test_wrong_password_and_unknown_email_answer_alike_at_the_same_cost(ada, client, problem):
    async def attempt(email: str) -> tuple[float, tuple[int, str], str]:
        start = time.process_time()
        answer = await client.post("/api/auth/login", json={"email": email, "password": "wrong horse"})
        body = answer.json()
        return time.process_time() - start, problem(answer), body["detail"]

    known, unknown = [], []
    for _ in range(3):
        known.append(await attempt("ada@example.org"))
        unknown.append(await attempt("nobody@example.org"))
    assert {a[1:] for a in known + unknown} == {((401, "wrong_credentials"), "the e-mail or the password is wrong")}
    # One Argon2 hash each; without it the answer would take a tenth of the time.
    assert min(a[0] for a in unknown) > 0.4 * min(a[0] for a in known)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"email": "ada@example.org", "password": "seven77"}, "password"),
        ({"email": "not an e-mail", "password": PASSWORD}, "email"),
        ({"email": "a@b.org", "password": PASSWORD, "country": "France"}, "country"),
        ({"email": "a@b.org"}, "password"),
    ],
)
async def test_registration_refuses_what_does_not_fit_without_repeating_it(client, problem, body, at):
    answer = await client.post("/api/auth/register", json=body)
    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["at"] == f"body.{at}"
    assert "seven77" not in answer.text


@pytest.mark.parametrize("password", ["sevenate", "п" * 64, "x" * 256])
async def test_long_and_unicode_passwords_count_whole(client, problem, password):
    answer = await client.post("/api/auth/register", json={"email": "b@example.org", "password": password})
    assert answer.status_code == 201
    shorter = {"email": "b@example.org", "password": password[:-1]}
    assert problem(await client.post("/api/auth/login", json=shorter)) == (401, "wrong_credentials")


async def test_an_email_has_one_account(ada, client, problem):
    answer = await client.post("/api/auth/register", json={"email": "ADA@example.org", "password": PASSWORD})
    assert problem(answer) == (409, "email_taken")


async def test_profiles_have_limits_and_belong_to_one_account(ada, app, browser, problem):
    kid = await ada.kid(maturity=0)
    listed = (await ada.get("/api/profile")).json()["profiles"]
    assert [(p["name"], p["maturity"]) for p in listed] == [("ada", 18), ("Kid", 0)]
    assert problem(await ada.post("/api/profile", json={"name": "x", "maturity": 7})) == (422, "invalid_request")
    async with browser(app) as other:
        await other.sign_up("eve@example.org")
        for url in ("/api/recommendations", "/api/media", "/api/media/otters"):
            assert problem(await other.get(url, params={"profile_id": kid})) == (404, "unknown_profile")
        watch = await other.post("/api/watch/otters", json={"profile_id": kid})
        assert problem(watch) == (404, "unknown_profile")
    for _ in range(5):
        await ada.kid()
    assert problem(await ada.post("/api/profile", json={"name": "Eighth"})) == (409, "too_many_profiles")


async def test_cookies_work_only_from_our_own_page(ada, problem):
    for origin in ("https://evil.example", "null"):
        answer = await ada.post("/api/profile", json={"name": "x"}, headers={"origin": origin})
        assert problem(answer) == (403, "cross_site")
        assert problem(await ada.post("/api/auth/refresh", headers={"origin": origin})) == (403, "cross_site")
    del ada.headers["origin"]
    assert problem(await ada.post("/api/profile", json={"name": "x"})) == (403, "cross_site")
    assert (await ada.get("/api/profile")).status_code == 200


@pytest.mark.parametrize(
    ("scheme", "names"),
    [("http", ["matinee_access", "matinee_refresh"]), ("https", ["__Host-matinee_access", "__Secure-matinee_refresh"])],
)
async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(client, scheme, names):
    client.base_url = f"{scheme}://matinee.test"
    client.headers["origin"] = f"{scheme}://matinee.test"
    answer = await client.post("/api/auth/register", json={"email": "c@example.org", "password": PASSWORD})
    cookies = answer.headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == names
    assert all("HttpOnly" in c and "SameSite=strict" in c and ("Secure" in c) == (scheme == "https") for c in cookies)
    assert [cookie.split("Path=")[1].split(";")[0] for cookie in cookies] == ["/", "/api/auth"]
    assert (await client.get("/api/account")).status_code == 200
    client.cookies.set("matinee_access", client.cookies[names[0]], domain="matinee.test")
    if scheme == "https":
        client.cookies.delete(names[0])
        assert (await client.get("/api/account")).status_code == 401, "a name that any neighbour could have set"
    await client.post("/api/auth/logout")
    assert not [name for name in client.cookies if name in names]
