"""Exports by several at once, cut off, overtaken; and a follower that MLflow answers badly."""

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from matinee.clock import ManualClock
from matinee.home import Home
from matinee.settings import Settings
from models.errors import ModelError
from models.interactions import Interactions
from models.recommenders.assemble import popularity_system
from models.recommenders.export import KEPT, OvertakenError, checked, current, export, kept
from models.recommenders.files import FILES
from models.recommenders.follow import Follower, status
from models.recommenders.mlflow_server import Server
from models.recommenders.system import System


def made(version: str = "1", seed: int = 0) -> System:
    """Popularity over 30 titles."""
    rng = np.random.default_rng(seed)
    data = Interactions.sorted(np.arange(200) % 50, rng.integers(30, size=200), rng.uniform(0, 8e5, 200), 50, 30)
    marts = SimpleNamespace(
        snapshot_id="s1", data_hash="h", items=[f"t{item:02d}" for item in range(30)], genres=[["drama"]] * 30,
        created=np.arange(30.0), data=data, regions=[None] * 50, kids=np.zeros(50, dtype=np.bool_),
    )  # fmt: skip
    system = popularity_system(marts)  # pyright: ignore[reportArgumentType] - what it reads of marts
    return replace(system, about=replace(system.about, name="matinee-recommender", version=version))


# -- export


def exporter(root: Path, seed: int, start: Barrier, count: int) -> None:
    home, system = Home(root), made("7", seed)
    start.wait()
    for _ in range(count):
        export(system, home)


