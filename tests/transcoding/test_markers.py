"""Intro and credits: the same jingle at different places, coded at different rates; unrelated sound; a dark end."""

import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest

from matinee.settings import Settings
from transcoding import markers
from transcoding.markers.find import best, share, written_end
from transcoding.markers.fingerprint import RATE, Words, fingerprint, longest_common

LENGTH = 75.0
INTRO, CREDITS = 12.0, 11.0
PLAIN = f"color=0x304050:size=64x36:rate=4:duration={LENGTH}"


def music(seconds: float, seed: int) -> np.ndarray:
    """Chords that fade, at random times."""
    random, signal, at = np.random.default_rng(seed), np.zeros(int(seconds * RATE)), 0.0
    while at < seconds:
        length = random.uniform(0.15, 0.6)
        first, last = int(at * RATE), min(len(signal), int((at + 2 * length) * RATE))
        t = np.arange(last - first) / RATE
        for tone in random.uniform(150, 1800, 4):
            signal[first:last] += np.exp(-3 * t) * sum(np.sin(2 * np.pi * tone * k * t) / k for k in (1, 2, 3))
        at += length
    return signal / np.abs(signal).max() / 2


def talk(seconds: float, seed: int) -> np.ndarray:
    """Short bursts of coloured noise, as different from one another as syllables."""
    random, pieces, left = np.random.default_rng(seed), [np.zeros(0)], int(seconds * RATE)
    while left > 0:
        length = min(left, int(random.uniform(0.05, 0.3) * RATE))
        t = np.arange(length) / RATE
        burst = random.normal(0, 1, length) * 0.2 + np.sin(
            2 * np.pi * random.uniform(300, 2500) * t + random.normal(0, 1)
        )
        pieces.append(burst * np.hanning(length) / 4)
        left -= length
    return np.concatenate(pieces)


def episode(seed: int, intro_at: float | None, credits_at: float | None) -> np.ndarray:
    signal = talk(LENGTH, seed)
    for at, length, tune in ((intro_at, INTRO, 1001), (credits_at, CREDITS, 1002)):
        if at is not None:
            first = int(at * RATE)
            signal[first : first + int(length * RATE)] = music(length, tune)
    return (signal * 20_000).astype(np.int16)


