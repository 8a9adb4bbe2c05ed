"""ASVS 5.0, chapters 6, 7 and 9: signing in, sessions, and the tokens that stand for them."""

import base64
import json
import time
from typing import Any

import jwt
import pytest

ACCESS = "matinee_access"  # the access cookie's name without HTTPS


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(world: Any, genuine: str, key: bytes) -> dict[str, str]:
    """Kind of forgery -> a token. `genuine` is a real one, `key` the real key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    from matinee.secrets import secret

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
        "the key as text": signed({}, by=key.hex().encode()),
        "no name of a key": f"{b64({k: v for k, v in header.items() if k != 'kid'})}.{body}.{mac}",
        "an unknown key": signed({}, {"kid": "999"}),
        "another secret of the home": signed({}, {"kid": "../refresh"}, secret(world.settings.home, "refresh")),
        "several audiences, none ours": signed({"aud": ["another-api", "matinee"]}),
        "a session that is no text": signed({"sid": 7}),
        "a role that is no text": signed({"role": ["admin"]}),
        "a header without a bottom": f"{base64.urlsafe_b64encode(b'[' * 3000).decode()}.{body}.x",
        **{f"without {name}": signed({name: None}) for name in claims},
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
    assert len(kinds) > 50
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
