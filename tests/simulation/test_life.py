"""Subscriptions hold together whatever the plan, and churn follows viewing."""

from dataclasses import replace
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matinee.db.connect import connect
from matinee.db.subscriptions import add_periods
from matinee.db.viewers import add_viewers
from matinee.settings import Settings
from simulation.life import periods
from simulation.parameters import Business, Plan
from simulation.viewers import shard
from simulation.world import World

END = date(2026, 11, 6)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), days=st.integers(1, 12), share=st.floats(0, 1))
def test_an_account_has_one_state_at_a_time_and_begins_with_a_trial(
    world: World, seed: int, days: int, share: float
) -> None:
    plan = Plan(end=END, viewers=60, days=days, seed=seed, business=Business(serial_churners=share, pauses=share / 4))
    made = shard(plan, world, 0)
    lives = made.periods.with_columns(
        next=pl.col("opened").shift(-1).over("viewer"), place=pl.int_range(pl.len()).over("viewer")
    )
    assert (lives["opened"] < plan.end_ms).all()
    assert (lives["closed"].drop_nulls() < plan.end_ms).all()
    assert (lives["closed"].fill_null(plan.end_ms) > lives["opened"]).all()
    followed = lives.filter(pl.col("next").is_not_null())
    assert (followed["closed"] <= followed["next"]).all()
    assert followed["closed"].null_count() == 0
    firsts = lives.filter(pl.col("place") == 0)
    assert set(firsts["state"]) == {"trial"}
    joined = dict(made.known.select("viewer", "joined").iter_rows())
    assert [joined[viewer] for viewer in firsts["viewer"]] == firsts["opened"].to_list()


def test_everything_that_can_happen_to_a_customer_happens(world: World) -> None:
    made = shard(Plan(end=END, viewers=256, days=20, seed=3), world, 0).periods
    assert set(made["state"]) == {"trial", "active", "past_due", "paused"}
    assert set(made["end_reason"].drop_nulls()) == {
        "paid", "plan_change", "cancelled", "payment", "paused", "resumed",
    }  # fmt: skip
    assert set(made["currency"]) == {"RUB", "USD", "EUR", "GBP", "KZT"}
    assert made["subscription"].max() >= 3  # a serial churner


def test_who_watches_more_leaves_less_often(long_world: World) -> None:
    plan = Plan(end=END, viewers=256, days=60, seed=3)
    left = []
    for hold in (0.0, 1.0):
        business = Business(joins_within=0.6, hours_hold=hold, cancels=0.5, serial_churners=0.0)
        made = shard(replace(plan, business=business), long_world, 0).periods
        left.append(int((made["end_reason"] == "cancelled").sum()))
    assert left[1] < 0.9 * left[0]


def test_writing_them_again_changes_nothing(settings: Settings, world: World) -> None:
    made = shard(Plan(end=END, viewers=80, days=9, seed=4, run="lives"), world, 0)
    rows = periods("lives", made.periods)
    with connect(settings) as connection:
        add_viewers(connection, made.signed_up)
        assert add_periods(connection, rows) == len(rows) > 80
        assert add_periods(connection, rows) == 0


@pytest.mark.parametrize("later", [1, 9])
def test_a_later_look_at_the_same_lives_only_goes_on(world: World, later: int) -> None:
    """What was before stays as it was, whenever the run ends: only what was open may have ended since."""
    first = Plan(end=END, viewers=40, days=10, seed=6, business=Business(joins_within=0.0, hours_hold=0.0))
    longer = replace(first, end=date(2026, 11, 6 + later), days=10 + later)
    before, after = (shard(plan, world, 0).periods for plan in (first, longer))
    known = before.join(after, on=["viewer", "subscription", "number"], how="left", suffix="_after")
    assert known["opened"].equals(known["opened_after"])
    assert known["plan"].equals(known["plan_after"])
    ended = known.filter(pl.col("closed").is_not_null())
    assert ended["closed"].equals(ended["closed_after"])
