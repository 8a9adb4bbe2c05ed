"""The right to watch, signed media, positions."""

from datetime import timedelta
from urllib.parse import unquote

import psycopg

from matinee.clock import ManualClock, SystemClock
from serving.playback.core import SESSION_LIFE, go_on_with
from serving.playback.types import Renewal, Watch
from transcoding.keys import content_key


async def watch(client, title_id, **body):
    answer = await client.post(f"/api/watch/{title_id}", json=body or None)
    assert answer.status_code == 200, answer.text
    return Watch.model_validate(answer.json())


def folder(watched):
    return watched.manifest.hls.removesuffix("/master.m3u8")


async def test_a_film_plays_from_its_manifest_to_its_last_segment(ada, package):
    watched = await watch(ada, "otters")
    assert watched.manifest.dash is None
    assert (watched.resume_ms, watched.duration_ms, watched.heartbeat_s) == (0, 20_000, 30)
    types = {
        "master.m3u8": "application/vnd.apple.mpegurl",
        "video/360p/main.m3u8": "application/vnd.apple.mpegurl",
        "video/360p/init.mp4": "video/mp4",
        "video/360p/00004.m4s": "video/iso.segment",
        "audio/en/00001.m4s": "video/iso.segment",
        "poster.jpg": "image/jpeg",
    }
    for name, media_type in types.items():
        answer = await ada.get(f"{folder(watched)}/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"] == media_type
        assert answer.headers["cache-control"] == "private, max-age=600"
        assert answer.content == (package / name).read_bytes()


async def test_ranges(ada, package):
    url = f"{folder(await watch(ada, 'otters'))}/video/360p/00001.m4s"
    whole = (package / "video/360p/00001.m4s").read_bytes()

    async def part(value):
        return await ada.get(url, headers={"range": value})

    answer = await part("bytes=100-199")
    assert (answer.status_code, answer.content) == (206, whole[100:200])
    assert answer.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert (await part("bytes=-10")).content == whole[-10:]
    assert (await part(f"bytes={len(whole) - 5}-")).content == whole[-5:]
    beyond = await part(f"bytes={len(whole)}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    head = await ada.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole)))


async def test_media_opens_for_one_browser_one_package_and_a_while(catalogue, running, browser, problem):
    clock = ManualClock(SystemClock().now())
    async with running(catalogue, clock) as app, browser(app) as client, browser(app) as thief:
        await client.sign_up()
        await thief.sign_up("eve@example.org")
        good = folder(await watch(client, "otters"))
        other = folder(await watch(client, "harbour"))
        await watch(thief, "otters")
        assert (await client.get(f"{good}/master.m3u8")).status_code == 200
        assert problem(await thief.get(f"{good}/master.m3u8")) == (403, "media_forbidden"), "another browser's cookie"
        thief.cookies.clear()
        assert problem(await thief.get(f"{good}/master.m3u8")) == (403, "media_forbidden"), "no cookie"
        token, other_token = good.split("/")[2], other.split("/")[2]
        mac, expires, playback = token.split(".")
        wrong = {
            "a changed mac": good.replace(mac, ("A" if mac[0] != "A" else "B") + mac[1:]),
            "a later end": good.replace(expires, str(int(expires) + 600)),
            "another playback": good.replace(playback, other_token.split(".")[2]),
            "another title": good.replace("/otters/package-of-otters", "/harbour/package-of-harbour"),
            "another package": good.replace("package-of-otters", "package-of-harbour"),
            "another title's token": good.replace(token, other_token),
            "no token": good.replace(token, "x"),
        }
        for name, address in wrong.items():
            assert problem(await client.get(f"{address}/master.m3u8")) == (403, "media_forbidden"), name
        clock.advance(timedelta(minutes=10))
        assert problem(await client.get(f"{good}/master.m3u8")) == (410, "media_expired")


NOT_MEDIA = [
    "package.json", "nothing.m4s", "video", "video/360p", "../package-of-otters/master.m3u8", "..%2f..%2fsecret.mp4",
    "video/../../../harbour/package-of-harbour/master.m3u8", "%2e%2e/%2e%2e/otters/package-of-otters/master.m3u8",
    ".hidden.mp4", "video//360p/main.m3u8", "video/360p/main.m3u8/x.mp4", "a%00.mp4", "%00.mp4", "/etc/passwd.mp4",
]  # fmt: skip


async def test_nothing_but_media_leaves_a_package(ada, app, settings):
    base = folder(await watch(ada, "otters"))
    (settings.media / "secret.mp4").write_bytes(b"beyond the package")
    (settings.media / "otters/package-of-otters/.hidden.mp4").write_bytes(b"beyond the package")
    for name in NOT_MEDIA:
        status, body = await ask_as_it_stands(app, f"{base}/{unquote(name)}", ada.cookies["matinee_playback"])
        assert status in (403, 404), name
        assert b"beyond" not in body, name
        assert b"#EXTM3U" not in body, name


async def ask_as_it_stands(app, path, cookie):
    """A GET whose path no client has tidied up."""
    sent = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("matinee.test", 80), "headers": [(b"cookie", f"matinee_playback={cookie}".encode())],
    }  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])


