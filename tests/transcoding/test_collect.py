"""What is collected, and what is left alone."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from matinee.settings import Settings
from transcoding.chunks import WORK
from transcoding.collect import collect
from transcoding.package import DRAFTS
from transcoding.serve import serve

AGE_S = 7200.0


def digits(word: str) -> str:
    """A name as packages have it."""
    return hashlib.sha256(word.encode()).hexdigest()[:32]


def fill(folder: Path, age_s: float = AGE_S) -> Path:
    """The files of a package, all so old."""
    (folder / "video" / "480p").mkdir(parents=True)
    (folder / "video" / "480p" / "00000.m4s").write_bytes(b"film")
    (folder / "package.json").write_text("{}")
    moment = time.time() - age_s
    os.utime(folder, (moment, moment))
    return folder


@pytest.fixture
def add_package(settings: Settings) -> Callable[..., Path]:
    """A published package of a title, replaced so many seconds ago (None: not)."""

    def add(title_id: str, name: str, replaced_s: float | None = None) -> Path:
        with psycopg.connect(settings.database()) as connection:
            connection.execute(
                "INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0) ON CONFLICT DO NOTHING",
                (title_id,),
            )
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, 'a', 'a', 1, 'accepted') ON CONFLICT DO NOTHING",
                (title_id, title_id),
            )
            connection.execute(
                "INSERT INTO package (package_id, title_id, master_id, state, superseded_at) "
                "VALUES (%s, %s, %s, 'published', now() - make_interval(secs => %s))",
                (digits(name), title_id, title_id, replaced_s),
            )
        return fill(settings.media / title_id / digits(name))

    return add


def watch(settings: Settings, name: str, title_id: str, ends_in_s: float) -> None:
    with psycopg.connect(settings.database()) as connection:
        connection.execute("INSERT INTO account (account_id) VALUES ('a') ON CONFLICT DO NOTHING")
        connection.execute(
            "INSERT INTO profile (profile_id, account_id, name, maturity, language) VALUES ('p', 'a', 'p', 18, 'en') "
            "ON CONFLICT DO NOTHING"
        )
        connection.execute(
            "INSERT INTO playback_session (playback_id, account_id, profile_id, title_id, package_id, expires_at) "
            "VALUES (%s, 'a', 'p', %s, %s, now() + make_interval(secs => %s))",
            (f"watching {name}", title_id, digits(name), ends_in_s),
        )


def states(settings: Settings) -> dict[str, str]:
    with psycopg.connect(settings.database()) as connection:
        return dict(connection.execute("SELECT package_id, state FROM package").fetchall())


def test_replaced_packages_go_when_their_time_is_over_and_nobody_plays_them(
    settings: Settings, add_package: Callable[..., Path]
) -> None:
    folders = {
        name: add_package("film", name, replaced_s)
        for name, replaced_s in {
            "playing": None,
            "fresh": 100.0,
            "old": 4000.0,
            "watched": 4000.0,
            "over": 4000.0,
        }.items()
    }
    watch(settings, "watched", "film", 60)
    watch(settings, "over", "film", -60)

    gone, kept = {digits("old"), digits("over")}, {digits("playing"), digits("fresh"), digits("watched")}
    assert set(collect(settings)) == gone

    assert {name for name, folder in folders.items() if folder.exists()} == {"playing", "fresh", "watched"}
    assert {name for name, state in states(settings).items() if state == "collected"} == gone
    assert {path.name for path in (settings.media / "film").iterdir()} == kept
    assert collect(settings) == []


def test_a_crash_after_the_row_leaves_files_for_the_next_run(
    settings: Settings, add_package: Callable[..., Path]
) -> None:
    folder = add_package("film", "old", 4000.0)
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE package SET state = 'collected'")
    assert collect(settings) == []
    assert not folder.exists()


def test_the_only_package_that_still_plays_is_kept(settings: Settings, add_package: Callable[..., Path]) -> None:
    old, new = add_package("film", "old", 4000.0), add_package("film", "new")
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE package SET state = 'failed' WHERE package_id = %s", (digits("new"),))
    assert collect(settings) == []
    assert old.exists()
    assert new.exists(), "the files are there after all: perhaps the disk was away"


def test_packages_of_nobody_go_and_young_ones_stay(settings: Settings, add_package: Callable[..., Path]) -> None:
    kept = add_package("film", "playing")
    without_row = fill(settings.media / "film" / digits("crashed"))
    aside = fill(settings.media / "film" / f"~{digits('half removed')}-17")
    young = fill(settings.media / "film" / digits("young"), age_s=60)
    left = [settings.media / WORK / "ended-job", settings.media / DRAFTS / "dead-worker"]
    for folder in left:
        folder.mkdir(parents=True)
    (settings.media / "~masters").mkdir()
    collect(settings)
    folders = (kept, young, without_row, aside, *left)
    assert [folder.exists() for folder in folders] == [True, True, False, False, False, False]
    assert (settings.media / "~masters").exists()


def test_what_is_no_package_of_this_database_is_not_touched(
    settings: Settings, add_package: Callable[..., Path]
) -> None:
    add_package("film", "playing")
    others = [
        fill(settings.media / "photos" / "2019"),
        fill(settings.media / "another database's film" / digits("playing there")),
        fill(settings.media / "film" / "notes"),
        fill(settings.media / "film" / digits("no package")),
    ]
    (others[-1] / "package.json").unlink()
    os.utime(others[-1], (0, 0))
    closed = settings.media / "lost+found"
    closed.mkdir(mode=0)
    collect(settings)
    assert all(folder.exists() for folder in (*others, closed))


def test_a_package_that_is_published_again_meanwhile_stays(
    settings: Settings, add_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_package("film", "new")
    folder = add_package("film", "old", 4000.0)

    def older(path: Path, moment: float) -> bool:
        with psycopg.connect(settings.database()) as connection:
            connection.execute("UPDATE package SET state = 'published', superseded_at = NULL")
        return True

    monkeypatch.setattr("transcoding.collect._older", older)
    assert collect(settings) == [digits("old")]
    assert folder.exists()


def test_two_may_collect_at_once(settings: Settings, add_package: Callable[..., Path]) -> None:
    add_package("film", "playing")
    folders = [add_package("film", str(number), 4000.0) for number in range(30)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(collect, settings) for _ in range(4)]:
            done.result()
    assert not any(folder.exists() for folder in folders)
    assert len(list((settings.media / "film").iterdir())) == 1


def test_a_worker_that_stays_collects_and_marks_what_dead_ones_left(
    settings: Settings, add_package: Callable[..., Path]
) -> None:
    add_package("film", "playing")
    old = add_package("film", "old", 4000.0)
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("UPDATE master SET state = 'refused'")  # or it would be packaged
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            serving = pool.submit(serve, settings, lambda _: None, stop=stop)
            deadline, looked = time.monotonic() + 60, None
            while looked is None and not serving.done() and time.monotonic() < deadline:
                time.sleep(0.1)
                looked = connection.execute("SELECT title_id FROM title_fingerprint").fetchone()
            stop.set()
            serving.result()
    assert looked == ("film",)
    assert not old.exists()
