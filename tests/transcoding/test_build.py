"""From accepted masters to packages: what is published, what is written down, what a crash leaves behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from matinee.settings import Settings
from transcoding.build import TitleProgress, enqueue, notice_lost, transcode_pending
from transcoding.chunks import WORK
from transcoding.errors import TransientError
from transcoding.package import DRAFTS
from transcoding.worker import Worker


def rows(settings: Settings, what: str) -> list[tuple]:
    with psycopg.connect(settings.database()) as connection:
        return connection.execute(f"SELECT {what} FROM package ORDER BY title_id, created_at").fetchall()  # pyright: ignore[reportArgumentType, reportCallIssue] - the tests' own text


@pytest.fixture(scope="module")
def small(film: Callable[..., Path]) -> Path:
    """The least film with two rungs and sound."""
    return film("small.mp4", "testsrc2=size=320x180:rate=24:duration=2", {"eng": 440}, ["-pix_fmt", "yuv420p"])


def test_a_master_becomes_a_package_once(settings: Settings, add_master: Callable[..., str], clip: Path) -> None:
    master = add_master(clip, "film-one")
    steps: list[TitleProgress] = []

    (outcome,) = transcode_pending(settings, steps.append)

    assert outcome.reason is None
    folder = settings.media / "film-one" / outcome.package_id
    assert {path.name for path in folder.iterdir()} == {
        "master.m3u8", "manifest.mpd", "video", "audio", "iframes", "thumbnails", "poster.jpg", "package.json",
        "report", "report.html",
    }  # fmt: skip
    described = json.loads((folder / "package.json").read_text())
    assert (described["source_sha256"], described["duration_ms"]) == (master, 4000)
    assert rows(settings, "package_id, title_id, master_id, state, duration_ms") == [
        (outcome.package_id, "film-one", master, "published", 4000)
    ]
    assert [rung["name"] for (rungs,) in rows(settings, "rungs") for rung in rungs] == ["360p", "180p"]
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert transcode_pending(settings) == []


def test_masters_without_a_title_wait(settings: Settings, add_master: Callable[..., str], small: Path) -> None:
    add_master(small, None)
    assert transcode_pending(settings) == []


def test_a_master_that_fails_is_written_down_and_the_rest_goes_on(
    settings: Settings, add_master: Callable[..., str], small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a film at all\n" * 50)
    add_master(bad, "film-bad")
    add_master(small, "film-good")

    states = {outcome.title_id: outcome.state for outcome in transcode_pending(settings)}

    assert states == {"film-bad": "failed", "film-good": "published"}
    assert not (settings.media / "film-bad").exists()
    ((reason,),) = [row for row in rows(settings, "reason") if row[0]]
    assert "Invalid data" in reason
    assert transcode_pending(settings) == [], "a lost cause is not tried again with the same tools"
    monkeypatch.setattr("transcoding.package.PLAN_VERSION", "another")
    assert {outcome.title_id for outcome in transcode_pending(settings)} == {"film-bad", "film-good"}


def test_a_master_that_is_not_at_hand_is_tried_again(
    settings: Settings, add_master: Callable[..., str], small: Path
) -> None:
    master = add_master(small, "film-one")
    stored = settings.media / "~masters" / f"{master}.mp4"
    aside = stored.rename(stored.with_suffix(".away"))
    assert [outcome.state for outcome in transcode_pending(settings)] == ["failed"]
    aside.rename(stored)
    assert [outcome.state for outcome in transcode_pending(settings)] == ["published"]


def test_a_package_whose_files_are_gone_is_made_again(
    settings: Settings, add_master: Callable[..., str], small: Path
) -> None:
    import shutil

    add_master(small, "film-one")
    (first,) = transcode_pending(settings)
    shutil.rmtree(settings.media / "film-one")
    (second,) = transcode_pending(settings)
    assert (second.package_id, second.state) == (first.package_id, "published")
    assert rows(settings, "state") == [("published",)]


def test_a_published_folder_without_a_row_is_taken_as_it_is(
    settings: Settings, add_master: Callable[..., str], small: Path
) -> None:
    add_master(small, "film-one")
    (first,) = transcode_pending(settings)
    written = (settings.media / "film-one" / first.package_id / "package.json").stat().st_mtime_ns
    with psycopg.connect(settings.database()) as connection:
        connection.execute("DELETE FROM package")
    (second,) = transcode_pending(settings)
    assert second.package_id == first.package_id
    assert (settings.media / "film-one" / first.package_id / "package.json").stat().st_mtime_ns == written


def test_kill_9_leaves_nothing_published_and_the_next_run_succeeds(
    settings: Settings, add_master: Callable[..., str], film: Callable[..., Path]
) -> None:
    add_master(film("long.mp4", "testsrc2=size=640x360:rate=24:duration=14"), "film-long")
    script = "from matinee.settings import Settings\nfrom transcoding.build import transcode_pending\n"
    child = subprocess.Popen(
        [sys.executable, "-c", script + "transcode_pending(Settings.load())"],
        env=os.environ | settings.environment(),
        start_new_session=True,
    )
    work, drafts, deadline = settings.media / WORK, settings.media / DRAFTS, time.monotonic() + 60
    while not list(work.glob("*/chunks/0/.00000-*/video/360p/00000.m4s")):
        assert child.poll() is None, "the encoder was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()

    assert not (settings.media / "film-long").exists()
    assert rows(settings, "*") == []
    assert encoders_of(work) == [], "the encoder outlived its parent"
    assert [outcome.state for outcome in transcode_pending(settings)] == ["published"]
    assert list(drafts.glob("*")) == list(work.glob("*")) == []


def encoders_of(folder: Path) -> list[int]:
    """Processes that work in a folder; one that was just killed may take a moment to go."""
    import psutil

    for _ in range(50):
        found = [p.pid for p in psutil.process_iter(["cwd"]) if (p.info["cwd"] or "").startswith(str(folder))]
        if not found:
            return []
        time.sleep(0.1)
    return found


def test_an_interrupted_run_cancels_its_encoders(
    settings: Settings, add_master: Callable[..., str], film: Callable[..., Path]
) -> None:
    add_master(film("long.mp4", "testsrc2=size=640x360:rate=24:duration=14"), "film-long")
    enqueue(settings)
    worker = Worker(settings, drain=True)
    thread = threading.Thread(target=worker.run)
    thread.start()
    work, deadline = settings.media / WORK, time.monotonic() + 60
    while not list(work.glob("*/chunks/0/.00000-*/video/360p/00000.m4s")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.stop()
    thread.join()

    assert encoders_of(work) == []
    assert not (settings.media / "film-long").exists()
    with psycopg.connect(settings.database()) as connection:
        left = connection.execute("SELECT kind, attempts FROM transcode_task WHERE state = 'ready'").fetchall()
        held = connection.execute("SELECT count(*) FROM transcode_task WHERE lease_until IS NOT NULL").fetchone()
    assert ("chunk", 0) in left, "what was given back counts as not begun"
    assert held == (0,)


def test_the_small_rungs_of_a_long_film_are_published_first_and_the_whole_replaces_them(
    settings: Settings, add_master: Callable[..., str], film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transcoding.plan.PARTED_FROM_S", 1)
    add_master(film("long hd.mp4", "testsrc2=size=1920x1080:rate=8:duration=2", {"eng": 440}), "film-long")

    (outcome,) = transcode_pending(settings)

    assert (outcome.state, outcome.reason) == ("published", None)
    found = rows(settings, "package_id, superseded_at IS NULL, jsonb_path_query_array(rungs, '$[*].name'), state")
    assert [(current, names, state) for _, current, names, state in found] == [
        (False, ["720p", "480p"], "published"), (True, ["1080p", "720p", "480p"], "published"),
    ]  # fmt: skip
    assert outcome.package_id == found[1][0]
    with psycopg.connect(settings.database()) as connection:
        playing = connection.execute("SELECT package_id FROM playable").fetchall()
    assert playing == [(outcome.package_id,)]
    assert transcode_pending(settings) == []


def test_the_early_edition_does_not_replace_what_plays_already(
    settings: Settings, add_master: Callable[..., str], film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transcoding.plan.PARTED_FROM_S", 1)
    add_master(film("long hd.mp4", "testsrc2=size=1920x1080:rate=8:duration=2", {"eng": 440}), "film-long")
    with psycopg.connect(settings.database()) as connection:
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, created_at) "
            "SELECT 'better', title_id, master_id, 'published', now() - interval '1 day' FROM master"
        )
    better = settings.media / "film-long" / "better"
    better.mkdir(parents=True)
    (better / "package.json").write_text("{}")

    (outcome,) = transcode_pending(settings)

    found = rows(settings, "package_id, superseded_at IS NULL, jsonb_array_length(rungs)")
    assert found == [("better", False, 0), (outcome.package_id, True, 3)]
    assert {folder.name for folder in (settings.media / "film-long").iterdir()} == {"better", outcome.package_id}


def test_a_media_store_that_is_not_mounted_loses_nothing(
    settings: Settings, add_master: Callable[..., str], small: Path
) -> None:
    master = add_master(small, "film-one")
    with psycopg.connect(settings.database()) as connection:
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state) VALUES ('p', 'film-one', %s, 'published')",
            (master,),
        )
    (settings.media / "film-one" / "p").mkdir(parents=True)
    (settings.media / "film-one" / "p" / "package.json").write_text("{}")
    away = settings.media.rename(settings.media.with_name("away"))
    settings.media.mkdir()
    for run in (enqueue, transcode_pending):
        with pytest.raises(TransientError, match="mount it"):
            run(settings)
    settings.media.rmdir()
    away.rename(settings.media)
    notice_lost(settings)
    assert rows(settings, "state") == [("published",)]


def test_a_drain_marks_and_collects_what_dead_workers_left(
    settings: Settings, add_master: Callable[..., str], small: Path
) -> None:
    add_master(small, "film-one")
    (outcome,) = transcode_pending(settings)
    unfinished = settings.media / "film-one" / outcome.package_id
    (unfinished / "package.json").unlink()
    crashed = settings.media / "film-one" / ("0" * 32)
    crashed.mkdir()
    (crashed / "package.json").write_text("{}")
    os.utime(crashed, (0, 0))
    with psycopg.connect(settings.database()) as connection:
        connection.execute("DELETE FROM title_fingerprint")

    assert [again.package_id for again in transcode_pending(settings)] == [outcome.package_id], "it was not whole"
    assert (unfinished / "package.json").is_file()
    with psycopg.connect(settings.database()) as connection:
        connection.execute("DELETE FROM title_fingerprint")
    assert transcode_pending(settings) == []
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT title_id FROM title_fingerprint").fetchall() == [("film-one",)]
    assert not crashed.exists()
    assert [folder.name for folder in (settings.media / "film-one").iterdir()] == [outcome.package_id]


def test_a_full_disk_stops_the_run_before_it_begins(
    settings: Settings, add_master: Callable[..., str], small: Path
) -> None:
    add_master(small, "film-one")
    full = settings.model_copy(update={"disk_watermark_mb": 10**12})
    with pytest.raises(TransientError, match="MB free"):
        transcode_pending(full)
    assert rows(settings, "*") == []
