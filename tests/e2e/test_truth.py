"""The marts against the simulator, which counts on its own: after duplicates, late and broken events, exactly."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from ingest.catalog import ingest_feed
from ingest.collector import drain
from matinee.db.connect import connect
from matinee.settings import Settings
from models.experiments.readout import Result, readout
from simulation.catalogue import write_feed
from simulation.parameters import Behaviour, Business, Plan
from simulation.viewers import Simulated, simulate
from warehouse import dbt
from warehouse.export import export_tables
from warehouse.load import load_days

END = date(2026, 11, 1)
SEEDS = range(1, 21)
# Over the turn of a month, and not to the end of one; titles from half a minute to nine minutes long.
LIVES = Plan(end=date(2026, 11, 6), viewers=220, days=16, seed=7, business=Business(bots=0.03))

# Mart by mart: what the warehouse says in the columns of the truth. Its keys come first.
SAID = {
    "title_day": (
        2,
        "SELECT event_date, title_id, plays, viewers, hours_viewed, completions FROM marts.mart_title_day",
    ),
    "event_day": (
        2,
        (
            "SELECT event_date, event_type, count(*) AS events, sum(rate_value) AS rating FROM intermediate.int_events "
            "GROUP BY ALL"
        ),
    ),
    "session_day": (
        1,
        (
            "SELECT event_date, count(*) AS sessions, sum(events) AS events, sum(plays) AS plays, "
            "count(*) FILTER (is_bot) AS bots FROM marts.fct_session GROUP BY ALL"
        ),
    ),
    "title_minute": (
        2,
        "SELECT title_id, minute, count(*) playbacks, sum(beats) beats FROM marts.fct_playback_minute GROUP BY 1, 2",
    ),
    "title_engagement": (
        2,
        "SELECT title_id, window_days, households, starters, watchers, completers FROM marts.mart_title_engagement",
    ),
    "title_retention": (2, "SELECT title_id, minute, playbacks, share FROM marts.mart_title_retention"),
    "qoe_hour": (3, "SELECT * FROM marts.mart_qoe_hour"),
    "active_day": (1, "SELECT event_date, dau, wau, mau, stickiness FROM marts.mart_active_day"),
    "experiment_moments": (
        2,
        (
            "WITH last AS (SELECT * FROM marts.mart_experiment_moments "
            "QUALIFY event_date = max(event_date) OVER (PARTITION BY experiment, variant)) "
            "SELECT h.experiment, h.variant, h.n, h.sum_y * 3600000 AS ms, p.sum_y AS plays, p.sum_y2 AS plays2, "
            "h.sum_y2 * 3600000 * 3600000 AS ms2, r.sum_xy * 3600000 AS plays_ms FROM last h JOIN last p "
            "USING (experiment, variant) JOIN last r USING (experiment, variant) WHERE h.metric = 'hours_per_account' "
            "AND p.metric = 'plays_per_account' AND r.metric = 'hours_per_play'"
        ),
    ),
    "subscription_day": (
        4,
        (
            "SELECT day, plan, state, currency, count(*) AS accounts, sum(monthly_minor) AS monthly_minor "
            "FROM marts.fct_subscription_day GROUP BY ALL"
        ),
    ),
    "mrr_month": (2, "SELECT * FROM marts.mart_mrr_month"),
    "churn_month": (1, "SELECT * FROM marts.mart_churn_month"),
    "cohort_retention": (3, "SELECT * FROM marts.mart_cohort_retention"),
    "funnel_day": (2, "SELECT * FROM marts.mart_funnel_day"),
    "content_cost": (3, "SELECT * FROM marts.mart_content_cost"),
    "intake_day": (1, "SELECT * EXCLUDE (origin, files) FROM marts.mart_intake_day"),
}


@pytest.fixture(scope="module")
def home(own_home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with the demo catalogue, for all tests of this file."""
    catalogue(own_home, tmp_path_factory.mktemp("truth") / "feed.jsonl")
    return own_home


