"""The rules of OWASP's Application Security Verification Standard 5.0 that this API promises, each as a test.

`WHERE` says for each rule which test shows it; the tests here go over every route that the app has.
"""

import base64
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from serving.openapi import documented_app
from tests.serving.security.table import RULES, Cast, address, ask, asked

ACCESS = "matinee_access"  # the access cookie's name without HTTPS
TESTS = Path(__file__).parents[2]
HERE = "serving/security/test_asvs.py"
MATRIX = "serving/security/test_matrix.py::test_a_route_answers_each_role_as_the_table_says"
ATTACKS = "serving/security/test_attacks.py::test_no_attempt_without_the_right_succeeds"

# Rule of ASVS 5.0 -> the tests (file::function) that show it.
WHERE: dict[str, tuple[str, ...]] = {
    "1.2.4 no SQL injection": (f"{HERE}::test_strings_stay_strings",),
    "1.3.6 no request forgery from the server": ("matinee/test_addresses.py::test_nothing_inside_is_reached_directly",),
    "2.2.1 what is not in the schema has no effect": (f"{HERE}::test_fields_that_nobody_asked_for_change_nothing",),
    "3.4.1-3.4.6 headers of browsers' defences": (f"{HERE}::test_every_answer_carries_the_headers_of_defence",),
    "3.5.1 no request forgery across sites": (f"{HERE}::test_a_cookie_alone_changes_nothing_from_another_site",),
    "4.1.4 only methods that are meant": (f"{HERE}::test_methods_that_are_not_meant_are_refused",),
    "4.2.1 one request is one request": (f"{HERE}::test_lines_cannot_be_smuggled_into_headers",),
    "6.1.1 guessing locks no owner out": (
        "serving/test_accounts_guessing.py::test_guessing_from_everywhere_gets_one_guess_an_address_and_the_owner_in",
    ),
    "6.2.1, 6.2.8, 6.2.9 length of passwords": (
        "serving/test_accounts.py::test_long_and_unicode_passwords_count_whole",
        "serving/test_accounts_guessing.py::test_a_hash_counts_every_character",
    ),
    "6.2.4, 6.2.12 passwords that are known": (
        "serving/test_accounts_guessing.py::test_what_is_guessed_first_is_refused",
        "serving/test_accounts_guessing.py::test_leaked_passwords_are_asked_for_by_five_digits_and_pass_where_nobody_answers",
    ),
    "6.3.1 guessing is limited": (
        "serving/test_accounts_guessing.py::test_ten_wrong_passwords_from_an_address_and_no_more",
        "serving/test_profiles.py::test_guessing_pins_is_limited_even_at_once",
        "serving/test_limits.py::test_guesses_at_once_do_not_slip_through",
    ),
    "6.3.8 nobody learns who has an account": (f"{HERE}::test_a_login_tells_nothing_of_who_has_an_account",),
    "6.5.1, 6.5.5 codes open once and not for long": (
        "serving/test_accounts_credentials.py::test_a_second_factor_takes_each_code_once",
        "serving/test_accounts_credentials.py::test_codes_cannot_be_guessed_and_the_secret_is_sealed",
    ),
    "7.2.3 session tokens are random": (f"{HERE}::test_tokens_are_long_random_and_not_kept",),
    "7.2.4, 7.4.1 an ended session opens nothing within a second": (
        "serving/test_tokens.py::test_what_one_process_ends_no_other_serves_a_second_later",
        "serving/test_accounts.py::test_what_was_given_out_before_a_logout_opens_nothing_more",
    ),
    "7.3.1, 10.4.5 a refresh token opens once": (
        "serving/test_tokens.py::test_fifty_refreshes_at_once_end_with_one_token_and_a_late_one_ends_the_session",
    ),
    "7.4.3, 7.5.2 sessions are listed and ended": (
        "serving/test_accounts_credentials.py::test_another_ones_session_is_not_there_and_all_others_end_at_once",
    ),
    "7.5.1 who one is is asked again": (
        "serving/security/test_matrix.py::test_what_changes_how_one_signs_in_asks_again_who_one_is",
    ),
    "8.2.1 functions by role": (MATRIX, "serving/security/test_matrix.py::test_every_route_is_in_the_table"),
    "8.2.2 objects by owner": (MATRIX, ATTACKS),
    "8.2.3 fields by role": (f"{HERE}::test_fields_that_nobody_asked_for_change_nothing",),
    "9.1.1-9.2.4 tokens are genuine, timely, ours and of the right kind": (
        f"{HERE}::test_a_forged_token_opens_nothing",
    ),
    "11.4.2 passwords are kept as Argon2id": (
        "serving/test_accounts.py::test_passwords_are_kept_as_argon2id_and_refresh_tokens_as_hashes",
    ),
    "13.4.2 no debug output": ("serving/test_app.py::test_a_defect_answers_500_and_tells_only_the_log",),
    "14.2.1 no secrets in addresses": (f"{HERE}::test_no_address_takes_a_secret",),
    "14.3.2 private answers are not stored": (f"{HERE}::test_private_answers_are_not_stored",),
    "15.3.3 bodies that no parser survives": (f"{HERE}::test_bodies_that_are_no_bodies",),
    "16.2.5 secrets are not logged": ("serving/test_logs.py::test_a_request_is_a_line_of_json_without_secrets",),
    "16.3.1-16.4.2 deeds are logged, and the log cannot be changed": (
        "matinee/test_audit_log.py::test_a_row_that_was_changed_removed_or_moved_is_found",
    ),
}


