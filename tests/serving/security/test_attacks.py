"""Hundreds of generated attempts to get at a film without the right to it: none succeeds, directly or through NGINX.

The same addresses, asked by whom they were given to, do answer: else nothing would be shown.
"""

import http.client
import random
import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from serving.playback.tokens import Grant
from transcoding.keys import content_key

SEED = 6
FILES = (
    "master.m3u8", "video/360p/main.m3u8", "video/360p/init.mp4", "video/360p/00001.m4s", "audio/en/main.m3u8",
    "poster.jpg",
)  # fmt: skip
# What lies in the media folder and is for nobody, or outside of it.
FORBIDDEN = (
    "package.json", "report/index.html", "report/frame.jpg", "variants/a/video/360p/00001.m4s", ".hidden.m4s",
    "video/360p/.00001.m4s", "../../../../../../etc/passwd", "../../../secrets/token",
    "../../unseen/package-of-unseen/master.m3u8",
    "../package-of-otters/../../unseen/package-of-unseen/video/360p/00001.m4s", "/etc/passwd", "", "video",
    "video/360p/", "video/360p/00001.m4s/../../../package.json", "video//360p/00001.m4s", "master.m3u8/",
    "master.m3u8;x", "MASTER.M3U8",
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """A request by somebody who has no right to what it asks for."""

    kind: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def at(self, **headers: str) -> "Attempt":
        return replace(self, headers=(*self.headers, *((k.replace("_", "-"), v) for k, v in headers.items())))


@dataclass(frozen=True)
class Playing:
    """A playback by its owner: what it opens, and with which cookie."""

    folder: str
    cookie: str
    playback_id: str
    title_id: str

    @property
    def token(self) -> str:
        return self.folder.split("/")[2]

    @property
    def value(self) -> str:
        return self.cookie.partition("=")[2]


def playing(world: Any, person: Any, title_id: str) -> Playing:
    answer, browser = world.watch(person, title_id)
    cookie = "; ".join(f"{c.name}={c.value}" for c in browser.cookies.jar)
    folder = answer["manifest"]["hls"].removesuffix("/master.m3u8")
    return Playing(folder, cookie, answer["playback_id"], answer["title_id"])


class Scene:
    """Ada may see harbour and plays it; Eve plays brook, has no plan, and wants harbour. Others want it too."""

    def __init__(self, world: Any) -> None:
        self.world = world
        with psycopg.connect(world.settings.database()) as connection:
            self.keys = {t: content_key(connection, world.settings, t, "sd", 0).key_id for t in ("harbour", "brook")}
        self.ada, self.eve, self.kid = world.person(), world.person(plan=None), world.person("kid")
        self.wanted = playing(world, self.ada, "harbour")
        self.own = playing(world, self.eve, "brook")
        self.childs = playing(world, self.kid, "brook")
        self.stopped = playing(world, world.person(), "harbour")
        self.left = playing(world, leaver := world.person(), "harbour")
        self.leaver = leaver

    def key(self, title_id: str = "harbour") -> str:
        return f"/api/watch/keys/{self.keys[title_id]}"

    def rights(self) -> Iterator[Attempt]:
        """What the owners of addresses may do with them."""
        for name in FILES:
            yield Attempt("owner", "GET", f"{self.wanted.folder}/{name}").at(cookie=self.wanted.cookie)
            yield Attempt("owner", "GET", f"{self.own.folder}/{name}").at(cookie=self.own.cookie)
        yield Attempt("owner", "GET", self.key()).at(cookie=self.wanted.cookie)
        yield Attempt("owner", "GET", self.key("brook")).at(cookie=self.own.cookie)

    def attempts(self) -> Iterator[Attempt]:
        yield from self.copied()
        yield from self.altered()
        yield from self.elsewhere()
        yield from self.keys_of_others()
        yield from self.asked_for()
        yield from self.renewed()
        yield from self.around_the_gateway()

    def addresses(self, folder: str) -> Iterator[str]:
        for name in FILES:
            yield f"{folder}/{name}"

    def copied(self) -> Iterator[Attempt]:
        """A link that somebody sent on."""
        name, _, value = self.wanted.cookie.partition("=")
        swapped = value[:-1] + ("A" if value[-1] != "A" else "B")
        cookies = {
            "link without a cookie": None, "link in another browser": self.own.cookie,
            "link at a child's": self.childs.cookie,
            "cookie with another letter": f"{name}={swapped}", "cookie in capitals": f"{name}={value.upper()}",
            "empty cookie": f"{name}=", "cookie under another name": f"{name}2={value}",
            "cookie cut off": f"{name}={value[:-1]}",
            "cookie twice, the wrong one last": f"{name}={value}; {name}={self.own.value}",
            "cookie quoted wrongly": f'{name}="{value}x"',
        }  # fmt: skip
        for kind, cookie in cookies.items():
            for path in self.addresses(self.wanted.folder):
                yield Attempt(kind, "GET", path) if cookie is None else Attempt(kind, "GET", path).at(cookie=cookie)
        for who in (self.eve, self.kid, self.ada):
            for path in self.addresses(self.wanted.folder):
                yield Attempt("link with a bearer token", "GET", path).at(authorization=f"Bearer {who.access}")
        for method in ("HEAD", "POST", "OPTIONS"):
            for path in self.addresses(self.wanted.folder):
                yield Attempt(f"link by {method}", method, path)
        for path in self.addresses(self.wanted.folder):
            yield Attempt("link with a range", "GET", path).at(range="bytes=0-10")

    def altered(self) -> Iterator[Attempt]:
        """A token that was changed, or made up, with every cookie that the attacker could have."""
        mac, expires, playback = self.own.token.split(".")
        wmac, _, wplayback = self.wanted.token.split(".")
        title, package = "harbour", "package-of-harbour"
        tokens = {
            "own token for another title": self.own.token,
            "later expiry": f"{mac}.{int(expires) + 86_400}.{playback}",
            "another's playback": f"{mac}.{expires}.{wplayback}",
            "another's signature": f"{wmac}.{expires}.{playback}",
            "another's token": self.wanted.token,
            "no signature": f".{expires}.{playback}",
            "short signature": f"{mac[:20]}.{expires}.{playback}",
            "signature of A": f"{'A' * 43}.{expires}.{playback}",
            "expiry 0": f"{mac}.0.{playback}",
            "expiry with a sign": f"{mac}.+{expires}.{playback}",
            "expiry in other digits": f"{mac}.{quote('１２３')}.{playback}",
            "endless expiry": f"{mac}.999999999999.{playback}",
            "no playback": f"{mac}.{expires}.",
            "one more part": f"{self.own.token}.x",
            "the word": "token",
            "nothing": "",
            "dots": "..",
            "a star": "*",
            "a NUL": f"{self.own.token}%00",
            "a line": f"{self.own.token}%0a",
        }
        for kind, token in tokens.items():
            for name in FILES[:4]:
                for cookie in (self.own.cookie, self.childs.cookie):
                    yield Attempt(kind, "GET", f"/v/{token}/{title}/{package}/{name}").at(cookie=cookie)
        past = self.world.context.clock.now() - timedelta(seconds=1)
        gone = Grant(self.wanted.playback_id, title, package, int(past.timestamp()))
        expired = self.world.context.media_tokens.path(gone, self.wanted.value)
        for path in self.addresses(expired):
            yield Attempt("expired", "GET", path).at(cookie=self.wanted.cookie)
        unborn = replace(gone, playback_id="01890000-0000-7000-8000-000000000000", expires_at=gone.expires_at + 300)
        for path in self.addresses(self.world.context.media_tokens.path(unborn, self.wanted.value)):
            yield Attempt("signed for no playback", "GET", path).at(cookie=self.wanted.cookie)
        for path in self.addresses(self.stopped.folder):
            yield Attempt("playback was stopped", "GET", path).at(cookie=self.stopped.cookie)
        for path in self.addresses(self.left.folder):
            yield Attempt("sign-in was ended", "GET", path).at(cookie=self.left.cookie)

    def elsewhere(self) -> Iterator[Attempt]:
        """With one's own right to one film, out of its folder."""
        base = f"/v/{self.own.token}/brook/package-of-brook/"
        for name in FORBIDDEN:
            for kind, written in spellings(name).items():
                yield Attempt(f"out of the folder, {kind}", "GET", base + written).at(cookie=self.own.cookie)
        for title in ("..", "%2e%2e", "harbour", "unseen", "brook%2f..%2funseen", "brook/../unseen", ".", "%00"):
            for package in ("package-of-unseen", "package-of-brook", "..", "%2e%2e%2funseen"):
                path = f"/v/{self.own.token}/{title}/{package}/master.m3u8"
                yield Attempt("another folder under one's token", "GET", path).at(cookie=self.own.cookie)
        for path in (
            "/media/",
            "/_media/",
            "/static/../media/",
            "/%5fmedia/",
            "//_media/",
            "/v/../_media/",
            "/static/%2e%2e/%2e%2e/",
        ):
            for name in ("brook/package-of-brook/master.m3u8", "unseen/package-of-unseen/video/360p/00001.m4s"):
                yield Attempt("the folder by its name", "GET", path + name).at(cookie=self.own.cookie)

    def keys_of_others(self) -> Iterator[Attempt]:
        key = self.key()
        cookies = (
            None,
            self.own.cookie,
            self.childs.cookie,
            self.stopped.cookie,
            self.left.cookie,
            self.wanted.cookie + "x",
        )
        for cookie in cookies:
            for path in (key, key + "?x=1", key.replace("/api/", "/api/./"), key + "%20", key.upper(), "/" + key):
                for who in (None, self.eve, self.kid):
                    attempt = Attempt("key of another film", "GET", path)
                    attempt = attempt if cookie is None else attempt.at(cookie=cookie)
                    yield attempt if who is None else attempt.at(authorization=f"Bearer {who.access}")
        for name in (
            "nothing",
            "*",
            "%25",
            "' OR 1=1 --",
            "../" + self.keys["harbour"],
            "%00",
            self.keys["harbour"] + "/",
        ):
            yield Attempt("key by a strange name", "GET", f"/api/watch/keys/{quote(name, safe='%/')}").at(
                cookie=self.own.cookie
            )
        yield Attempt("key of a stopped playback", "GET", key).at(cookie=self.stopped.cookie)
        yield Attempt("key of an ended sign-in", "GET", key).at(cookie=self.left.cookie)
        yield Attempt("key by POST", "POST", key).at(cookie=self.own.cookie)

    def asked_for(self) -> Iterator[Attempt]:
        """To be let in by the front door, as who one is not."""
        bodies = (
            b"{}", b"", b"null", b'{"profile_id": "%s"}' % self.ada.profile_id.encode(),
            b'{"take_over": "%s"}' % self.wanted.playback_id.encode(),
            b'{"plan": "premium", "maturity": 18, "role": "admin"}',
            b'{"profile_id": null, "account_id": "%s"}' % self.ada.account_id.encode(),
        )  # fmt: skip
        titles = (
            "harbour",
            "unseen",
            "HARBOUR",
            "harbour%00",
            "harbour%20",
            "harbour/",
            "./harbour",
            "harbour?profile_id=x",
        )
        for who in (None, self.eve, self.kid):
            for title in titles:
                for body in bodies:
                    attempt = Attempt("asked to watch", "POST", f"/api/watch/{title}", body=body).at(
                        content_type="application/json"
                    )
                    yield (
                        attempt
                        if who is None
                        else attempt.at(authorization=f"Bearer {who.access}", origin=self.world.url)
                    )
        for body in bodies[3:4]:
            attempt = Attempt("asked to watch as another's profile", "POST", "/api/watch/brook", body=body)
            yield attempt.at(content_type="application/json", authorization=f"Bearer {self.eve.access}")

    def renewed(self) -> Iterator[Attempt]:
        """A heartbeat answers with an address: another's must not."""
        for playback in (self.wanted, self.stopped, self.left):
            for cookie in (self.own.cookie, self.wanted.cookie, playback.cookie):
                for who in (self.eve, self.kid):
                    path = f"/api/watch/{playback.playback_id}/heartbeat"
                    attempt = Attempt("heartbeat of another's playback", "POST", path, body=b'{"position_ms": 1}')
                    yield attempt.at(
                        cookie=cookie, authorization=f"Bearer {who.access}", content_type="application/json"
                    )

    def around_the_gateway(self) -> Iterator[Attempt]:
        """As if NGINX had said so, or as if it were not there."""
        inner = "/_media/harbour/package-of-harbour/video/360p/00001.m4s"
        lies = (
            {"x_matinee_gateway": "1"}, {"x_accel_redirect": inner}, {"x_original_url": inner},
            {"x_rewrite_url": inner},
            {"x_forwarded_for": "127.0.0.1"}, {"x_forwarded_proto": "https"}, {"x_http_method_override": "GET"},
            {"host": "localhost"}, {"x_sendfile": inner},
        )  # fmt: skip
        for lie in lies:
            for path in (inner, f"{self.wanted.folder}/video/360p/00001.m4s", self.key()):
                yield Attempt("headers of a gateway", "GET", path).at(**lie)


def spellings(name: str) -> dict[str, str]:
    """The same path in the ways in which servers have been fooled."""
    dots = name.replace("..", "%2e%2e")
    return {
        "plain": name, "encoded dots": dots, "encoded": quote(name, safe=""),
        "twice encoded": quote(quote(name, safe=""), safe=""), "backslashes": name.replace("/", "%5c"),
        "doubled": name.replace("../", "....//"), "long UTF-8": name.replace("..", "%c0%ae%c0%ae"),
        "a suffix": f"{name}%00.m4s", "a semicolon": name.replace("..", "..;"), "from a segment": f"video/360p/{dots}",
    }  # fmt: skip


class Line:
    """A connection that sends a path as it is written, without tidying it up as browsers do."""

    def __init__(self, world: Any) -> None:
        where = urlsplit(world.url)
        host, port = where.hostname or "", where.port
        if where.scheme == "https":
            trust = ssl.create_default_context(cafile=world.verify)
            self._open = lambda: http.client.HTTPSConnection(host, port, timeout=20, context=trust)
        else:
            self._open = lambda: http.client.HTTPConnection(host, port, timeout=20)
        self._line = self._open()

    def send(self, attempt: Attempt) -> tuple[int, bytes]:
        headers = dict(attempt.headers)
        self._line.putrequest(attempt.method, attempt.path, skip_host="host" in headers, skip_accept_encoding=True)
        if attempt.body is not None:
            headers["content-length"] = str(len(attempt.body))
        for name, value in headers.items():
            self._line.putheader(name, value)
        self._line.endheaders(attempt.body)
        answer = self._line.getresponse()
        data = answer.read()
        if answer.will_close:
            self._line.close()
            self._line = self._open()
        return answer.status, data


def prepared(world: Any) -> Scene:
    scene = Scene(world)
    with world.browser() as browser:
        stop = browser.post(f"/api/watch/{scene.stopped.playback_id}/stop", headers={"cookie": scene.stopped.cookie})
        assert stop.status_code == 401, "not even that, without signing in"
    owner = world.sql("SELECT account_id FROM playback_session WHERE playback_id = %s", scene.stopped.playback_id)[0][0]
    token = world.context.tokens.issue(owner, "none", "viewer")
    with world.browser(headers={"authorization": f"Bearer {token}"}) as browser:
        assert browser.post(f"/api/watch/{scene.stopped.playback_id}/stop").status_code == 204
    with world.browser(headers=scene.leaver.headers) as browser:
        assert browser.post("/api/auth/logout", json={"refresh_token": scene.leaver.refresh}).status_code == 204
    return scene


def held_off(world: Any, scene: Scene, attempts: list[Attempt]) -> Counter[str]:
    """Try them all; returns how many of each kind there were."""
    line, through, kinds = Line(world), [], Counter()
    for attempt in attempts:
        status, data = line.send(attempt)
        kinds[attempt.kind] += 1
        # OPTIONS tells what may be asked, and gives nothing.
        if status < 400 and not (attempt.method == "OPTIONS" and not data):
            through.append(f"{attempt}: {status} {data[:80]!r}")
        if status >= 500:
            through.append(f"{attempt}: broken, {status} {data[:80]!r}")
    assert not through, f"{len(through)} of {len(attempts)} succeeded:\n" + "\n".join(through[:40])
    assert_rights_hold(world, scene)
    return kinds


def assert_rights_hold(world: Any, scene: Scene) -> None:
    line = Line(world)
    for attempt in scene.rights():
        status, data = line.send(attempt)
        assert status == 200, (attempt, status, data[:200])
        assert data, attempt


def told(kinds: Counter[str]) -> None:
    for kind, count in sorted(kinds.items()):
        print(f"{kind:42} {count:5} attempts, 0 succeeded")
    print(f"{'all':42} {kinds.total():5}")


def test_no_attempt_without_the_right_succeeds(world) -> None:
    scene = prepared(world)
    assert_rights_hold(world, scene)
    wait_for_the_end(world, scene)
    kinds = held_off(world, scene, list(scene.attempts()))
    told(kinds)
    assert kinds.total() >= 500
    assert len(kinds) >= 30


def test_nor_through_the_gateway(gated) -> None:
    _, through = gated
    scene = prepared(through)
    assert_rights_hold(through, scene)
    wait_for_the_end(through, scene)
    attempts = list(scene.attempts())
    by_kind = {attempt.kind: attempt for attempt in random.Random(SEED).sample(attempts, len(attempts))}
    sample = [*by_kind.values(), *random.Random(SEED).sample(attempts, 100)]
    told(held_off(through, scene, sample))


def test_the_gateways_back_door_believes_nobody(gated) -> None:
    """Directly at the API, a lie about being the gateway hands no file over; the truth would, to whom it belongs."""
    direct, through = gated
    scene = Scene(direct)
    line = Line(direct)
    for name in FILES:
        attempt = Attempt("lie", "GET", f"{scene.wanted.folder}/{name}").at(x_matinee_gateway="0" * 64)
        assert line.send(attempt)[0] == 403
        status, data = line.send(attempt.at(cookie=scene.wanted.cookie))
        assert status == 200
        assert data, "sent by the API itself"
    assert Line(through).send(Attempt("mark", "GET", "/metrics"))[0] == 404


def wait_for_the_end(world: Any, scene: Scene) -> None:
    """A file of a playback that ended may still open for some seconds; keys may not."""
    import time

    line = Line(world)
    for over in (scene.stopped, scene.left):
        until = time.monotonic() + 8
        while line.send(Attempt("", "GET", f"{over.folder}/master.m3u8").at(cookie=over.cookie))[0] == 200:
            assert time.monotonic() < until, "an ended playback goes on"
            time.sleep(0.05)


@pytest.mark.parametrize("damage", ["cookie", "key"])
def test_the_generator_would_see_a_hole(world, damage: str) -> None:
    """With the owner's cookie in the attacker's hands an attempt succeeds, and is reported."""
    scene = prepared(world)
    stolen = Attempt("stolen", "GET", f"{scene.wanted.folder}/{FILES[3]}" if damage == "cookie" else scene.key())
    with pytest.raises(AssertionError, match="1 of 1 succeeded"):
        held_off(world, scene, [stolen.at(cookie=scene.wanted.cookie)])
