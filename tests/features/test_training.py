"""Training sets: what was shown and known, labels that were decided, and nothing of the future."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import features
from features.errors import FeatureError
from matinee.settings import Settings

HOUR = timedelta(hours=1)


def shown(at: list[datetime], **changes: object) -> pl.DataFrame:
    """One impression a moment, of title `t` to profile `a`."""
    rows = pl.DataFrame({"shown_at": pl.Series(at, dtype=pl.Datetime("us", "UTC"))}).with_row_index("seq")
    texts = {"profile_key": "a", "title_id": "e", "item_id": "t", "session_id": "s", "row_id": "for_you", "model": "m"}
    return rows.with_columns(
        pl.col("seq").cast(pl.Int64),
        event_id=pl.format("i{}", pl.col("shown_at").dt.timestamp()),
        position=pl.lit(3, pl.Int64),
        propensity=pl.lit(0.5),
        is_bot=pl.lit(value=False),
        is_played=pl.lit(value=True),
        **{name: pl.lit(text) for name, text in texts.items()},
        **{name: pl.lit("") for name in ("version", "source", "request_id", "experiments", "origin")},
    ).with_columns(**{name: pl.lit(value) for name, value in changes.items()})


def put(marts: Path, *frames: pl.DataFrame) -> None:
    pl.concat(frames, how="diagonal_relaxed").write_parquet(marts / "fct_impression.parquet")


def test_rows_know_what_was_known_and_nothing_of_later(settings: Settings, lay) -> None:
    frames = lay.sample()
    marts = lay.publish(settings, frames)
    late = lay.day + timedelta(days=3) - HOUR
    put(marts, shown([lay.day + HOUR, late]))
    as_of = late + timedelta(hours=24)
    made = features.training_set(settings, as_of=as_of)
    assert made["title_id"].to_list() == ["t", "t"]
    assert made["shown_title_id"].to_list() == ["e", "e"]
    assert made["profile_activity__plays_7d"].to_list() == [1, 1], "the row of the third day is an hour too new"
    assert made["title_popularity__plays_7d"].to_list() == [1, 2]
    assert made["is_played"].to_list() == [True, True]
    # What happens at or after as_of: shown titles, days of features, even of these very viewers and titles.
    for name, frame in frames.items():
        later = frame.with_columns(pl.col("event_timestamp") + timedelta(days=3))
        frames[name] = pl.concat([frame, later.filter(pl.col("event_timestamp") >= as_of - timedelta(hours=24))])
    marts = lay.publish(settings, frames, "s2")
    put(marts, shown([lay.day + HOUR, late]), shown([late + timedelta(microseconds=1), as_of, as_of + HOUR]))
    assert_frame_equal(features.training_set(settings, as_of=as_of), made)


def test_bots_and_strangers_are_left_out_and_the_day_of_a_label_is_waited_for(settings: Settings, lay) -> None:
    marts = lay.publish(settings, lay.sample())
    put(marts, shown([lay.day], is_bot=True), shown([lay.day], profile_key=None), shown([lay.day + HOUR]))
    day = timedelta(hours=24)
    assert len(features.training_set(settings, as_of=lay.day + HOUR + day)) == 1
    assert len(features.training_set(settings, as_of=lay.day + HOUR + day - timedelta(microseconds=1))) == 0
    assert len(features.training_set(settings)) == 0, "the snapshot was made at its first moment"


def test_wrong_questions_are_answered_with_the_remedy(settings: Settings, lay) -> None:
    marts = lay.publish(settings, {})
    with pytest.raises(FeatureError, match="matinee build"):
        features.training_set(settings)
    put(marts, shown([lay.day]))
    with pytest.raises(FeatureError, match="time zone"):
        features.training_set(settings, as_of=lay.day.replace(tzinfo=None))
    with pytest.raises(FeatureError, match="choose one of is_played"):
        features.training_set(settings, label="is_liked")
