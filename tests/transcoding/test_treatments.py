"""From marts and the catalogue to decisions that stay, on real PostgreSQL and a real snapshot."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from psycopg.types.json import Jsonb

from matinee.clock import ManualClock
from matinee.db.connect import connect
from matinee.lake import NoSnapshotError
from matinee.settings import Settings
from transcoding.audience import latest_audience
from transcoding.plan import DEFAULT_AUDIENCE
from transcoding.treatments import decide, set_by_hand, waiting

NOW = datetime(2026, 3, 30, 3, tzinfo=UTC)
MARTS = """
CREATE TABLE mart_title_day (event_date DATE, title_id VARCHAR, hours_viewed DOUBLE);
CREATE TABLE fct_playback_session (
    event_date DATE, title_id VARCHAR, bits BIGINT, played_ms BIGINT, stall_ms BIGINT, last_rendition VARCHAR
);
CREATE TABLE mart_encoding_saving (
    week_start DATE, title_id VARCHAR, treatment VARCHAR, hours DOUBLE, delivered_gb DOUBLE, fixed_gb DOUBLE
);
"""


@pytest.fixture
def publish(settings: Settings) -> Callable[..., None]:
    """Publish marts that say how many hours each title was watched, at which rate, on which rung."""

    def write(*viewing: tuple[str, float, float, str], day: date = date(2026, 3, 20)) -> None:
        folder = settings.lake.published / f"s{len(list(settings.lake.published.glob('*')))}"
        folder.mkdir(parents=True)
        with duckdb.connect(str(folder / "marts.duckdb")) as marts:
            marts.execute(MARTS)
            for title_id, hours, kbps, rendition in viewing:
                ms = round(hours * 3_600_000)
                marts.execute("INSERT INTO mart_title_day VALUES (?, ?, ?)", [day, title_id, hours])
                marts.execute(
                    "INSERT INTO fct_playback_session VALUES (?, ?, ?, ?, 0, ?)",
                    [day, title_id, round(kbps * ms), ms, rendition],
                )
        settings.lake.current.unlink(missing_ok=True)
        settings.lake.current.symlink_to(folder.name)

    return write


@pytest.fixture
def add_package(settings: Settings) -> Callable[..., None]:
    """A title with a master and a published package of this length and size."""

    def add(title_id: str, treatment: str | None = "fast", *, height: int = 1080, seconds: int = 5400) -> None:
        rung = {"name": f"{height}p", "width": height * 16 // 9, "height": height}
        with connect(settings) as connection:
            connection.execute(
                "INSERT INTO title (title_id, kind, maturity, created_at) VALUES (%s, 'film', 0, %s)",
                (title_id, NOW - timedelta(days=100)),
            )
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, bytes, state) VALUES (%s, %s, 'f', 1, 'accepted')",
                (f"m-{title_id}", title_id),
            )
            connection.execute(
                "INSERT INTO package (package_id, title_id, master_id, state, treatment, duration_ms, rungs) "
                "VALUES (%s, %s, %s, 'published', %s, %s, %s)",
                (f"p-{title_id}", title_id, f"m-{title_id}", treatment, 1000 * seconds, Jsonb([rung])),
            )

    return add


def stored(settings: Settings) -> dict[str, tuple[Any, ...]]:
    with connect(settings) as connection:
        rows = connection.execute(
            "SELECT title_id, treatment, reason, decided_at, saved_gb, cpu_s FROM title_treatment"
        )
        return {row[0]: row[1:] for row in rows.fetchall()}


def test_what_is_watched_is_decided_on_and_stays_decided(
    settings: Settings, publish: Callable[..., None], add_package: Callable[..., None]
) -> None:
    for title in ("busy", "quiet", "unseen"):
        add_package(title)
    publish(("busy", 900.0, 4000.0, "1080p"), ("quiet", 0.5, 4000.0, "1080p"), ("gone", 900.0, 4000.0, "1080p"))
    clock = ManualClock(NOW)
    made = decide(settings, clock=clock)
    assert made.titles == 3
    (decision,) = made.changes.to_dicts()
    assert (decision["title_id"], decision["treatment"]) == ("busy", "premium")
    treatment, reason, at, saved_gb, cpu_s = stored(settings)["busy"]
    assert (treatment, at, saved_gb, cpu_s) == ("premium", NOW, decision["saved_gb"], decision["cpu_s"])
    assert saved_gb == pytest.approx(900 * 4000 * 3600 / 8e6 * (1 - 0.63 * 0.8))
    assert "900.0 h" in reason
    with connect(settings) as connection:
        (left,) = waiting(connection)
        assert (left.title_id, left.treatment, left.now, left.saved_gb) == ("busy", "premium", "fast", saved_gb)

    clock.advance(timedelta(days=1))
    assert decide(settings, clock=clock).changes.is_empty(), "it waits, and is not decided on anew"
    with connect(settings) as connection:
        connection.execute("UPDATE package SET treatment = 'premium' WHERE title_id = 'busy'")
    clock.advance(timedelta(days=30))
    publish(("busy", 0.1, 4000.0, "1080p"), day=date(2026, 4, 29))
    assert decide(settings, clock=clock).changes.is_empty(), "it is made: less demand makes it no worse"
    with connect(settings) as connection:
        assert waiting(connection) == []


def test_a_decision_that_failed_for_good_waits_no_more_until_it_is_tried_again(
    settings: Settings, publish: Callable[..., None], add_package: Callable[..., None]
) -> None:
    add_package("busy")
    publish(("busy", 900.0, 4000.0, "1080p"))
    decide(settings, clock=ManualClock(NOW))
    with connect(settings, autocommit=True) as connection:
        (decision,) = waiting(connection)
        for number, (state, retry, waits) in enumerate(
            [("failed", True, 1), ("failed", False, 0), ("active", False, 1), ("failed", False, 0)]
        ):
            connection.execute(
                "INSERT INTO transcode_job (job_id, title_id, master_id, treatment, protection, tools, state, retry, "
                "created_at) VALUES (%s, 'busy', 'm-busy', %s, 'clear', 'plan', %s, %s, %s)",
                (str(number), decision.treatment, state, retry, NOW + timedelta(hours=number)),
            )
            assert len(waiting(connection)) == waits, (state, retry)
            connection.execute("UPDATE transcode_job SET state = 'dropped' WHERE state = 'active'")
    assert decide(settings, clock=ManualClock(NOW + timedelta(days=20))).changes.is_empty()


def test_only_the_last_four_weeks_count_and_the_budget_is_the_callers(
    settings: Settings, publish: Callable[..., None], add_package: Callable[..., None]
) -> None:
    add_package("old")
    publish(("old", 900.0, 4000.0, "1080p"), day=NOW.date() - timedelta(days=29))
    assert decide(settings, clock=ManualClock(NOW)).changes.is_empty()
    publish(("old", 900.0, 4000.0, "1080p"), day=NOW.date() - timedelta(days=5))
    assert decide(settings, budget_cpu_s=60, clock=ManualClock(NOW)).changes.is_empty()
    assert stored(settings) == {}
    assert decide(settings, clock=ManualClock(NOW)).changes.height == 1


def test_bandwidths_reach_the_plan(
    settings: Settings, publish: Callable[..., None], add_package: Callable[..., None]
) -> None:
    with connect(settings) as connection:
        assert latest_audience(connection) == DEFAULT_AUDIENCE
    add_package("t", height=720)
    publish(*[("t", 1.0, kbps, "360p") for kbps in range(500, 1500, 25)], *[("t", 1.0, 3000.0, "720p")] * 10,
            *[("t", 1.0, 90_000.0, "no number")] * 10)  # fmt: skip
    seen = decide(settings, clock=ManualClock(NOW)).audience
    assert seen is not None
    assert seen.hours == pytest.approx(50)
    assert seen.censored == pytest.approx(0.2), "the largest size of this title hides what is above"
    with connect(settings) as connection:
        assert latest_audience(connection) == seen.kbps
    assert len(seen.kbps) == len(DEFAULT_AUDIENCE)


def test_a_finished_job_corrects_the_cost_model(
    settings: Settings, publish: Callable[..., None], add_package: Callable[..., None]
) -> None:
    for number in range(4):
        add_package(f"t{number}")
    plan = {"frame_rate": "24000/1001", "frames": 129_470, "rungs": [{"width": 1920, "height": 1080}]}
    publish(("t0", 900.0, 4000.0, "1080p"))
    first = decide(settings, budget_cpu_s=1e6, clock=ManualClock(NOW)).changes["cpu_s"][0]
    with connect(settings) as connection:
        for number in range(3):
            connection.execute(
                "INSERT INTO transcode_job "
                "(job_id, title_id, master_id, treatment, protection, tools, state, plan, updated_at) VALUES "
                "(%(n)s, 't' || %(n)s, 'm-t' || %(n)s, 'premium', 'clear', '', 'published', %(plan)s, %(at)s)",
                {"n": str(number), "plan": Jsonb(plan), "at": NOW},
            )
            connection.execute(
                "INSERT INTO transcode_task (task_id, job_id, kind, state, weight, cpu_s) "
                "VALUES (%s, %s, 'chunk', 'done', 1, %s)",
                (str(number), str(number), 80_000.0),
            )
        connection.execute("DELETE FROM title_treatment")
    second = decide(settings, budget_cpu_s=1e6, clock=ManualClock(NOW)).changes["cpu_s"][0]
    assert first == pytest.approx(49_500, rel=0.1)
    assert second == pytest.approx(80_000, rel=0.1)


def test_what_a_person_asked_for_is_remembered(
    settings: Settings, publish: Callable[..., None], add_package: Callable[..., None]
) -> None:
    add_package("t")
    with connect(settings) as connection:
        set_by_hand(connection, ["t"], "standard", NOW)
    assert stored(settings)["t"] == ("standard", "asked for", NOW, 0.0, 0.0)
    publish(("t", 900.0, 4000.0, "1080p"))
    assert decide(settings, clock=ManualClock(NOW + timedelta(days=1))).changes.is_empty()


def test_before_anything_is_published_nothing_is_decided(settings: Settings) -> None:
    with pytest.raises(NoSnapshotError, match="matinee build"):
        decide(settings)


def test_the_statements_for_marts_name_columns_that_the_marts_have() -> None:
    """Their types and names stand in the contracts of the models."""
    import yaml

    folder = Path(__file__).parents[2] / "transforms" / "models" / "marts"
    for line in MARTS.replace("\n    ", " ").split(";"):
        if "(" not in line:
            continue
        name, columns = line.split("CREATE TABLE ")[1].split(" (", 1)
        told = yaml.safe_load((folder / f"{name}.yml").read_text())["models"][0]["columns"]
        known = {column["name"]: column["data_type"] for column in told}
        for column in columns.strip().rstrip(")").split(","):
            word, kind = column.split()
            assert known[word].upper() == kind, (name, word)


def test_an_empty_catalogue_is_decided_on_too(settings: Settings, publish: Callable[..., None]) -> None:
    publish()
    made = decide(settings, clock=ManualClock(NOW))
    assert made.changes.is_empty()
    assert made.changes.schema == pl.Schema(
        {
            "title_id": pl.String,
            "treatment": pl.String,
            "reason": pl.String,
            "saved_gb": pl.Float64,
            "cpu_s": pl.Float64,
        }
    )
    assert made.audience is None
