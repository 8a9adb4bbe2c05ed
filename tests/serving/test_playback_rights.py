"""What plays keeps its right, or stops: take-over, rentals, offers that end, plans that limit, stores that go away."""

import asyncio
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
import redis
from redis.asyncio import Redis

from matinee.clock import ManualClock, SystemClock
from matinee.stack.redis import binary
from serving.context import context_of
from serving.playback.slots import PAUSE_S, SLOT_LIFE, Beat, Beaten, ms
from serving.playback.streams import _BATCH, STATE_S, Streams
from serving.playback.types import Watch
from serving.rights.commands import give
from serving.rights.rentals import TO_START, TO_WATCH, RightsError
from serving.rights.rentals import give as give_to
from transcoding.keys import content_key


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SystemClock().now())


@pytest.fixture
async def timed(catalogue, running, clock) -> AsyncIterator:
    """The app under a clock that the test moves, without limits of how often."""
    async with running(catalogue.model_copy(update={"limits_scale": 0}), clock) as app:
        yield app


def sql(settings, statement, *given):
    with psycopg.connect(settings.database()) as connection:
        return connection.execute(statement, given)


def on_plan(settings, plan):
    sql(settings, "UPDATE subscription_period SET plan = %s", plan)


def offers_of(settings, title_id, *offers):
    """Replace a title's offers: (kind, until or None)."""
    sql(settings, "DELETE FROM offer WHERE title_id = %s", title_id)
    for position, (kind, until) in enumerate(offers):
        sql(
            settings,
            "INSERT INTO offer (title_id, position, kind, price, currency, open) "
            "VALUES (%s, %s, %s, 3, 'EUR', tstzrange(NULL, %s))",
            title_id, position, kind, until,
        )  # fmt: skip


async def watch(client, title_id, **body) -> Watch:
    answer = await client.post(f"/api/watch/{title_id}", json=body or None)
    assert answer.status_code == 200, answer.text
    return Watch.model_validate(answer.json())


async def beat(client, watched, position_ms=1_000, **more):
    return await client.post(f"/api/watch/{watched.playback_id}/heartbeat", json={"position_ms": position_ms, **more})


async def later(client, clock, **life):
    """Let time pass, and sign in anew where the access token is over."""
    clock.advance(timedelta(**life))
    if timedelta(**life) > timedelta(minutes=1):
        assert (await client.post("/api/auth/refresh")).status_code == 200


def key_address(settings, title_id):
    with psycopg.connect(settings.database()) as connection:
        return f"/api/watch/keys/{content_key(connection, settings, title_id, 'sd', 0).key_id}"


async def test_a_second_device_takes_over(timed, catalogue, browser, problem):
    key = key_address(catalogue, "harbour")
    async with browser(timed) as sofa, browser(timed) as kitchen:
        await sofa.sign_up()
        on_plan(catalogue, "basic")
        kitchen.headers["authorization"] = f"Bearer {sofa.session['access_token']}"
        first = await watch(sofa, "harbour", device={"kind": "tv", "name": "Sofa"})
        refused = await kitchen.post("/api/watch/harbour")
        assert problem(refused) == (403, "streams")
        (playing,) = refused.json()["sessions"]
        assert (playing["playback_id"], playing["device"], playing["title_id"]) == (
            first.playback_id,
            "Sofa",
            "harbour",
        )
        assert playing["titles"]["en"] == "Harbour"
        assert [plan["plan"] for plan in refused.json()["plans"]] == ["standard", "premium"]
        assert (await sofa.get(key)).status_code == 200

        second = await watch(kitchen, "harbour", take_over=first.playback_id)
        assert problem(await beat(sofa, first)) == (410, "taken_over")
        assert problem(await sofa.get(key)) == (403, "key_refused"), "at once"
        assert problem(await sofa.get(first.manifest.hls)) == (410, "playback_over")
        assert (await beat(kitchen, second)).status_code == 200
        assert (await kitchen.get(key)).status_code == 200
        assert problem(await sofa.post("/api/watch/harbour")) == (403, "streams")
        assert (await watch(kitchen, "otters")).title_id == "otters", "a browser is not refused because of itself"
        assert problem(await beat(kitchen, second)) == (410, "taken_over")

        third = await watch(kitchen, "harbour")
        assert (await kitchen.get(key)).status_code == 200
        with redis.Redis.from_url(catalogue.redis()) as store:
            store.hset(f"pb:s:{third.playback_id}", "x", "taken_over")
        assert problem(await beat(kitchen, third)) == (410, "taken_over")
        assert problem(await kitchen.get(key)) == (403, "key_refused"), "a take-over that was not stored"