def catalogue(settings: Settings, path: Path) -> None:
    """The demo's titles at all lengths, which came out before, during and after the simulated time."""
    playing = [title.id for title in write_feed(path) if title.runtime_s]
    with connect(settings) as connection:
        ingest_feed(connection, path)
        for number, title in enumerate(playing):
            released = LIVES.end - timedelta(days=5 * number % 23)
            connection.execute(
                "UPDATE title SET runtime_s = %s, created_at = %s WHERE title_id = %s",
                (20 + number * 37 % 520, released, title),
            )


def land(settings: Settings) -> None:
    drain(settings)
    assert load_days(settings).held == ()
    export_tables(settings)


@pytest.fixture(scope="module")
def told(home: Settings) -> Simulated:
    """Simulated, landed, loaded and built, with every test of the dbt project passed."""
    done = simulate(home, LIVES)
    land(home)
    built = dbt.build(home, unit_tests=False)
    assert built.success, built.failed
    return done


def differences(settings: Settings, done: Simulated) -> dict[str, str]:
    """The marts that say otherwise than the truth, and how; empty where they agree."""
    found = {}
    with duckdb.connect(str(settings.lake.build_file), read_only=True) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        for name, (keys, query) in SAID.items():
            said = warehouse.sql(query).pl()
            truth = pl.read_parquet(done.truth / f"{name}.parquet")
            if wrong := difference(truth, said, said.columns[:keys]):
                found[name] = wrong
        ids = warehouse.execute("SELECT count(DISTINCT event_id), count(*) FROM intermediate.int_events").fetchone()
    if ids != (done.totals["distinct_events"],) * 2:
        found["events"] = f"(distinct, all): {ids} instead of {done.totals['distinct_events']}"
    return found


def difference(truth: pl.DataFrame, said: pl.DataFrame, keys: list[str]) -> str:
    """What differs between two tables with these keys: numbers that are missing are zeros, floats differ at 1e-9."""
    assert set(truth.columns) == set(said.columns), sorted(set(truth.columns) ^ set(said.columns))
    values = [name for name in truth.columns if name not in keys]
    said = said.select(
        pl.col(n).cast(truth.schema[n]) if n in keys else pl.col(n).cast(pl.Float64) for n in truth.columns
    )
    truth = truth.with_columns(pl.col(values).cast(pl.Float64))
    both = truth.join(said, on=keys, how="full", suffix="_said", coalesce=True).with_columns(
        pl.selectors.float().fill_null(0)
    )
    off = [
        ((pl.col(n) - pl.col(f"{n}_said")).abs() > 1e-9 * pl.max_horizontal(pl.col(n).abs(), pl.lit(1))).alias(n)
        for n in values
    ]
    wrong = both.select(off).sum().row(0, named=True)
    return ", ".join(f"{name}: {count} of {both.height}" for name, count in wrong.items() if count)


def test_the_marts_are_the_truth_after_duplicates_late_and_broken_events(home: Settings, told: Simulated) -> None:
    fates = told.totals["fates"]
    assert min(fates["duplicate"], fates["altered"], fates["too_late"], fates["lost"], told.totals["late"]) > 20
    assert told.totals["bots"] > 500
    assert differences(home, told) == {}
    with duckdb.connect(str(home.lake.build_file), read_only=True) as warehouse:
        plays, hours = warehouse.execute("SELECT sum(plays), sum(hours_viewed) FROM marts.mart_title_day").fetchall()[0]
    assert plays == told.totals["plays"]
    assert hours == pytest.approx(told.totals["hours"], rel=1e-12)


def test_the_truth_has_something_to_find_in_every_mart(told: Simulated) -> None:
    """A column that is zero everywhere would agree with anything."""
    for name in SAID:
        truth = pl.read_parquet(told.truth / f"{name}.parquet")
        zero = [c for c in truth.columns if truth[c].dtype.is_numeric() and not truth[c].fill_null(0).cast(bool).any()]
        assert zero in ([], ["startup_unknown"]), (name, zero)


