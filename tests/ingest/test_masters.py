import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ingest.catalog import ingest_feed
from ingest.errors import IngestError
from ingest.masters import STORE, Outcome, ingest_masters, link

# Root may read everything, so it becomes somebody else; only then, for the others cannot reach the database's socket.
# `warm` is taken in before, which loads what is loaded late.
AS_SOMEBODY = """
import json, os, pwd, sys
from pathlib import Path
from ingest.errors import IngestError
from ingest.masters import ingest_masters
from matinee.db.connect import connect
from matinee.settings import Settings

warm, folder, media = map(Path, sys.argv[1:])
connection = connect(Settings.load(), autocommit=True)
ingest_masters(connection, warm, media)
if os.getuid() == 0:
    somebody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(somebody.pw_gid)
    os.setuid(somebody.pw_uid)
try:
    print(json.dumps({o.path.name: [o.state, o.title_id, o.reason] for o in ingest_masters(connection, folder, media)}))
except IngestError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    return folder


def _place(source: Path, *targets: Path, tail: bytes = b"") -> None:
    """Copies that nobody has touched for a while; `tail` makes another content that plays the same."""
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes() + tail)
        _age(target)


def _age(path: Path) -> None:
    os.utime(path, (time.time() - 60,) * 2)


def _feed(connection, folder: Path, *titles: dict) -> None:
    path = folder / "feed.jsonl"
    path.write_text("\n".join(json.dumps({"kind": "film", **title}) for title in titles))
    ingest_feed(connection, path)


def _states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.path.name: outcome.state for outcome in outcomes}


def _rows(connection) -> list:
    return [
        connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        for table in ("master", "master_source", "title", "title_text", "offer")
    ]


def test_a_bare_folder_of_films_becomes_draft_titles(connection, settings, films, clip):
    _place(clip, films / "Ёжик_в.тумане (1975).mp4")
    (outcome,) = ingest_masters(connection, films, settings.media)
    assert (outcome.state, outcome.title_id) == ("accepted", "ezhik-v-tumane-1975")
    row = connection.execute(
        "SELECT state, year, feed_hash, language, title FROM title JOIN title_text USING (title_id)"
    )
    assert row.fetchall() == [("draft", 1975, None, "ru", "Ёжик в тумане")]
    stored, size, found = connection.execute("SELECT stored_path, bytes, probe FROM master").fetchone()
    assert stored == f"{STORE}/{outcome.master_id}.mp4"
    assert (settings.media / stored).read_bytes() == clip.read_bytes()
    assert size == clip.stat().st_size
    assert (found["width"], found["height"], found["channels"]) == (640, 360, [1])


def test_a_second_run_changes_nothing_and_reads_nothing(connection, settings, films, clip):
    _place(clip, films / "a.mp4")
    (films / "b.mp4").write_text("text")
    _age(films / "b.mp4")
    ingest_masters(connection, films, settings.media)
    before = _rows(connection)
    read_before = (films / "a.mp4").stat().st_atime_ns
    again = ingest_masters(connection, films, settings.media)
    assert _states(again) == {"a.mp4": "unchanged", "b.mp4": "refused"}
    assert _rows(connection) == before
    assert (films / "a.mp4").stat().st_atime_ns == read_before
    assert len(list((settings.media / STORE).iterdir())) == 1


def test_bad_files_are_refused_each_with_its_reason_and_the_rest_goes_on(connection, settings, films, clip):
    (films / "empty.mp4").touch()
    (films / "text.mp4").write_text("not a film")
    (films / "cut.mp4").write_bytes(clip.read_bytes()[:-20_000])
    (films / "dangling.mp4").symlink_to(films / "nowhere")
    os.mkfifo(films / "pipe.mp4")
    for name in ("empty.mp4", "text.mp4", "cut.mp4"):
        _age(films / name)
    for name in (".hidden.mp4", "film.srt", "film.JPG", "film.json"):
        (films / name).write_text("passed over")
    _place(clip, films / "good.mp4", films / ".hidden" / "more.mp4")
    outcomes = {o.path.name: o for o in ingest_masters(connection, films, settings.media)}
    assert {name: o.state for name, o in outcomes.items()} == {
        "cut.mp4": "refused", "dangling.mp4": "refused", "empty.mp4": "refused", "good.mp4": "accepted",
        "pipe.mp4": "refused", "text.mp4": "refused",
    }  # fmt: skip
    reasons = [o.reason for o in outcomes.values() if o.state == "refused"]
    assert len(set(reasons)) == len(reasons) == 5
    stored = dict(connection.execute("SELECT file_name, reason FROM master WHERE state = 'refused'").fetchall())
    assert stored == {name: outcomes[name].reason for name in ("empty.mp4", "text.mp4", "cut.mp4")}
    assert outcomes["dangling.mp4"].reason == "cannot be read: No such file or directory"


def test_the_same_content_twice_is_one_master(connection, settings, films, clip):
    _place(clip, films / "a.mp4", films / "b.mp4")
    assert _states(ingest_masters(connection, films, settings.media)) == {"a.mp4": "accepted", "b.mp4": "unchanged"}
    assert connection.execute("SELECT count(*) FROM master").fetchone() == (1,)
    assert connection.execute("SELECT title_id FROM title").fetchall() == [("a",)]


def test_films_find_the_titles_of_the_feed(connection, settings, films, clip, tmp_path):
    _feed(
        connection, tmp_path,
        {"id": "one", "titles": {"en": "First"}, "extra": {"master": "raw/01.mp4"}},
        {"id": "two", "titles": {"en": "The Second"}},
        {"id": "three", "titles": {"en": "Third"}},
        {"id": "show", "kind": "series", "titles": {"en": "Show"}},
    )  # fmt: skip
    for number, name in enumerate(("raw/01.mp4", "The Second.mp4", "Third/any.mp4", "show.mp4")):
        _place(clip, films / name, tail=bytes(number))
    titles = {o.path.name: o.title_id for o in ingest_masters(connection, films, settings.media)}
    draft = titles.pop("show.mp4")
    assert titles == {"01.mp4": "one", "The Second.mp4": "two", "any.mp4": "three"}
    assert draft.startswith("show-")  # a series is no film


def test_a_feed_that_comes_later_takes_the_film_over_from_its_draft(connection, settings, films, clip, tmp_path):
    _place(clip, films / "raw.mp4")
    (outcome,) = ingest_masters(connection, films, settings.media)
    assert outcome.title_id == "raw"
    _feed(connection, tmp_path, {"id": "one", "titles": {"en": "First"}, "extra": {"master": ["raw.mp4", "x"]}})
    assert link(connection) == {outcome.master_id: "one"}
    assert connection.execute("SELECT title_id FROM title").fetchall() == [("one",)]
    assert link(connection) == {}


def test_a_draft_that_has_keys_or_that_somebody_owns_or_edited_stays(connection, settings, films, clip, tmp_path):
    _place(clip, films / "raw.mp4")
    (outcome,) = ingest_masters(connection, films, settings.media)
    connection.execute("INSERT INTO account (account_id, origin) VALUES ('ada', 'simulate')")
    held = {
        "content_key": "INSERT INTO content_key (key_id, title_id, tier, period, wrapped, kek) "
        "VALUES ('k', 'raw', 'sd', 0, '', 1)",
        "entitlement": "INSERT INTO entitlement (entitlement_id, account_id, kind, title_id, opened) "
        "VALUES ('e', 'ada', 'grant', 'raw', now())",
        "title_override": "INSERT INTO title_override VALUES ('raw', 'year', '1', now())",
    }
    _feed(connection, tmp_path, {"id": "one", "titles": {"en": "First"}, "extra": {"master": ["raw.mp4", "x"]}})
    for table, insert in held.items():
        connection.execute(insert)
        connection.execute("UPDATE master SET title_id = 'raw'")
        assert link(connection) == {outcome.master_id: "one"}, table
        assert connection.execute("SELECT count(*) FROM title WHERE title_id = 'raw'").fetchone() == (1,), table
        connection.execute(f"DELETE FROM {table}")


def test_a_new_version_of_a_file_belongs_to_the_same_title(connection, settings, films, clip):
    _place(clip, films / "a.mp4")
    ingest_masters(connection, films, settings.media)
    _place(clip, films / "a.mp4", tail=bytes(16))
    (outcome,) = ingest_masters(connection, films, settings.media)
    assert (outcome.state, outcome.title_id) == ("accepted", "a")
    assert connection.execute("SELECT count(*) FROM title").fetchone() == (1,)


def test_films_of_the_same_name_get_drafts_of_their_own(connection, settings, films, clip):
    _place(clip, films / "one" / "film.mp4", tail=bytes(8))
    _place(clip, films / "two" / "film.mp4", tail=bytes(16))
    first, second = (o.title_id for o in ingest_masters(connection, films, settings.media))
    assert first == "film"
    assert second is not None
    assert second.startswith("film-")


def test_a_file_that_is_still_written_is_waited_for(connection, settings, films, clip):
    target = films / "slow.mp4"
    pieces = clip.read_bytes()

    def write() -> None:
        with target.open("wb") as file:
            for start in range(0, len(pieces), len(pieces) // 4 + 1):
                file.write(pieces[start : start + len(pieces) // 4 + 1])
                file.flush()
                time.sleep(0.3)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.1)
    (outcome,) = ingest_masters(connection, films, settings.media)
    writer.join()
    assert outcome.state == "accepted"
    assert (settings.media / STORE / f"{outcome.master_id}.mp4").read_bytes() == clip.read_bytes()


def test_a_store_without_room_says_so_and_keeps_nothing_half(connection, settings, films, clip):
    _place(clip, films / "a.mp4")
    with pytest.raises(IngestError, match=r"cannot store a.mp4 .*MiB are free.*free some space"):
        ingest_masters(connection, films, settings.media, reserve_bytes=2**60)
    assert list((settings.media / STORE).iterdir()) == []
    assert connection.execute("SELECT count(*) FROM master").fetchone() == (0,)


def test_a_store_that_cannot_be_written_says_so(connection, settings, films, clip):
    _place(clip, films / "a.mp4")
    (settings.media / STORE).write_text("a file where the folder should be")
    with pytest.raises(IngestError, match="cannot store"):
        ingest_masters(connection, films, settings.media)


def test_a_lost_copy_is_made_again(connection, settings, films, clip):
    _place(clip, films / "a.mp4")
    ingest_masters(connection, films, settings.media)
    shutil.rmtree(settings.media / STORE)
    (outcome,) = ingest_masters(connection, films, settings.media)
    assert outcome.state == "accepted"
    assert (settings.media / STORE / f"{outcome.master_id}.mp4").exists()


def test_a_name_that_is_not_unicode(connection, settings, films, clip):
    target = Path(os.fsdecode(os.fsencode(films) + b"/caf\xe9.mp4"))
    _place(clip, target)
    (outcome,) = ingest_masters(connection, films, settings.media)
    assert outcome.state == "accepted"
    assert connection.execute("SELECT file_name FROM master").fetchone() == ("caf\\xe9.mp4",)


@pytest.fixture
def as_somebody(settings, clip):
    """Takes in a folder of films as a user who is not root, and a place for such a folder that this user may enter."""
    if os.getuid() == 0:
        try:  # a film is looked into by an interpreter of its own, which that user must be able to run
            subprocess.run([sys.executable, "-c", "import ingest.judge"], user="nobody", cwd="/", check=True)
        except (PermissionError, subprocess.CalledProcessError):
            pytest.skip("this code lies below a folder that only its owner may enter")
    place = Path(tempfile.mkdtemp(prefix="matinee-films-"))  # not below pytest's folder, which only its owner may enter
    place.chmod(0o755)
    mask = os.umask(0o022)
    warm, media = place / "warm.mp4", place / "media"
    (media / STORE).mkdir(parents=True)
    if os.getuid() == 0:
        for folder in (media, media / STORE):
            shutil.chown(folder, "nobody")

    def run(folder: Path):
        _place(clip, warm, tail=os.urandom(8))  # never seen before, so that it is looked into each time
        command = [sys.executable, "-c", AS_SOMEBODY, warm, folder, media]
        done = subprocess.run(command, env={**os.environ, **settings.environment()}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield run, place
    os.umask(mask)
    for path in place.rglob("closed*"):
        path.chmod(0o755)
    shutil.rmtree(place)


def test_what_may_not_be_read_is_refused_and_the_rest_goes_on(connection, as_somebody, clip):
    run, place = as_somebody
    films = place / "films"
    _place(clip, films / "a.mp4", tail=b"a")
    _place(clip, films / "closed" / "in.mp4", tail=b"in")
    _place(clip, films / "closed.mp4", tail=b"closed")
    _place(clip, films / "open" / "z.mp4", tail=b"z")
    for name in ("closed", "closed.mp4"):
        (films / name).chmod(0)
    refused = ["refused", None, "may not be read: give the user that runs matinee the right to read it"]
    accepted = {"a.mp4": ["accepted", "a", ""], "z.mp4": ["accepted", "z", ""]}
    assert run(films) == {"closed": refused, "closed.mp4": refused, **accepted}
    (films / "closed").chmod(0o755)
    assert run(films) == {
        "closed.mp4": refused, "a.mp4": ["unchanged", "a", ""], "in.mp4": ["accepted", "in", ""],
        "z.mp4": ["unchanged", "z", ""],
    }  # fmt: skip


def test_a_folder_that_may_not_be_read_itself(as_somebody):
    run, place = as_somebody
    (place / "closed").mkdir(mode=0)
    assert run(place / "closed") == f"cannot look into {place / 'closed'}: Permission denied"


def test_a_folder_that_is_not_there(connection, settings, tmp_path):
    with pytest.raises(IngestError, match="no such folder"):
        ingest_masters(connection, tmp_path / "nowhere", settings.media)


def test_real_films_are_accepted_and_damaged_ones_refused_with_reasons_of_their_own(connection, settings, shared):
    real = ingest_masters(connection, shared / "data" / "clips" / "real", settings.media)
    assert {o.state for o in real} == {"accepted"}
    assert len({o.title_id for o in real}) == len(real) == 7
    damaged = ingest_masters(connection, shared / "data" / "clips" / "damaged", settings.media)
    refused = {o.path.name: o.reason for o in damaged if o.state == "refused"}
    assert set(refused) == {"zero_byte.mp4", "truncated_no_moov.mp4", "text_renamed.mp4"}
    assert len(set(refused.values())) == 3
    assert sum(o.state == "accepted" for o in damaged) == 7
