"""The marts against the simulator, which counts on its own: after duplicates, late and broken events, exactly."""

import shutil
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import psycopg
import pytest

from ingest.catalog import ingest_feed
from ingest.collector import drain
from matinee.db.connect import connect
from matinee.settings import Settings
from models.experiments.readout import Result, readout
from simulation.catalogue import write_feed
from simulation.parameters import Behaviour, Plan
from simulation.viewers import Simulated, simulate
from warehouse import dbt
from warehouse.export import export_tables
from warehouse.load import load_days

END = date(2026, 11, 1)
SEEDS = range(1, 21)


@pytest.fixture(scope="module")
def home(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with the demo catalogue, for all tests of this file."""
    import redis

    root, name = tmp_path_factory.mktemp("truth"), f"test_{uuid.uuid4().hex}"
    admin = psycopg.conninfo.make_conninfo(base.database(), dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template_matinee STRATEGY wal_log'.encode())
    with redis.Redis.from_url(base.redis()) as client:
        client.flushall()
    settings = Settings.model_validate(
        {
            "MATINEE_HOME": root / "home",
            "database_url": base.database().replace("/matinee?", f"/{name}?"),
            "redis_url": base.redis(),
        }
    )
    settings.home.create()
    write_feed(root / "feed.jsonl")
    with connect(settings) as connection:
        ingest_feed(connection, root / "feed.jsonl")
    yield settings
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def land(settings: Settings) -> None:
    drain(settings)
    assert load_days(settings).held == ()
    export_tables(settings)


@pytest.fixture(scope="module")
def told(home: Settings) -> Simulated:
    """Simulated, landed, loaded and built, with every test of the dbt project passed."""
    done = simulate(home, Plan(end=END, viewers=250, days=16, seed=7))
    land(home)
    built = dbt.build(home)
    assert built.success, built.failed
    return done


def differences(settings: Settings, done: Simulated) -> list[str]:
    """What the warehouse says otherwise than the truth; empty where they agree."""
    found = []
    title_day, event_day = (pl.read_parquet(done.truth / f"{name}.parquet") for name in ("title_day", "event_day"))
    with duckdb.connect(str(settings.lake.build_file), read_only=True) as warehouse:
        mart = warehouse.sql(
            "SELECT event_date, title_id, plays, viewers, hours_viewed, completions FROM marts.mart_title_day"
        ).pl()
        events = warehouse.sql(
            "SELECT event_date, event_type, count(*) AS events, coalesce(sum(rate_value), 0) AS rating "
            "FROM intermediate.int_events GROUP BY ALL ORDER BY ALL"
        ).pl()
        ids = warehouse.execute("SELECT count(DISTINCT event_id), count(*) FROM intermediate.int_events").fetchone()
    both = title_day.join(mart, on=["event_date", "title_id"], how="full", suffix="_mart", coalesce=True)
    for name in ("plays", "viewers", "completions", "hours_viewed"):
        off = (pl.col(name).fill_null(0) - pl.col(f"{name}_mart").fill_null(0)).abs() > 1e-9
        if wrong := both.filter(off).height:
            found.append(f"{name}: {wrong} of {both.height} days of titles differ")
    if not events.equals(event_day):
        found.append(f"events by day and type: {events} instead of {event_day}")
    if ids != (done.totals["distinct_events"],) * 2:
        found.append(f"events (distinct, all): {ids} instead of {done.totals['distinct_events']}")
    return found


def test_the_marts_are_the_truth_after_duplicates_late_and_broken_events(home: Settings, told: Simulated) -> None:
    fates = told.totals["fates"]
    assert min(fates["duplicate"], fates["altered"], fates["too_late"], fates["lost"], told.totals["late"]) > 20
    assert differences(home, told) == []
    with duckdb.connect(str(home.lake.build_file), read_only=True) as warehouse:
        plays, hours = warehouse.execute("SELECT sum(plays), sum(hours_viewed) FROM marts.mart_title_day").fetchall()[0]
    assert plays == told.totals["plays"]
    assert hours == pytest.approx(told.totals["hours"], rel=1e-12)


def test_dead_letters_are_those_that_were_broken_on_purpose(home: Settings, told: Simulated) -> None:
    with connect(home) as connection:
        counts = dict(connection.execute("SELECT code, count(*) FROM dead_letter GROUP BY code").fetchall())
    assert counts == told.totals["dead_letters"]


def test_simulating_twice_changes_nothing_in_the_marts(home: Settings, told: Simulated) -> None:
    again = simulate(home, Plan(end=END, viewers=250, days=16, seed=7))
    assert again.run == told.run
    land(home)
    assert dbt.build(home, "+mart_title_day").success
    assert differences(home, told) == []


@pytest.mark.parametrize(
    ("model", "clause", "instead"),
    [
        ("intermediate/int_events", "where repetitions.event_id is null", "where true"),
        ("intermediate/int_events", "order by received_at, log_id", "order by received_at desc, log_id"),
        ("intermediate/int_playback_session", "cast(started_at as date)", "cast(started_at + interval 1 day as date)"),
        ("intermediate/int_playback_session", "cast(started_at as date)", "cast(ended_at + interval 9 hour as date)"),
        ("staging/stg_events", "cast(event_ts as date)", "cast(received_at as date)"),
        ("marts/fct_playback_session", "900 *", "990 *"),
    ],
)
def test_a_broken_model_is_found_out(
    home: Settings, told: Simulated, tmp_path: Path, model: str, clause: str, instead: str
) -> None:
    project = tmp_path / "transforms"
    shutil.copytree(dbt.PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    path = project / "models" / f"{model}.sql"
    text = path.read_text()
    assert clause in text
    path.write_text(text.replace(clause, instead))
    # On a copy of the build file: the tests of the project would stop the build before the marts are wrong.
    mutant = Settings.model_validate(
        {"MATINEE_HOME": tmp_path / "home", "database_url": home.database(), "redis_url": home.redis()}
    )
    mutant.lake.build_file.parent.mkdir(parents=True)
    shutil.copyfile(home.lake.build_file, mutant.lake.build_file)
    arguments = ["run", "--full-refresh", "--select", "+mart_title_day"]
    assert dbt.run(mutant, arguments, project=project).success
    assert differences(mutant, told) != []


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
