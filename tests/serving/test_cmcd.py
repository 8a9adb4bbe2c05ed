"""Reports of foreign players: their syntax, what follows from a session of them, and the route."""

import random
from datetime import UTC, datetime, timedelta

import orjson
import psycopg
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from matinee.clock import ManualClock
from serving.events.cmcd import EVENTS, STATES, parse, restore, to_events
from serving.events.structured import Item, dictionary

START = 1_790_000_000_000
RECEIVED = datetime.fromtimestamp(START / 1000, UTC) + timedelta(hours=1)
TYPE = {"content-type": "application/cmcd"}


def line(event, at, sn, state=None, **more):
    """A report as hls.js writes it, `at` seconds after the start."""
    given = {"cid": '"otters"', "e": event, "sid": '"visit"', "sn": sn, "sta": state, "ts": START + round(at * 1000)}
    members = {**given, "v": 2, **more}
    return ",".join(key if value is True else f"{key}={value}" for key, value in members.items() if value is not None)


def attempt(work, *arguments):
    """What it returns, or the reason why it does not."""
    try:
        return work(*arguments)
    except ValueError as error:
        return str(error)


def mapped(lines, **fields):
    """The events of a session whose reports come one by one, each a second after it was made, and a wrong clock."""
    history, events = [], []
    for text in lines:
        ts = dictionary(text)["ts"].value
        received_ms = ts + 3_601_000
        report = parse(text, received_ms)
        at = datetime.fromtimestamp(received_ms / 1000, UTC)
        events += [event for event in to_events([report], history, "me", at, fields) if event]
        history.append(restore("visit", orjson.loads(orjson.dumps(report.kept()))))
    return events


def test_a_dictionary_as_players_write_it():
    found = dictionary('br=(5000;v 128;a),cid="Кино \\"1\\"",bs,su=?0,e=ps,pr=1.25,com.x-y="z",sn=-3, v=2')
    assert found["br"] == [Item(5000, {"v": True}), Item(128, {"a": True})]
    values = {key: item.value for key, item in found.items() if isinstance(item, Item)}
    assert values == {
        "cid": 'Кино "1"',
        "bs": True,
        "su": False,
        "e": "ps",
        "pr": 1.25,
        "com.x-y": "z",
        "sn": -3,
        "v": 2,
    }
    assert dictionary("") == {}


@pytest.mark.parametrize("text", ["A=1", "a=", "a=1,", "a=1;", "a=(1", "a=(1;x=)", 'a="x', "a=1 b=2", "a=1.2.3", "=1"])
def test_what_is_no_dictionary_is_told_by_its_place(text):
    with pytest.raises(ValueError, match="is expected at character"):
        dictionary(text)


@given(st.text(max_size=80) | st.text(alphabet='abe=,;()"?1.-: \\', max_size=40))
def test_any_text_is_a_dictionary_or_a_reason(text):
    outcome = attempt(dictionary, text)
    assert isinstance(outcome, dict) or "is expected" in outcome


SESSION = [
    line("t", 0, 0),
    line("ps", 1, 1, "d"),
    line("ps", 10, 2, "s"),
    line("ps", 12, 3, "p", br="(800)"),
    line("t", 30, 4, "p", br="(800)", pt=18_000),
    line("ps", 42, 5, "r", br="(800)"),
    line("ps", 45, 6, "p", br="(800)"),
    line("bc", 55, 7, "p", br="(1600)"),
    line("ps", 65, 8, "a", br="(1600)"),
    line("t", 70, 9, "a", br="(1600)"),
    line("ps", 75, 10, "p", br="(1600)"),
    line("ps", 80, 11, "k", br="(1600)"),
    line("ps", 81, 12, "r", br="(1600)"),
    line("ps", 83, 13, "p", br="(1600)"),
    line("rr", 79, 14, "p", url='"seg"', rc=200),
    line("ps", 93, 15, "e", br="(1600)"),
    line("t", 123, 16, "e", br="(1600)"),
]