@pytest.mark.parametrize("rule", WHERE)
def test_each_rule_has_its_tests(rule: str) -> None:
    for node in WHERE[rule]:
        path, _, name = node.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), node


@pytest.fixture(scope="module")
def people(world) -> Cast:
    return Cast(world)


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(world: Any, genuine: str, key: bytes) -> dict[str, str]:
    """Kind of forgery -> a token. `genuine` is a real one, `key` the real key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    head, body, mac = genuine.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))
    now = int(time.time())

    def signed(change: dict[str, Any], headers: dict[str, Any] | None = None, by: bytes = key) -> str:
        kept = {name: value for name, value in {**claims, **change}.items() if value is not None}
        return jwt.encode(kept, by, "HS256", headers={**header, **(headers or {})})

    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    own_jwk = {"kty": "oct", "k": b64(b"k" * 32)}
    altered = b64({**claims, "role": "admin"})
    return {
        "algorithm none": f"{b64({**header, 'alg': 'none'})}.{body}.",
        "algorithm nOnE": f"{b64({**header, 'alg': 'nOnE'})}.{body}.",
        "algorithm none, signature kept": f"{b64({**header, 'alg': 'none'})}.{body}.{mac}",
        "no algorithm": f"{b64({k: v for k, v in header.items() if k != 'alg'})}.{body}.{mac}",
        "another key": signed({}, by=b"x" * 32),
        "an empty key": f"{head}.{body}.{b64(_hs256(b'', f'{head}.{body}'))}",
        "RS256 by a key of the sender": jwt.encode(claims, private, "RS256", headers={**header, "alg": "RS256"}),
        "HS256 keyed by a public key": f"{head}.{body}.{b64(_hs256(public, f'{head}.{body}'))}",
        "HS512 with the real key": jwt.encode(claims, key * 2, "HS512", headers={**header, "alg": "HS512"}),
        "a key inside the header": signed({}, {"jwk": own_jwk}, b"k" * 32),
        "a key at an address": signed({}, {"jku": f"{world.url}/static/keys.json"}, b"x" * 32),
        "a path as the key's name": f"{_head(header, kid='../../../../dev/null')}.{body}.{b64(b'x' * 32)}",
        "SQL as the key's name": f"{_head(header, kid=chr(39) + ' OR 1=1 --')}.{body}.{mac}",
        "a number as the key's name": f"{_head(header, kid=1)}.{body}.{mac}",
        "an unknown critical extension": signed({}, {"crit": ["exp2"], "exp2": 1}),
        "expired": signed({"exp": now - 1, "iat": now - 700}),
        "not valid before tomorrow": signed({"nbf": now + 86_400}),
        "expires as text": signed({"exp": str(now + 600)}),
        "expires never": signed({"exp": None}),
        "expires at NaN": f"{head}.{b64(json.dumps({**claims, 'exp': float('nan')}).encode())}.{mac}",
        "another audience": signed({"aud": "another-api"}),
        "no audience": signed({"aud": None}),
        "another issuer": signed({"iss": "https://evil.example"}),
        "another type": signed({}, {"typ": "JWT"}),
        "no subject": signed({"sub": None}),
        "a subject that is no text": signed({"sub": {"account": 1}}),
        "no session": signed({"sid": None}),
        "an unheard-of role": signed({"role": "root"}),
        "claims altered": f"{head}.{altered}.{mac}",
        "signature cut off": f"{head}.{body}.",
        "signature shortened": f"{head}.{body}.{mac[:-4]}",
        "signature of one other bit": f"{head}.{body}.{('A' if mac[0] != 'A' else 'B') + mac[1:]}",
        "claims are a list": f"{head}.{b64([claims])}.{b64(_hs256(key, f'{head}.{b64([claims])}'))}",
        "five parts": f"{genuine}.x.y",
        "one part": head,
        "nothing": "",
        "a megabyte": "x" * 60_000,
        "not ASCII": "ключ",
    }


def _head(header: dict[str, Any], **change: Any) -> str:
    return b64({**header, **change})


def _hs256(key: bytes, message: str) -> bytes:
    import hashlib
    import hmac

    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def test_a_forged_token_opens_nothing(world) -> None:
    """9.1.1-9.1.3, 9.2.1-9.2.4: as a bearer token and as a cookie; the genuine one opens, so each could."""
    from matinee.secrets import newest

    me = world.person()
    kinds = forged(world, me.access, newest(world.settings.home, "token")[1])
    kinds["a refresh token"] = me.refresh
    kinds["of an account that is not there"] = world.context.tokens.issue("nobody", me.session_id, "viewer")
    assert len(kinds) >= 12
    browser = world.browser()
    assert browser.get("/api/profile", headers=me.headers).status_code == 200
    opened = []
    for kind, token in kinds.items():
        sent = token.encode()
        for way in ({b"authorization": b"Bearer " + (sent or b"-")}, {b"cookie": ACCESS.encode() + b"=" + sent}):
            answer = browser.get("/api/profile", headers=list(way.items()))
            expected = {401, 431} if len(token) > 10_000 else {401}
            if answer.status_code not in expected:
                opened.append(f"{kind}: {answer.status_code} {answer.text[:100]}")
    assert not opened, "\n".join(opened)


def test_a_login_tells_nothing_of_who_has_an_account(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """6.3.8: the same answer after the same work."""
    from serving.accounts import passwords

    email, browser = "known@example.org", world.browser()
    made = browser.post("/api/auth/register", json={"email": email, "password": "a horse of another colour"})
    assert made.status_code == 201, made.text
    browser = world.browser()
    work: list[str] = []
    fits = passwords._fits
    monkeypatch.setattr(passwords, "_fits", lambda stored, given: work.append(stored[:30]) or fits(stored, given))
    answers = [
        browser.post("/api/auth/login", json={"email": asked_for, "password": "a wrong password"})
        for asked_for in (email, "unknown@example.org")
    ]
    known, unknown = answers
    assert known.status_code == unknown.status_code == 401
    assert known.json() == unknown.json()
    assert set(known.headers) == set(unknown.headers)
    assert len(work) == 2
    assert work[0] == work[1], "one hash each, with the same parameters"


def test_tokens_are_long_random_and_not_kept(world) -> None:
    """7.2.3, 11.5.1: 256 bits of a generator for secrets; the database has nothing that opens a session."""
    people = [world.person() for _ in range(20)]
    assert len({person.refresh for person in people}) == 20
    assert min(len(person.refresh) for person in people) >= 43
    rows = str(world.sql("SELECT to_jsonb(s) FROM auth_session s"))
    for person in people:
        assert person.refresh not in rows
        assert person.access not in rows


# Fields that a client must not set, wherever they may be sent.
FOREIGN = {
    "role": "admin", "account_id": "a-1", "is_admin": True, "email_confirmed": True, "disabled": False,
    "plan": "premium", "password_hash": "x", "origin": "import", "created_at": "2000-01-01T00:00:00Z",
    "session_id": "s-1", "entitlements": [],
    "streams": 99, "expires_at": "2999-01-01T00:00:00Z", "state": "published", "kids": False, "pin_hash": "x",
    "__proto__": {"role": "admin"}, "constructor": {"prototype": {"role": "admin"}},
}  # fmt: skip
# What each account's own requests may change of these rows, the table says; of its own account, nothing.
KEPT = ("account", "subscription_period", "entitlement")


def test_fields_that_nobody_asked_for_change_nothing(world, people) -> None:
    """2.2.1, 8.2.3: mass assignment. Ignored or refused, in every body and every address, they never take effect."""
    sent = 0
    for rule in RULES.values():
        if rule.body is None or rule.path.startswith("/api/auth"):
            continue
        about, browser = asked(people, rule, "viewer", "own")
        me = people.person("viewer")
        own = f"SELECT to_jsonb(x) FROM {{}} x WHERE account_id = '{me.account_id}' ORDER BY 1::text"
        before = {table: world.sql(own.format(table)) for table in KEPT}
        stranger = world.sql("SELECT to_jsonb(p) FROM profile p WHERE account_id = %s", people.stranger.account_id)
        foreign = {**FOREIGN, "profile_id": people.stranger.profile_id}
        body = {**{name: value for name, value in foreign.items() if name not in rule.body}, **rule.body}
        if "watch" in rule.path:
            body.pop("profile_id", None)
        answer = browser.request(rule.method, address(rule, about), json=body, params={"role": "admin"})
        assert answer.status_code in (*rule.answers, 400, 403, 404, 409, 422), f"{rule.name}: {answer.text[:200]}"
        after = {table: world.sql(own.format(table)) for table in KEPT}
        assert after == before, rule.name
        assert (
            world.sql("SELECT to_jsonb(p) FROM profile p WHERE account_id = %s", people.stranger.account_id) == stranger
        )
        if rule.kind == "spends":
            people.spend("viewer")
        sent += 1
    assert sent >= 4


STRINGS = (
    "' OR '1'='1", "'; DROP TABLE title; --", "\\'; SELECT pg_sleep(9); --", "%' AND 1=1 --",
    "1) UNION SELECT email FROM account --", "$$x$$", "{{7*7}}${7*7}<%= 7*7 %>", "../../../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..\\..\\windows", "a\u0000b", "a\r\nX-Evil: 1", "<script>alert(1)</script>", "; id", "| id", "`id`", "$(id)",
    "%s%n%x", "\u202e\ufeff\u0301" * 20, "\ud83d\ude00" * 60, "a" * 900, "-1", "1e999", "NaN", "null", "[]", "*",
    "\\",
    "(((((", "[[[[[", "(a+)+$" + "a" * 30, "%", "_", "\ufb01\u0130\u1e9e", "*)(uid=*))(|(uid=*", "\x1b[2J",
)  # fmt: skip


def operations() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(method, path, operation, document) of everything that is documented."""
    document = documented_app().openapi()
    return [
        (method.upper(), path, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def fields_of(operation: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """The properties of a JSON body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for choice in (content, *content.get("anyOf", ())):
        name = choice.get("$ref", "").rpartition("/")[2]
        found = document["components"]["schemas"][name] if name else choice
        if "properties" in found:
            return list(found["properties"])
    return []


def test_strings_stay_strings(world) -> None:
    """1.2.1-1.2.5: no string of a client is SQL, a path, a header, a pattern or a page anywhere."""
    me = world.person()
    admin = world.person("admin")
    before = [world.sql(f"SELECT count(*) FROM {table}") for table in ("title", "offer", "package")]
    wrong, asked_for = [], 0
    with world.browser() as browser:
        for turn, (method, path, operation, document) in enumerate(operations()):
            names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            body = fields_of(operation, document)
            if not names and not body and "{" not in path:
                continue
            # Each route hears another part of them, so that together they hear all, many times.
            for string in (STRINGS * 2)[turn * 5 % len(STRINGS) :][:8]:
                url = re.sub(r"\{\w+\}", lambda _, string=string: _quoted(string), path)
                asker = admin if "/admin/" in path else me
                answer = browser.request(
                    method, url, params=dict.fromkeys(names, _sendable(string)[:300]), headers=asker.headers,
                    json=dict.fromkeys(body, _sendable(string)) if body else None,
                )  # fmt: skip
                asked_for += 1
                if answer.status_code >= 500 and answer.status_code != 503:
                    wrong.append(f"{method} {path} {string[:40]!r}: {answer.status_code} {answer.text[:200]}")
                if "x-evil" in answer.headers or answer.text == "49" or "root:" in answer.text:
                    wrong.append(f"{method} {path} {string[:40]!r}: {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert asked_for > 200
    assert [world.sql(f"SELECT count(*) FROM {table}") for table in ("title", "offer", "package")] == before


def _sendable(string: str) -> str:
    return string.encode("utf-16", "surrogatepass").decode("utf-16")


def _quoted(string: str) -> str:
    from urllib.parse import quote

    return quote(_sendable(string), safe="%") or "x"


BODIES: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"{", "application/json"),
    "nothing": (b"", "application/json"),
    "deep": (b"[" * 50_000, "application/json"),
    "deep and closed": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "application/json"),
    "a list": (b"[]", "application/json"),
    "a number": (b"1e999", "application/json"),
    "NaN": (b'{"position_ms": NaN, "value": Infinity}', "application/json"),
    "a huge number": (b'{"position_ms": ' + b"9" * 5_000 + b"}", "application/json"),
    "half a surrogate": (
        b'{"email": "\\ud800", "name": "\\udfff", "password": "\\ud800\\ud800xxxx"}',
        "application/json",
    ),
    "not UTF-8": (b'{"email": "\xff\xfe"}', "application/json"),
    "UTF-16": ('{"email": "a"}'.encode("utf-16"), "application/json"),
    "a NUL": (b'{"email": "a\\u0000b@c.de", "name": "a\\u0000b", "password": "a\\u0000bcdefgh"}', "application/json"),
    "a field twice": (b'{"role": "viewer", "role": "admin", "name": "a", "name": "b"}', "application/json"),
    "a form": (b"email=a&password=b", "application/x-www-form-urlencoded"),
    "XML": (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', "application/xml"),
    "a file": (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--", "multipart/form-data; boundary=x"),
    "an odd type": (b"{}", "application/json; charset=utf-7"),
    "a type that is none": (b"{}", "\\"),
    "too large": (b" " * 1_100_000, "application/json"),
}
# What every route hears; of the rest each hears some.
ALWAYS = ("not JSON", "deep", "half a surrogate", "a NUL", "too large")


def test_bodies_that_are_no_bodies(world) -> None:
    """1.5.2, 4.3.1, 15.3.3: each route with a body refuses them, and none breaks."""
    me, admin, wrong, sent = world.person(), world.person("admin"), [], 0
    with world.browser() as browser:
        for turn, (method, path, operation, _) in enumerate(operations()):
            if "requestBody" not in operation:
                continue
            url = re.sub(r"\{\w+\}", "otters", path)
            for kind in (*ALWAYS, *(list(BODIES) * 2)[turn * 3 % len(BODIES) :][:6]):
                body, content_type = BODIES[kind]
                asker = admin if "/admin/" in path else me
                answer = browser.request(
                    method, url, content=body, headers={**asker.headers, "content-type": content_type}
                )
                sent += 1
                if answer.status_code >= 500:
                    wrong.append(f"{method} {path}, {kind}: {answer.status_code} {answer.text[:200]}")
                if kind == "too large" and answer.status_code not in (404, 413):
                    wrong.append(f"{method} {path}, {kind}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert sent > 100


def test_a_cookie_alone_changes_nothing_from_another_site(world) -> None:
    """3.5.1-3.5.3: an unsafe request with cookies needs the page's own origin."""
    me, through = world.person("admin"), []
    unsafe = [rule for rule in RULES.values() if rule.method in ("POST", "PUT", "PATCH", "DELETE") and rule.refused]
    assert len(unsafe) > 5
    for origin in (None, "https://evil.example", "null", world.url + ".evil.example", "http://127.0.0.1", ""):
        with world.browser() as browser:
            browser.cookies.set(ACCESS, me.access)
            del browser.headers["origin"]
            for rule in unsafe:
                url = re.sub(r"\{\w+\}", "otters", rule.path)
                headers = {} if origin is None else {"origin": origin}
                answer = browser.request(rule.method, url, json=rule.body, headers=headers)
                if (answer.status_code, answer.json()["code"] if answer.content else "") != (403, "cross_site"):
                    through.append(f"{rule.name} from {origin}: {answer.status_code} {answer.text[:100]}")
    assert not through, "\n".join(through)


# What is the same for everybody may be kept by browsers and by the gateway.
SHAREABLE = {"/", "/static", "/api/docs", "/media-posters/{title_id}.jpg", "/api/openapi.json"}


def test_private_answers_are_not_stored(world, people) -> None:
    """14.3.2: of what belongs to one viewer nothing stays in a cache that others read."""
    for rule in RULES.values():
        if rule.path in SHAREABLE or rule.method != "GET":
            continue
        for role in ("viewer", "anonymous"):
            cached = ask(people, rule, role).headers["cache-control"]
            assert "no-store" in cached or cached.startswith("private"), f"{rule.name} as {role}: {cached}"


def test_every_answer_carries_the_headers_of_defence(world, people) -> None:
    """3.4.1-3.4.8: successes and errors alike."""
    for rule in RULES.values():
        for role in ("viewer", "anonymous"):
            answer = ask(people, rule, role)
            told = answer.headers
            policy = told["content-security-policy"]
            assert "object-src 'none'" in policy or "default-src 'none'" in policy, rule.name
            assert "base-uri 'none'" in policy, rule.name
            assert "frame-ancestors 'none'" in policy, rule.name
            assert told["x-content-type-options"] == "nosniff", rule.name
            # A form that is no script's has to tell its origin, which goes to this site alone.
            assert told["referrer-policy"] == ("same-origin" if rule.kind == "sandbox" else "no-referrer"), rule.name
            assert "server" not in told or "/" not in told["server"], f"{rule.name}: {told['server']}"
            for cookie in told.get_list("set-cookie"):
                assert "httponly" in cookie.lower(), rule.name
                assert "samesite=strict" in cookie.lower(), rule.name
            if rule.kind == "spends":
                people.spend(role)


def test_no_address_takes_a_secret() -> None:
    """14.2.1: passwords, tokens and PINs are in bodies, headers and cookies; only media addresses carry a token, which
    opens nothing without the browser's cookie."""
    secret = re.compile(r"passw|token|secret|pin$|code$|cookie", re.IGNORECASE)
    named = {
        (path, parameter["name"])
        for _, path, operation, _ in operations()
        for parameter in operation.get("parameters", ())
        if parameter["in"] in ("path", "query") and secret.search(parameter["name"])
    }
    # What a television shows on its screen for everybody in the room.
    assert named <= {("/api/auth/tv/{user_code}", "user_code")}
    assert {rule.path for rule in RULES.values() if "{token}" in rule.path} == {
        "/v/{token}/{title_id}/{package_id}/{name:path}"
    }


def test_methods_that_are_not_meant_are_refused(world) -> None:
    """4.1.4, 13.4.4: what a route does not name is 405 (or nothing at all), TRACE everywhere."""
    me, allowed = world.person("admin"), {}
    for method, path in RULES:
        allowed.setdefault(path, set()).add(method)
    wrong = []
    with world.browser(headers=me.headers) as browser:
        for path, methods in allowed.items():
            url = re.sub(r"\{\w+(?::path)?\}", "otters", path)
            for method in ("TRACE", "PUT", "DELETE", "POST"):
                if method in methods:
                    continue
                status = browser.request(method, url).status_code
                shadowed = any(method in other and _matches(place, url) for place, other in allowed.items())
                if status not in (404, 405) and not shadowed:
                    wrong.append(f"{method} {path}: {status}")
    assert not wrong, "\n".join(wrong)


def _matches(template: str, url: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+(:path)?\}", lambda m: ".+" if m[1] else "[^/]+", template), url) is not None


SMUGGLED = (
    b"GET /api/media?q=%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /api/media HTTP/1.1\r\nHost: h\r\nX-Request-Id: aaaaaaaaa\r\n X-Evil: 1\r\n\r\n",
    b"GET /api/media HTTP/1.1\r\nHost: h\r\nX-Request-Id: a\nX-Evil: 1\r\n\r\n",
    b"POST /api/events HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX-Evil",
    b"POST /api/events HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nX-Evil",
    b"POST /api/events HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nX-Evil",
    b"GET /api/media HTTP/1.1\r\nHost: h\r\nCookie: matinee_playback=a\r\n\tX-Evil: 1\r\n\r\n",
    b"GET http://evil.example/api/media HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /api/media HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\r\n",
)


def test_lines_cannot_be_smuggled_into_headers(world) -> None:
    """4.2.1-4.2.4: what a client writes never becomes a header, nor a second request, nor an address in an answer."""
    host, port = world.url.removeprefix("http://").split(":")
    for message in SMUGGLED:
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall(message)
            line.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := line.recv(65_536):
                answer += piece
        head = answer.partition(b"\r\n\r\n")[0]
        assert b"x-evil" not in head.lower(), message
        assert b"evil.example" not in answer, message
        assert not head or head.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), (message, head[:100])


def test_a_browser_hears_no_address_of_another_host(world) -> None:
    """The host that a request names is never believed: media addresses are below this server, whatever it is called."""
    me = world.person()
    with httpx.Client(base_url=world.url) as browser:
        headers = {
            **me.headers,
            "host": "evil.example",
            "x-forwarded-host": "evil.example",
            "forwarded": "host=evil.example",
        }
        answer = browser.post("/api/watch/otters", json={}, headers=headers)
    assert answer.status_code == 200
    assert "evil.example" not in answer.text
