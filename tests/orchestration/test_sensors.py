from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from orchestration.defs.ingest import sensors
from orchestration.defs.schedules import nightly
from orchestration.resources import MatineeResource


def tick(name: str, home: Path, cursor: str | None) -> tuple[list[str], str | None]:
    """The run keys that a tick asks for, and the cursor that it leaves."""
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"matinee": MatineeResource(home=str(home))}
        )
        data = getattr(sensors, name).evaluate_tick(context)
        return [request.run_key for request in data.run_requests], data.cursor


@pytest.mark.parametrize(("name", "folder"), [("feeds", "feeds"), ("films", "masters")])
def test_a_sensor_fires_once_for_what_is_new_in_its_folder(name: str, folder: str, tmp_path: Path) -> None:
    assert tick(name, tmp_path, None)[0] == [], "there is no inbox"

    inbox = tmp_path / "inbox" / folder / "season"
    inbox.mkdir(parents=True)
    (inbox / ".partial").write_text("hidden files are somebody's unfinished copies")
    assert tick(name, tmp_path, None)[0] == []

    (inbox / "new").write_text("one")
    first, cursor = tick(name, tmp_path, None)
    assert len(first) == 1
    assert tick(name, tmp_path, cursor)[0] == [], "the same files are not new twice"

    (inbox / "new").write_text("changed")
    second, _ = tick(name, tmp_path, cursor)
    assert len(second) == 1
    assert second != first


def test_the_nightly_run_covers_yesterday_and_today() -> None:
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 3, 1, 3, 15, tzinfo=UTC))
    request = nightly(context)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "2026-02-28"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-03-01"
