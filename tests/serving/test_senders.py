"""Limits of clients and bots: the rules alone, then over HTTP."""

import gzip
import tracemalloc
from datetime import UTC, datetime, timedelta

import orjson
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from matinee.clock import ManualClock
from matinee.contracts.events import MAX_BATCH_BYTES
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.events.senders import Allowance, Pace, Recent, Senders
from serving.limits import address

PERSON = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"}


def events(count, now=None, **more):
    now = (now or datetime.now(UTC)).isoformat()
    return [
        {"event_id": uuid7(), "schema": "viewer-event/1.0", "session_id": "visit", "type": "impression",
         "title_id": "otters", "ts_client": now, "ts_sent": now, **more}
        for _ in range(count)
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 700), st.floats(0, 120)), max_size=40))
def test_nobody_gets_more_than_the_burst_and_what_came_since(asked):
    allowance, now, granted = Allowance(600, 1_000), 0.0, 0
    for count, pause in asked:
        now += pause
        wait = allowance.take("a", count, now)
        granted += 0 if wait else count
        assert granted <= 1_000 + now * 10 + 1e-6
        if wait:
            now += wait + 1e-6
            assert allowance.take("a", count, now) == 0, "after the time that was told it is there"
            granted += count


def test_clients_do_not_share_an_allowance_and_none_is_none():
    allowance = Allowance(60, 500)
    assert [allowance.take("a", 500, 0.0), allowance.take("a", 1, 0.0), allowance.take("b", 500, 0.0)] == [0, 1, 0]
    assert Allowance(0, 500).take("a", 10**9, 0.0) == 0


@pytest.mark.parametrize(
    ("seconds", "is_bot"),
    [
        ([0.0] * 100, False),
        ([0.0] * 101, True),
        ([n * 0.5 for n in range(101)], True),  # across the turn of a minute of the clock, in one minute of time
        ([n * 30.0 for n in range(4_000)], False),  # an offline device sends at once what happened in a day
        ([n * 10.0 for n in range(101)], False),
    ],
)
def test_a_person_does_so_much_within_a_minute(seconds, is_bot):
    started = 1_000_000_035.0
    at_once, one_by_one = Pace(100), Pace(100)
    assert at_once.is_too_fast("a", [started + s for s in seconds]) is is_bot
    assert any(one_by_one.is_too_fast("a", [started + s]) for s in seconds) is is_bot
    assert not at_once.is_too_fast("b", [started])


