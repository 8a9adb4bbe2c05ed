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


def test_impressions_are_numbered_as_their_rows_stand_on_the_page(made: Generated) -> None:
    shown = made.deliveries.filter((pl.col("type") == "impression") & (pl.col("viewer") >= 0))
    first = shown.group_by("session_id").agg(
        pl.col("row", "place").sort_by("seq").first(), pl.col("home_order").first(), pl.len()
    )
    assert first.filter(pl.col("len") > 5).select((pl.col("place") == 0).all()).item()
    lead = first.filter(pl.col("place") == 0).group_by("home_order").agg(pl.col("row").mean())
    assert dict(lead.iter_rows()) == {"control": 0.0, "treatment": 1.0}


def test_the_best_place_of_all_has_odds_one_and_the_lead_changes_rows(made: Generated) -> None:
    odds = {(r["is_treated"], r["row"], r["position"]): r["odds"] for r in made.documents["examination"]}
    assert odds[False, "popular", 0] == odds[True, "for_you", 0] == 1.0
    assert odds[True, "popular", 2] == odds[False, "for_you", 2]
    assert all(odds[key] > odds[*key[:2], key[2] + 1] for key in odds if key[2] < 4)
