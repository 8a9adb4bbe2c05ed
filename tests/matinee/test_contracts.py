import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from matinee.contracts import schemas
from matinee.contracts.events import DATA_TYPES, PLAYBACK_TYPES, TITLE_TYPES, Event, EventType
from matinee.contracts.feed import PARENTS, FeedTitle, Offer
from matinee.contracts.landing import LANDED_EVENT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DATA = {
    EventType.RATE: {"value": 4.5},
    EventType.SEARCH: {"query": "кот", "results": 3},
    EventType.ERROR: {"code": "decode", "fatal": True},
    EventType.EXPOSURE: {"experiment": "home_order", "variant": "control", "salt": "s"},
    EventType.FAVOURITE: {"on": True},
}
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the bounds are naive by contract


def event(kind: str = "heartbeat", **changes: Any) -> dict[str, Any]:
    """A right event of this type, as a client sends it."""
    whole = {
        "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "schema": "viewer-event/1.0",
        "account_id": "a",
        "session_id": "visit",
        "playback_id": "play",
        "title_id": "film:1",
        "ts_client": NOW.isoformat(),
        "ts_sent": NOW.isoformat(),
        "type": kind,
        "data": DATA.get(EventType(kind), {}) if kind in set(EventType) else {},
    }
    return {key: value for key, value in (whole | changes).items() if value is not ...}


def title(**changes: Any) -> dict[str, Any]:
    return {"id": "f1", "kind": "film", "titles": {"en": "A Film"}} | changes


def test_the_committed_json_schemas_are_those_of_the_code() -> None:
    committed = {path.name: path.read_text() for path in schemas.FOLDER.iterdir()}
    assert committed == schemas.exported(), "run `python -m matinee.contracts.schemas`"


@pytest.mark.parametrize("kind", list(EventType))
def test_every_type_of_event_is_accepted(kind: EventType) -> None:
    made = Event.model_validate(event(kind))
    assert made.type is kind
    assert Event.model_validate_json(made.model_dump_json(by_alias=True)) == made


@pytest.mark.parametrize("kind", list(EventType))
@pytest.mark.parametrize(("field", "types"), [("playback_id", PLAYBACK_TYPES), ("title_id", TITLE_TYPES)])
def test_a_field_is_missed_exactly_where_the_type_needs_it(kind: EventType, field: str, types: frozenset) -> None:
    raw = event(kind, **{field: ...})
    if kind not in types:
        assert getattr(Event.model_validate(raw), field) is None
        return
    with pytest.raises(ValidationError, match=f"{kind} event needs a {field}"):
        Event.model_validate(raw)


@pytest.mark.parametrize("kind", list(DATA_TYPES))
def test_a_type_with_data_needs_its_data(kind: EventType) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate(event(kind, data={}))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "viewer-event/2.0"},
        {"schema": "viewer-event/1"},
        {"schema": "viewer-event/1.0\n"},
        {"schema": "other/1.0"},
        {"schema": ...},
        {"event_id": "not-a-uuid"},
        {"type": "dance"},
        {"ts_client": "2026-03-01T12:00:00"},  # without a zone
        {"ts_client": "yesterday"},
        {"played_ms": -1},
        {"played_ms": 2**53 + 1},
        {"played_ms": 1.5},
        {"country": "de"},
        {"title_id": "../../etc/passwd"},
        {"origin": "elsewhere"},
        {"session_id": "x" * 257},
        {"surface": {"propensity": 1.01}},
        {"experiments": {f"e{n}": "a" for n in range(51)}},
    ],
)
def test_a_wrong_event_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate(event(**changes))


def test_the_bounds_themselves_are_inside() -> None:
    assert Event.model_validate(event(played_ms=2**53, bits=0)).played_ms == 2**53
    for value, holds in [(0.5, True), (5, True), (0.4, False), (5.1, False)]:
        raw = event("rate", data={"value": value})
        if holds:
            assert Event.model_validate(raw).data == {"value": value}
        else:
            with pytest.raises(ValidationError):
                Event.model_validate(raw)


def test_a_newer_minor_version_is_read_without_what_it_adds() -> None:
    made = Event.model_validate(event(schema="viewer-event/1.7", mood="good"))
    assert made.schema_ == "viewer-event/1.7"
    assert not hasattr(made, "mood")


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=3)), st.timedeltas(timedelta(-400), timedelta(400)))
def test_a_wrong_clock_does_not_move_the_event(happened: datetime, waited: timedelta, clock_error: timedelta) -> None:
    """The client's clock is off by any constant: event time is still when it happened, given instant transport."""
    client = happened + clock_error
    made = Event.model_validate(event(ts_client=client.isoformat(), ts_sent=(client + waited).isoformat()))
    assert made.happened_at(happened + waited) == happened


@given(st.dictionaries(st.text(max_size=12), st.none() | st.booleans() | st.integers() | st.text(), max_size=8))
def test_anything_else_is_refused_as_invalid_and_nothing_worse(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate(raw)


@pytest.mark.parametrize("kind", list(PARENTS))
@pytest.mark.parametrize("parent", [None, "s1"])
def test_who_may_stand_alone_and_who_not(kind: str, parent: str | None) -> None:
    allowed = None in PARENTS[kind] if parent is None else PARENTS[kind] != {None}
    raw = title(kind=kind, parent=parent)
    if allowed:
        assert FeedTitle.model_validate(raw).parent == parent
    else:
        with pytest.raises(ValidationError, match="parent"):
            FeedTitle.model_validate(raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a b"},
        {"kind": "opera"},
        {"titles": {}},
        {"titles": {"english": "A"}},
        {"titles": {"en": ""}},
        {"maturity": 13},
        {"runtime_s": 0},
        {"year": 1492},
        {"countries": ["Germany"]},
        {"offers": [{"kind": "rent"}]},
        {"offers": [{"kind": "rent", "price": "3.999", "currency": "EUR"}]},
        {"offers": [{"kind": "free", "from": "2026-02-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}]},
    ],
)
def test_a_wrong_title_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FeedTitle.model_validate(title(**changes))


def test_a_title_keeps_what_the_feed_adds_in_extra() -> None:
    made = FeedTitle.model_validate(title(extra={"any": [1, {"thing": None}]}, titles={"ru": "Ёж", "en": "Hedgehog"}))
    assert made.extra == {"any": [1, {"thing": None}]}
    assert made.titles["ru"] == "Ёж"


def test_an_offer_begins_at_its_first_moment_and_ends_before_its_last() -> None:
    offer = Offer.model_validate({"kind": "free", "from": NOW, "until": NOW + timedelta(days=1)})
    tick = timedelta(microseconds=1)
    moments = (NOW - tick, NOW, NOW + timedelta(days=1) - tick, NOW + timedelta(days=1))
    assert [offer.open_at(moment) for moment in moments] == [False, True, True, False]
    assert Offer(kind="free").open_at(NOW)


def test_what_lands_holds_no_names_and_times_in_utc() -> None:
    assert {"account_id", "profile_id", "email", "ip"}.isdisjoint(LANDED_EVENT.names)
    times = [f.type for f in LANDED_EVENT if pa.types.is_timestamp(f.type)]
    assert times == [pa.timestamp("us", tz="UTC")] * 4


def test_the_exported_schema_names_the_field_as_it_is_sent() -> None:
    schema = json.loads(schemas.exported()["viewer-event-1.schema.json"])
    assert "schema" in schema["required"]
    assert "schema_" not in schema["properties"]
