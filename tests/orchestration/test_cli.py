import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_group

from orchestration.cli import ROOMS

MATINEE = Path(sys.executable).with_name("matinee")
COMMANDS = {
    *(
        "admin",
        "anomalies",
        "audit",
        "backup",
        "bench",
        "billing",
        "build",
        "check-package",
        "deadletters",
        "demo",
        "doctor",
        "down",
        "drain",
        "erase",
        "failures",
        "freshness",
        "gateway",
        "held",
        "import",
        "ingest",
        "lineage",
    ),
    *("metric", "models", "notebook", "report", "restore", "secrets", "simulate", "spark", "sql", "status", "token"),
    *("transcodes", "up", "watermark", "worker"),
}
HEAVY = ("dagster", "dbt", "duckdb", "polars", "mlflow", "feast", "av", "fastapi", "numpy")


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MATINEE_HOME": str(home), "COLUMNS": "200"}
    return subprocess.run([MATINEE, *words], capture_output=True, text=True, env=env, timeout=120)


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help")
    assert shown.returncode == 0
    listed = {line.strip("│ ").split(" ")[0] for line in shown.stdout.splitlines()}
    assert {name for name in listed if re.fullmatch(r"[a-z]+(-[a-z]+)?", name)} == COMMANDS


def test_no_two_rooms_have_a_command_of_one_name() -> None:
    names = [name for room in ROOMS for name in get_group(room).commands]
    assert sorted(names) == sorted(COMMANDS)


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, orchestration.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_wrong_usage_exits_2(tmp_path: Path) -> None:
    assert run(tmp_path, "no-such-command").returncode == 2
    unknown = run(tmp_path / "home", "worker", "juggler")
    assert unknown.returncode == 2
    assert "juggler" in unknown.stderr
    assert "collector" in unknown.stderr


def test_a_failure_is_one_line_and_exits_1(tmp_path: Path) -> None:
    failed = run(tmp_path / "home", "sql", "select 1")
    assert failed.returncode == 1
    assert len(failed.stderr.strip().splitlines()) == 1
    assert "matinee build" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in run(tmp_path / "home", "--debug", "sql", "select 1").stderr


def test_a_wrong_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATINEE_EVENTS_URL", "kafka://somewhere")
    failed = run(tmp_path / "home", "status")
    assert failed.returncode == 1
    assert "MATINEE_EVENTS_URL" in failed.stderr


def test_a_file_where_the_home_should_be(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    failed = run(tmp_path / "home", "drain")
    assert failed.returncode == 1
    assert str(tmp_path / "home") in failed.stderr
    assert "Traceback" not in failed.stderr
