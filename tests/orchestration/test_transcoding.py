"""The two assets of the encoder and the sensor between them."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from psycopg.types.json import Jsonb

from matinee.db.connect import connect
from matinee.settings import Settings
from orchestration.defs.transcoding.assets import packages, treatments
from orchestration.defs.transcoding.sensors import upgrades
from orchestration.observe import Reporter
from orchestration.resources import MatineeResource
from transcoding.treatments import set_by_hand


@pytest.fixture
def matinee(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> MatineeResource:
    """The resource of a home of this test; its settings come from the environment, as in a run."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return MatineeResource()


def make(asset: Any, matinee: MatineeResource, config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {asset.op.name: {"config": config}}} if config else {}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [asset], resources={"matinee": matinee}, run_config=run_config, instance=instance, raise_on_error=False
        )


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    (event,) = result.get_asset_materialization_events()
    return {key: value.value for key, value in event.materialization.metadata.items()}


def add_title(settings: Settings, title_id: str, treatment: str | None = "fast") -> None:
    """A film of ten minutes in the catalogue, with a package where a treatment is given."""
    rung = {"name": "720p", "width": 1280, "height": 720}
    with connect(settings) as connection:
        connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0)", (title_id,))
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, bytes, state) VALUES (%s, %s, 'f', 1, 'accepted')",
            (f"m-{title_id}", title_id),
        )
        if treatment:
            connection.execute(
                "INSERT INTO package (package_id, title_id, master_id, state, treatment, duration_ms, rungs) "
                "VALUES (%s, %s, %s, 'published', %s, 600000, %s)",
                (f"p-{title_id}", title_id, f"m-{title_id}", treatment, Jsonb([rung])),
            )


def tick(matinee: MatineeResource, cursor: str | None) -> tuple[list[str | None], str | None]:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"matinee": matinee})
        data = upgrades.evaluate_tick(context)
        return [request.run_key for request in data.run_requests or []], data.cursor


def test_decisions_start_the_encoder_once(settings: Settings, matinee: MatineeResource) -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    assert tick(matinee, None) == ([], None)
    add_title(settings, "t")
    with connect(settings) as connection:
        set_by_hand(connection, ["t"], "fast", at)
    assert tick(matinee, None) == ([], None), "it is made so already"
    with connect(settings) as connection:
        set_by_hand(connection, ["t"], "standard", at)
    first, cursor = tick(matinee, None)
    assert first == [at.isoformat()]
    assert tick(matinee, cursor)[0] == [], "the same decisions do not start it twice"
    with connect(settings) as connection:
        set_by_hand(connection, ["t"], "premium", at + timedelta(hours=1))
    assert len(tick(matinee, cursor)[0]) == 1


def test_what_is_watched_is_decided_on(settings: Settings, matinee: MatineeResource) -> None:
    add_title(settings, "busy")
    add_title(settings, "quiet")
    folder = settings.lake.published / "s"
    folder.mkdir(parents=True)
    with duckdb.connect(str(folder / "marts.duckdb")) as marts:
        today = datetime.now(UTC).date()
        marts.execute(
            "CREATE TABLE mart_title_day AS SELECT $day AS event_date, 'busy' AS title_id, 50.0 AS hours_viewed",
            {"day": today},
        )
        marts.execute(
            "CREATE TABLE fct_playback_session AS SELECT $day AS event_date, 'busy' AS title_id, "
            "CAST(3e6 * 3600 * 50 AS BIGINT) AS bits, 180000000 AS played_ms, 0 AS stall_ms, '720p' AS last_rendition",
            {"day": today},
        )
        marts.execute(
            "CREATE TABLE mart_encoding_saving (week_start DATE, treatment VARCHAR, hours DOUBLE, delivered_gb DOUBLE, "
            "fixed_gb DOUBLE)"
        )
    settings.lake.current.symlink_to("s")
    said = told(make(treatments, matinee))
    assert (said["titles"], said["decided"], said["waiting"]) == (2, 1, 1)
    assert said["GB to save in four weeks"] == pytest.approx(67.5 * (1 - 0.63 * 0.8), rel=0.01)
    assert "| busy | fast | premium |" in said["upgrades"]
    assert told(make(treatments, matinee, {"budget_cpu_s": 1.0}))["decided"] == 0
    assert tick(matinee, None)[0], "and the sensor sees it"


def test_a_treatment_for_everything_is_refused(matinee: MatineeResource) -> None:
    result = make(packages, matinee, {"treatment": "premium"})
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "name the titles" in str(failure.step_failure_data.error)


def test_a_backfill_makes_what_it_names_and_says_what_failed(
    settings: Settings, matinee: MatineeResource, clip: Path
) -> None:
    for title_id, content in (
        ("named", clip.read_bytes()),
        ("other", clip.read_bytes() + b"\0"),
        ("broken", b"no film"),
    ):
        master_id = hashlib.sha256(content).hexdigest()
        stored = Path("~masters") / f"{master_id}.mp4"
        (settings.media / stored).parent.mkdir(parents=True, exist_ok=True)
        (settings.media / stored).write_bytes(content)
        with connect(settings) as connection:
            connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0)", (title_id,))
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, 'f.mp4', %s, %s, 'accepted')",
                (master_id, title_id, str(stored), len(content)),
            )
    said = told(make(packages, matinee, {"titles": ["named", "broken"], "treatment": "fast"}))
    assert (said["published"], said["failed"], said["made in this run"]) == (1, 1, 1)
    assert said["jobs"] == {"failed": 1, "published": 1}
    assert said["tasks"] == {}
    assert "| broken | fast |" in said["why"]
    with connect(settings) as connection:
        rows = connection.execute("SELECT title_id, treatment FROM package WHERE state = 'published'").fetchall()
        assert rows == [("named", "fast")]
        asked = connection.execute("SELECT title_id, reason FROM title_treatment ORDER BY 1").fetchall()
        assert asked == [("broken", "asked for"), ("named", "asked for")]
    again = told(make(packages, matinee, {"titles": ["named", "broken"]}))
    assert again["made in this run"] == 0, "what was asked for is remembered, and nothing is made twice"


def test_observations_come_now_and_then_and_say_what_is_left() -> None:
    from transcoding.build import TitleProgress

    said: list[dict[str, Any]] = []

    class Context:
        asset_key = dg.AssetKey(["transcoding", "packages"])

        def log_event(self, event: dg.AssetObservation) -> None:
            said.append({key: value.value for key, value in event.metadata.items()})

    clock = [0.0]
    reporter = Reporter(Context(), every_s=10, now=lambda: clock[0])  # pyright: ignore[reportArgumentType] - what it uses of one
    reporter.heard(TitleProgress("a", 0.1))
    assert said == []
    clock[0] = 11
    reporter.heard(TitleProgress("a", 0.2))
    assert said == [{"titles done": 0, "titles under way": 1, "progress of these": {"a": 0.2},
                     "seconds left": "not known yet"}]  # fmt: skip
    clock[0] = 15
    reporter.heard(TitleProgress("a", 1.0, 0.0))
    reporter.heard(TitleProgress("b", 0.5, 30.0))
    assert len(said) == 1
    clock[0] = 22
    reporter.heard(TitleProgress("c", 0.5, 12.4))
    assert said[1] == {"titles done": 1, "titles under way": 2, "progress of these": {"b": 0.5, "c": 0.5},
                       "seconds left": 42}  # fmt: skip
