from datetime import date

import numpy as np
import polars as pl
import pytest

from simulation.dirt import BROKEN
from simulation.parameters import Dirt, Plan
from simulation.viewers import Generated, generate
from simulation.world import World

END = date(2026, 11, 1)


@pytest.fixture(scope="module")
def long_made(long_world: World) -> Generated:
    return generate(Plan(end=END, viewers=500, days=14, seed=11), long_world)


def close(found: int, of: int, rate: float) -> bool:
    """Within five standard deviations of a binomial."""
    return abs(found - of * rate) < 5 * np.sqrt(of * rate * (1 - rate)) + 1


def test_rates_are_as_configured(long_made: Generated) -> None:
    dirt, fates = long_made.plan.dirt, long_made.totals["fates"]
    first = fates["first"]
    by_type = long_made.totals["events_by_type"]
    # Copies that would arrive after the end are not made: up to two of the fourteen days for half of them.
    assert 0.9 * dirt.duplicates < fates["duplicate"] / first < dirt.duplicates * 1.05
    other = first - by_type["exposure"]
    assert 0.85 * dirt.altered < fates["altered"] / other < dirt.altered * 1.1
    assert close(sum(fates[kind] for kind in BROKEN), other, dirt.broken)
    lost = long_made.frames["ledger"].filter(pl.col("fate") == "lost").group_by("type").len()
    counts = dict(lost.iter_rows())
    assert set(counts) == {"stop", "heartbeat"}
    assert close(counts["stop"], by_type["stop"] + counts["stop"], dirt.lost_stops)
    assert close(counts["heartbeat"], by_type["heartbeat"] + counts["heartbeat"], dirt.lost_heartbeats)
    assert fates["too_late"] > 0


def test_without_dirt_everything_arrives_once_and_at_once(world: World) -> None:
    made = generate(Plan(end=END, viewers=60, days=5, seed=2, dirt=Dirt.none()), world)
    assert set(made.totals["fates"]) == {"first", "lost"}
    assert made.totals["fates"]["lost"] == made.totals["late"] == made.totals["skewed"] == 0
    assert made.totals["dead_letters"] == {}
    assert made.frames["ledger"].is_empty()


def test_some_copies_come_on_a_later_day_and_none_before_the_first(long_made: Generated) -> None:
    day = pl.col("received") // 86_400_000
    first = long_made.deliveries.filter(pl.col("fate") == "first").select("event_id", "received", day.alias("day"))
    copies = long_made.deliveries.filter(pl.col("fate").is_in(["duplicate", "altered"])).with_columns(day=day)
    both = copies.join(first, on="event_id", suffix="_first")
    assert both.height == copies.height
    assert (both["received"] > both["received_first"]).all()
    assert (both["day"] > both["day_first"]).sum() > both.height * 0.3


def test_a_wrong_clock_shifts_both_client_times_alike(long_made: Generated) -> None:
    skewed = set(long_made.deliveries.filter((pl.col("skew") != 0) & (pl.col("fate") == "first"))["event_id"])
    truth = dict(long_made.deliveries.filter(pl.col("fate") == "first").select("event_id", "at").iter_rows())
    assert skewed

    import orjson

    from matinee.contracts.events import Event

    seen = set()
    for batch in long_made.judged():
        for entry in batch.entries:
            if entry.code is not None:
                continue
            body = orjson.loads(entry.body)
            name = body["event_id"]
            if name in skewed and name not in seen:
                event = Event.model_validate(body)
                happened = event.happened_at(entry.received_at)
                assert round(happened.timestamp() * 1000) == truth[name]
                assert abs(event.ts_client.timestamp() * 1000 - truth[name]) > 0
                seen.add(name)
        if len(seen) > 500:
            return
    raise AssertionError(f"only {len(seen)} events from devices with a wrong clock")


def test_exposures_are_written_by_the_server_and_are_neither_late_nor_skewed(long_made: Generated) -> None:
    exposures = long_made.deliveries.filter((pl.col("type") == "exposure") & (pl.col("fate") != "duplicate"))
    assert (exposures["delay"] < 120_000).all()
    assert (exposures["skew"] == 0).all()


def test_some_events_overtake_earlier_ones(long_made: Generated) -> None:
    beats = long_made.deliveries.filter(pl.col("playback_id").is_not_null() & (pl.col("fate") == "first"))
    behind = beats.with_columns(pl.col("seq").cum_max().over("playback_id").alias("furthest"))
    assert (behind["seq"] < behind["furthest"]).sum() > 0
