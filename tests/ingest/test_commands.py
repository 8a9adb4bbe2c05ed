import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ingest import log
from ingest.commands import app, workers
from ingest.intake import accept
from matinee.errors import MatineeError


@pytest.fixture
def matinee(settings, monkeypatch):
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    def run(*words: object) -> Result:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, SystemExit | MatineeError):
            raise result.exception
        return result

    return run


@pytest.fixture
def fails(matinee):
    """Runs the command as a person does; it must end with 1. Returns its one line on stderr, and its output."""

    def run(*words: object) -> tuple[str, str]:
        command = [Path(sys.executable).with_name("matinee"), *(str(word) for word in words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        return done.stderr, done.stdout

    return run


def test_a_feed_with_wrong_lines_ends_well_and_names_them(matinee, tmp_path):
    feed = tmp_path / "feed.jsonl"
    feed.write_text(json.dumps({"id": "a", "kind": "film", "titles": {"en": "A"}}) + "\n{broken [bold]\n")
    result = matinee("ingest", "catalog", feed)
    assert result.exit_code == 0, result.output
    assert "not JSON" in result.output


def test_a_feed_with_no_usable_line_fails(matinee, fails, connection, tmp_path):
    feed = tmp_path / "feed.jsonl"
    feed.write_text("nothing\nat all\n")
    said, shown = fails("ingest", "catalog", feed)
    assert said == f"matinee: no line of {feed} could be used: the table above has the reasons\n"
    assert shown.count("not JSON") == 2
    assert connection.execute("SELECT count(*) FROM feed_rejection").fetchone() == (2,)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert matinee("ingest", "catalog", empty).exit_code == 0


def test_films_are_listed_with_what_became_of_them(matinee, fails, tmp_path, clip):
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "[red]good.mp4").write_bytes(clip.read_bytes())
    (folder / "bad.mp4").write_text("text")
    for path in folder.iterdir():
        os.utime(path, (time.time() - 9,) * 2)
    result = matinee("ingest", "masters", folder)
    assert result.exit_code == 0, result.output
    assert "[red]good.mp4" in result.output
    assert "a text file, not a film" in result.output
    (folder / "[red]good.mp4").unlink()
    said, shown = fails("ingest", "masters", folder)
    assert said == f"matinee: no film of {folder} could be used: the reasons are above\n"
    assert "refused bad.mp4: a text file, not a film" in shown


def test_films_are_judged_without_being_taken_in(matinee, fails, connection, tmp_path, clip):
    result = matinee("ingest", "judge", "--json", clip)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert (found["accepted"], found["corrections"]) == (True, ["mono->stereo", "resample 44.1 kHz"])
    assert found["probe"]["width"] == 640
    bad = tmp_path / "bad.mp4"
    bad.write_text("text")
    said, shown = fails("ingest", "judge", clip, bad, tmp_path / "none.mp4")
    assert said == "matinee: 2 of 3 would be refused: the reasons are above\n"
    assert "refused bad.mp4: a text file, not a film" in shown
    assert connection.execute("SELECT count(*) FROM master").fetchone() == (0,)


def test_a_folder_without_films_fails(fails, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "poster.jpg").touch()
    said, _ = fails("ingest", "masters", folder)
    assert said.startswith(f"matinee: no film in {folder}: ")


def test_events_are_drained_and_dead_letters_seen_and_replayed(matinee, client, event, now):
    log.append(client, accept([event(), event(type="dance")], received_at=now, origin="live").entries)
    assert "1" in matinee("drain").output
    listed = matinee("deadletters", "list").output
    assert "invalid_event" in listed
    log_id = next(word for word in listed.split() if word.endswith(("-0", "-1")))
    assert '"type": "dance"' in matinee("deadletters", "show", log_id).output
    assert matinee("deadletters", "replay", "--code", "too_late").exit_code == 0
    assert matinee("deadletters", "show", "7-7").exit_code == 1


def test_movielens_by_command(matinee, tmp_path):
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Heat (1995),Action\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
    result = matinee("import", "movielens", tmp_path)
    assert result.exit_code == 0, result.output
    assert "ratings" in result.output


def test_the_worker_drains_once_when_asked_to(settings, client, event, now):
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    workers["collector"](settings, True)
    assert client.xlen(log.STREAM) == 0


def test_the_commands_load_nothing_heavy():
    code = "import sys, ingest.commands; print([m for m in ('av', 'polars', 'pyarrow', 'redis') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
