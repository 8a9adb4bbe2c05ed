"""Assignment deals fairly and for ever; the statistics equal formulas written out here; the table keeps its schema."""

import math
from datetime import date

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from matinee.settings import Settings
from models.errors import ModelError
from models.experiments.assignment import Experiment, assign, uniform
from models.experiments.readout import RESULT_FILE, analyse, readout, schema
from models.experiments.registry import AA_CHECK, ACTIVE, HOME_ORDER
from models.experiments.statistics import Moments, mean_difference, ratio_difference, sample_ratio_p_value

ARMS = Experiment("arms", "salt", (("a", 1), ("b", 2), ("off", 0), ("c", 1)))


def moments(y, x=None) -> Moments:
    y = np.asarray(y, dtype=float)
    x = np.zeros_like(y) if x is None else np.asarray(x, dtype=float)
    return Moments(len(y), y.sum(), (y**2).sum(), x.sum(), (x**2).sum(), (x * y).sum())


def test_units_are_dealt_in_proportion_to_the_weights() -> None:
    counts = {name: 0 for name, _ in ARMS.variants}
    for unit in range(20_000):
        counts[assign(ARMS, f"account-{unit}")] += 1
    assert counts["off"] == 0
    assert stats.chisquare([counts["a"], counts["b"], counts["c"]], [5000, 10_000, 5000]).pvalue > 0.001


def test_assignment_is_the_same_everywhere_and_for_ever() -> None:
    assert uniform(Experiment("e", "s", (("x", 1.0),)), "u") == 0.09884365710514498
    assert [assign(HOME_ORDER, f"account-{n}") for n in range(8)] == [
        "treatment",
        "control",
        "control",
        "treatment",
        *["control"] * 4,
    ]


def test_experiments_are_independent_of_each_other() -> None:
    table = np.zeros((2, 2))
    for unit in range(10_000):
        first, second = (assign(e, f"account-{unit}") == "treatment" for e in (HOME_ORDER, AA_CHECK))
        table[int(first), int(second)] += 1
    assert stats.chi2_contingency(table).pvalue > 0.001
    assert len({experiment.salt for experiment in ACTIVE}) == len(ACTIVE)


@given(st.text(min_size=1), st.lists(st.floats(0.01, 10), min_size=1, max_size=6), st.integers(0, 5))
def test_every_unit_gets_a_variant_and_a_wider_share_keeps_its_units(unit, weights, grown) -> None:
    variants = tuple((f"v{row}", weight) for row, weight in enumerate(weights))
    assert assign(Experiment("e", "s", variants), unit) in dict(variants)
    two = Experiment("e", "s", (("on", 10 + grown), ("off", 90 - grown)))
    if assign(Experiment("e", "s", (("on", 10), ("off", 90))), unit) == "on":
        assert assign(two, unit) == "on", "a ramp-up moves nobody out"


@pytest.mark.parametrize("variants", [(), (("a", 1.0), ("a", 1.0)), (("a", -1.0), ("b", 2.0)), (("a", 0.0),)])
def test_impossible_experiments_are_refused(variants) -> None:
    with pytest.raises(ValueError, match="'e'"):
        Experiment("e", "s", variants)


