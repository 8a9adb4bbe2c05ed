import fcntl
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest

import matinee
from matinee.clock import ManualClock
from matinee.lake import NoSnapshotError
from warehouse import dbt, snapshot
from warehouse.errors import WarehouseError
from warehouse.publish import AuditError, publish

MARTS = {model.stem for folder in ("marts", "features") for model in (dbt.PROJECT / "models" / folder).rglob("*.sql")}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 5, tzinfo=UTC))


def change(settings):
    """Another content of a mart, as a build would leave it."""
    with duckdb.connect(str(settings.lake.build_file)) as connection:
        connection.execute(
            "DELETE FROM marts.fct_interaction "
            "WHERE interaction_id = (SELECT min(interaction_id) FROM marts.fct_interaction)"
        )


def test_publishes_all_marts_for_every_kind_of_reader(copy_of_built, clock):
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:
        connection.execute("CREATE TABLE marts.mart_of_a_model_that_left AS SELECT 1 AS one")
    made = publish(copy_of_built, clock=clock)
    assert made.changed
    assert set(made.tables) == MARTS >= {"dim_title", "fct_playback_session", "mart_title_day", "feat_title_content"}
    assert snapshot.current(copy_of_built.lake).manifest() == made.manifest()
    with matinee.connect(copy_of_built.home.root) as connection:
        plays = connection.execute("SELECT count(*), sum(played_ms) FROM fct_playback_session").fetchone()
    frame = pl.read_parquet(copy_of_built.lake.current / "marts" / "fct_playback_session.parquet")
    assert plays == (len(frame), frame["played_ms"].sum())
    assert made.tables["fct_playback_session"].rows == len(frame) > 0


def test_unchanged_content_is_not_published_again(copy_of_built, clock):
    first = publish(copy_of_built, clock=clock)
    clock.advance(timedelta(days=1))
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:  # the same rows in another order
        connection.execute(
            "CREATE OR REPLACE TABLE marts.fct_exposure AS FROM marts.fct_exposure ORDER BY account_key DESC"
        )
    second = publish(copy_of_built, clock=clock)
    assert (second.snapshot_id, second.changed) == (first.snapshot_id, False)
    assert [p.name for p in copy_of_built.lake.published.iterdir() if not p.is_symlink()] == [first.snapshot_id]
    change(copy_of_built)
    assert publish(copy_of_built, clock=clock).changed


def test_a_rebuild_of_the_same_events_publishes_nothing_new(copy_of_built, clock):
    first = publish(copy_of_built, clock=clock)
    assert dbt.build(copy_of_built, full_refresh=True, unit_tests=False).success
    assert publish(copy_of_built, clock=clock).data_hash == first.data_hash


def test_a_reader_sees_its_snapshot_to_the_end(copy_of_built, clock):
    publish(copy_of_built, clock=clock)
    query = "SELECT count(*) FROM fct_interaction"
    with matinee.connect(copy_of_built.home.root) as reader:
        before = reader.execute(query).fetchone()
        for _ in range(5):
            change(copy_of_built)
            clock.advance(timedelta(hours=1))
            assert publish(copy_of_built, clock=clock).changed
        assert reader.execute(query).fetchone() == before
        assert reader.execute("SELECT count(DISTINCT playback_id) FROM fct_playback_session").fetchone() != (0,)
    with matinee.connect(copy_of_built.home.root) as reader:
        assert before is not None
        assert reader.execute(query).fetchone() == (before[0] - 5,)


def test_keeps_the_last_three_and_what_is_in_use(copy_of_built, clock):
    made = [publish(copy_of_built, clock=clock)]
    with snapshot.hold(copy_of_built.lake) as held:
        assert held.snapshot_id == made[0].snapshot_id
        for _ in range(4):
            change(copy_of_built)
            clock.advance(timedelta(hours=1))
            made.append(publish(copy_of_built, clock=clock))
        assert [s.path.exists() for s in made] == [True, False, True, True, True]
        assert held.parquet("dim_title").exists()
    change(copy_of_built)
    clock.advance(timedelta(hours=1))
    publish(copy_of_built, clock=clock)
    assert [s.path.exists() for s in made] == [False, False, False, True, True]


def test_extra_tables_are_published_and_belong_to_the_content(copy_of_built, clock, tmp_path):
    path = tmp_path / "result.parquet"
    pl.DataFrame({"experiment": ["x"], "difference": [0.5]}).write_parquet(path)
    publish(copy_of_built, clock=clock)
    made = publish(copy_of_built, {"mart_experiment_result": path}, clock=clock)
    assert made.changed
    with matinee.connect(copy_of_built.home.root) as connection:
        assert connection.execute("FROM mart_experiment_result").fetchall() == [("x", 0.5)]
    assert made.parquet("mart_experiment_result").exists()
    with pytest.raises(WarehouseError, match="dim_title"):
        publish(copy_of_built, {"dim_title": path}, clock=clock)


def test_refuses_what_did_not_pass_its_checks(copy_of_built, clock):
    publish(copy_of_built, clock=clock)
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:  # a profile nobody knows how to name
        connection.execute("UPDATE marts.fct_interaction SET profile_key = NULL")
    failed = dbt.run(copy_of_built, ["test", "--select", "fct_interaction"])
    assert [node.name for node in failed.failed] == ["complete_fct_interaction"]
    with pytest.raises(AuditError, match="complete_fct_interaction"):
        publish(copy_of_built, clock=clock)
    assert dbt.build(copy_of_built, "fct_interaction+", unit_tests=False).success
    assert not publish(copy_of_built, clock=clock).changed


def test_refuses_a_model_that_was_rebuilt_without_its_tests(copy_of_built, clock):
    assert dbt.run(copy_of_built, ["run", "--select", "dim_title"]).success
    with pytest.raises(AuditError, match="stale"):
        publish(copy_of_built, clock=clock)


def test_nothing_built_and_nothing_published_are_said_so(copy_of_built, clock):
    with pytest.raises(NoSnapshotError, match="matinee build"):
        snapshot.current(copy_of_built.lake)
    copy_of_built.lake.build_file.unlink()
    with pytest.raises(AuditError, match="nothing was built"):
        publish(copy_of_built, clock=clock)


def test_a_crash_while_writing_leaves_the_old_snapshot(copy_of_built, clock):
    first = publish(copy_of_built, clock=clock)
    half = copy_of_built.lake.published / "20260306T000000000000Z-deadbeef" / "marts"
    half.mkdir(parents=True)
    (half / "dim_title.parquet").write_bytes(b"PAR1")
    (copy_of_built.lake.published / ".current.1").symlink_to("20260306T000000000000Z-deadbeef")
    assert snapshot.current(copy_of_built.lake).snapshot_id == first.snapshot_id
    change(copy_of_built)
    clock.advance(timedelta(hours=1))
    assert publish(copy_of_built, clock=clock).changed


def test_hold_lets_others_hold_as_well(copy_of_built, clock):
    made = publish(copy_of_built, clock=clock)
    with snapshot.hold(copy_of_built.lake), (made.path / "manifest.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert snapshot.is_held(made.path)
    assert not snapshot.is_held(made.path)
