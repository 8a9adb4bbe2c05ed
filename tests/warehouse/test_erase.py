"""What the warehouse forgets, and how the next run ends what a killed one began."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from matinee.settings import Settings
from warehouse import erase, publish, snapshot
from warehouse.snapshot import Snapshot

KEYS = {"account_key": ["ada"]}


@pytest.fixture
def published(tmp_path: Path) -> Settings:
    """A home with a snapshot of one table of rows of people and one of figures; it has no database."""
    settings = Settings.load(home=tmp_path / "home")
    lake, moment = settings.lake, datetime(2026, 3, 5, tzinfo=UTC)
    path = lake.published / "20260305T000000000000Z-00000000"
    made = Snapshot(path.name, path, moment, "", {})
    (path / "marts").mkdir(parents=True)
    with duckdb.connect(str(made.marts)) as marts:
        marts.execute("CREATE TABLE plays AS FROM (VALUES ('ada', 1), ('ada', 2), ('bob', 3)) t (account_key, n)")
        marts.execute("CREATE TABLE figures AS FROM (VALUES ('otters', 3)) t (title_id, plays)")
        for name in ("plays", "figures"):
            marts.execute(f"COPY {name} TO '{made.parquet(name)}'")
            made.tables[name] = publish.measure(marts, name)  # pyright: ignore[reportIndexIssue] - our own dictionary
    (path / "manifest.json").write_text(made.manifest())
    publish.switch(lake, made)
    return settings


def people(settings: Settings) -> list[str]:
    """Whose rows the current snapshot holds, in both forms, which agree with the manifest."""
    made = snapshot.current(settings.lake)
    with duckdb.connect(str(made.marts), read_only=True) as marts:
        rows = marts.execute("SELECT account_key FROM plays ORDER BY n").fetchall()
        assert {name: publish.measure(marts, name) for name in made.tables} == made.tables
    assert pl.read_parquet(made.parquet("plays"))["account_key"].to_list() == [key for (key,) in rows]
    return [key for (key,) in rows]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_that_was_killed_before_its_snapshot_counts_is_run_again(
    published: Settings, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    reader = duckdb.connect(str(published.lake.current / "marts.duckdb"), read_only=True)
    with monkeypatch.context() as patch:
        patch.setattr(erase, "_settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            erase.forget_published(published, KEYS, fresh=fresh)
    assert people(published) == ["ada", "ada", "bob"]
    assert erase.forget_published(published, KEYS, fresh=fresh) == {"main.plays": 2}
    erase.complete_published(published)
    assert people(published) == ["bob"]
    assert [path.name for path in published.lake.published.iterdir() if not path.is_symlink()] == [
        snapshot.current(published.lake).snapshot_id
    ]
    assert reader.execute("SELECT count(*) FROM plays").fetchone() == (3,)
    reader.close()


def test_drafts_of_killed_runs_are_cleared_and_nothing_else_is(published: Settings) -> None:
    lake = published.lake
    drafts = [
        lake.build_file.with_name(".warehouse.duckdb.4711"),
        lake.build_file.with_name(".warehouse.duckdb.4711.wal"),
        lake.current.resolve() / "marts" / ".plays.parquet.4711",
        lake.landing_tables / "account" / "as_of=1" / ".part.parquet.4711",
        lake.root / "archive" / ".mart_title_day.parquet.4711",
    ]
    others = [lake.build_file, lake.build_file.with_suffix(".lock"), lake.landing_tables / "account" / "part.parquet"]
    for path in drafts + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"ada")
    half = lake.published / "20260304T000000000000Z-00000000" / "marts.duckdb"  # no manifest: it was never whole
    half.parent.mkdir()
    half.write_bytes(b"ada")
    before = {path for path in lake.root.rglob("*") if path.is_file()}
    assert erase.clear_drafts(lake) == len(drafts) + 1
    assert before - {path for path in lake.root.rglob("*") if path.is_file()} == {*drafts, half}
    assert people(published) == ["ada", "ada", "bob"]


def test_what_spark_built_goes_whole(published: Settings) -> None:
    built = published.lake.spark / "marts.db" / "fct_session" / "part.parquet"
    built.parent.mkdir(parents=True)
    built.write_bytes(b"ada")
    assert [erase.clear_spark(published.lake), erase.clear_spark(published.lake)] == [1, 0]
    assert not published.lake.spark.exists()