def test_means_equal_welch_written_out() -> None:
    rng = np.random.default_rng(0)
    control, treatment = rng.gamma(2, 1, 300), rng.gamma(2, 1.2, 200)
    made = mean_difference(moments(control), moments(treatment), 0.05)
    welch = stats.ttest_ind(treatment, control, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert made.difference == pytest.approx(treatment.mean() - control.mean())
    assert (made.low, made.high) == pytest.approx((interval.low, interval.high))
    assert made.p_value == pytest.approx(welch.pvalue)


def test_the_relative_interval_is_the_delta_method_on_the_log_scale() -> None:
    rng = np.random.default_rng(1)
    control, treatment = rng.gamma(2, 1, 400), rng.gamma(2, 1.1, 300)
    made = mean_difference(moments(control), moments(treatment), 0.05)
    parts = [arm.var(ddof=1) / len(arm) / arm.mean() ** 2 for arm in (control, treatment)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(control) - 1) + parts[1] ** 2 / (len(treatment) - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    ratio = treatment.mean() / control.mean()
    assert made.relative == pytest.approx(ratio - 1)
    assert (made.relative_low, made.relative_high) == pytest.approx(
        (ratio * math.exp(-half) - 1, ratio * math.exp(half) - 1)
    )


def arm(rng, size: int, effect: float = 0.0):
    plays = rng.poisson(3, size)
    return rng.gamma(2, 0.3 * (1 + effect), size) * plays, plays.astype(float)


def test_ratios_equal_the_delta_method_written_out() -> None:
    rng = np.random.default_rng(2)
    control, treatment = arm(rng, 400), arm(rng, 500, 0.1)
    made = ratio_difference(moments(*control), moments(*treatment), 0.05)
    ratios, variances = [], []
    for y, x in (control, treatment):
        ratio = y.mean() / x.mean()
        ratios.append(ratio)
        variances.append(np.var(y - ratio * x, ddof=1) / x.mean() ** 2 / len(y))
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 399 + variances[1] ** 2 / 499)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(variances))
    assert made.difference == pytest.approx(ratios[1] - ratios[0])
    assert (made.low, made.high) == pytest.approx((made.difference - half, made.difference + half))


def test_a_covariate_narrows_the_interval_and_equals_regression() -> None:
    rng = np.random.default_rng(3)
    before = rng.normal(10, 3, 600)
    after = before + rng.normal(0, 1, 600)
    arms = [moments(after[:300], before[:300]), moments(after[300:] + 0.3, before[300:])]
    plain, adjusted = (mean_difference(*arms, 0.05, covariate=covariate) for covariate in (False, True))
    assert adjusted.high - adjusted.low < 0.5 * (plain.high - plain.low)
    y = np.concatenate([after[:300], after[300:] + 0.3])
    theta = np.cov(y, before)[0, 1] / before.var(ddof=1)
    residual = y - theta * before
    assert adjusted.difference == pytest.approx(residual[300:].mean() - residual[:300].mean())


def test_intervals_cover_and_nothing_is_found_where_nothing_is() -> None:
    rng = np.random.default_rng(4)
    runs, covered, found = 400, {"mean": 0, "ratio": 0}, {"mean": 0, "ratio": 0}
    for _ in range(runs):
        control, same, better = arm(rng, 250), arm(rng, 250), arm(rng, 250, 0.2)
        truth = {"mean": 3 * 0.6 * 0.2, "ratio": 0.6 * 0.2}
        for name, difference in (("mean", mean_difference), ("ratio", ratio_difference)):
            made = difference(moments(*control), moments(*better), 0.05)
            covered[name] += made.low <= truth[name] <= made.high
            found[name] += difference(moments(*control), moments(*same), 0.05).p_value < 0.05
    assert all(0.92 <= count / runs <= 0.98 for count in covered.values()), covered
    assert all(0.02 <= count / runs <= 0.08 for count in found.values()), found


def test_the_sample_ratio_of_two_and_of_more_arms() -> None:
    assert sample_ratio_p_value([500, 500], [0.5, 0.5]) == 1
    assert sample_ratio_p_value([4000, 4400], [0.5, 0.5]) < 0.001
    statistic = (110 - 100) ** 2 / 100 + (90 - 100) ** 2 / 100 + (200 - 200) ** 2 / 200
    assert sample_ratio_p_value([110, 90, 200], [0.25, 0.25, 0.5]) == pytest.approx(stats.chi2.sf(statistic, 2))
    assert math.isnan(sample_ratio_p_value([10], [1.0]))


def test_numbers_that_the_data_cannot_give_are_missing() -> None:
    for control, treatment in (([0.0] * 5, [0.0] * 5), ([1.0], [1.0, 2.0]), ([2.0] * 4, [2.0] * 4)):
        made = mean_difference(moments(control), moments(treatment), 0.05)
        assert math.isnan(made.low)
        assert math.isnan(made.p_value)
        assert made.difference == np.mean(treatment) - np.mean(control)
    made = ratio_difference(moments([0, 0], [0, 0]), moments([0, 0], [0, 0]), 0.05)
    assert math.isnan(made.low)


DAYS = (date(2026, 9, 1), date(2026, 9, 2))


