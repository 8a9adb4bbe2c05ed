import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matinee.errors import HomeError
from matinee.home import SOCKET_PATH_LIMIT, Home

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system in memory; skips where that is not allowed."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"mount{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_home_is_made_with_private_secrets(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b").create()
    assert home.create() == home
    assert home.secrets.stat().st_mode & 0o777 == 0o700
    assert home.logs.is_dir()
    assert home.lake.is_dir()


def test_a_read_only_home_is_one_line(mount: Mount) -> None:
    folder = mount("size=1m")
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    with pytest.raises(HomeError, match=r"Read-only file system.*: set MATINEE_HOME"):
        Home(folder / "home").create()


def test_an_existing_home_that_became_read_only_is_one_line(mount: Mount) -> None:
    folder = mount("size=1m")
    home = Home(folder / "home").create()
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    with pytest.raises(HomeError, match="set MATINEE_HOME"):
        home.create()


def test_a_full_home_is_one_line(mount: Mount) -> None:
    home = Home(mount("size=256k") / "home").create()
    with pytest.raises(HomeError, match=r"No space left on device.*: free some disk space"), home.usable():
        (home.run / "big").write_bytes(b"x" * 1_000_000)


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(HomeError, match="set MATINEE_HOME"):
        Home(tmp_path / "home").create()


def test_a_folder_of_somebody_else_is_one_line(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o555)
    with pytest.raises(HomeError, match="Permission denied"):
        Home(tmp_path / "home").create()


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Home(tmp_path).usable():
        (tmp_path / "absent").read_bytes()


def test_the_socket_stays_below_the_limit_however_deep_the_home_lies(tmp_path: Path) -> None:
    near, far = Home(Path("/srv/matinee")), Home(Path("/srv") / ("deep" * 30))
    other = Home(far.root / "other")
    assert near.sockets == near.run / "pg"
    assert len(os.fsencode(far.sockets / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT
    assert far.sockets != other.sockets
