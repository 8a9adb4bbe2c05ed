"""The rules of the steering, held against anything that demand may look like."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding import ladder, plan, steering
from transcoding.steering import COOLING_DAYS, DECISIONS, TITLES, TREATMENTS, bit_shares, cpu_s, propose


def title(name: str = "t", **facts: Any) -> dict[str, Any]:
    """A 90-minute film in the fast lane that some people watch."""
    usual = {
        "title_id": name, "duration_s": 5400.0, "frame_rate": 25.0, "width": 1920, "height": 1080, "hours": 100.0,
        "delivered_gb": 200.0, "stall_ratio": 0.0, "treatment": "fast", "decided": None, "decided_days": None,
        "failed": False, "known_days": 100.0,
    }  # fmt: skip
    return usual | facts


def decide(*titles: dict[str, Any], budget: float = 1e6, **more: Any) -> dict[str, dict[str, Any]]:
    made = propose(pl.DataFrame(titles, schema=TITLES), budget, **more)
    assert made.schema == DECISIONS
    return {row["title_id"]: row for row in made.to_dicts()}


TREATMENT = st.sampled_from(TREATMENTS)
TITLE = st.fixed_dictionaries(
    {
        "duration_s": st.floats(1, 10_000),
        "width": st.integers(16, 4096),
        "height": st.integers(16, 2160),
        "hours": st.floats(0, 10_000),
        "delivered_gb": st.floats(0, 20_000),
        "stall_ratio": st.floats(0, 1),
        "treatment": st.none() | TREATMENT,
        "decided": st.none() | TREATMENT,
        "decided_days": st.floats(0, 100),
        "known_days": st.floats(0, 1000),
    }
).map(lambda facts: facts | ({} if facts["decided"] else {"decided_days": None}))
CATALOGUE = st.lists(TITLE, max_size=12).map(lambda found: [title(f"t{n:02d}", **f) for n, f in enumerate(found)])
BUDGET = st.floats(0, 200_000)


@given(CATALOGUE, BUDGET)
def test_the_budget_is_kept_with_what_was_decided_before(titles: list[dict[str, Any]], budget: float) -> None:
    decided = decide(*titles, budget=budget)
    spent = sum(row["cpu_s"] for row in decided.values())
    waiting = sum(
        cpu_s(t["decided"], t)
        for t in titles
        if t["title_id"] not in decided
        and t["treatment"]
        and t["decided"]
        and TREATMENTS.index(t["decided"]) > TREATMENTS.index(t["treatment"])
    )
    assert spent == 0 or spent + waiting <= budget * (1 + 1e-9)


@given(CATALOGUE, BUDGET)
def test_what_plays_is_never_made_worse(titles: list[dict[str, Any]], budget: float) -> None:
    by_id = {t["title_id"]: t for t in titles}
    for title_id, row in decide(*titles, budget=budget).items():
        before = by_id[title_id]
        assert row["treatment"] != before["decided"], "only what changes is said"
        assert row["reason"]
        if before["treatment"] is None:
            assert (row["treatment"], before["hours"]) == ("fast", 0)
        else:
            assert TREATMENTS.index(row["treatment"]) >= TREATMENTS.index(before["treatment"])
        if before["decided_days"] is not None:
            assert before["decided_days"] >= COOLING_DAYS, "what was decided lately is left alone"


@given(CATALOGUE.filter(len), BUDGET, st.data())
def test_more_demand_never_gets_less(titles: list[dict[str, Any]], budget: float, data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(titles))
    factor = data.draw(st.floats(1, 100))
    more = chosen | {"hours": chosen["hours"] * factor, "delivered_gb": chosen["delivered_gb"] * factor}
    others = [t for t in titles if t is not chosen]

    def treatment(of: dict[str, Any]) -> int:
        row = decide(*others, of, budget=budget).get(of["title_id"])
        kept = (of["decided"] or of["treatment"]) if row is None else row["treatment"]
        return -1 if kept is None else TREATMENTS.index(kept)

    assert treatment(more) >= treatment(chosen)


@given(CATALOGUE, BUDGET)
def test_deciding_again_at_once_changes_nothing(titles: list[dict[str, Any]], budget: float) -> None:
    decided = decide(*titles, budget=budget)
    later = [
        t | {"decided": decided[t["title_id"]]["treatment"], "decided_days": 0.0} if t["title_id"] in decided else t
        for t in titles
    ]
    again = decide(*later, budget=budget)
    assert {name: row for name, row in again.items() if name in decided} == {}


def test_the_busiest_titles_are_upgraded_first_and_the_reason_names_the_figures() -> None:
    films = [
        title("quiet", hours=1.0, delivered_gb=2.0),
        title("busy", hours=900.0, delivered_gb=1800.0, stall_ratio=0.02),
    ]
    cost = cpu_s("standard", films[0])
    decided = decide(*films, budget=cost)
    assert set(decided) == {"busy"}
    assert decided["busy"]["treatment"] == "standard"
    assert decided["busy"]["saved_gb"] == pytest.approx(720)
    assert "900.0 h" in decided["busy"]["reason"]
    assert "2.0% of the time stalled" in decided["busy"]["reason"]
    assert decide(*films, budget=cost - 1) == {}
    assert decide(*films)["busy"]["treatment"] == "premium"
    assert "quiet" not in decide(*films), "0.8 GB is not worth four CPU hours"


def test_stalls_decide_between_equal_titles() -> None:
    films = [title("a"), title("b", stall_ratio=0.05)]
    assert set(decide(*films, budget=cpu_s("standard", films[0]))) == {"b"}


def test_a_waiting_upgrade_is_withdrawn_only_when_demand_is_well_below_what_it_took() -> None:
    cost = cpu_s("standard", title())
    enough = steering.MIN_GB_PER_CPU_H * cost / 3600 / 0.4  # of delivered data, to be worth it
    waiting = {"decided": "standard", "decided_days": COOLING_DAYS + 1.0}
    assert decide(title(delivered_gb=enough * 1.01))["t"]["treatment"] == "standard"
    assert decide(title(delivered_gb=enough * 0.99)) == {}
    assert decide(title(delivered_gb=enough * 0.6, **waiting)) == {}
    assert decide(title(delivered_gb=enough * 0.4, **waiting))["t"]["treatment"] == "fast"
    assert decide(title(delivered_gb=0.0, **(waiting | {"decided_days": 1.0}))) == {}


def test_what_nobody_watches_and_has_no_package_gets_the_fast_lane_but_not_what_is_new() -> None:
    nothing = {"hours": 0.0, "delivered_gb": 0.0, "treatment": None}
    assert decide(title(**nothing))["t"]["treatment"] == "fast"
    assert decide(title(**nothing, known_days=3.0)) == {}
    assert decide(title(hours=0.0, delivered_gb=0.0, treatment="standard")) == {}, "it is paid for"


def test_shares_move_towards_what_sessions_showed_with_the_hours_watched() -> None:
    def after(hours: float) -> float:
        frame = pl.DataFrame({"treatment": ["standard"], "hours": [hours], "delivered_gb": [0.8], "fixed_gb": [1.0]})
        return bit_shares(frame)["standard"]

    assert after(0.0) == pytest.approx(0.60)
    assert after(500.0) == pytest.approx(0.70)
    assert 0.79 < after(50_000.0) < 0.80
    empty = pl.DataFrame(
        schema={"treatment": pl.String, "hours": pl.Float64, "delivered_gb": pl.Float64, "fixed_gb": pl.Float64}
    )
    assert bit_shares(empty) == steering.STATED_SHARES


def test_the_cost_model_agrees_with_what_was_measured_on_a_two_hour_film() -> None:
    film = title(duration_s=7200.0)
    assert cpu_s("fast", film) / 3600 == pytest.approx(2.3, rel=0.1)  # 1.2 h on two cores
    assert cpu_s("standard", film) / 3600 == pytest.approx(5.6, rel=0.15)  # 3.1 h on two cores, without AV1
    assert cpu_s("standard", film, {"standard": 2.0}) == pytest.approx(2 * cpu_s("standard", film))


def test_the_treatments_are_those_of_the_plan_in_rising_order() -> None:
    assert tuple(plan.TREATMENTS) == TREATMENTS


@pytest.mark.parametrize("days", [1.0, 100.0])
def test_an_upgrade_that_failed_for_good_takes_nobodys_budget_and_is_not_asked_for_again(days: float) -> None:
    failed = title("a", decided="premium", decided_days=days, failed=True)
    budget = 1.01 * cpu_s("premium", failed)
    assert set(decide(failed, title("b"), budget=budget)) == {"b"}
    assert set(decide(failed | {"failed": False}, title("b"), budget=budget)) == set(), "it waits, and is paid for"


def test_av1_is_priced_at_the_preset_that_it_is_encoded_with() -> None:
    assert ladder.AV1_PRESET == "5", "another preset takes another time: measure it anew"
    assert cpu_s("premium", title()) == pytest.approx(3.35 * cpu_s("standard", title()), rel=0.05)
