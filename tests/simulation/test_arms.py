from datetime import date

import polars as pl

from models.experiments.assignment import assign
from models.experiments.registry import ACTIVE
from simulation.arms import METRICS
from simulation.parameters import Effect, Plan
from simulation.viewers import Generated, generate
from simulation.world import World

END = date(2026, 11, 1)


def effects(made: Generated) -> dict[tuple[str, str], float]:
    return {(e["experiment"], e["metric"]): e["effect"] for e in made.documents["experiments"]}


def test_the_row_picked_for_the_viewer_helps_and_the_null_experiment_does_nothing(made: Generated) -> None:
    found = effects(made)
    assert all(found["home_order", metric] > 0 for metric in METRICS)
    assert all(found["aa_check", metric] == 0 for metric in METRICS)


def test_without_a_change_of_the_parameter_there_is_no_effect(world: World) -> None:
    made = generate(Plan(end=END, viewers=80, days=6, seed=5, effect=Effect(value=0.0)), world)
    assert set(effects(made).values()) == {0.0}
    assert made.frames["outcomes"].select((pl.col("ms_control") == pl.col("ms_treatment")).all()).item()


def test_viewers_do_what_the_outcome_of_their_own_arm_says(world: World) -> None:
    from simulation.parameters import Dirt

    made = generate(Plan(end=END, viewers=300, days=8, seed=9, dirt=Dirt.none()), world)
    watched = (
        made.deliveries.filter((pl.col("type") == "stop") & (pl.col("viewer") >= 0))
        .group_by("viewer")
        .agg(pl.len().cast(pl.Int64).alias("plays"), pl.col("played_ms").sum())
    )
    outcomes = made.frames["outcomes"]
    own = outcomes.select(
        pl.col("viewer").cast(pl.Int32),
        pl.when(pl.col("home_order") == "treatment").then("plays_treatment").otherwise("plays_control").alias("plays"),
        pl.when(pl.col("home_order") == "treatment").then("ms_treatment").otherwise("ms_control").alias("played_ms"),
    ).filter(pl.col("plays") > 0)
    assert watched.sort("viewer").equals(own.sort("viewer"))
    assert (outcomes["ms_control"] != outcomes["ms_treatment"]).any()


def test_variants_are_those_that_serving_would_give(made: Generated) -> None:
    by_name = {experiment.name: experiment for experiment in ACTIVE}
    for row in made.frames["outcomes"].head(50).iter_rows(named=True):
        for name, experiment in by_name.items():
            assert row[name] == assign(experiment, f"sim-{made.run}-{row['viewer']}")


def test_an_experiment_can_carry_a_suffix_of_its_own(world: World) -> None:
    made = generate(Plan(end=END, viewers=80, days=6, seed=5, experiment_suffix="@seed5"), world)
    assert {name for name, _ in effects(made)} == {"home_order@seed5", "aa_check@seed5"}
    assert effects(made)["home_order@seed5", "hours_per_account"] != 0