def test_a_bot_that_spreads_the_times_it_tells_is_known_by_what_came_within_an_hour(settings):
    clock = ManualClock(datetime.now(UTC))
    senders = Senders(settings, clock)

    def flags(address, batches, pause_s):
        """What a client counts as while batches of 500 come: a minute apart by its own clock, each event."""
        request = Request({"type": "http", "client": (address, 1), "headers": [(b"user-agent", b"Mozilla/5.0")]})
        found = []
        for batch in range(batches):
            times = [clock.now() - timedelta(minutes=500 * batch + n) for n in range(500)]
            found.append(senders.bot(request, None, [{"ts_client": time.isoformat()} for time in times]))
            clock.advance(timedelta(seconds=pause_s))
        return found

    assert flags("1.1.1.1", 18, 1) == [None] * 18, "three days of heartbeats twice a minute, at once"
    assert flags("2.2.2.2", 26, 25) == [None] * 24 + ["rate"] * 2
    assert flags("3.3.3.3", 40, 600) == [None] * 40


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("2001:db8::1", "2001:0db8:0000:0000"),
        ("2001:db8::2", "2001:0db8:0000:0000"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(host, client):
    assert address(Request({"type": "http", "client": (host, 1)})) == client


def test_what_is_remembered_of_clients_is_bounded():
    recent = Recent(3)
    for key in "abcab":
        recent.put(key, key)
    recent.put("d", "d")
    assert [key for key in "abcd" if recent.get(key)] == ["a", "b", "d"]
    pace = Pace(10)
    tracemalloc.start()
    for n in range(200):  # 100,000 events of one client, of which every batch tells of another day
        pace.is_too_fast("a", [n * 86_400.0 + 12 * k for k in range(500)])
    assert tracemalloc.get_traced_memory()[1] < 300_000
    tracemalloc.stop()


@pytest.fixture
def limited(catalogue):
    more = {"events_per_minute": 60, "events_burst": 500, "bot_events_per_minute": 100}
    return Settings.model_validate({**catalogue.model_dump(), "MATINEE_HOME": catalogue.home_path, **more})


@pytest.fixture
def logged(settings):
    store = redis.Redis.from_url(settings.events())
    yield lambda: [orjson.loads(found[b"event"]) for _, found in store.xrange("events")]
    store.close()


async def test_a_client_over_its_limit_is_told_when_to_come_again_and_loses_nothing(
    limited, running, browser, problem, logged
):
    clock = ManualClock(datetime.now(UTC))
    async with running(limited, clock) as app, browser(app) as client, browser(app) as ada:
        client.headers.update(PERSON)
        first, second = events(470), events(60)
        assert (await client.post("/api/events", json={"events": first})).status_code == 202
        refused = await client.post("/api/events", json={"events": second})
        assert problem(refused) == (429, "too_many_events")
        assert refused.headers["retry-after"] == "30"
        assert len(logged()) == 470, "none of a refused batch is taken"
        await ada.sign_up()
        assert (await ada.post("/api/events", json={"events": second[:5]})).status_code == 202, "another client"
        clock.advance(timedelta(seconds=30))
        assert (await client.post("/api/events", json={"events": second})).json()["accepted"] == 60
        metrics = (await client.get("/metrics")).text
    assert "matinee_events_over_limit_total 60.0" in metrics
    assert {event["event_id"] for event in logged()} == {event["event_id"] for event in first + second}


async def test_bots_are_flagged_and_kept(limited, running, browser, logged):
    long_ago = datetime.now(UTC) - timedelta(hours=5)
    async with running(limited) as app, browser(app) as client:
        for headers, batch in (
            (PERSON, events(3, bot="user_agent")),
            ({"user-agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}, events(2)),
            ({"user-agent": "okhttp/4.12.0"}, events(1)),
            ({**PERSON, "user-agent": PERSON["user-agent"] + " tab"}, events(101, long_ago)),
        ):
            answer = await client.post("/api/events", json={"events": batch}, headers=headers)
            assert answer.json() == {"accepted": len(batch), "rejected": []}
        metrics = (await client.get("/metrics")).text
    assert [event["bot"] for event in logged()] == [None] * 3 + ["user_agent"] * 2 + [None] + ["rate"] * 101
    assert 'matinee_events_of_bots_total{why="user_agent"} 2.0' in metrics
    assert 'matinee_events_of_bots_total{why="rate"} 101.0' in metrics
    assert "matinee_events_late_total 0.0" in metrics


async def test_types_and_encodings_of_a_body(client, problem):
    async def send(content, **headers):
        return await client.post("/api/events", content=content, headers=headers)

    body = orjson.dumps({"events": events(2)})
    packed = gzip.compress(body)
    for plain in ("application/json", "application/json; charset=utf-8", "text/plain;charset=UTF-8"):
        assert (await send(body, **{"content-type": plain})).json()["accepted"] == 2
    assert (await send(packed, **{"content-encoding": "gzip"})).json()["accepted"] == 2
    for content, headers, expected in (
        (body, {"content-type": "text/xml"}, (415, "unsupported_media_type")),
        (body, {"content-type": "multipart/form-data"}, (415, "unsupported_media_type")),
        (body, {"content-encoding": "br"}, (415, "unsupported_encoding")),
        (body, {"content-encoding": "gzip"}, (400, "invalid_encoding")),
        (packed[:-9], {"content-encoding": "gzip"}, (400, "invalid_encoding")),
        (gzip.compress(b" " * 50 * MAX_BATCH_BYTES), {"content-encoding": "gzip"}, (413, "too_large")),
        (b'{"events":' + b"[" * 400_000, {}, (400, "invalid_json")),
    ):
        assert problem(await send(content, **headers)) == expected
    assert (await send(body, **{"content-encoding": "br"})).headers["accept-encoding"] == "gzip"