def test_a_session_becomes_a_playback_with_counters():
    events = mapped(SESSION, profile_id="p", device="web")
    kinds = [event["type"] for event in events]
    assert kinds == ["play", *["heartbeat"] * 11, "stop"], (
        "made ready, responses and the time after the end are nobody's"
    )
    last = events[-1]
    assert {k: last[k] for k in ("played_ms", "stall_ms", "stalls", "paused_ms", "startup_ms")} == {
        "played_ms": (30 + 20 + 5 + 10) * 1000, "stall_ms": 3000, "stalls": 1, "paused_ms": 10_000, "startup_ms": 2000,
    }  # fmt: skip
    assert last["bits"] == 800 * 40_000 + 1600 * 25_000
    assert {event["playback_id"] for event in events} == {"visit"}
    assert [event.get("position_ms") for event in events if event["seq"] == 4] == [18_000]
    for counter in ("played_ms", "stall_ms", "stalls", "paused_ms", "bits"):
        values = [event[counter] for event in events]
        assert values == sorted(values)
    for event in events:
        ts_client, ts_sent = (datetime.fromisoformat(event[name]) for name in ("ts_client", "ts_sent"))
        assert ts_sent - ts_client == timedelta(0), (
            "of a clock that is an hour slow, each came a second after it was made"
        )


@given(st.randoms(use_true_random=False))
def test_late_and_repeated_reports_change_nothing_after_the_last_one(order: random.Random):
    reports = [parse(text, START + 3_600_000) for text in SESSION if ",e=rr" not in text]
    came = [*reports, *order.sample(reports, 5)]
    order.shuffle(came)
    known = []
    for report in came:
        to_events([report], known, "me", RECEIVED, {})
        known.append(report)
    expected = mapped(SESSION)
    again = {e["event_id"]: e for e in to_events(reports, known, "me", RECEIVED, {}) if e}
    at_once = {e["event_id"]: e for e in to_events(came, [], "me", RECEIVED, {}) if e}
    assert again == at_once
    assert again.keys() == {event["event_id"] for event in expected}
    for event in expected:
        assert {**again[event["event_id"]], "ts_sent": None} == {**event, "ts_sent": None}


def test_what_a_player_measured_itself_counts():
    shaka = [
        line("t", 0, 0, br="(500;v 100;a)"),
        line("ps", 100, 1, "r"),
        line("ps", 103, 2, "p"),
        line("t", 104, 3, "p", msd=2_500),
        line("t", 110, 4, "p", bsa="(2)", bsda="(4000;v 3000;a)"),
        line("t", 120, 5, "p", bsd="(1500)", pr=2),
        line("ps", 125, 6, "a"),
    ]
    last = mapped(shaka)[-1]
    assert (last["startup_ms"], last["stalls"], last["stall_ms"]) == (2_500, 2, 4_000)
    assert last["played_ms"] == 17_000 + 5_000 * 2
    assert last["bits"] == 600 * last["played_ms"]


def test_a_player_that_tells_no_states_has_a_startup_and_no_counters():
    shaka = [line("t", 0, 0), line("bc", 1, 1, br="(700)"), line("t", 2, 2, msd=580), line("t", 3, 3)]
    on_a_response = [line("t", 0, 0), line("rr", 1.9, 1, msd=580), line("t", 2, 2), line("t", 3, 3)]
    assert [e["type"] for e in mapped(on_a_response)] == ["play", "heartbeat"]
    made = mapped(shaka)
    assert [(event["type"], event["startup_ms"]) for event in made] == [("play", 580), ("heartbeat", 580)]
    assert all("played_ms" not in event for event in made)


def test_a_player_that_slept_did_not_play_and_a_failed_one_failed():
    slept = mapped([line("t", 0, 0, "s"), line("ps", 1, 1, "p"), line("t", 31, 2, "p"), line("t", 30_000, 3, "p")])
    assert slept[-1]["played_ms"] == 30_000 + 300_000
    failed = mapped([line("t", 0, 0, "s"), line("ps", 9, 1, "f"), line("e", 9, 2, "f", ec='("manifestLoadError")')])
    assert [event["type"] for event in failed] == ["play", "error", "error"]
    assert failed[-1]["data"] == {"code": "manifestLoadError", "fatal": True}
    assert "startup_ms" not in failed[-1]


