"""From a number back to its landed files, and from a landed file to everything made of it, on a real small build."""

import json
import shutil
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

from matinee.db.connect import connect
from matinee.settings import Settings
from orchestration.lineage import LineageError, Step, trace
from orchestration.show import tree
from warehouse.dbt import home_folder
from warehouse.publish import publish


@pytest.fixture(scope="module")
def published(built: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The built warehouse, published; its database is that of `built`."""
    own = Settings.model_validate(
        {"MATINEE_HOME": tmp_path_factory.mktemp("lineage"), "database_url": built.database(), "redis_url": "redis://-"}
    )
    own.home.create()
    own.lake.build_file.parent.mkdir(parents=True)
    shutil.copyfile(built.lake.build_file, own.lake.build_file)
    shutil.copytree(home_folder(built), home_folder(own), dirs_exist_ok=True)
    (own.lake.root / "landing").symlink_to(built.lake.root / "landing")
    publish(own)
    return own


def steps(step: Step) -> Iterator[Step]:
    yield step
    for below in step.steps:
        yield from steps(below)


def names(step: Step, kind: str) -> list[str]:
    return [found.name for found in steps(step) if found.kind == kind]


def test_a_mart_leads_to_its_files_and_places_in_the_log(published):
    found = trace(published, "mart_title_day")
    with connect(published) as connection:
        landed = connection.execute("SELECT count(*), sum(rows), min(path), max(path) FROM landed_file").fetchone()
    assert landed is not None
    (files,) = [step for step in steps(found.made_of) if step.kind == "files"]
    assert (files.facts["files"], files.facts["events"], files.facts["first"], files.facts["last"]) == landed
    assert pq.read_table(files.name).num_rows == landed[0]
    assert names(found.made_of, "stream") == ["events"]
    assert "fct_playback_session" in names(found.made_of, "model")
    (export,) = set(names(found.made_of, "export"))
    assert (published.lake.root / export).exists() or export.startswith("landing/tables/title/")
    assert names(found.made_of, "view") == ["export_title"]
    from_plays = names(trace(published, "fct_playback_session").used_by, "model")
    assert {"mart_title_day", "mart_title_week"} <= set(from_plays)
    assert "report" in names(found.used_by, "exposure")
    assert len(names(found.used_by, "snapshot")) == 1


def test_a_landed_file_leads_to_its_days_models_and_snapshots(published):
    with connect(published) as connection:
        (path,) = connection.execute("SELECT min(path) FROM landed_file").fetchone() or ("",)
    found = trace(published, path)
    assert found == trace(published, f"{published.lake.root}/{path}")
    assert names(found.made_of, "stream") == ["events"]
    (days,) = [step for step in steps(found.used_by) if step.kind == "days"]
    assert days.facts["days"].startswith("2026-03-0")
    models = names(found.used_by, "model")
    assert {"stg_events", "mart_title_day", "feat_profile_taste"} <= set(models)
    assert {"stg_titles", "dim_account"}.isdisjoint(models)
    assert names(found.used_by, "snapshot") == names(trace(published, "current").made_of, "snapshot")


def test_a_recommendation_leads_to_what_was_shown_and_to_its_files(published):
    found = trace(published, "r1-1")
    (shown,) = [step for step in steps(found.made_of) if step.kind == "shown list"]
    assert (shown.name, shown.facts["events"]) == ("popular 1", 1)
    assert len(names(found.used_by, "file")) == 1


def test_a_package_leads_to_its_master_and_to_the_marts(published):
    with connect(published) as connection:
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, bytes, state) "
            "VALUES ('ab', 't2', 'f.mp4', 9, 'accepted')"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state) VALUES ('p2', 't2', 'ab', 'published')"
        )
        connection.commit()
    found = trace(published, "p2")
    assert names(found.made_of, "master") == ["f.mp4"]
    assert "mart_encoding_saving" in names(found.used_by, "model")
    assert names(trace(published, "t2").made_of, "package") == ["p2"]


def test_it_is_a_tree_for_people_and_data_for_machines(published, capsys):
    from matinee.console import console

    found = trace(published, "current")
    console.print(tree("made of", found.made_of))
    assert "raw.events" in capsys.readouterr().out
    assert json.loads(json.dumps(found.made_of.data()))["steps"][0]["kind"] == "model"
    with pytest.raises(LineageError, match="'nothing-such'"):
        trace(published, "nothing-such")