@pytest.fixture(scope="module")
def recorded(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A film with such sound, coded at some rate, over a picture (a filter)."""
    folder = tmp_path_factory.mktemp("episodes")

    def make(name: str, signal: np.ndarray, rate: str, picture: str = PLAIN) -> Path:
        sound, film = folder / f"{name}.wav", folder / f"{name}.mp4"
        with wave.open(str(sound), "wb") as out:
            out.setnchannels(1), out.setsampwidth(2), out.setframerate(RATE)
            out.writeframes(signal.tobytes())
        subprocess.run(
            [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-i", sound, "-c:v", "libx264", "-preset",
             "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", rate, "-ar", "44100", "-shortest", film],
            check=True,
        )  # fmt: skip
        return film

    return make


@pytest.fixture
def publish(settings: Settings, add_master: Callable[..., str]) -> Callable[..., None]:
    """Titles of a series with a published package each."""

    def add(title_id: str, film: Path, number: int, parent: str = "beacon-s1", kind: str = "episode") -> None:
        with psycopg.connect(settings.database()) as connection:
            root = parent.partition("-")[0]
            for name, of, above in ((root, "series", None), (parent, "season", root), (title_id, kind, parent)):
                connection.execute(
                    "INSERT INTO title (title_id, kind, parent_id, number, maturity) VALUES (%s, %s, %s, %s, 0) "
                    "ON CONFLICT DO NOTHING", (name, of, above, number),
                )  # fmt: skip
        master = add_master(film, title_id)
        with psycopg.connect(settings.database()) as connection:
            connection.execute(
                "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
                "VALUES (%s, %s, %s, 'published', %s)", (f"p-{title_id}", title_id, master, int(LENGTH * 1000)),
            )  # fmt: skip

    return add


def stored(settings: Settings) -> dict[tuple[str, str], tuple[float, float, str]]:
    with psycopg.connect(settings.database()) as connection:
        rows = connection.execute("SELECT title_id, kind, start_ms, end_ms, source FROM title_marker").fetchall()
    return {(title_id, kind): (start / 1000, end / 1000, source) for title_id, kind, start, end, source in rows}


def test_episodes_give_each_other_intro_and_credits(settings: Settings, recorded, publish) -> None:
    places = {"beacon-e1": (5.33, 62.0), "beacon-e2": (11.07, 59.5), "beacon-e3": (0.0, 63.4)}
    for number, ((title_id, at), rate) in enumerate(zip(places.items(), ("192k", "64k", "48k"), strict=True), 1):
        publish(title_id, recorded(title_id, episode(number, *at), rate), number)
    assert markers.update(settings, "beacon-e1").markers == (), "nobody to compare with yet"
    assert {marker.kind for marker in markers.update(settings, "beacon-e2").markers} == {"intro", "credits"}
    markers.update(settings, "beacon-e3")

    found = stored(settings)
    assert set(found) == {(title_id, kind) for title_id in places for kind in ("intro", "credits")}
    for title_id, (intro, credits_at) in places.items():
        start, end, source = found[title_id, "intro"]
        assert source == "sound"
        assert (start, end) == pytest.approx((intro, intro + INTRO), abs=0.5), title_id
        start, end, _ = found[title_id, "credits"]
        assert start == pytest.approx(credits_at, abs=0.5), title_id
        assert end == pytest.approx(LENGTH, abs=0.5), "what stops shortly before the end lasts to it"


def test_what_shares_nothing_gets_nothing(settings: Settings, recorded, publish) -> None:
    publish("beacon-e1", recorded("own", episode(1, 5.0, 60.0), "96k"), 1)
    publish("beacon-e2", recorded("other", episode(2, None, None), "96k"), 2)
    publish("lantern-e1", recorded("elsewhere", episode(3, 8.0, 61.0), "96k"), 1, parent="lantern-s1")
    for title_id in ("beacon-e1", "beacon-e2", "lantern-e1"):
        assert markers.update(settings, title_id) == markers.Marked(title_id)
    assert stored(settings) == {}, "another series with the same music is no sibling"


def test_a_film_that_cannot_be_heard_is_written_down(
    settings: Settings, publish, recorded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish("beacon-e1", recorded("gone", episode(1, 5.0, 60.0), "96k"), 1)
    (master,) = (settings.media / "~masters").iterdir()
    master.write_bytes(b"no film")
    failed = markers.update(settings, "beacon-e1")
    assert failed.error
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT words, error FROM title_fingerprint").fetchall() == [(None, failed.error)]
    assert failed.error in caplog.text
    assert markers.update(settings, "beacon-e9").error == "it has no published package"
    assert not list(settings.media.glob("~markers*"))


def test_markers_survive_an_answerless_database(settings: Settings) -> None:
    gone = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    assert "PostgreSQL does not answer" in (markers.update(gone, "beacon-e1").error or "")


def test_a_dark_written_end_is_credits(settings: Settings, recorded, publish) -> None:
    lines = ",".join(f"drawbox=x=60:y={y}:w=200:h=3:color=white:t=fill:enable='gte(t,63)'" for y in range(20, 170, 18))
    black = "drawbox=color=black:t=fill:enable='gte(t,63)'"
    picture = f"testsrc2=size=320x180:rate=4:duration={LENGTH},{black},{lines}"
    publish("film", recorded("film", episode(1, None, None), "64k", picture), 1, parent="shelf-s1", kind="extra")
    (marker,) = markers.update(settings, "film").markers
    assert (marker.kind, marker.source) == ("credits", "picture")
    assert (marker.start, marker.end) == pytest.approx((63.0, LENGTH), abs=1.1)


def grey(*pictures: tuple[int, int, int]) -> np.ndarray:
    """Seconds of a picture: so many seconds, background, and rows (of 90) that are bright."""
    made = []
    for seconds, level, rows in pictures:
        frame = np.full((90, 160), level, np.uint8)
        frame[10 : 10 + rows, 40:120] = 220
        made += [frame] * seconds
    return np.stack(made)


def test_a_dark_end_without_writing_is_no_credits() -> None:
    assert written_end(grey((60, 120, 0), (30, 16, 0)), 0.0, 90.0) is None, "black"
    assert written_end(grey((60, 120, 0), (30, 16, 60)), 0.0, 90.0) is None, "a bright picture in the dark"
    assert written_end(grey((60, 120, 0), (30, 16, 8), (5, 120, 0)), 0.0, 95.0) is None, "writing before a last scene"
    assert written_end(grey((60, 120, 0), (6, 16, 8)), 0.0, 66.0) is None, "too short"
    marker = written_end(grey((60, 120, 0), (3, 16, 0), (30, 16, 8), (2, 16, 0)), 100.0, 195.0)
    assert marker is not None
    assert (marker.start, marker.end) == (163.0, 195.0)


def words(signal: np.ndarray) -> Words:
    return fingerprint((signal * 20_000).astype(np.int16))


def test_a_steady_tone_and_silence_match_nothing() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(60 * RATE) / RATE)
    for signal in (tone, np.zeros(60 * RATE)):
        run = longest_common(words(signal), words(signal))
        assert run is None or run.length < 2
        assert share(words(signal), words(signal)).own == ()


def test_a_run_is_found_at_every_offset() -> None:
    tune = music(12.0, 5)
    whole = words(np.concatenate([talk(20.0, 1), tune, talk(8.0, 2)]))
    for before in (0.0, 3.7, 19.94):
        run = longest_common(whole, words(np.concatenate([talk(before, 3), tune, talk(20.0, 4)])))
        assert run is not None
        assert (run.start, run.other_start, run.length) == pytest.approx((20.0, before, 12.0), abs=0.5)
        assert run.turned().turned() == run


def test_sound_is_believed_before_picture() -> None:
    from transcoding.markers.find import Marker

    seen, heard = Marker("credits", 50, 60, "picture", 0.9), Marker("credits", 52, 60, "sound", 0.4)
    better = Marker("credits", 53, 60, "sound", 0.6)
    assert best([seen, heard, better]) == best([better, heard, seen]) == {"credits": better}
