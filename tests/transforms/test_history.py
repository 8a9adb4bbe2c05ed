"""Slowly changing dimensions: what the catalogue said before stays known, whatever is rebuilt."""

from pathlib import Path

import pytest

from matinee.settings import Settings
from warehouse import build_file, dbt
from warehouse.publish import AuditError, audit

HISTORY = "SELECT title_id, version, title, is_current, valid_to IS NULL FROM marts.dim_title_history ORDER BY 1, 2"
LINEAGE = ["stg_titles", "snap_title", "dim_title_history"]


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    settings = Settings.load(home=tmp_path)
    settings.home.create()
    titles = ", ".join(f"('{name[0].lower()}', 'film', '{name}', 0, '2026-03-01')" for name in ("Same", "Title", "Up"))
    change(settings, f"INSERT INTO raw.title (title_id, kind, title, maturity, created_at) VALUES {titles}")
    return settings


def change(settings: Settings, statement: str) -> None:
    with build_file.writing(settings) as warehouse:
        warehouse.execute(statement)


def history(settings: Settings) -> list[tuple[object, ...]]:
    with build_file.writing(settings) as warehouse:
        return warehouse.execute(HISTORY).fetchall()


def test_a_change_begins_a_version_that_no_refresh_forgets_and_a_failed_snapshot_blocks(home):
    assert dbt.build(home, LINEAGE, unit_tests=False).success
    same = ("s", 1, "Same", True, True)
    assert history(home) == [same, ("t", 1, "Title", True, True), ("u", 1, "Up", True, True)]
    change(home, "UPDATE raw.title SET title = 'New' WHERE title_id = 't'; DELETE FROM raw.title WHERE title_id = 'u'")
    built = dbt.build(home, LINEAGE, full_refresh=True, unit_tests=False)
    assert built.success, built.failed
    changed = [same, ("t", 1, "Title", False, False), ("t", 2, "New", True, True), ("u", 1, "Up", False, False)]
    assert history(home) == changed
    with build_file.writing(home) as warehouse:
        first, second = warehouse.execute("SELECT * FROM marts.dim_title_history WHERE title_id = 't'").fetchall()
        assert first[-2] == second[-3], "one version ends when the next begins"
        warehouse.execute("DROP VIEW staging.stg_titles")
    assert not dbt.build(home, "snap_title").success
    with build_file.writing(home) as warehouse, pytest.raises(AuditError, match=r"snap_title \(error\)"):
        audit(warehouse)
    assert history(home) == changed
