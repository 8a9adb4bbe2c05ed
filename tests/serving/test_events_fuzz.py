"""Events that are wrong in every way that their JSON Schema has, through the intake and through HTTP.

Nothing may break: each is either accepted, and then fits the schema and lands, or kept as a dead letter with a reason.
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import pytest
import redis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ingest import landing
from ingest.intake import accept
from matinee.contracts.events import MAX_BATCH_BYTES
from matinee.contracts.schemas import FOLDER
from matinee.ids import uuid7

SCHEMA = json.loads((FOLDER / "viewer-event-1.schema.json").read_text())
FITS = Draft202012Validator(SCHEMA)
NOW = datetime(2026, 3, 14, 20, 0, tzinfo=UTC)

DATA = {
    "rate": {"value": 4.5},
    "search": {"query": "кот", "results": 3},
    "error": {"code": "decode", "fatal": True},
    "exposure": {"experiment": "e", "variant": "a", "salt": "s"},
    "favourite": {"on": True},
}


def right(kind: str, now: datetime = NOW) -> dict[str, Any]:
    """An event of a type with every field that the schema knows."""
    return {
        "event_id": uuid7(), "schema": "viewer-event/1.0", "type": kind, "session_id": "visit", "playback_id": "p",
        "title_id": "otters", "device": "web", "country": "FR", "seq": 1, "position_ms": 1, "played_ms": 1,
        "stall_ms": 0, "stalls": 0, "paused_ms": 0, "startup_ms": 5, "bits": 9, "rendition": "720p",
        "surface": {"row": "top", "position": 1, "propensity": 0.5}, "experiments": {"e": "a"},
        "data": DATA.get(kind, {}), "ts_client": now.isoformat(), "ts_sent": now.isoformat(),
    }  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.sampled_from([0, -1, 2**53 + 1, 10**30, 1e308]),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0]), st.text(max_size=8), st.just("\ud800"), st.just("a\0b"),
    st.sampled_from([[], {}, [None], {"": None}, "", "9" * 400, "x" * 300, "x" * 70_000, " ", "1e999"]),
    st.integers(1, 600).map(nested), st.dictionaries(st.text(max_size=3), st.integers(), max_size=60),
)  # fmt: skip


def loaded(text: str | bytes) -> Any:
    """JSON as it compares: whole numbers beyond 64 bits are floats to most parsers."""
    return json.loads(text, parse_constant=str, parse_int=float)


def wrong(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values just beside what a part of the schema allows, and far from it."""
    if "$ref" in schema:
        return wrong(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    beside: list[Any] = []
    for part in [schema, *schema.get("anyOf", [])]:
        beside += [part["minimum"] - 1] if "minimum" in part else []
        beside += [part["maximum"] + 1] if "maximum" in part else []
        beside += ["x" * (part["maxLength"] + 1)] if "maxLength" in part else []
        beside += ["", "\n", "FR\n", "../x", "ß" * 64] if "pattern" in part else []
        beside += ["unheard-of", part["enum"][0].upper()] if "enum" in part else []
        if part.get("format") == "date-time":
            beside += ["2026-03-14T20:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "soon", 0, -(2**62)]
    inner = [part for part in [schema, *schema.get("anyOf", [])] if "properties" in part or "$ref" in part]
    deeper = [
        st.fixed_dictionaries({}, optional={k: wrong(v) for k, v in p.get("properties", {}).items()}) for p in inner
    ]
    return st.one_of(ANYTHING, *([st.sampled_from(beside)] if beside else []), *deeper)


KINDS = st.sampled_from(SCHEMA["$defs"]["EventType"]["enum"])
DAMAGE = st.fixed_dictionaries({}, optional={name: wrong(part) for name, part in SCHEMA["properties"].items()})
TIMES = st.sampled_from(
    [timedelta(0), timedelta(days=4), timedelta(days=-4), timedelta(days=4000), timedelta(minutes=11)]
)


@st.composite
def wrong_event(draw: st.DrawFn) -> dict[str, Any]:
    """One that has some fields damaged, some missing, and perhaps a clock that is years off."""
    event = right(draw(KINDS))
    for name in ("ts_client", "ts_sent"):
        event[name] = (datetime.fromisoformat(event[name]) + draw(TIMES)).isoformat()
    damage = draw(DAMAGE)
    event |= dict(list(damage.items())[: draw(st.integers(0, 3))])
    for name in draw(st.sets(st.sampled_from(sorted(event)), max_size=2)):
        event.pop(name, None)
    if isinstance(event.get("data"), dict) and draw(st.booleans()):
        event["data"] = {name: draw(ANYTHING) for name in event["data"]}
    return event


@pytest.mark.parametrize("kind", SCHEMA["$defs"]["EventType"]["enum"])
def test_what_is_damaged_was_right_before(kind):
    assert set(right(kind)) | {"account_id", "profile_id", "origin", "received_at", "bot"} == set(SCHEMA["properties"])
    assert accept([right(kind)], received_at=NOW, origin="live").accepted == 1


@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(wrong_event(), st.sampled_from(["live", "simulate", "import"]))
def test_every_wrong_event_is_accepted_or_dead_with_its_reason(event, origin):
    (entry,) = accept([event], received_at=NOW, origin=origin, account_id="me").entries
    if entry.code is None:
        FITS.validate(orjson.loads(entry.body))
        assert isinstance(landing.decode("1-0", {b"event": entry.body}), landing.Arrived)
    else:
        assert entry.reason
        entry.reason.encode()
        assert entry.body


def test_every_wrong_batch_over_http_is_answered_and_kept_whole(catalogue, running, browser):
    unlimited = catalogue.model_copy(update={"events_per_minute": 0})
    store = redis.Redis.from_url(catalogue.redis())
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(unlimited)) as app,
        portal.wrap_async_context_manager(browser(app)) as client,
    ):

        @examples(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(wrong_event() | ANYTHING, max_size=4))
        def check(events):
            store.delete("events")
            content = json.dumps({"events": events})
            answer = portal.call(partial(client.post, "/api/events", content=content))
            if len(content) > MAX_BATCH_BYTES:
                assert answer.status_code == 413
                return
            assert answer.status_code == 202, answer.text
            said = answer.json()
            kept = [fields for _, fields in store.xrange("events")]
            assert len(kept) == len(events) == said["accepted"] + len(said["rejected"])
            for index, fields in enumerate(kept):
                if b"code" in fields:
                    assert {"index": index, "code": fields[b"code"].decode()} in said["rejected"]
                    assert fields[b"reason"]
                    assert loaded(fields[b"event"]) == loaded(json.dumps(events[index])), "whole"
                else:
                    FITS.validate(orjson.loads(fields[b"event"]))

        check()
    store.close()
