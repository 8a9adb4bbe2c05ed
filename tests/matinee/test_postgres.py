import os
from pathlib import Path

import pytest

from matinee.errors import StackError
from matinee.settings import Settings
from matinee.stack import postgres


def test_a_private_folder_of_ours_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir(mode=0o700)
    postgres.check_private(folder)
    if os.getuid() == 0:
        import pwd

        os.chown(folder, pwd.getpwnam(postgres.UNPRIVILEGED).pw_uid, -1)
        postgres.check_private(folder)


def test_a_folder_where_others_could_put_a_socket_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    folder.chmod(0o750)
    with pytest.raises(StackError, match=r"others may enter .* \(mode 0750\)"):
        postgres.check_private(folder)
    link = tmp_path / "link"
    folder.chmod(0o700)
    link.symlink_to(folder)
    with pytest.raises(StackError, match="is not a folder"):
        postgres.check_private(link)
    if os.getuid() == 0:
        os.chown(folder, 4321, -1)
        with pytest.raises(StackError, match="belongs to user 4321, not to us"):
            postgres.check_private(folder)


def test_a_folder_that_somebody_made_in_advance_stops_server_and_client(tmp_path: Path) -> None:
    """The home lies so deep that the socket goes to /tmp, where somebody waits for us."""
    settings = Settings.load(home=tmp_path / ("deep" * 30))
    trap = settings.home.sockets
    assert trap.parent == Path("/tmp")
    trap.mkdir(mode=0o777)
    trap.chmod(0o777)
    try:
        with pytest.raises(StackError, match="others may enter"):
            postgres.answers(settings)
        with pytest.raises(StackError, match="others may enter"):
            postgres.prepare(settings.home)
        assert list(trap.iterdir()) == []
    finally:
        trap.rmdir()


def test_a_server_that_never_ran_does_not_answer(tmp_path: Path) -> None:
    assert not postgres.answers(Settings.load(home=tmp_path / "home"))
