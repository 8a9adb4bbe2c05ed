import json
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.intake import MAX_CLOCK_ERROR, MAX_EVENT_BYTES, accept
from matinee.contracts.events import MAX_LATENESS, MAX_LEAD, Event

EVENT_ID = "01949c3e-7d2b-7c3a-8000-000000000001"
NOW = datetime(2026, 3, 14, 20, 0, tzinfo=UTC)


def test_an_accepted_event_is_stamped_by_the_server(event, now):
    sent = event(
        account_id="somebody-else", origin="import", ts_client="2026-03-14T20:59:55+01:00", later_field=[1, {"a": 2}]
    )
    batch = accept([sent], received_at=now, origin="live", account_id="me", stamp={"country": "FR"})
    assert batch.accepted == 1
    body = orjson.loads(batch.entries[0].body)
    assert (body["account_id"], body["origin"], body["country"]) == ("me", "live", "FR")
    assert datetime.fromisoformat(body["ts_client"]) == now - timedelta(seconds=5)
    assert body["later_field"] == [1, {"a": 2}]
    assert Event.model_validate(body).received_at == now


def test_a_live_event_without_a_token_belongs_to_nobody(event, now):
    entry = accept([event(account_id="victim")], received_at=now, origin="live").entries[0]
    body = orjson.loads(entry.body)
    assert (entry.account_id, body["account_id"], body["profile_id"]) == (None, None, None)


def test_the_server_alone_says_who_is_a_bot(event, now):
    claimed, stamped, person = (
        orjson.loads(
            accept([event(event_id=EVENT_ID, **more)], received_at=now, origin="live", bot=bot).entries[0].body
        )
        for more, bot in (({"bot": "user_agent"}, None), ({"bot": 7}, "rate"), ({}, None))
    )
    assert (claimed["bot"], stamped["bot"], person["bot"]) == (None, "rate", None)
    assert len({body["fingerprint"] for body in (claimed, stamped, person)}) == 1


def test_simulated_events_keep_the_account_they_name(event, now):
    entry = accept([event(account_id="sim-1")], received_at=now, origin="simulate").entries[0]
    assert entry.account_id == "sim-1"
    assert orjson.loads(entry.body)["profile_id"] == "profile-1"


def test_sending_again_gives_the_same_fingerprint_and_another_payload_another_one(event, now):
    first = event()
    again = {**first, "ts_sent": now.isoformat()}
    other = {**first, "played_ms": 1}
    prints = [
        orjson.loads(accept([sent], received_at=at, origin="live", account_id=account).entries[0].body)["fingerprint"]
        for sent, at, account in ((first, now, "a"), (again, now + timedelta(seconds=9), "a"), (other, now, "a"))
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schema": "viewer-event/2.0"}, "unknown_schema"),
        ({"schema": "page-view/1.0"}, "unknown_schema"),
        ({"schema": 1}, "invalid_event"),
        ({"type": "dance"}, "invalid_event"),
        ({"playback_id": None}, "invalid_event"),
        ({"event_id": "not-a-uuid"}, "invalid_event"),
        ({"played_ms": -1}, "invalid_event"),
        ({"ts_client": "2026-03-14T20:00:00"}, "invalid_event"),
        ({"type": "rate", "data": {"value": 11}}, "invalid_event"),
        ({"session_id": "x" * MAX_EVENT_BYTES}, "too_large"),
    ],
)
def test_a_wrong_event_is_refused_with_its_code_and_kept_whole(event, now, change, code):
    sent = event(**change)
    batch = accept([event(), sent, event()], received_at=now, origin="live", account_id="me")
    assert [(r.index, r.code) for r in batch.rejections] == [(1, code)]
    dead = batch.entries[1]
    assert dead.code == code
    assert dead.reason
    assert orjson.loads(dead.body) == sent


@pytest.mark.parametrize(
    ("happened_after", "sent_after", "code"),
    [
        (MAX_LEAD - timedelta(seconds=1), timedelta(0), None),
        (MAX_LEAD + timedelta(seconds=1), timedelta(0), "from_the_future"),
        (timedelta(hours=5), timedelta(hours=5), None),  # the whole clock is ahead: corrected
        (MAX_CLOCK_ERROR * 2, MAX_CLOCK_ERROR * 2, "from_the_future"),
        (-MAX_LATENESS + timedelta(seconds=1), timedelta(0), None),
        (-MAX_LATENESS - timedelta(seconds=1), timedelta(0), "too_late"),
        (timedelta(days=-900), timedelta(days=-900), None),  # a clock that was never set: corrected
    ],
)
def test_time_rules_hold_on_the_corrected_time(event, now, happened_after, sent_after, code):
    sent = event(ts_client=(now + happened_after).isoformat(), ts_sent=(now + sent_after).isoformat())
    assert [e.code for e in accept([sent], received_at=now, origin="live").entries] == [code]
    assert accept([sent], received_at=now, origin="import").accepted == 1


def test_an_event_of_one_megabyte_and_text_that_is_not_json(now):
    large = json.dumps({"schema": "viewer-event/1.0", "data": "x" * 1_000_000}).encode()
    batch = accept([large, b'{"schema": "viewer-ev', "[1, 2]", 7, None], received_at=now, origin="live")
    assert [r.code for r in batch.rejections] == ["too_large", "invalid_json", *["invalid_event"] * 3]
    assert batch.entries[0].body == large
    assert batch.entries[1].body == b'{"schema": "viewer-ev'


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(
    ["event_id", "schema", "ts_client", "ts_sent", "type", "data", "account_id", "experiments", "surface"]
)


@given(st.lists(st.binary(max_size=60) | _values | st.dictionaries(_names, _values), max_size=6), st.data())
def test_whatever_comes_is_either_accepted_or_kept_with_a_code(raw, data):
    batch = accept(raw, received_at=NOW, origin=data.draw(st.sampled_from(["live", "simulate", "import"])))
    assert len(batch.entries) == len(raw)
    assert [i for i, e in enumerate(batch.entries) if e.code] == [r.index for r in batch.rejections]
    for entry in batch.entries:
        assert isinstance(entry.body, bytes)
        assert "\0" not in entry.reason
        if entry.code is None:
            Event.model_validate_json(entry.body)


@given(changes=st.dictionaries(_names, _values, max_size=2))
def test_a_damaged_event_never_passes_unless_the_contract_takes_it(changes):
    base = {
        "event_id": EVENT_ID, "schema": "viewer-event/1.3", "session_id": "s",
        "ts_client": NOW.isoformat(), "ts_sent": NOW.isoformat(), "type": "search",
        "data": {"query": "q", "results": 1},
    }  # fmt: skip
    batch = accept([{**base, **changes}], received_at=NOW, origin="live")
    if batch.accepted:
        assert Event.model_validate_json(batch.entries[0].body).received_at == NOW