def test_another_title_in_the_same_session_is_another_playback():
    first, second = mapped([line("ps", 0, 0, "p"), line("c", 10, 1, "p", cid='"harbour"')])
    assert (first["playback_id"], first["title_id"]) == ("visit", "otters")
    assert (second["playback_id"], second["title_id"], second["played_ms"]) == ("visit~harbour", "harbour", 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello world", "is expected at character"),
        (line("t", 0, 0).replace(",e=t", ""), "e: missing"),
        (line("xx", 0, 0), "e: 'xx' is no event"),
        (line("t", 0, 0, v=1), "v: reports of events"),
        (line("t", 0, 0, "z"), "sta: 'z' is no state"),
        (line("t", 0, 0, sid=None), "sid: missing"),
        (line("t", 0, 0, sid='"' + "x" * 65 + '"'), "sid: "),
        (line("t", 0, 0, ts=None), "ts: missing"),
        (line("t", 0, 0, ts=999_999_999_999_999), "ts: 999999999999999 is no time"),
        (line("t", 0, 0, br="(-5)"), "br: "),
        (line("t", 0, 0, pt='"soon"'), "pt: 'soon' is no number"),
        (line("t", 0, 0, msd="(1 2)"), "msd: one value is expected"),
    ],
)
def test_what_is_no_report_has_a_reason(text, reason):
    with pytest.raises(ValueError, match="^" + reason if ":" in reason else reason):
        parse(text, START)


_bare = st.integers(-(10**15) + 1, 10**15 - 1) | st.sampled_from(
    ["?1", "1.5", '"x"', "tok", ":AA==:", '"гавань"', '""']
)
_values = _bare | st.lists(_bare, max_size=3).map(lambda items: f"({' '.join(map(str, items))})")
_keys = st.sampled_from(
    ["e", "ts", "sid", "sn", "sta", "cid", "pr", "pt", "br", "msd", "bsa", "bsda", "bsd", "ec", "v", "bl", "x-y"]
)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(EVENTS)), st.integers(0, 10**6), st.sampled_from([None, *sorted(STATES)]),
                  st.dictionaries(_keys, _values, max_size=3)),
        max_size=6,
    )
)  # fmt: skip
def test_whatever_a_player_reports_is_mapped_or_has_a_reason(reports):
    history = []
    for sn, (event, at, state, more) in enumerate(reports):
        report = attempt(parse, ",".join([line(event, at, sn, state), *(f"{k}={v}" for k, v in more.items())]), START)
        assert report
        if isinstance(report, str):
            continue
        (made,) = to_events([report], history, "me", RECEIVED, {})
        if made is not None:
            assert all(made.get(k, 0) >= 0 for k in ("played_ms", "stall_ms", "stalls", "paused_ms", "bits"))
        history.append(restore(report.sid, orjson.loads(orjson.dumps(report.kept()))))


@pytest.fixture
def logged(settings):
    store = redis.Redis.from_url(settings.events())
    yield lambda: [found for _, found in store.xrange("events")]
    store.close()


def now_line(event, now, sn, state, **more):
    return line(event, 0, sn, state, ts=round(now.timestamp() * 1000), **more)


async def test_reports_become_events_of_the_account_and_come_twice_without_effect(
    catalogue, running, browser, settings, logged
):
    clock = ManualClock(datetime.now(UTC))
    async with running(catalogue, clock) as app, browser(app) as ada:
        await ada.sign_up()
        watched = (await ada.post("/api/watch/harbour", json={})).json()
        sid = f'"{watched["playback_id"]}"'
        sent = []
        for sn, state in enumerate(["s", "p", "p", "e"]):
            sent.append(now_line("ps" if sn != 2 else "t", clock.now(), sn, state, sid=sid, cid=None))
            answer = await ada.post("/api/cmcd", content=sent[-1] + "\n", headers=TYPE)
            assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "rejected": [], "ignored": 0})
            clock.advance(timedelta(seconds=20))
        repeated = await ada.post("/api/cmcd", content="\n".join(sent) + "\n", headers=TYPE)
        assert repeated.json()["accepted"] == 4
    bodies = [orjson.loads(found[b"event"]) for found in logged()]
    assert [body["type"] for body in bodies[:4]] == ["play", "heartbeat", "heartbeat", "stop"]
    last = bodies[3]
    assert (last["title_id"], last["playback_id"]) == ("harbour", watched["playback_id"]), (
        "as POST /api/watch opened it"
    )
    assert (last["account_id"], last["profile_id"]) == (ada.session["account_id"], ada.profile_id)
    assert (last["startup_ms"], last["played_ms"], last["stalls"]) == (20_000, 40_000, 0)
    for first, second in zip(bodies[:4], bodies[4:], strict=True):
        assert (first["event_id"], first["fingerprint"]) == (second["event_id"], second["fingerprint"])


