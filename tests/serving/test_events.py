"""Intake of events: what is accepted is in the log before the answer."""

import asyncio
from datetime import UTC, datetime, timedelta

import orjson
import pytest
import redis as redis_client

from matinee.contracts.events import MAX_BATCH_BYTES
from matinee.ids import uuid7


def event(**more):
    now = datetime.now(UTC).isoformat()
    return {
        "event_id": uuid7(), "schema": "viewer-event/1.0", "session_id": "visit", "type": "impression",
        "title_id": "otters", "ts_client": now, "ts_sent": now, **more,
    }  # fmt: skip


@pytest.fixture
def log(settings):
    """What stands in the event log: (parsed event, code or None) in order."""
    store = redis_client.Redis.from_url(settings.redis())

    def read():
        found = store.xrange("events")
        return [(orjson.loads(f[b"event"]), f[b"code"].decode() if b"code" in f else None) for _, f in found]

    yield read
    store.close()


async def post(client, events):
    return await client.post("/api/events", json={"events": events})


async def test_accepted_events_are_in_the_log_before_the_answer(ada, log):
    sent = [event(profile_id=ada.profile_id), event()]
    answer = await post(ada, sent)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "rejected": []})
    kept = [e for e, code in log() if code is None]
    assert [e["event_id"] for e in kept] == [e["event_id"] for e in sent]
    assert {e["account_id"] for e in kept} == {ada.session["account_id"]}
    assert {e["origin"] for e in kept} == {"live"}


async def test_the_account_comes_from_the_token_alone(ada, client, log):
    await post(ada, [event(account_id="someone-else", origin="import")])
    await post(client, [event(account_id=ada.session["account_id"])])
    (signed, _), (anonymous, _) = log()
    assert (signed["account_id"], signed["origin"]) == (ada.session["account_id"], "live")
    assert anonymous["account_id"] is None


async def test_wrong_events_are_named_and_kept_as_dead_letters(ada, app, browser, log):
    async with browser(app) as eve:
        await eve.sign_up("eve@example.org")
    future = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    past = (datetime.now(UTC) - timedelta(days=5)).isoformat()
    batch = [
        event(),
        event(schema="viewer-event/2.0"),
        event(ts_client=future),
        event(profile_id=eve.profile_id),
        event(ts_client=past),
        ["not", "an", "event"],
        event(type="rate", data={"value": 9}),
        event(session_id="x" * 70_000),
        event(profile_id=["list"]),
        event(profile_id=ada.profile_id),
    ]
    answer = await post(ada, batch)
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 2
    codes = {r["index"]: r["code"] for r in answer.json()["rejected"]}
    assert codes == {
        1: "unknown_schema", 2: "from_the_future", 3: "profile_mismatch", 4: "too_late", 5: "invalid_event",
        6: "invalid_event", 7: "too_large", 8: "profile_mismatch",
    }  # fmt: skip
    assert [code for _, code in log()] == [codes.get(index) for index in range(len(batch))]


async def test_text_that_holds_an_event_is_none(ada, app, browser, log):
    async with browser(app) as eve:
        await eve.sign_up("eve@example.org")
    answer = await post(ada, [orjson.dumps(event(profile_id=eve.profile_id)).decode()])
    assert answer.json() == {"accepted": 0, "rejected": [{"index": 0, "code": "invalid_event"}]}
    assert len(log()) == 1


async def test_anonymous_events_name_no_profile(client, ada):
    answer = await post(client, [event(profile_id=ada.profile_id), event()])
    assert answer.json() == {"accepted": 1, "rejected": [{"index": 0, "code": "profile_mismatch"}]}


async def test_a_profile_made_a_moment_ago_may_send(ada):
    await post(ada, [event(profile_id=ada.profile_id)])
    answer = await post(ada, [event(profile_id=await ada.kid())])
    assert answer.json()["accepted"] == 1


async def test_bodies_that_are_no_batch(ada, problem, log):
    async def send(content, **headers):
        return problem(await ada.post("/api/events", content=content, headers=headers))

    assert await send(b"{") == (400, "invalid_json")
    assert await send(b"[]") == (422, "invalid_request")
    assert await send(b'{"events": {}}') == (422, "invalid_request")
    assert await send(orjson.dumps({"events": [{}] * 501})) == (413, "too_many_events")
    assert await send(b" " * (MAX_BATCH_BYTES + 1)) == (413, "too_large")

    async def unannounced():
        for _ in range(12):
            yield b" " * 100_000

    assert await send(unannounced()) == (413, "too_large")
    bad = await ada.post("/api/events", json={"events": []}, headers={"authorization": "Bearer nonsense"})
    assert problem(bad) == (401, "invalid_token")
    assert log() == []


async def test_a_batch_of_a_megabyte_of_small_events_is_taken(ada, log):
    batch = [event(data={"filling": "x" * 1_600}) for _ in range(500)]
    body = orjson.dumps({"events": batch})
    assert 900_000 < len(body) <= MAX_BATCH_BYTES
    answer = await ada.post("/api/events", content=body)
    assert answer.json() == {"accepted": 500, "rejected": []}
    assert len(log()) == 500


async def test_requests_at_once_share_pipelines_and_lose_nothing(app, browser, settings, log):
    store = redis_client.Redis.from_url(settings.redis())
    async with browser(app) as client:
        batches = [[event() for _ in range(5)] for _ in range(40)]
        answers = await asyncio.gather(*(post(client, batch) for batch in batches))
    assert {a.status_code for a in answers} == {202}
    kept = [e["event_id"] for e, _ in log()]
    assert sorted(kept) == sorted(e["event_id"] for batch in batches for e in batch)
    assert store.info("commandstats")["cmdstat_xadd"]["calls"] >= 200
    store.close()


async def test_without_the_log_nothing_is_acknowledged(running, catalogue, browser, problem):
    from matinee.settings import Settings

    values = {"MATINEE_HOME": catalogue.home_path, "database_url": catalogue.database_url}
    dead = Settings.model_validate({**values, "redis_url": "redis://127.0.0.1:9/0"})
    async with running(dead) as app, browser(app) as client:
        answer = await post(client, [event()])
        assert problem(answer) == (503, "events_unavailable")
        assert int(answer.headers["retry-after"]) > 0
