"""The store on real Redis: values come online once per snapshot, newer ones win, frames cannot see the future."""

from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.asof import asof_join
from features.errors import FeatureError
from features.store import REGISTRY, apply_and_materialise, connection_string, online_features, training_frame
from matinee.lake import NoSnapshotError
from matinee.settings import Settings


def test_features_come_online_once_for_each_snapshot(settings: Settings, lay) -> None:
    lay.publish(settings, lay.sample())
    made = apply_and_materialise(settings)
    assert (made.snapshot_id, made.views, made.rows, made.skipped) == ("s1", 4, 8, False)
    (row,) = online_features(settings, [{"profile_key": "a", "title_id": "t"}])
    assert row["profile_activity__plays_7d"] == 3
    assert row["profile_taste__top_genre"] == "drama"
    assert row["title_popularity__plays_7d"] == 2
    assert row["title_content__year"] == 1999
    written = (settings.home.features / REGISTRY).stat().st_mtime_ns
    again = apply_and_materialise(settings)
    assert again.skipped
    assert again.rows == 0
    assert (settings.home.features / REGISTRY).stat().st_mtime_ns == written, "nothing is applied again"


def test_a_later_build_of_the_same_day_reaches_redis(settings: Settings, lay) -> None:
    frames = lay.sample()
    lay.publish(settings, frames)
    apply_and_materialise(settings)
    frames["profile_activity"] = frames["profile_activity"].with_columns(plays_7d=pl.col("plays_7d") * 10)
    lay.publish(settings, frames, "s2")
    assert not apply_and_materialise(settings).skipped
    (row,) = online_features(settings, [{"profile_key": "a", "title_id": "t"}])
    assert row["profile_activity__plays_7d"] == 30, "same event_timestamp, newer value"


def test_an_emptied_redis_is_filled_again(settings: Settings, lay) -> None:
    import redis

    lay.publish(settings, lay.sample())
    apply_and_materialise(settings)
    client = redis.Redis.from_url(settings.redis())
    client.flushall()
    client.close()
    assert not apply_and_materialise(settings).skipped
    assert online_features(settings, [{"profile_key": "b", "title_id": "u"}])[0]["profile_activity__plays_7d"] == 4


def test_an_unknown_viewer_has_no_features(settings: Settings, lay) -> None:
    lay.publish(settings, lay.sample())
    apply_and_materialise(settings)
    (row,) = online_features(settings, [{"profile_key": "nobody", "title_id": "nothing"}])
    assert {value for name, value in row.items() if "__" in name} == {None}
    assert online_features(settings, []) == []


def test_empty_marts_are_no_error(settings: Settings, lay) -> None:
    lay.publish(settings, {})
    assert apply_and_materialise(settings).rows == 0


def test_the_join_of_feast_equals_the_asof_join_row_for_row(settings: Settings, lay) -> None:
    marts = lay.publish(settings, lay.sample())
    apply_and_materialise(settings)
    second = timedelta(seconds=1)
    moments = [lay.day + timedelta(days=n) for n in (-1, 0, 1, 2, 3, 4, 33, 50, 79, 80, 93)]
    rows = [
        (profile, title, moment + shift)
        for profile in ("a", "b", "nobody")
        for title in ("t", "u", "nothing")
        for moment in moments
        for shift in (-second, timedelta(0), second)
    ]
    # twenty titles shown to one viewer at one instant, some of them twice
    rows += [("a", title, lay.day + timedelta(days=3)) for title in ["t", "u"] * 10]
    frame = pl.DataFrame(rows, schema=["profile_key", "title_id", "event_timestamp"], orient="row")
    frame = frame.with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    frame = frame.sample(fraction=1, shuffle=True, seed=1).with_columns(label=pl.int_range(pl.len()))
    feast, own = training_frame(settings, frame), asof_join(frame, marts)
    assert feast.columns == own.columns
    assert_frame_equal(feast, own, check_dtypes=False)
    assert_frame_equal(own.select(frame.columns), frame)
    counted = own.filter(pl.col("profile_activity__plays_7d").is_not_null())
    assert 0 < len(counted) < len(own), "the frame has moments on both sides of the time to live"


@pytest.mark.parametrize("missing", ["profile_key", "event_timestamp"])
def test_a_frame_without_a_needed_column_is_refused_by_name(settings: Settings, lay, missing: str) -> None:
    marts = lay.publish(settings, lay.sample())
    frame = pl.DataFrame({"profile_key": ["a"], "title_id": ["t"], "event_timestamp": [lay.day]}).drop(missing)
    with pytest.raises(FeatureError, match=missing):
        asof_join(frame, marts)


def test_a_naive_time_is_refused(lay, tmp_path) -> None:
    frame = pl.DataFrame({"profile_key": ["a"], "title_id": ["t"], "event_timestamp": [lay.day.replace(tzinfo=None)]})
    with pytest.raises(FeatureError, match="timezone-aware"):
        asof_join(frame, tmp_path)


def test_frames_before_the_first_build_name_the_remedy(settings: Settings, lay) -> None:
    frame = pl.DataFrame({"profile_key": ["a"], "title_id": ["t"], "event_timestamp": [lay.day]})
    with pytest.raises(FeatureError, match="matinee build"):
        training_frame(settings, frame)
    with pytest.raises(NoSnapshotError, match="matinee build"):
        apply_and_materialise(settings)


def test_redis_urls_become_what_feast_reads() -> None:
    assert connection_string("redis://:12e3@127.0.0.1:7001/0") == '127.0.0.1:7001,db=0,password="12e3"'
    assert connection_string("rediss://u:p%40@cache/2") == 'cache:6379,db=2,ssl=true,username="u",password="p@"'
    with pytest.raises(FeatureError, match="socket"):
        connection_string("unix:///run/redis.sock")
