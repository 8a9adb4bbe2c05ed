import re
from pathlib import Path

import pytest

from matinee.errors import SettingsError
from matinee.settings import Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("MATINEE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_everything_is_embedded_below_the_working_folder_by_default(tmp_path: Path) -> None:
    settings = Settings.load()
    assert settings.home_path == tmp_path / ".matinee"
    assert settings.embedded_postgres
    assert settings.embedded_redis
    assert settings.media == tmp_path / ".matinee" / "media"
    assert settings.lake.root == tmp_path / ".matinee" / "lake"


def test_argument_wins_over_environment_wins_over_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MATINEE_HOME=from-file\nMATINEE_API_PORT=1111\nMATINEE_MLFLOW_PORT=2222\n")
    assert Settings.load().home_path == tmp_path / "from-file"
    monkeypatch.setenv("MATINEE_HOME", "from-environment")
    monkeypatch.setenv("MATINEE_API_PORT", "3333")
    settings = Settings.load()
    assert settings.home_path == tmp_path / "from-environment"
    assert (settings.api_port, settings.mlflow_port) == (3333, 2222)
    assert Settings.load(home="given").home_path == tmp_path / "given"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("API_PORT", "many", "valid integer"),
        ("EVENTS_URL", "kafka://here:9092", "speaks Redis only"),
        ("LAKE_URL", "s3://bucket", "local folder"),
        ("MEDIA_URL", "https://cdn", "local folder"),
        ("APP_USER_AGENTS", "ours)", "not a regular expression"),
        ("EVENTS_BURST", "10", "greater than or equal to 500"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"MATINEE_{name}", value)
    with pytest.raises(SettingsError, match=re.escape(f"MATINEE_{name}={value}: ") + f".*{says}"):
        Settings.load()


def test_a_child_gets_the_same_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MATINEE_REDIS_URL", "redis://there/3")
    monkeypatch.setenv("MATINEE_DISK_WATERMARK_MB", "7")
    parent = Settings.load(home=tmp_path / "home")
    monkeypatch.delenv("MATINEE_REDIS_URL")
    monkeypatch.delenv("MATINEE_DISK_WATERMARK_MB")
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == parent


def test_neighbours_have_databases_of_their_own_on_the_same_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "/matinee_dagster?host=" in Settings.load().database("dagster")
    monkeypatch.setenv("MATINEE_DATABASE_URL", "postgresql://me:pw@db:5433/films?sslmode=require")
    settings = Settings.load()
    assert settings.database() == "postgresql://me:pw@db:5433/films?sslmode=require"
    assert settings.database("mlflow") == "postgresql://me:pw@db:5433/films_mlflow?sslmode=require"
    assert settings.mlflow() == "postgresql+psycopg://me:pw@db:5433/films_mlflow?sslmode=require"
