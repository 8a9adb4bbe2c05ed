"""ASVS 5.0, chapters 1, 2, 4, 8 and 15: whatever a client writes stays what it is, on every route that the app has."""

import re
import socket

import pytest

from tests.serving.security.table import RULES, Cast, address, asked, fields_of, operations


@pytest.fixture(scope="module")
def people(world) -> Cast:
    return Cast(world)


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
