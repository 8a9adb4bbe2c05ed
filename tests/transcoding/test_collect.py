"""What is collected, and what is left alone."""

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from matinee.settings import Settings
from transcoding.chunks import WORK
from transcoding.collect import collect
from transcoding.package import DRAFTS


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
                (name, title_id, title_id, replaced_s),
            )
        folder = settings.media / title_id / name
        (folder / "video" / "480p").mkdir(parents=True)
        (folder / "video" / "480p" / "00000.m4s").write_bytes(b"film")
        return folder

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
            (f"watching {name}", title_id, name, ends_in_s),
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

    assert set(collect(settings)) == {"old", "over"}

    assert {name for name, folder in folders.items() if folder.exists()} == {"playing", "fresh", "watched"}
    assert {name for name, state in states(settings).items() if state == "collected"} == {"old", "over"}
    assert {path.name for path in (settings.media / "film").iterdir()} == {"playing", "fresh", "watched"}
    assert collect(settings) == []


def test_a_crash_after_the_row_leaves_files_for_the_next_run(
    settings: Settings, add_package: Callable[..., Path]
) -> None:
    folder = add_package("film", "old", 4000.0)
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE package SET state = 'collected'")
    assert collect(settings) == []
    assert not folder.exists()


def test_folders_of_nobody_go_and_young_ones_stay(settings: Settings, add_package: Callable[..., Path]) -> None:
    kept = add_package("film", "playing")
    without_row, young = settings.media / "film" / "crashed", settings.media / "film" / "young"
    left = [settings.media / WORK / "ended-job", settings.media / DRAFTS / "dead-worker"]
    for folder in (without_row, young, *left):
        folder.mkdir(parents=True)
    os.utime(without_row, (0, 0))
    (settings.media / "~masters").mkdir()
    collect(settings)
    assert [folder.exists() for folder in (kept, without_row, young, *left)] == [True, False, True, False, False]
    assert (settings.media / "~masters").exists()