async def test_refusals_carry_their_reason_and_the_offers(ada, client, problem):
    assert problem(await client.post("/api/watch/otters")) == (401, "unauthenticated")
    kid = await ada.kid()
    expected = {
        ("harbour", kid): (403, "maturity"),
        ("abroad", None): (403, "region"),
        ("later", None): (403, "no_offer"),
        ("unsold", None): (403, "no_offer"),
        ("unfilmed", None): (403, "not_playable"),
        ("nothing", None): (404, "unknown_title"),
    }
    for (title_id, profile_id), refusal in expected.items():
        answer = await ada.post(f"/api/watch/{title_id}", json={"profile_id": profile_id})
        assert problem(answer) == refusal, title_id
        if title_id == "abroad":
            assert [o["regions"] for o in answer.json()["offers"]] == [["FR"]]


async def beat(client, watched, position_ms):
    answer = await client.post(f"/api/watch/{watched.playback_id}/heartbeat", json={"position_ms": position_ms})
    assert answer.status_code == 200, answer.text
    return Renewal.model_validate(answer.json())


async def test_a_heartbeat_keeps_the_place_and_renews_the_address(catalogue, running, browser, problem):
    clock = ManualClock(SystemClock().now())
    async with running(catalogue, clock) as app, browser(app) as client:
        await client.sign_up()
        watched = await watch(client, "otters")
        clock.advance(timedelta(minutes=9))
        renewed = await beat(client, watched, 7_500)
        assert renewed.expires_at - watched.expires_at == timedelta(minutes=9)
        for address in (watched.manifest.hls, renewed.manifest.hls):
            assert (await client.get(address)).status_code == 200
        clock.advance(timedelta(minutes=2))
        assert problem(await client.get(watched.manifest.hls)) == (410, "media_expired")
        assert (await client.get(renewed.manifest.hls)).status_code == 200
        await client.post("/api/auth/refresh")
        assert (await watch(client, "otters")).resume_ms == 7_500
        kid = await client.kid()
        assert (await watch(client, "otters", profile_id=kid)).resume_ms == 0
        await beat(client, watched, 10**9)
        assert (await client.get("/api/media/otters")).json()["position_ms"] == 20_000, "never past the end"


async def test_a_session_belongs_to_its_account_and_ends(catalogue, running, browser, problem):
    clock = ManualClock(SystemClock().now())
    async with running(catalogue, clock) as app, browser(app) as client, browser(app) as eve:
        await client.sign_up()
        await eve.sign_up("eve@example.org")
        watched = await watch(client, "otters")
        await watch(eve, "otters")
        url = f"/api/watch/{watched.playback_id}"
        body = {"position_ms": 1}
        assert problem(await eve.post(f"{url}/heartbeat", json=body)) == (404, "unknown_playback")
        assert problem(await eve.post(f"{url}/stop")) == (404, "unknown_playback")
        await beat(client, watched, 1)
        for wrong in (b"{}", b"", b"nonsense", b'{"position_ms": -1}', b'{"position_ms": "now"}', b"[1]"):
            assert problem(await client.post(f"{url}/heartbeat", content=wrong)) == (422, "invalid_request")
        assert (await client.post(f"{url}/stop")).status_code == 204
        assert problem(await client.post(f"{url}/heartbeat", json=body)) == (404, "unknown_playback")
        idle = await watch(client, "otters")
        clock.advance(timedelta(hours=2))
        late = await client.post(f"/api/watch/{idle.playback_id}/heartbeat", json=body)
        assert problem(late)[0] == 401, "the access token is over as well"
        await client.post("/api/auth/refresh")
        late = await client.post(f"/api/watch/{idle.playback_id}/heartbeat", json=body)
        assert problem(late) == (404, "unknown_playback")