async def test_what_cannot_be_mapped_is_a_dead_letter_with_its_reason(client, problem, logged):
    now = datetime.now(UTC)
    lines = [
        now_line("ps", now, 0, "p"),
        "garbage",
        now_line("ps", now, 1, "p", sid='"b"', cid=None),
        now_line("rr", now, 2, "p"),
        now_line("t", now + timedelta(days=900), 3, "p", sid='"c"'),
    ]
    answer = await client.post("/api/cmcd?device=tv", content="\r\n".join(lines), headers=TYPE)
    assert answer.json() == {
        "accepted": 1,
        "rejected": [
            {"index": 1, "code": "invalid_cmcd"}, {"index": 2, "code": "invalid_event"},
            {"index": 4, "code": "from_the_future"},
        ],
        "ignored": 1,
    }  # fmt: skip
    found = logged()
    assert orjson.loads(found[0][b"event"])["device"] == "tv"
    assert (found[1][b"code"], found[1][b"event"]) == (b"invalid_cmcd", b"garbage\r")
    assert b"title_id" in found[2][b"reason"]
    assert orjson.loads(found[2][b"event"])["cmcd"] == lines[2] + "\r", "whole, as it was sent"
    for content, headers, expected in (
        (b"e=t", {"content-type": "application/json"}, (415, "unsupported_media_type")),
        (b"\xff\xfe", TYPE, (400, "invalid_encoding")),
        (b"e=t\n" * 501, TYPE, (413, "too_many_events")),
    ):
        assert problem(await client.post("/api/cmcd", content=content, headers=headers)) == expected


async def test_a_session_has_an_end_and_many_reports_at_once_do_no_harm(settings, client, logged):
    now = datetime.now(UTC)
    lines = [now_line("t", now + timedelta(milliseconds=n), n, "p") for n in range(500)]
    store = redis.Redis.from_url(settings.redis())
    for _ in range(2):
        answer = await client.post("/api/cmcd", content="\n".join(lines), headers=TYPE)
        assert answer.json()["accepted"] == 500
    (key,) = store.keys("cmcd:*")
    assert store.hlen(key) == 500
    assert 0 < store.ttl(key) <= 3 * 86_400
    (one,) = store.hmget(key, store.hkeys(key)[0])
    store.hset(key, mapping={f"0.{n}.t": one for n in range(1_499)})
    more = [now_line("t", now + timedelta(seconds=1), 500 + n, "p") for n in range(2)]
    answer = await client.post("/api/cmcd", content="\n".join(more), headers=TYPE)
    assert answer.json() == {"accepted": 1, "rejected": [{"index": 1, "code": "invalid_cmcd"}], "ignored": 0}
    assert b"2,000 reports" in logged()[-1][b"reason"]
    store.hset(key, "unreadable", "{")
    answer = await client.post("/api/cmcd", content=lines[0], headers=TYPE)
    assert answer.json()["rejected"] == [{"index": 0, "code": "invalid_cmcd"}], "a full session is not read"
    store.close()


async def test_a_request_is_of_few_sessions(settings, client, logged):
    now = datetime.now(UTC)
    lines = [now_line("t", now, n, "p", sid=f'"s{n % 12}"') for n in range(36)]
    answer = await client.post("/api/cmcd", content="\n".join(lines), headers=TYPE)
    assert [refused["index"] for refused in answer.json()["rejected"]] == [10, 11, 22, 23, 34, 35]
    assert answer.json()["accepted"] == 30
    assert b"10 sessions" in logged()[-1][b"reason"]
    with redis.Redis.from_url(settings.redis()) as store:
        assert len(store.keys("cmcd:*")) == 10


async def test_a_session_of_another_account_stays_its_own(app, ada, browser, settings, logged):
    now = datetime.now(UTC)
    watched = (await ada.post("/api/watch/harbour", json={})).json()
    text = now_line("ps", now, 0, "p", sid=f'"{watched["playback_id"]}"')
    async with browser(app) as eve:
        await eve.sign_up("eve@example.org")
        await eve.post("/api/cmcd", content=text, headers=TYPE)
    await ada.post("/api/cmcd", content=text, headers=TYPE)
    hers, his = (orjson.loads(found[b"event"]) for found in logged())
    assert (hers["profile_id"], his["profile_id"]) == (eve.profile_id, ada.profile_id)
    assert hers["event_id"] != his["event_id"], "nobody can take the id of another's event"
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT count(*) FROM playback_session").fetchone() == (1,)
