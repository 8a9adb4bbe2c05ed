"""The export follows the registry: within seconds where it can, and what serves stays where it cannot."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from matinee.ports import is_free
from matinee.settings import Settings
from models.recommenders import export, registry
from models.recommenders.follow import Follower, bring
from models.recommenders.mlflow_server import Server
from models.recommenders.system import System
from orchestration.processes import models

MEMORY_MB = 250


@pytest.fixture(scope="module")
def server(mlflow_server: str) -> Server:
    return Server(mlflow_server)


@pytest.fixture
def home(two_versions: Settings) -> Settings:
    """Version 1 is the champion and serves, version 2 the challenger."""
    registry.alias(two_versions, "1", promoted=True)
    registry.alias(two_versions, "2", promoted=False)
    bring(two_versions)
    return two_versions


def wait(done: Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    while not done():
        assert time.monotonic() - started < seconds
        time.sleep(0.05)
    return time.monotonic() - started


def serving(settings: Settings) -> str:
    folder = export.current(settings.home)
    assert folder is not None
    return System.load(folder).about.version


def files_of(settings: Settings, server: Server, version: str) -> Path:
    """Where the artifacts of a version lie."""
    registry.alias(settings, version, promoted=True)
    named = server.champion()
    assert named is not None
    return Path(server.files(named).removeprefix("file://"))


def test_the_worker_brings_a_promoted_version_within_seconds_and_stays_small(
    home: Settings, server: Server, record_property: Callable[[str, object], None]
) -> None:
    service = models(home)
    log = home.home.logs / "models.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            service.argv, env={**os.environ, **service.env}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait(lambda: "serves already" in log.read_text(), 60)
        registry.alias(home, "2", promoted=True)
        wait(lambda: serving(home) == "2", 10)
        registry.alias(home, "1", promoted=True)
        wait(lambda: serving(home) == "1", 10)
        used = psutil.Process(process.pid).memory_info().rss / 1e6
        record_property("memory_mb", round(used))
        assert used < MEMORY_MB, used
    finally:
        process.terminate()
        assert process.wait(15) == 0, log.read_text()
    assert "matinee-recommender 2 (" in log.read_text()


def test_damaged_files_change_nothing_until_they_are_mended(
    home: Settings, server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    now = [0.0]
    following = Follower(home, server, lambda: now[0])
    files = files_of(home, server, "2")
    kept = shutil.copytree(files, tmp_path / "kept")
    try:
        (files / "model.npz").write_bytes((kept / "model.npz").read_bytes()[:-300])
        assert following.look() is None
        (said,) = capsys.readouterr().out.splitlines()
        assert said.startswith("model 2 is not taken: ")
        assert "damaged" in said
        assert said.endswith("; version 1 goes on serving")
        wrong = (kept / "golden.json").read_text().replace('"kids": false', '"kids": false, "unheard": 1', 1)
        for name, text in (("golden.json", wrong), ("model.json", "{}")):
            shutil.copytree(kept, files, dirs_exist_ok=True)
            (files / name).write_text(text)
            now[0] += 61
            assert following.look() is None
            assert "damaged" in capsys.readouterr().out
        shutil.rmtree(files)
        now[0] += 61
        assert following.look() is None
        assert "cannot be read" in capsys.readouterr().out
        assert following.look() is None
        assert capsys.readouterr().out == "", "said once, tried again after a minute"
        assert serving(home) == "1"
    finally:
        shutil.copytree(kept, files, dirs_exist_ok=True)
    now[0] += 61
    made = following.look()
    assert made is not None
    assert made.changed
    assert serving(home) == "2"


def test_a_deleted_champion_goes_on_serving(home: Settings, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    api, following = registry.client(home), Follower(home, server)
    first = api.get_model_version(registry.MODEL, "1")
    again = str(api.create_model_version(registry.MODEL, first.source or "", first.run_id).version)
    registry.alias(home, again, promoted=True)
    made = following.look()
    assert made is not None
    assert serving(home) == again
    api.delete_model_version(registry.MODEL, again)
    assert following.look() is None
    assert capsys.readouterr().out.splitlines()[-1] == (f"no version is the champion; version {again} goes on serving")
    assert serving(home) == again


def test_without_mlflow_what_serves_goes_on(home: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    port = next(port for port in range(45_000, 46_000) if is_free(port))
    following = Follower(home, Server(f"http://127.0.0.1:{port}"))
    assert following.look() is None
    assert following.look() is None
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"MLflow at http://127.0.0.1:{port} does not answer (ConnectError")
    assert said.endswith("; version 1 goes on serving")
    assert serving(home) == "1"


def test_a_build_that_read_an_older_champion_does_not_bring_it_back(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, read = [], registry.system_of

    def promoted_meanwhile(settings: Settings, version: registry.Version) -> System:
        system = read(settings, version)
        if not fetched:
            registry.alias(settings, "2", promoted=True)
        fetched.append(version.version)
        return system

    monkeypatch.setattr(registry, "system_of", promoted_meanwhile)
    made = bring(home)
    assert (fetched, made.version, serving(home)) == (["1", "2"], "2", "2")


def test_the_worker_looks_at_what_serves_not_at_what_it_remembers(home: Settings, server: Server) -> None:
    registry.alias(home, "2", promoted=True)
    following = Follower(home, server)
    assert following.look() is not None
    older = next(folder for folder in export.kept(home.home) if System.load(folder).about.version == "1")
    link = home.home.models / "current"
    link.unlink()
    link.symlink_to(older.name)  # as a build does that was slow
    assert following.look() is not None
    assert serving(home) == "2"
    folder = export.current(home.home)
    assert folder is not None
    (folder / "model.npz").write_bytes((folder / "model.npz").read_bytes()[:-100])
    assert following.look() is not None
    assert serving(home) == "2"
    shutil.rmtree(home.home.models)
    assert following.look() is not None
    assert serving(home) == "2"
    assert following.look() is None
