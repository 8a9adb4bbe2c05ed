import os
import time
from pathlib import Path

import psycopg
import pytest

from ingest.masters import STORE, ingest_masters
from ingest.sidecars import beside, guess_language, named, take_in
from matinee.cues import CuesError, read_cues
from matinee.settings import Settings

MASTER = "f" * 64
RUSSIAN = "1\n00:00:01,000 --> 00:00:02,000\nТы слышишь? Это поезд.\n"
ENGLISH = "1\n00:00:01,000 --> 00:00:02,000\nDo you hear it? That is the train.\n"
WEB = "WEBVTT\n\n00:01.000 --> 00:02.000\nSign on the wall\n"


@pytest.fixture
def film(tmp_path: Path, connection: psycopg.Connection) -> Path:
    """A film that was accepted; what it is made of does not matter here."""
    path = tmp_path / "films" / "film.mp4"
    path.parent.mkdir()
    path.touch()
    connection.execute(
        "INSERT INTO master (master_id, file_name, bytes, state) VALUES (%s, 'film.mp4', 0, 'accepted')", (MASTER,)
    )
    return path


@pytest.fixture
def store(settings: Settings) -> Path:
    return settings.media / STORE


def rows(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute(
        "SELECT language, forced, format, file_name, cues, dropped FROM master_sidecar ORDER BY language, forced"
    ).fetchall()


def contents(connection: psycopg.Connection, store: Path) -> dict[str, bytes]:
    """What the rows name, read from the store."""
    found = connection.execute("SELECT language, stored_path FROM master_sidecar WHERE NOT forced").fetchall()
    return {language: (store.parent / stored).read_bytes() for language, stored in found}


def test_files_beside_a_film_in_russian_and_english(connection: psycopg.Connection, film: Path, store: Path) -> None:
    files = {
        "film.ru.srt": RUSSIAN.encode("cp1251"),
        "film.eng.SRT": ENGLISH.encode(),
        "film.en.forced.vtt": WEB.encode(),
        "film.pt-BR.vtt": WEB.encode("utf-16"),
        "film2.de.srt": b"of another film",
    }
    for name, data in files.items():
        (film.parent / name).write_bytes(data)
    found = take_in(connection, film, MASTER, store)
    assert found.refused == ()
    assert found.languages == ("en", "en forced", "pt-BR", "ru")
    assert rows(connection) == [
        ("en", False, "srt", "film.eng.SRT", 1, 0),
        ("en", True, "vtt", "film.en.forced.vtt", 1, 0),
        ("pt-BR", False, "vtt", "film.pt-BR.vtt", 1, 0),
        ("ru", False, "srt", "film.ru.srt", 1, 0),
    ]
    stored = contents(connection, store)
    assert stored["ru"] == files["film.ru.srt"]
    assert read_cues(stored["ru"], "srt", "ru").cues[0].text == "Ты слышишь? Это поезд."
    assert len(list(store.iterdir())) == 4


@pytest.mark.parametrize(
    ("written", "language"),
    [
        (RUSSIAN, "ru"),
        (ENGLISH * 3, "en"),
        ("1\n00:00:01,000 --> 00:00:02,000\nЦе його їжа\n", "uk"),
        ("1\n00:00:01,000 --> 00:00:02,000\nC'est le train\n", "und"),
    ],
)
def test_a_name_without_a_language_is_helped_by_the_text(
    connection: psycopg.Connection, film: Path, store: Path, written: str, language: str
) -> None:
    (film.parent / "film.srt").write_text(written)
    assert take_in(connection, film, MASTER, store).languages == (language,)
    assert guess_language(written) == language


def test_twice_changes_nothing(connection: psycopg.Connection, film: Path, store: Path) -> None:
    (film.parent / "film.ru.srt").write_text(RUSSIAN)

    def state() -> list:
        times = [path.stat().st_mtime_ns for path in sorted(store.iterdir())]
        return [connection.execute("SELECT xmin::text, * FROM master_sidecar").fetchall(), times]

    take_in(connection, film, MASTER, store)
    before = state()
    take_in(connection, film, MASTER, store)
    assert state() == before


def test_changed_and_removed_files_update(connection: psycopg.Connection, film: Path, store: Path) -> None:
    path = film.parent / "film.ru.srt"
    path.write_text(RUSSIAN)
    (film.parent / "film.en.srt").write_text(ENGLISH)
    take_in(connection, film, MASTER, store)
    old = contents(connection, store)
    path.write_text(RUSSIAN.replace("поезд", "трамвай"))
    (film.parent / "film.en.srt").unlink()
    assert take_in(connection, film, MASTER, store).languages == ("ru",)
    assert contents(connection, store) == {"ru": path.read_bytes()}
    # Who is reading an older copy goes on reading it, for a week.
    assert {copy.read_bytes() for copy in store.iterdir()} == {*old.values(), path.read_bytes()}
    for copy in store.iterdir():
        os.utime(copy, (time.time() - 8 * 24 * 3600,) * 2)
    take_in(connection, film, MASTER, store)
    assert [copy.read_bytes() for copy in store.iterdir()] == [path.read_bytes()]


def test_a_broken_file_is_refused_and_what_it_held_before_stays(
    connection: psycopg.Connection, film: Path, store: Path
) -> None:
    (film.parent / "film.ru.srt").write_text(RUSSIAN)
    take_in(connection, film, MASTER, store)
    broken = {
        "film.ru.srt": (b"\x00\x01" * 100, "not a text file"),
        "film.en.srt": (b"", "empty: the file has no content"),
        "film.de.srt": (b"1\n00:00:05,000 --> 00:00:01,000\nx\n", "line 2: ends before it begins"),
        "film.commentary.srt": (ENGLISH.encode(), "'commentary' in its name is no language"),
        "film.fr.vtt": (b"WEBVTT\n" + b"\n" * (5 * 2**20), "larger than 5 MiB"),
        "film.es.srt": (ENGLISH.encode(), ""),
        "film.spa.vtt": (WEB.encode(), "film.es.srt holds the subtitles in es already"),
    }
    for name, (data, _) in broken.items():
        (film.parent / name).write_bytes(data)
    found = take_in(connection, film, MASTER, store)
    refused = {refusal.path.name: refusal.reason for refusal in found.refused}
    assert refused.keys() == {name for name, (_, reason) in broken.items() if reason}
    for name, reason in refused.items():
        assert broken[name][1] in reason
        assert "\n" not in reason
    assert found.languages == ("es", "ru")
    assert contents(connection, store)["ru"] == RUSSIAN.encode()


def test_copies_of_a_film_do_not_fight(connection: psycopg.Connection, film: Path, store: Path) -> None:
    other = film.parent / "copy" / "again.mp4"
    other.parent.mkdir()
    other.touch()
    (film.parent / "film.ru.srt").write_text(RUSSIAN)
    (other.parent / "again.ru.srt").write_text(RUSSIAN + "\n2\n00:00:03,000 --> 00:00:04,000\nЕщё\n")
    (other.parent / "again.en.srt").write_text(ENGLISH)
    for path in (film, other, film, other):
        assert take_in(connection, path, MASTER, store).languages[-1] == "ru"
        assert ("ru", False, "srt", "film.ru.srt", 1, 0) in rows(connection)
    assert len(rows(connection)) == 2
    (film.parent / "film.ru.srt").unlink()
    take_in(connection, other, MASTER, store)
    assert [row[3] for row in rows(connection)] == ["again.en.srt", "again.ru.srt"]


def test_the_plainest_name_counts(connection: psycopg.Connection, film: Path, store: Path) -> None:
    for name in ("film.srt", "film.en.sdh.srt", "film.en.srt"):
        (film.parent / name).write_text(ENGLISH * 3)
    found = take_in(connection, film, MASTER, store)
    assert [row[3] for row in rows(connection)] == ["film.en.srt"]
    assert [refusal.path.name for refusal in found.refused] == ["film.en.sdh.srt", "film.srt"]


def test_a_file_belongs_to_the_film_with_the_longest_name(tmp_path: Path) -> None:
    for name in ("film.mp4", "film.2.mp4", "film.ru.srt", "film.2.ru.srt", "film.2.srt", "film.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "film.dir.srt").mkdir()
    assert [path.name for path in beside(tmp_path / "film.mp4")] == ["film.ru.srt"]
    assert [path.name for path in beside(tmp_path / "film.2.mp4")] == ["film.2.ru.srt", "film.2.srt"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("film.srt", (None, False)),
        ("film.ru.srt", ("ru", False)),
        ("film.rus.vtt", ("ru", False)),
        ("film.RU.Forced.srt", ("ru", True)),
        ("film.forced.en.vtt", ("en", True)),
        ("film.forced.srt", (None, True)),
        ("film.en.sdh.srt", ("en", False)),
        ("film.zh-TW.srt", ("zh-TW", False)),
    ],
)
def test_names(name: str, expected: tuple[str | None, bool]) -> None:
    assert named(Path(name), Path("film.mp4")) == expected


@pytest.mark.parametrize("name", ["film.en.ru.srt", "film.2.srt", "film.final.en.srt"])
def test_names_that_say_something_else(name: str) -> None:
    with pytest.raises(CuesError, match=r"call it like film\.ru\.srt"):
        named(Path(name), Path("film.mp4"))


def test_a_folder_of_films_brings_its_subtitles(
    connection: psycopg.Connection, settings: Settings, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "Ёжик.mp4").write_bytes(clip.read_bytes())
    (folder / "Ёжик.ru.srt").write_bytes(RUSSIAN.encode("cp1251"))
    (folder / "Ёжик.en.srt").write_text("broken")
    (folder / "alone.srt").write_text("of no film")
    for path in folder.iterdir():
        os.utime(path, (time.time() - 60,) * 2)
    for state in ("accepted", "unchanged"):
        film, broken = ingest_masters(connection, folder, settings.media)
        assert (film.path.name, film.state, film.subtitles) == ("Ёжик.mp4", state, ("ru",))
        assert (broken.path.name, broken.state) == ("Ёжик.en.srt", "refused")
        assert broken.reason.startswith("no subtitle in it can be used")
    assert [row[3] for row in rows(connection)] == ["Ёжик.ru.srt"]
    (folder / "Ёжик.ru.srt").unlink()
    assert ingest_masters(connection, folder, settings.media)[0].subtitles == ()
    assert rows(connection) == []