async def test_a_silent_stream_gives_its_slot_away_and_gets_it_back(timed, catalogue, browser, clock, problem):
    async with browser(timed) as sofa, browser(timed) as kitchen:
        await sofa.sign_up()
        on_plan(catalogue, "basic")
        kitchen.headers["authorization"] = f"Bearer {sofa.session['access_token']}"
        first = await watch(sofa, "harbour")
        clock.advance(SLOT_LIFE - timedelta(seconds=1))
        assert problem(await kitchen.post("/api/watch/harbour")) == (403, "streams")
        clock.advance(timedelta(seconds=1))
        second = await watch(kitchen, "harbour")
        assert problem(await beat(sofa, first)) == (403, "streams")
        assert (
            await kitchen.post(f"/api/watch/{second.playback_id}/stop", json={"position_ms": 9_000})
        ).status_code == 204
        assert (await beat(sofa, first, 4_000, age_ms=60_000)).status_code == 200, "the slot is free again"
        assert (await watch(sofa, "harbour")).resume_ms == 9_000, "the newest place wins, not the last that came"
        assert problem(await sofa.post("/api/watch/unknown/stop")) == (404, "unknown_playback")


async def test_many_at_once_get_as_many_as_the_plan_allows(timed, catalogue, browser):
    async with browser(timed) as client:
        await client.sign_up()
        on_plan(catalogue, "standard")
        token, browsers = client.session["access_token"], [browser(timed) for _ in range(10)]
        asked = [b.post("/api/watch/harbour", headers={"authorization": f"Bearer {token}"}) for b in browsers]
        answers = await asyncio.gather(*asked)
        assert sorted(a.status_code for a in answers) == [200, 200] + [403] * 8
        for b in browsers:
            await b.aclose()


async def test_a_renewed_address_ends_the_one_before_within_a_minute(timed, browser, clock, problem):
    async with browser(timed) as client:
        await client.sign_up()
        addresses = [(await watch(client, "otters")).manifest.hls]
        watched = addresses[0].split("/")[2].split(".")[2]
        for _ in range(6):
            clock.advance(timedelta(seconds=30))
            answer = await client.post(f"/api/watch/{watched}/heartbeat", json={"position_ms": 1})
            addresses.append(answer.json()["manifest"]["hls"])
        assert len(set(addresses)) == 4, "a new one each minute"
        newest, before, old = addresses[6], addresses[4], addresses[2]
        assert [(await client.get(a)).status_code for a in (newest, before, old)] == [200, 200, 410]
        clock.advance(timedelta(seconds=61))
        assert problem(await client.get(before)) == (410, "media_expired")
        assert (await client.get(newest)).status_code == 200


