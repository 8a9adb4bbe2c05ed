"""The bulk path makes of every entry what the careful path makes of it."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import bodies, landing, log
from ingest.intake import accept
from ingest.landing import Arrived, Dead
from matinee.contracts.events import EventType

NOW = datetime(2026, 3, 14, 20, 0, tzinfo=UTC)
TEXT = st.text(max_size=12) | st.sampled_from(
    ["5", "-1e3", "true", "false", "null", "[1]", "{}", "", "ы" * 250, "a\0b"]
)
ANYTHING = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
COUNT = st.none() | st.integers(0, 2**53)
TIME = st.integers(1_773_300_000_000, 1_773_519_000_000).map(
    lambda ms: datetime.fromtimestamp(ms / 1000, UTC).isoformat()
) | st.sampled_from(
    ["2026-03-14T19:00:00+05:30", "2026-03-14T20:00:00.123456-03:00", "1773500000", "2026-03-14T24:00:00Z"]
)
DATA = {
    "rate": st.fixed_dictionaries({"value": st.sampled_from([0.5, 3, 5.0, "4.5", 1e-1])}),
    "search": st.fixed_dictionaries({"query": TEXT, "results": st.integers(0, 5), "clicked": st.none() | st.just("t")}),
    "favourite": st.fixed_dictionaries({"on": st.sampled_from([True, False, "yes", 0])}),
    "error": st.fixed_dictionaries({"code": TEXT, "fatal": st.booleans()}),
    "exposure": st.fixed_dictionaries({"experiment": TEXT, "variant": TEXT, "salt": TEXT}),
}
TITLE = st.none() | st.sampled_from(["film-1", "123", "..a", ".b", "1e5", "true", "ml:7"])


@st.composite
def sent(draw: st.DrawFn) -> dict[str, Any]:
    """Events as clients send them, most of them right."""
    kind = draw(st.sampled_from([str(kind) for kind in EventType]))
    event = {
        "event_id": str(draw(st.uuids())), "schema": f"viewer-event/1.{draw(st.integers(0, 12))}",
        "session_id": draw(TEXT), "type": kind, "ts_client": draw(TIME), "ts_sent": draw(TIME),
        "playback_id": draw(st.none() | TEXT), "title_id": draw(TITLE), "profile_id": draw(st.none() | TEXT),
        "device": draw(st.none() | TEXT), "country": draw(st.sampled_from([None, "DE", "RU"])),
        "rendition": draw(st.none() | TEXT), "seq": draw(st.integers(0, 2**53)),
        **draw(st.fixed_dictionaries({}, optional=dict.fromkeys(["position_ms", "stalls", "bits"], COUNT))),
    }  # fmt: skip
    if draw(st.booleans()):
        event["surface"] = draw(
            st.fixed_dictionaries(
                {}, optional={"row": TEXT, "position": COUNT, "version": st.none() | TEXT, "request_id": TEXT,
                              "propensity": st.none() | st.floats(0, 1), "unknown": ANYTHING},
            )
        )  # fmt: skip
    if draw(st.booleans()):
        event["experiments"] = draw(st.dictionaries(TEXT, TEXT, max_size=4))
    event["data"] = draw(DATA[kind]) if kind in DATA else {}
    event["from_a_newer_client"] = draw(ANYTHING)
    return event


def careful(ids: list[str], values: list[list[bytes]]) -> tuple[pa.Table, list[Dead]]:
    found = [landing.decode(i, log.fields_of(v)) for i, v in zip(ids, values, strict=True)]
    events = [(place, item) for place, item in enumerate(found) if isinstance(item, Arrived)]
    return (
        landing.arrived_table([place for place, _ in events], [item for _, item in events]),
        [item for item in found if isinstance(item, Dead)],
    )


def same(values: list[list[bytes]]) -> tuple[pa.Table, list[Dead]]:
    """Both paths over the same entries; returns what both of them make."""
    ids = [f"1773518400000-{n}" for n in range(len(values))]
    rows, dead = careful(ids, values)
    found = bodies.decode(ids, values)
    assert found.rows.to_pylist() == rows.to_pylist()
    assert found.dead == dead
    return rows, dead


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(
    st.lists(sent(), min_size=1, max_size=8), st.sampled_from(["live", "import"]), st.sampled_from([None, "me", "7"])
)
def test_events_that_the_intake_let_through(events, origin, account):
    batch = accept(events, received_at=NOW, origin=origin, account_id=account, bot="rate" if account else None)
    same([[b"event", entry.body] for entry in batch.entries if entry.code is None])


@quick
@given(sent(), st.lists(st.tuples(st.integers(0, 30), st.none() | ANYTHING), min_size=1, max_size=2))
def test_bodies_that_were_tampered_with(event, changes):
    """Any field of an accepted body replaced by anything, or taken away: no difference, and nothing raises."""
    (entry,) = accept([event], received_at=NOW, origin="import", account_id="me").entries
    body = json.loads(entry.body)
    if entry.code is None:
        for number, value in changes:
            name = sorted(body)[number % len(body)]
            if value is None and name in ("seq", "experiments", "data"):
                continue  # null where the contract knows a default: left out, says the one path, wrong, says the other
            body[name] = value
        same([[b"event", orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_DATETIME) if _fits(body) else b"{}"]])


def _fits(body: Any) -> bool:
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return False
    return True


STRANGE = [
    [b"something", b"else"],
    [b"event", b"\xff\x00"],
    [b"event", b""],
    [b"event", b"[1, 2]"],
    [b"event", b'{"event_id": "\\ud800"}'],
    [b"event", b"{}", b"code", b"x\0", b"received_at", b"yesterday", b"account_id", b"a\0"],
    [b"event", b"{}", b"code", b"too_late", b"received_at", b"0001-01-01T00:00:00+14:00"],
    [b"event", b"raw", b"code", b"too_late", b"reason", b"\xff", b"received_at", b"2026-03-14T20:00:00+00:00"],
]


def test_entries_that_are_not_ours_among_those_that_are(event):
    good = [
        [b"event", entry.body] for entry in accept([event() for _ in range(4)], received_at=NOW, origin="live").entries
    ]
    rows, dead = same([*good[:2], *STRANGE, *good[2:]])
    assert rows["place"].to_pylist() == [0, 1, 10, 11]
    assert len(dead) == len(STRANGE)
    assert [letter.entry.code for letter in dead].count("too_late") == 1


@pytest.mark.parametrize("name", ["event_id", "session_id", "seq", "ts_sent", "type", "surface", "data", "fingerprint"])
@pytest.mark.parametrize("value", [5, "5", 5.5, True, [], {"a": 1}, "x" * 300, "٣", "2026-03-14T24:00:00Z", 2**53 + 1])
def test_a_field_of_another_type_is_judged_alike(event, name, value):
    (entry,) = accept([event(type="rate", data={"value": 4})], received_at=NOW, origin="live").entries
    same([[b"event", orjson.dumps({**orjson.loads(entry.body), name: value})]])


def test_the_bulk_path_takes_what_the_intake_writes_by_itself(event, monkeypatch):
    kinds = {"rate": {"value": 4.5}, "search": {"query": "кот", "results": 2}, "heartbeat": {}, "impression": {}}
    events = [event(type=kind, data=data, surface={"row": "r", "version": "3"}) for kind, data in kinds.items()]
    values = [[b"event", entry.body] for entry in accept(events, received_at=NOW, origin="live").entries]
    monkeypatch.setattr(landing, "decode", None)
    assert bodies.decode(["1-0"] * 4, values).rows.num_rows == 4
