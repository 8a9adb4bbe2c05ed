import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from matinee.db.migrate import MIGRATIONS, migrate
from matinee.errors import ContractError
from matinee.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The real migrations, which the test's database has already, and room for more."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


def test_twice_is_a_no_op(settings: Settings) -> None:
    assert migrate(settings.database()) == []


def test_a_new_migration_is_applied_once(settings: Settings, folder: Path) -> None:
    (folder / "9998_later.sql").write_text("CREATE TABLE later (x int);\nINSERT INTO later VALUES (1);")
    assert migrate(settings.database(), folder) == ["9998_later"]
    assert migrate(settings.database(), folder) == []
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (1,)


def test_who_registered_before_trials_gets_one(settings: Settings) -> None:
    with psycopg.connect(settings.database()) as connection:
        connection.execute("DELETE FROM migration WHERE name = '0121_trials'")
        connection.execute(
            "INSERT INTO account (account_id, password_hash, country, created_at) VALUES "
            "('old', 'x', 'GB', '2020-01-01'), ('ml:1', NULL, 'GB', '2020-01-01'), "
            "('new', 'x', 'GB', now() + interval '1 hour')"
        )
    assert migrate(settings.database()) == ["0121_trials"]
    with psycopg.connect(settings.database()) as connection:
        found = connection.execute(
            "SELECT account_id, plan, currency, closed - opened FROM subscription_period"
        ).fetchall()
        assert found == [("old", "premium", "GBP", timedelta(days=14))]
        assert connection.execute("SELECT state, closed, end_reason FROM export_subscription").fetchall() == [
            ("trial", None, None)
        ]


def test_a_changed_migration_is_refused(settings: Settings, folder: Path) -> None:
    first = folder / "0001_foundation.sql"
    first.write_text(first.read_text() + "\n-- an afterthought\n")
    with pytest.raises(ContractError, match="0001_foundation was changed after it was applied"):
        migrate(settings.database(), folder)


def test_a_migration_that_fails_leaves_nothing_half_done(settings: Settings, folder: Path) -> None:
    (folder / "9998_broken.sql").write_text("CREATE TABLE half (x int);\nSELECT nonsense;")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        migrate(settings.database(), folder)
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
        assert connection.execute("SELECT count(*) FROM migration WHERE name = '9998_broken'").fetchone() == (0,)


def test_two_at_once_apply_each_migration_once(settings: Settings, folder: Path) -> None:
    (folder / "9998_slow.sql").write_text("CREATE TABLE slow (x int);\nSELECT pg_sleep(0.2);")
    with ThreadPoolExecutor(3) as pool:
        applied = list(pool.map(lambda _: migrate(settings.database(), folder), range(3)))
    assert sorted(applied) == [[], [], ["9998_slow"]]


@pytest.mark.parametrize("title_id", [".", ".."])
def test_no_title_is_named_by_a_way_out_of_its_folder(settings: Settings, title_id: str) -> None:
    with psycopg.connect(settings.database()) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0)", (title_id,))
