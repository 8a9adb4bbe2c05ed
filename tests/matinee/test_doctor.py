import os
import socket
from pathlib import Path

import pytest
from stack_harness import Stack

from matinee.doctor import chromium, examine
from matinee.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home")


def test_this_machine_has_what_is_required(settings: Settings) -> None:
    checks = {check.name: check for check in examine(settings)}
    assert [check for check in checks.values() if check.required and not check.ok] == []
    assert checks["PostgreSQL"].found.startswith("postgres (PostgreSQL) 18")
    assert checks["Redis"].found[0].isdigit()
    assert "libx264" in checks["ffmpeg with libx264"].found
    assert not settings.home_path.exists()


def test_what_is_missing_is_named_with_its_remedy(settings: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho encoders: none\n")
    broken.chmod(0o755)
    old = os.environ.get("IMAGEIO_FFMPEG_EXE")
    os.environ["IMAGEIO_FFMPEG_EXE"] = str(broken)
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            changes = {"api_port": port, "disk_watermark_mb": 10**12, "redis_url": "redis://:secret@127.0.0.1:1/0"}
            missing = {c.name: c for c in examine(settings.model_copy(update=changes)) if not c.ok and c.required}
    finally:
        os.environ.pop("IMAGEIO_FFMPEG_EXE")
        if old is not None:
            os.environ["IMAGEIO_FFMPEG_EXE"] = old
    assert set(missing) == {"ffmpeg with libx264", "disk space", "ports", "Redis"}
    assert all(check.remedy and check.verdict == "missing" for check in missing.values())
    assert missing["ports"].found == f"in use: MATINEE_API_PORT={port}"
    assert missing["Redis"].found == "nothing answers at 127.0.0.1:1/0"


def test_a_home_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    checks = {check.name: check for check in examine(Settings.load(home=tmp_path / "file" / "home"))}
    assert not checks["home"].ok


def test_the_command_ends_with_1_when_something_required_is_missing(tmp_path: Path) -> None:
    good, bad = Stack(tmp_path / "home"), Stack(tmp_path / "home", {"MATINEE_DISK_WATERMARK_MB": str(10**12)})
    assert good.run("doctor").returncode == 0
    done = bad.run("doctor")
    assert done.returncode == 1
    assert "free some space" in " ".join(done.stdout.split())


def test_chromium_is_found_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATINEE_CHROMIUM", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert chromium() is None
    own = tmp_path / ".cache/ms-playwright/chromium-1208/chrome-linux64/chrome"
    for path in (own, tmp_path / "bin/google-chrome", tmp_path / "bin/chromium-browser", tmp_path / "mine"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
        if path.name == "mine":
            monkeypatch.setenv("MATINEE_CHROMIUM", str(path))
        assert chromium() == path