def test_processes_that_export_one_version_at_once_never_leave_nothing_serving(tmp_path: Path) -> None:
    home, context = Home(tmp_path), multiprocessing.get_context("fork")
    export(made("6"), home)
    start = context.Barrier(3)
    writers = [context.Process(target=exporter, args=(tmp_path, seed, start, 12)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    start.wait()
    looked = 0
    while any(writer.is_alive() for writer in writers):
        assert (home.models / "current" / "model.npz").exists()
        looked += 1
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert looked > 10
    folder = current(home)
    assert folder is not None
    assert checked(folder).about.version == "7"
    assert len(kept(home)) <= KEPT
    assert [path.name for path in home.models.iterdir() if path.name[0] == "."] == []


def test_the_same_files_are_left_and_other_content_stands_beside_them(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = export(made("1"), home)
    link = (home.models / "current").lstat().st_ino
    assert export(made("1"), home) == first
    assert (home.models / "current").lstat().st_ino == link, "who watches the link loads nothing again"
    other = export(made("1", seed=3), home)
    assert other != first
    assert checked(first).about.version == checked(other).about.version == "1"
    assert export(made("1"), home) == first, "gone back to"
    assert kept(home) == [first, other]
    assert export(made("1", seed=3), home) == other
    (other / "golden.json").write_text("[")
    mended = export(made("1", seed=3), home)
    assert mended == current(home) != other
    checked(mended)


def test_what_a_killed_export_left_is_cleared(tmp_path: Path) -> None:
    home = Home(tmp_path)
    serves = export(made("1"), home)
    for name in (".draft.77", ".draft", ".old.77"):
        shutil.copytree(serves, home.models / name)
    shutil.copytree(serves, home.models / "2")  # killed before the switch
    (home.models / ".current.77").symlink_to("1")
    (home.models / ".current.new").symlink_to("2")
    assert checked(export(made("2"), home)).about.version == "2"
    assert [path.name for path in home.models.iterdir() if path.name[0] == "."] == []


def test_a_copied_home_whose_link_became_a_folder_is_exported_to(tmp_path: Path) -> None:
    home = Home(tmp_path)
    serves = export(made("1"), home)
    (home.models / "current").unlink()
    shutil.copytree(serves, home.models / "current")
    assert export(made("2"), home) == current(home) == (home.models / "2").resolve()


def test_what_is_not_wanted_any_more_changes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    serves = export(made("1"), home)
    with pytest.raises(OvertakenError):
        export(made("2"), home, wanted=lambda: False)
    assert current(home) == serves
    assert kept(home) == [serves]


def test_arrays_of_another_shape_are_an_error_of_the_model(tmp_path: Path) -> None:
    made().save(tmp_path)
    with np.load(tmp_path / "model.npz") as file:
        arrays = dict(file)
    refused: list[str] = []
    for name, array in arrays.items():
        for wrong in (array[:-7], np.stack([array, array], axis=-1), array.astype("U9")):
            np.savez(tmp_path / "model.npz", allow_pickle=False, **{**arrays, name: wrong})
            try:
                checked(tmp_path, "model 5")
            except ModelError:
                refused.append(name)
    assert min(refused.count(name) for name in ("popular/14", "created", "together/indptr")) >= 2, refused


# -- a follower, and a server that answers as MLflow's documentation says, or not


class Registry(ThreadingHTTPServer):
    """`champion`: version -> folder of its files; `broken`: what it answers instead of the alias (status, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.champion: tuple[str, Path] | None = None
        self.broken: tuple[int, bytes] | None = None
        self.cut = False
        self.on_file: Callable[[], None] = lambda: None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry  # pyright: ignore[reportIncompatibleVariableOverride] - the one that made it

    def do_GET(self) -> None:
        if "/mlflow-artifacts/" in self.path:
            self._file(self.path.rpartition("/")[2])
        elif self.server.broken:
            self._send(*self.server.broken)
        elif self.server.champion is None:
            self._send(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no alias"}')
        else:
            version = {"version": self.server.champion[0], "source": f"mlflow-artifacts:/1/m {self.server.champion[0]}"}
            self._send(200, json.dumps({"model_version": version}).encode())

    def _file(self, name: str) -> None:
        assert self.server.champion is not None
        path = self.server.champion[1] / name
        content = path.read_bytes() if path.exists() else None
        self._send(404, b"{}") if content is None else self._send(200, content)
        self.server.on_file()

    def _send(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.server.cut else content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def world(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> SimpleNamespace:
    """A follower whose version 1 serves; `said()` gives its new lines, `later(s)` moves its clock."""
    own = Settings.model_validate({"MATINEE_HOME": tmp_path / "home"})
    clock, start = ManualClock(), ManualClock().now()

    def version(number: str) -> Path:
        folder = tmp_path / f"version {number}"
        made("", int(number)).save(folder)
        registry.champion = number, folder
        return folder

    version("1")
    seconds = lambda: (clock.now() - start).total_seconds()  # noqa: E731
    following = Follower(own, Server(registry.url, timeout=2), seconds, clock)
    first = following.look()
    assert first is not None
    assert (first.version, first.changed) == ("1", True)
    capsys.readouterr()
    return SimpleNamespace(
        look=following.look, following=following, home=own.home, version=version, server=registry,
        said=lambda: capsys.readouterr().out.splitlines(), later=lambda s: clock.advance(timedelta(seconds=s)),
        status=lambda: status(own.home),
    )  # fmt: skip


def serves(home: Home) -> str:
    folder = current(home)
    assert folder is not None
    return checked(folder).about.version


def test_while_mlflow_is_away_the_follower_asks_ever_more_seldom_and_says_so_once(world: SimpleNamespace) -> None:
    answers = [
        (503, b"busy"),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"model_version": null}'),
        (404, b"no such page"),
    ]
    pauses = []
    for world.server.broken in answers:
        assert world.look() is None
        pauses.append(world.following.pause)
    assert pauses == [3.0, 6.0, 12.0, 24.0, 30.0]
    (said,) = world.said()
    assert "does not answer (status 503); version 1 goes on serving" in said
    assert (world.status().failures, world.status().since) == (5, "2026-01-01T00:00:00Z")
    world.server.broken = None
    assert world.look() is None
    assert world.said() == ["MLflow answers again"]
    assert (world.following.pause, world.status().failures) == (1.5, 0)
    world.server.broken = answers[0]
    world.look()
    assert len(world.said()) == 1, "another outage is told again"


@pytest.mark.parametrize("missing", FILES)
def test_a_version_of_an_older_layout_is_told_once_and_tried_again(world: SimpleNamespace, missing: str) -> None:
    folder = world.version("2")
    (folder / missing).rename(folder / "elsewhere")
    for _ in range(3):
        assert world.look() is None
        assert world.look() is None
        world.later(61)
    (said,) = world.said()
    assert f"there is no {missing}" in said
    assert "older Matinee" in said
    assert said.endswith("version 1 goes on serving")
    assert (world.status().failures, world.status().wanted, serves(world.home)) == (3, "2", "1")
    (folder / "elsewhere").rename(folder / missing)
    assert world.look().version == "2"
    assert (world.status().failures, serves(world.home)) == (0, "2")


def test_damaged_arrays_and_downloads_that_are_cut_are_told_once(world: SimpleNamespace) -> None:
    folder = world.version("2")
    with np.load(folder / "model.npz") as file:
        arrays = dict(file)
    np.savez(folder / "model.npz", allow_pickle=False, **{**arrays, "popular/14": arrays["popular/14"][:3]})
    for _ in range(3):
        assert world.look() is None
        world.later(61)
    (said,) = world.said()
    assert said.startswith("model 2 is not taken: model 2 ")
    np.savez(folder / "model.npz", allow_pickle=False, **arrays)
    world.server.on_file = lambda: setattr(world.server, "cut", True)
    assert world.look() is None
    assert "cannot be read" in world.said()[0]
    assert serves(world.home) == "1"


def test_a_promotion_during_the_copy_wins(world: SimpleNamespace) -> None:
    world.version("2")
    seen: list[int] = []

    def promote_when_copied() -> None:
        seen.append(1)
        if len(seen) == len(FILES):
            world.version("3")

    world.server.on_file = promote_when_copied
    assert world.look() is None
    assert serves(world.home) == "1"
    assert world.look().version == "3"
    assert [path.name for path in kept(world.home)] == ["3", "1"]


def test_no_champion_is_said_once(world: SimpleNamespace) -> None:
    world.server.champion = None
    assert [world.look() for _ in range(3)] == [None] * 3
    assert world.said() == ["no version is the champion; version 1 goes on serving"]
