from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matinee.home import Home
from matinee.secrets import SECRET_BYTES, secret


def test_a_secret_is_made_once_private_and_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    made = secret(home, "token")
    assert len(made) == SECRET_BYTES
    assert secret(home, "token") == made
    assert secret(home, "media") != made
    assert (home.secrets / "token").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in home.secrets.iterdir()) == ["media", "token"]


def test_all_who_race_for_a_secret_get_the_same(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    for attempt in range(20):
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _, name=f"s{attempt}": secret(home, name), range(8)))
        assert len(found) == 1
