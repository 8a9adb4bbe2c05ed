"""The living worker: landed files become a snapshot, a failed check leaves the one before."""

import shutil
from datetime import UTC, date, datetime

import pytest

from warehouse import build_file, living, snapshot
from warehouse.publish import AuditError


@pytest.mark.slow  # two builds of the whole project
def test_rounds_publish_what_landed_and_keep_the_snapshot_where_a_check_fails(settings, landing, event, add_catalogue):
    add_catalogue(settings)
    watched = {"playback_id": "p", "title_id": "t2", "played_ms": 60_000, "position_ms": 60_000}
    landing.land([event(**watched), event(**{**watched, "played_ms": -1})], date(2026, 3, 1))
    landing.land([event(**watched)])
    done = living.one_round(settings, unit_tests=False)
    assert (done.files, done.rows, done.held) == (1, 1, ("events/2026-03-01",))
    assert done.made
    assert done.made.tables["fct_playback_session"].rows == 1
    assert living.one_round(settings, unit_tests=False).made is None  # nothing waits: nothing is built
    landing.land([event(at=datetime(2026, 3, 2, 13, tzinfo=UTC), **{**watched, "playback_id": "q"})])
    with build_file.writing(settings) as warehouse:
        warehouse.execute("INSERT INTO raw.events BY NAME (SELECT * REPLACE ('dance' AS type) FROM raw.events)")
    with pytest.raises(AuditError, match="event_type"):
        living.one_round(settings, unit_tests=False)
    assert snapshot.current(settings.lake).snapshot_id == done.made.snapshot_id


@pytest.mark.parametrize(
    ("failures", "new", "since_s", "due"),
    [
        (0, False, 1e9, False),
        (0, True, 0.0, True),
        (1, False, 9.9, False),
        (1, False, 10.0, True),
        (3, True, 39.0, False),
        (50, False, 599.0, False),
        (50, False, 600.0, True),
        (50, True, 59.0, False),
        (50, True, 60.0, True),
    ],
)
def test_the_next_try_after_a_failure_waits_longer_each_time(failures, new, since_s, due):
    """No loop that spins on a model that is broken, none that sleeps for days, and new files are not left lying."""
    assert living.is_due(5.0, failures, since_s, new=new) is due


def test_what_was_built_and_not_published_is_published_by_the_next_round(settings, built):
    """A full disk, a kill: nothing waits any more, but the marts are newer than the snapshot."""
    settings.lake.build_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built.lake.build_file, settings.lake.build_file)
    settings.lake.published.parent.mkdir(parents=True, exist_ok=True)
    settings.lake.published.touch()  # no folder can be made here
    with pytest.raises((FileExistsError, NotADirectoryError)):
        living.one_round(settings, unit_tests=False)
    settings.lake.published.unlink()
    done = living.one_round(settings, unit_tests=False)
    assert (done.files, done.built) == (0, False)
    assert done.made
    assert done.made.changed
    assert living.one_round(settings, unit_tests=False).made is None