async def test_a_rental_waits_and_runs_out_in_the_middle(timed, catalogue, browser, clock, problem):
    offers_of(catalogue, "harbour", ("rent", None), ("buy", None))
    key = key_address(catalogue, "harbour")
    async with browser(timed) as client:
        await client.sign_up()
        refused = await client.post("/api/watch/harbour")
        assert problem(refused) == (403, "rental")
        assert [o["kind"] for o in refused.json()["offers"]] == ["rent", "buy"]
        assert (await client.get("/api/media/harbour")).json()["refusal"] == "rental"
        async with context_of(timed).transaction() as connection:
            account = client.session["account_id"]
            await give_to(connection, account, "rent", clock.now(), title_id="harbour")
            with pytest.raises(RightsError, match="no title"):
                await give_to(connection, account, "buy", clock.now(), title_id="nothing")
        await later(client, clock, days=TO_START.days - 1)
        watched = await watch(client, "harbour")
        assert watched.plays_until == clock.now() + TO_WATCH
        clock.advance(TO_WATCH - timedelta(seconds=1))
        await client.post("/api/auth/refresh")
        watched = await watch(client, "harbour")
        assert (await client.get(key)).status_code == 200
        clock.advance(timedelta(seconds=2))
        assert problem(await client.get(key)) == (403, "key_refused"), "in the middle of the film"
        assert await context_of(timed).streams.judge_all() == 1
        await asyncio.sleep(0)
        assert problem(await client.post("/api/watch/harbour")) == (403, "rental")


async def test_a_film_whose_licence_ends_while_it_plays(timed, catalogue, browser, clock, problem):
    offers_of(catalogue, "harbour", ("subscription", clock.now() + timedelta(minutes=5)))
    key = key_address(catalogue, "harbour")
    async with browser(timed) as client:
        await client.sign_up()
        watched = await watch(client, "harbour")
        assert (await client.get(key)).status_code == 200
        await later(client, clock, minutes=5)
        assert problem(await client.get(key)) == (403, "key_refused")
        streams = context_of(timed).streams
        assert await streams.judge_all() == 1
        assert problem(await beat(client, watched)) == (403, "no_offer"), "whoever ends it tells of it"
        assert problem(await client.get(watched.manifest.hls)) == (410, "playback_over")


async def test_what_ends_elsewhere_stops_files_and_keys(timed, catalogue, browser, clock, problem):
    """A withdrawn title, a profile with a stricter limit, a sign-in that was ended."""
    key = key_address(catalogue, "harbour")
    streams = context_of(timed).streams
    for statement, code in (
        ("UPDATE title SET state = 'draft' WHERE title_id = 'harbour'", (410, "playback_over")),
        ("UPDATE profile SET maturity = 6", (403, "maturity")),
        ("UPDATE account SET born = current_date - 4000", (403, "age")),
        ("UPDATE subscription_period SET plan = 'odd'", (403, "plan")),
    ):
        sql(catalogue, "UPDATE title SET state = 'published'")
        async with browser(timed) as client:
            await client.sign_up(f"{abs(hash(statement))}@example.org")
            watched = await watch(client, "harbour")
            assert (await client.get(key)).status_code == 200
            sql(catalogue, statement)
            clock.advance(timedelta(seconds=1))
            assert problem(await client.get(key)) == (403, "key_refused"), statement
            assert await streams.judge_all() >= 1
            await streams.hear_of_endings()
            assert problem(await beat(client, watched)) == code, statement
    sql(catalogue, "UPDATE title SET state = 'published'")
    async with browser(timed) as client:
        await client.sign_up()
        watched = await watch(client, "otters")
        sql(catalogue, "UPDATE auth_session SET revoked_at = %s", clock.now())
        clock.advance(timedelta(minutes=1))
        await streams.hear_of_endings()
        assert problem(await beat(client, watched)) == (410, "playback_over"), "however long nobody could listen"
        assert problem(await client.get(watched.manifest.hls)) == (410, "playback_over")


async def test_a_plan_that_shrinks_ends_the_newest_stream_and_what_has_more_rungs(timed, catalogue, browser, problem):
    streams = context_of(timed).streams
    async with browser(timed) as sofa, browser(timed) as kitchen:
        await sofa.sign_up()
        kitchen.headers["authorization"] = f"Bearer {sofa.session['access_token']}"
        small = {"kind": "phone", "max_height": 480}
        first, second = await watch(sofa, "harbour", device=small), await watch(kitchen, "harbour", device=small)
        assert await streams.judge_all() == 0
        on_plan(catalogue, "basic")
        assert await streams.judge_all() == 1
        await streams.hear_of_endings()
        assert problem(await beat(kitchen, second)) == (403, "streams")
        assert (await beat(sofa, first)).status_code == 200
        on_plan(catalogue, "standard")
        large = await watch(kitchen, "harbour")
        sql(catalogue, "UPDATE plan_version SET max_height = 720 WHERE plan_id = 'standard'")
        assert await streams.judge_all() == 1
        await streams.hear_of_endings()
        assert problem(await beat(kitchen, large)) == (403, "plan")


