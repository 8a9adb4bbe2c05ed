"""Folding events: in any order, once and again, within bounds; and rows of the online store as Feast reads them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import redis
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from features import live
from features.erase import forget_online
from features.errors import FeatureError
from features.keys import DONE, HISTORY, OF_A_PROFILE, SEEDED, VERSION
from features.live import Happened, Title
from features.online import NEWEST, Online
from features.push import Pusher
from features.store import APPLIED, apply_and_materialise, online_features
from features.views import DEFINITIONS
from matinee.clock import ManualClock
from matinee.settings import Settings

CATALOGUE = {"f": Title("f", 100, ("drama",)), "e": Title("s", 50, ("crime", "drama")), "x": Title("f", 10, (), False)}
EVENTS = st.builds(
    Happened,
    event_id=st.uuids().map(str),
    type=st.sampled_from(["play", "heartbeat", "rate", "favourite"]),
    ts=st.integers(0, 200).map(lambda hours: 1_700_000_000_000_000 + hours * 3_600_000_000),
    seq=st.integers(0, 3),
    playback_id=st.sampled_from([None, "a", "b", "c"]),
    title_id=st.sampled_from([None, "f", "e", "x", "unknown"]),
    played_ms=st.integers(0, 200_000),
    position_ms=st.integers(0, 200_000),
    rating=st.sampled_from([None, 1.0, 5.0]),
    favourite=st.sampled_from([None, True, False]),
    bot=st.booleans(),
)


@given(events=st.lists(EVENTS, max_size=20), seed=st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(events: list[Happened], seed) -> None:
    state: live.State = {}
    live.fold(state, events)
    mixed = events * 2
    seed.shuffle(mixed)
    other: live.State = {}
    live.fold(other, mixed)
    assert other == state
    assert not live.fold(state, mixed), "nothing new"
    assert live.state_of({name.encode(): live.packed(entry) for name, entry in state.items()}) == state
    activity = live.rows("p", state, CATALOGUE)["profile_activity"]
    if activity is not None:
        plays = [entry for entry in state.values() if isinstance(entry, live.Play) and not entry.bot]
        assert 0 < activity["plays_7d"] <= activity["plays_30d"] == len(plays)


def test_windows_end_with_the_newest_day() -> None:
    day = 86_400_000_000
    state: live.State = {}
    live.fold(
        state,
        [
            Happened(str(ago), "play", 100 * day - ago * day, playback_id=str(ago), title_id="f", played_ms=3_600_000)
            for ago in (0, 6, 7, 29, 30, 89, 90, 91)
        ],
    )
    rows = live.rows("p", state, CATALOGUE)
    assert rows["profile_activity"] is not None
    assert rows["profile_taste"] is not None
    assert (rows["profile_activity"]["plays_7d"], rows["profile_activity"]["plays_30d"]) == (2, 4)
    assert rows["profile_activity"]["hours_30d"] == 4.0
    assert rows["profile_taste"]["top_genre_share"] == 1.0
    assert live.stale(state) == {"p91"}


async def test_a_pushed_row_is_what_feast_and_the_reader_see_and_can_be_taken_away(settings: Settings, lay) -> None:
    lay.publish(settings, lay.sample())
    client = redis.Redis.from_url(settings.redis())
    with pytest.raises(FeatureError, match="matinee build"):
        Pusher(settings, client)
    apply_and_materialise(settings)
    at = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)
    row = {"profile_key": "a", "event_timestamp": at, "plays_7d": 8, "plays_30d": 9, "hours_30d": 0.25}
    pusher = Pusher(settings, client)
    pusher.push({"a": {"profile_activity": {**row, "completion_30d": None}}, "b": {"profile_activity": None}})
    (feast, gone) = online_features(settings, [{"profile_key": key, "title_id": "t"} for key in ("a", "b")])
    clock = ManualClock(at)
    async with redis.asyncio.Redis.from_url(settings.redis()) as asked:
        online = Online(asked, clock)
        known = (await online.viewer("a")).features
        assert known == {name: feast[name] for name in known}, "both views, one of them from the build"
        assert (known["profile_activity__plays_7d"], known["profile_activity__completion_30d"]) == (8, None)
        assert known["profile_taste__top_genre"] == "drama"
        assert gone["profile_activity__plays_7d"] is None
        clock.moment = datetime(2026, 4, 9, tzinfo=UTC)
        assert (await online.viewer("a")).features["profile_activity__plays_7d"] == 8, (
            "30 days after the end of its day"
        )
        clock.advance(timedelta(seconds=1))
        assert (await online.viewer("a")).features["profile_activity__plays_7d"] is None
        client.zadd(HISTORY + "a", {f"t{n:03}": n for n in range(NEWEST + 5)})
        client.sadd(DONE + "a", "t001")
        client.incr(VERSION + "a")
        viewer = await online.viewer("a")
        assert (viewer.titles[0], viewer.titles[-1], len(viewer.times)) == ("t005", "t204", NEWEST)
        assert await online.versions(["a", "b"]) == [b"1", None]
        client.set(SEEDED, "s1")
        assert await online.versions(["a", "b"]) == [b"1 of s1", b"0 of s1"], "a build is news of everybody"
        assert forget_online(client, ["a"]) == 4
        assert not any(client.exists(of + "a") for of in OF_A_PROFILE)
        assert await online.viewer("a") == await online.viewer("nobody")
    client.close()


def test_a_registry_of_a_newer_version_stops_the_build_with_the_remedy(settings: Settings, lay) -> None:
    lay.publish(settings, lay.sample())
    settings.home.features.mkdir(parents=True, exist_ok=True)
    (settings.home.features / APPLIED).write_text(json.dumps({"definitions": DEFINITIONS + 1}))
    with pytest.raises(FeatureError, match=f"version {DEFINITIONS + 1}, this code knows {DEFINITIONS}: upgrade"):
        apply_and_materialise(settings)
