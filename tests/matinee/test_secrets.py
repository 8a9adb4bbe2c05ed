from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matinee.home import Home
from matinee.secrets import SECRET_BYTES, newest, renew, retire, secret, version


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


def test_a_renewed_secret_keeps_its_older_versions_until_they_are_retired(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    first = newest(home, "kek")
    assert first == (1, secret(home, "kek"))
    assert renew(home, "kek") == 2
    second = newest(home, "kek")
    assert second[0] == 2
    assert second[1] != first[1]
    assert version(home, "kek", 1) == first[1]
    assert secret(home, "kek") == first[1], "who asks without a version means the first one"
    renew(home, "kek")
    renew(home, "kek")
    assert retire(home, "kek", needed={2}) == [1]
    assert [version(home, "kek", number) is not None for number in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    assert retire(home, "kek", needed=set()) == [2]


def test_versions_go_on_where_they_were_though_the_first_is_gone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    for _ in range(3):
        renew(home, "kek")
    retire(home, "kek", needed=set())
    assert sorted(path.name for path in home.secrets.iterdir()) == ["kek.3", "kek.4"]
    assert newest(home, "kek")[0] == 4
    assert renew(home, "kek") == 5