async def test_without_redis_every_batch_of_positions_is_written(timed, catalogue, browser, clock):
    async with browser(timed) as client:
        await client.sign_up()
        ((profile,),) = sql(catalogue, "SELECT profile_id FROM profile").fetchall()
    store = Redis(port=1)
    streams = Streams(
        context_of(timed).read, context_of(timed).transaction, store, clock, context_of(timed).known, lambda _: None
    )
    for number in range(_BATCH + 1):
        beat = Beat(f"playback-{number}", f"account-{number}", b"", 5_000, ms(clock.now()))
        streams._note(
            beat, Beaten("ok", "otters", "package", profile if number == _BATCH else "gone", 1, None, 1, 9_000)
        )
    await streams.close()
    await store.aclose()
    assert sql(catalogue, "SELECT position_ms FROM playback_position").fetchall() == [(5_000,)]


async def test_a_redis_that_hangs_is_waited_for_once(catalogue, running, browser, problem, tmp_path):
    """It takes connections and never answers: limits are open then, rights and keys still checked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = catalogue.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0", "limits_scale": 0})
    key, other = key_address(catalogue, "harbour"), key_address(catalogue, "midnight")
    process = start([str(binary()), "--port", str(port), "--dir", str(tmp_path), "--save", ""])
    try:
        await asyncio.to_thread(_until, store := redis.Redis(port=port))
        async with running(own) as app, browser(app) as sofa, browser(app) as kitchen:
            await sofa.sign_up()
            on_plan(catalogue, "basic")
            kitchen.headers["authorization"] = f"Bearer {sofa.session['access_token']}"
            first = await watch(sofa, "harbour")
            process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(10):
                assert (await beat(sofa, first, 5_000)).status_code == 200
                second = await watch(kitchen, "harbour")
                assert (await beat(kitchen, second, 6_000)).status_code == 200
                assert [(await one.get(key)).status_code for one in (sofa, kitchen)] == [200, 200]
                assert problem(await sofa.get(other)) == (403, "key_refused")
                assert (await sofa.get(first.manifest.hls)).status_code == 200
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(PAUSE_S)
            assert problem(await sofa.post("/api/watch/otters")) == (403, "streams"), "read from PostgreSQL again"
            assert (await beat(kitchen, second, 7_000)).status_code == 200
            process.send_signal(signal.SIGSTOP)
    finally:
        process.kill()
        process.wait()
        store.close()


async def test_a_device_name_that_cannot_be_stored_ends_nothing(timed, catalogue, browser, problem):
    async with browser(timed) as client:
        await client.sign_up()
        first = await watch(client, "harbour")
        for body in ({"device": {"name": "a\0b"}}, {"take_over": f"{first.playback_id}\0"}):
            assert problem(await client.post("/api/watch/harbour", json=body)) == (422, "invalid_request")
        assert (await beat(client, first)).status_code == 200


async def test_a_plan_and_a_device_limit_the_rungs(timed, catalogue, browser, clock, problem):
    sql(catalogue, "UPDATE plan_version SET max_height = 180 WHERE plan_id = 'basic'")
    async with browser(timed) as client:
        await client.sign_up()
        whole = await watch(client, "harbour")
        small = await watch(client, "harbour", device={"kind": "phone", "max_height": 200})
        on_plan(catalogue, "basic")
        basic = await watch(client, "harbour", take_over=whole.playback_id)
        free = await watch(client, "otters", take_over=basic.playback_id)
        for watched, rungs in ((small, {"180p"}), (basic, {"180p"}), (free, {"360p", "180p"})):
            folder = watched.manifest.hls.removesuffix("master.m3u8")
            sql(catalogue, "UPDATE playback_session SET ended_at = NULL, end_reason = NULL")
            clock.advance(timedelta(seconds=STATE_S))
            redis.Redis.from_url(catalogue.redis()).flushall()
            master = await client.get(watched.manifest.hls)
            assert {rung for rung in ("360p", "180p") if f"video/{rung}/main.m3u8" in master.text} == rungs
            assert master.headers["content-encoding"] == "gzip"
            assert "audio/en/main.m3u8" in master.text
            for rung in ("360p", "180p"):
                status = (await client.get(f"{folder}video/{rung}/00001.m4s")).status_code
                assert status == (200 if rung in rungs else 404), (rung, watched)


ELSEWHERE = {"cf-ipcountry": "FR"}


async def places(client, title_id, where) -> dict[str, bool]:
    """Each place that shows titles, or plays them, and whether it opens this one to whoever asks from there."""
    profile = f"/api/profile/{client.profile_id}"
    named = {"profile_id": client.profile_id}

    async def ids(path, **more) -> set[str]:
        answer = await client.get(path, params={**named, **more}, headers=where)
        assert answer.status_code == 200, answer.text
        return {item["title_id"] for item in answer.json()["items"]}

    home = (await client.get("/api/recommendations", params=named, headers=where)).json()
    drama = {one["value"]: one["titles"] for one in (
        await client.get("/api/media/facets", params={**named, "q": title_id}, headers=where)
    ).json().get("genre", ())}  # fmt: skip
    genres = (await client.get("/api/media/genres", params=named, headers=where)).json()
    watched = await client.post(f"/api/watch/{title_id}", json=named, headers=where)
    return {
        "list": title_id in await ids("/api/media"),
        "search": title_id in await ids("/api/search", q=title_id),
        "facets": drama == {"drama": 1},
        "genres": next(one["titles"] for one in genres if one["genre"] == "drama") == 4,
        "title": (await client.get(f"/api/media/{title_id}", params=named, headers=where)).status_code == 200,
        "similar": (await client.get(f"/api/media/{title_id}/similar", params=named, headers=where)).status_code == 200,
        "recommendations": title_id in {item["title_id"] for row in home["rows"] for item in row["items"]},
        "favourites": title_id in await ids(f"{profile}/favourites"),
        "favour": (await client.put(f"{profile}/favourites/{title_id}", headers=where)).status_code == 204,
        "play": watched.status_code == 200,
    }


async def test_everything_judges_by_the_region_that_the_gateway_names(catalogue, running, browser, problem):
    """`abroad` is offered in France alone: an account of another country sees and plays it from there only."""
    own = catalogue.model_copy(update={"region_header": "CF-IPCountry", "limits_scale": 0})
    async with running(own) as app, browser(app) as client, browser(app) as nobody:
        await client.sign_up(country="US")
        assert set((await places(client, "abroad", ELSEWHERE)).values()) == {False}, (
            "whoever is no proxy is not believed"
        )
        for one in (client, nobody):
            one._transport.client = ("203.0.113.7", 0)
        for where in ({}, {"cf-ipcountry": "DE"}, {"cf-ipcountry": "T1"}):
            assert set((await places(client, "abroad", where)).values()) == {False}, where
        await places(client, "abroad", ELSEWHERE)  # which makes it a favourite
        assert set((await places(client, "abroad", ELSEWHERE)).values()) == {True}
        assert set((await places(client, "abroad", {"cf-ipcountry": "US"})).values()) == {False}
        assert [(await nobody.get("/api/media/abroad", headers=h)).status_code for h in (ELSEWHERE, {})] == [200, 403]
        regions = [(await c.get("/api/billing/plans", headers=ELSEWHERE)).json()["region"] for c in (client, nobody)]
        assert regions == ["FR", "FR"]
        assert problem(await client.post("/api/watch/abroad")) == (403, "region")


async def test_without_redis_rights_and_keys_are_still_checked(catalogue, running, browser, problem, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [str(binary()), "--port", str(port), "--dir", str(tmp_path), "--save", ""]
    own = catalogue.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0", "limits_scale": 0})
    store = redis.Redis(port=port)
    key = key_address(catalogue, "harbour")
    process = start(server)
    try:
        await asyncio.to_thread(_until, store)
        async with running(own) as app, browser(app) as sofa, browser(app) as kitchen:
            await sofa.sign_up()
            on_plan(catalogue, "basic")
            kitchen.headers["authorization"] = f"Bearer {sofa.session['access_token']}"
            first = await watch(sofa, "harbour")
            process.kill()
            process.wait()
            second = await watch(kitchen, "harbour")
            assert second.max_height == 720, "limits are open, plans hold"
            assert (await beat(sofa, first, 5_000)).status_code == 200
            assert (await beat(kitchen, second, 6_000)).status_code == 200
            assert (await sofa.get("/api/media/harbour")).json()["position_ms"] == 6_000
            assert [(await c.get(key)).status_code for c in (sofa, kitchen)] == [200, 200]
            assert problem(await sofa.get(key_address(catalogue, "midnight"))) == (403, "key_refused")
            assert (await sofa.get(first.manifest.hls)).status_code == 200
            assert (await sofa.post(f"/api/watch/{first.playback_id}/stop")).status_code == 204
            assert problem(await sofa.get(key)) == (403, "key_refused"), "over, though Redis never heard of it"

            process = start(server)
            await asyncio.to_thread(_until, store)
            await asyncio.sleep(PAUSE_S)
            assert problem(await sofa.post("/api/watch/harbour")) == (403, "streams"), "read from PostgreSQL again"
            assert (await beat(kitchen, second, 7_000)).status_code == 200
            assert problem(await beat(sofa, first)) == (404, "unknown_playback")
    finally:
        process.kill()
        process.wait()
        store.close()


def start(server):
    return subprocess.Popen(server, stdout=subprocess.DEVNULL)


def _until(store):
    for _ in range(200):
        try:
            return store.ping()
        except redis.ConnectionError:
            threading.Event().wait(0.02)
    raise AssertionError("Redis did not start")


async def test_while_postgresql_is_away_heartbeats_go_on(timed, catalogue, browser, problem):
    name = psycopg.conninfo.conninfo_to_dict(catalogue.database())["dbname"]
    admin = psycopg.conninfo.make_conninfo(catalogue.database(), dbname="postgres")
    async with browser(timed) as client:
        await client.sign_up()
        watched = await watch(client, "otters")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            try:
                assert (await beat(client, watched, 8_000)).status_code == 200
                assert (await client.get(watched.manifest.hls)).status_code == 200
            finally:
                connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        for _ in range(100):
            await asyncio.sleep(0.1)
            found = sql(catalogue, "SELECT position_ms FROM playback_position").fetchall()
            if found:
                break
        assert found == [(8_000,)], "written once PostgreSQL was back"


async def test_a_grant_from_the_command_line(timed, catalogue, browser, problem):
    sql(catalogue, "INSERT INTO account (account_id, origin) VALUES ('ml:9', 'import')")
    await asyncio.to_thread(give, catalogue, "ml:9", plan_id="basic", title_id=None, days=3)
    await asyncio.to_thread(give, catalogue, "ml:9", plan_id=None, title_id="harbour", days=None)
    rows = sql(catalogue, "SELECT kind, plan_id, title_id, closed IS NULL FROM entitlement ORDER BY 1, 2").fetchall()
    assert rows == [("grant", "basic", None, False), ("grant", None, "harbour", True)]
    assert sql(catalogue, "SELECT count(*) FROM audit WHERE action = 'entitlement.granted'").fetchone() == (2,)
    with pytest.raises(RightsError, match="no plan"):
        await asyncio.to_thread(give, catalogue, "ml:9", plan_id="golden", title_id=None, days=None)