async def test_a_series_goes_on_where_it_was_left(ada):
    first = await watch(ada, "beacon")
    assert (first.title_id, first.next.title_id) == ("beacon-e1", "beacon-e2")
    await beat(ada, first, 5_000)
    again = await watch(ada, "beacon-s1")
    assert (again.title_id, again.resume_ms) == ("beacon-e1", 5_000)
    await beat(ada, again, 19_500)
    second = await watch(ada, "beacon")
    assert (second.title_id, second.resume_ms, second.next) == ("beacon-e2", 0, None)
    assert (await watch(ada, "beacon-e1")).resume_ms == 0, "what was finished starts anew"
    await beat(ada, second, 20_000)
    assert (await watch(ada, "beacon")).title_id == "beacon-e1", "after the last episode the first"


def test_what_to_go_on_with():
    from datetime import UTC, datetime

    def episode(number, position=None, minute=0):
        touched = None if position is None else datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
        return {
            "title_id": f"e{number}", "kind": "episode", "playable": True, "updated_at": touched,
            "position_ms": position, "duration_ms": None if position is None else 100,
        }  # fmt: skip

    assert go_on_with([]) is None
    assert go_on_with([episode(1), episode(2)]) == "e1"
    assert go_on_with([episode(1), episode(2, 94), episode(3)]) == "e2"
    assert go_on_with([episode(1), episode(2, 95), episode(3)]) == "e3"
    assert go_on_with([episode(1, 10, minute=9), episode(2, 100), episode(3)]) == "e1", "touched last"


async def test_posters_are_public(client, package, problem):
    answer = await client.get("/media-posters/beacon.jpg")
    assert (answer.status_code, answer.content) == (200, (package / "poster.jpg").read_bytes())
    assert answer.headers["cache-control"] == "public, max-age=300"
    for missing in ("unfilmed", "nothing", "..", "%2e%2e%2fsecret"):
        assert problem(await client.get(f"/media-posters/{missing}.jpg"))[0] == 404


async def test_the_newest_package_plays(ada, settings, package):
    with psycopg.connect(settings.database()) as connection:
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms, created_at) "
            "VALUES ('newer', 'otters', 'master-of-otters', 'published', 21000, now() + interval '1 s')"
        )
    watched = await watch(ada, "otters")
    assert "/otters/newer/" in watched.manifest.hls
    assert watched.duration_ms == 21_000


async def test_a_key_is_for_the_browser_that_plays_its_title(catalogue, running, browser, problem):
    clock = ManualClock(SystemClock().now())
    with psycopg.connect(catalogue.database()) as connection:
        keys = {title: content_key(connection, catalogue, title, "sd", 0) for title in ("otters", "harbour")}
    addresses = {title: f"/api/watch/keys/{key.key_id}" for title, key in keys.items()}
    async with running(catalogue, clock) as app, browser(app) as ada, browser(app) as bob:
        await ada.sign_up()
        await bob.sign_up("bob@example.org")
        assert problem(await ada.get(addresses["otters"])) == (403, "key_refused")
        watched = await watch(ada, "otters")
        await watch(bob, "harbour")

        answer = await ada.get(addresses["otters"])
        assert (answer.status_code, answer.content) == (200, keys["otters"].secret)
        assert answer.headers["cache-control"] == "no-store"
        assert problem(await ada.get(addresses["harbour"])) == (403, "key_refused"), "another title's"
        assert problem(await bob.get(addresses["otters"])) == (403, "key_refused"), "another browser's session"
        assert problem(await ada.get("/api/watch/keys/nothing")) == (403, "key_refused")

        assert (await ada.post(f"/api/watch/{watched.playback_id}/stop")).status_code == 204
        assert problem(await ada.get(addresses["otters"])) == (403, "key_refused"), "stopped"
        await watch(ada, "otters")
        assert (await ada.get(addresses["otters"])).status_code == 200
        clock.advance(SESSION_LIFE)
        assert problem(await ada.get(addresses["otters"])) == (403, "key_refused"), "no heartbeat for too long"