def test_dead_letters_are_those_that_were_broken_on_purpose(home: Settings, told: Simulated) -> None:
    with connect(home) as connection:
        counts = dict(connection.execute("SELECT code, count(*) FROM dead_letter GROUP BY code").fetchall())
    assert counts == told.totals["dead_letters"]


# A clause of a model, and another one that makes it wrong: in models that many marts stand on, and in each mart.
FOUNDATIONS = [
    ("intermediate/int_event_repeated", "order by received_at, log_id", "order by received_at desc, log_id"),
    ("staging/stg_events", "    event_date,", "    cast(received_at as date) as event_date,"),
    *(
        pytest.param(*mutation, marks=pytest.mark.slow)
        for mutation in [
            ("intermediate/int_events", "where repeated.event_id is null", "where true"),
            (
                "intermediate/int_playback_session",
                "cast(started_at as date)",
                "cast(ended_at + interval 9 hour as date)",
            ),
            ("marts/fct_playback_session", "900 *", "990 *"),
        ]
    ),
]
MARTS = {
    "title_day": ("marts/mart_title_day", "and not is_bot", ""),
    "session_day": ("marts/viewing/fct_session", "interval '30' minute", "interval '40' minute"),
    "title_minute": ("marts/viewing/fct_playback_minute", "'heartbeat', 'stop'", "'heartbeat'"),
    "title_engagement": ("marts/viewing/mart_title_engagement", "700 *", "690 *"),
    "title_retention": ("marts/viewing/mart_title_retention", "is_valid and not is_bot", "not is_bot"),
    "qoe_hour": ("marts/viewing/mart_qoe_hour", "not is_started and is_failed", "is_failed"),
    "active_day": ("marts/viewing/mart_active_day", "'wau': 7", "'wau': 8"),
    "experiment_moments": ("marts/mart_experiment_moments", "sum(y - y_was) as y", "max(y - y_was) as y"),
    "subscription_day": ("marts/money/fct_subscription_day", "- interval '1' day as date", "as date"),
    "mrr_month": ("marts/money/mart_mrr_month", "kind = 'churn'", "kind = 'contraction'"),
    "churn_month": ("marts/money/mart_churn_month", "<= 12", "<= 1"),
    "cohort_retention": ("marts/money/mart_cohort_retention", "where playbacks.is_valid and", "where"),
    "funnel_day": ("marts/money/mart_funnel_day", "and coalesce(senders.is_person, 1) = 1", ""),
    "content_cost": ("marts/money/mart_content_cost", "where not is_bot and", "where"),
    "intake_day": ("marts/intake/mart_intake_day", "> 60000000", ">= 60000000"),
}