def lay_moments(settings: Settings, rows: list[tuple]) -> None:
    settings.lake.build_file.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.lake.build_file)) as connection:
        connection.execute("CREATE SCHEMA marts")
        connection.execute(
            "CREATE TABLE marts.mart_experiment_moments (experiment VARCHAR, variant VARCHAR, metric VARCHAR, "
            "event_date DATE, n BIGINT, sum_y DOUBLE, sum_y2 DOUBLE, sum_x DOUBLE, sum_x2 DOUBLE, sum_xy DOUBLE)"
        )
        if rows:
            connection.executemany(
                "INSERT INTO marts.mart_experiment_moments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )


def rows_of(experiment: str, variant: str, metric: str, day: date, sums: Moments) -> tuple:
    return experiment, variant, metric, day, sums.n, sums.sum_y, sums.sum_y2, sums.sum_x, sums.sum_x2, sums.sum_xy


def test_the_readout_writes_the_latest_day_of_every_metric(settings: Settings) -> None:
    rng = np.random.default_rng(5)
    control, treatment = arm(rng, 300), arm(rng, 320, 0.1)
    rows = [rows_of("home_order", "treatment", "hours_per_account", DAYS[0], moments([1, 2, 3]))]
    for variant, (y, x) in (("treatment", treatment), ("control", control)):
        rows.append(rows_of("home_order", variant, "hours_per_account", DAYS[1], moments(y)))
        rows.append(
            rows_of("home_order", variant, "plays_per_account", DAYS[1], moments(x, y + rng.normal(size=len(y))))
        )
        rows.append(rows_of("home_order", variant, "hours_per_play", DAYS[1], moments(y, x)))
    lay_moments(settings, rows)
    results = readout(settings)
    assert [(r.metric, r.method) for r in results] == [
        ("hours_per_account", "mean"),
        ("hours_per_play", "ratio"),
        ("plays_per_account", "mean"),
        ("plays_per_account", "cuped"),
    ]
    first = results[0]
    assert (first.control, first.treatment, first.event_date) == ("control", "treatment", DAYS[1])
    assert (first.n_control, first.n_treatment) == (300, 320)
    assert first.difference == pytest.approx(treatment[0].mean() - control[0].mean())
    assert first.srm_p_value == pytest.approx(stats.chisquare([300, 320]).pvalue)
    assert "Welch" in first.convention
    table = pq.read_table(settings.lake.root / RESULT_FILE)
    assert table.schema.equals(schema())
    assert table.to_pylist()[0]["difference"] == first.difference
    assert list(settings.lake.build_file.parent.glob("*.tmp")) == []


def test_without_an_experiment_the_table_is_empty_and_keeps_its_schema(settings: Settings) -> None:
    lay_moments(settings, [])
    assert readout(settings) == []
    table = pq.read_table(settings.lake.root / RESULT_FILE)
    assert (len(table), table.schema.equals(schema())) == (0, True)


def test_unknown_numbers_are_null_in_the_table(settings: Settings) -> None:
    lay_moments(
        settings,
        [rows_of("e", variant, "hours_per_account", DAYS[0], moments([0.0] * 3)) for variant in ("control", "b")],
    )
    (result,) = readout(settings)
    assert math.isnan(result.low)
    assert pq.read_table(settings.lake.root / RESULT_FILE).to_pylist()[0]["low"] is None


def test_without_a_warehouse_the_remedy_is_named(settings: Settings) -> None:
    with pytest.raises(ModelError, match="matinee build"):
        readout(settings)
    settings.lake.build_file.parent.mkdir(parents=True)
    duckdb.connect(str(settings.lake.build_file)).close()
    with pytest.raises(ModelError, match="mart_experiment_moments"):
        readout(settings)


def test_a_missing_arm_shows_in_the_sample_ratio() -> None:
    rows = [
        rows_of("home_order", "control", "plays_per_account", DAYS[0], moments([1, 2, 3])),
        rows_of("home_order", "treatment", "plays_per_account", DAYS[0], moments([1.0] * 40 + [2.0] * 60)),
    ]
    columns = [(e, m, v, d, *sums) for e, v, m, d, *sums in rows]
    (result,) = analyse(columns)
    assert result.srm_p_value < 1e-6