def broken(tmp_path: Path, mutations: Iterable[tuple[str, str, str]]) -> Path:
    """A copy of the dbt project with these mutations."""
    project = tmp_path / "transforms"
    shutil.copytree(dbt.PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    for model, clause, instead in mutations:
        path = project / "models" / f"{model}.sql"
        text = path.read_text()
        assert clause in text, (model, clause)
        path.write_text(text.replace(clause, instead))
    return project


def run_on_a_copy(home: Settings, tmp_path: Path, project: Path, select: Sequence[str]) -> Settings:
    """The project's tests would stop a build before the marts are wrong: the models alone, on a copy of the file."""
    mutant = Settings.model_validate(
        {"MATINEE_HOME": tmp_path / "home", "database_url": home.database(), "redis_url": home.redis()}
    )
    mutant.lake.build_file.parent.mkdir(parents=True)
    shutil.copyfile(home.lake.build_file, mutant.lake.build_file)
    assert dbt.run(mutant, ["run", "--full-refresh", "--select", *select], project=project).success
    return mutant


@pytest.mark.parametrize(("model", "clause", "instead"), FOUNDATIONS)
def test_a_broken_foundation_is_found_out(
    home: Settings, told: Simulated, tmp_path: Path, model: str, clause: str, instead: str
) -> None:
    project = broken(tmp_path, [(model, clause, instead)])
    mutant = run_on_a_copy(home, tmp_path, project, ["+mart_title_day"])
    assert differences(mutant, told) != {}


def test_a_broken_mart_is_found_out(home: Settings, told: Simulated, tmp_path: Path) -> None:
    """Each mart stands for itself, so all are broken at once, and each must show it."""
    project = broken(tmp_path, MARTS.values())
    marts = [Path(model).name for model, *_ in MARTS.values()]
    found = differences(run_on_a_copy(home, tmp_path, project, marts), told)
    assert set(found) == set(MARTS)


def test_simulating_twice_changes_nothing_in_the_marts(home: Settings, told: Simulated) -> None:
    again = simulate(home, LIVES)
    assert again.run == told.run
    land(home)
    assert dbt.run(home, ["run", "--select", "+mart_title_day"]).success
    assert differences(home, told) == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_marts_are_the_truth_of_a_larger_run_that_landed_at_once(settings: Settings, tmp_path: Path) -> None:
    catalogue(settings, tmp_path / "feed.jsonl")
    done = simulate(settings, replace(LIVES, viewers=700), direct=True)
    land(settings)
    built = dbt.build(settings, unit_tests=False)
    assert built.success, built.failed
    assert done.direct
    assert differences(settings, done) == {}


def test_reported_intervals_hold_the_true_effect_and_the_null_experiment_shows_none(
    settings: Settings, tmp_path: Path
) -> None:
    """Twenty histories in one warehouse, each with experiments of its own name, read out as any experiment is."""
    write_feed(tmp_path / "feed.jsonl")
    with connect(settings) as connection:
        ingest_feed(connection, tmp_path / "feed.jsonl")
    truth: dict[tuple[str, str], float] = {}
    for seed in SEEDS:
        done = simulate(
            settings,
            # Short rows: impressions are most of the events, and say nothing here.
            Plan(
                end=END,
                viewers=220,
                days=10,
                seed=seed,
                experiment_suffix=f"@{seed}",
                behaviour=Behaviour(row_length=2),
            ),
            direct=True,  # which lands the rows that the log would
        )
        truth |= {(effect["experiment"], effect["metric"]): effect["effect"] for effect in done.effects}
    land(settings)
    assert dbt.run(settings, ["run", "--select", "+mart_experiment_moments"]).success
    results = [result for result in readout(settings) if result.method != "cuped"]
    assert len(results) == len(truth) == 2 * 3 * len(SEEDS)

    for metric in ("hours_per_account", "plays_per_account", "hours_per_play"):
        changed = [r for r in results if r.metric == metric and r.experiment.startswith("home_order@")]
        null = [r for r in results if r.metric == metric and r.experiment.startswith("aa_check@")]
        assert all(truth[r.experiment, metric] > 0 for r in changed)
        print(metric, "covered", covered(changed, truth), covered(null, truth), "pooled", pooled(changed), pooled(null))
        assert covered(changed, truth) >= 18, metric
        assert covered(null, truth) >= 18, metric
        # Over all twenty: the change is plain to see, and where nothing was changed there is nothing.
        assert pooled(changed) > 3, metric
        assert abs(pooled(null)) < 3, metric
    assert min(result.srm_p_value for result in results) > 0.001


def covered(results: list[Result], truth: dict[tuple[str, str], float]) -> int:
    return sum(r.low <= truth[r.experiment, r.metric] <= r.high for r in results)


def pooled(results: list[Result]) -> float:
    """The sum of the differences in units of its standard error, taken from the intervals."""
    errors = [(r.high - r.low) / (2 * 1.96) for r in results]
    return sum(r.difference for r in results) / sum(error**2 for error in errors) ** 0.5
