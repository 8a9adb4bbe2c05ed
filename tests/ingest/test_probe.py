import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from ingest.probe import RefusedError, probe


def _make(ffmpeg: Path, target: Path, *arguments: str) -> Path:
    subprocess.run([ffmpeg, "-v", "error", *arguments, target], check=True)
    return target


VIDEO = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=3")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def test_a_film_is_described(clip):
    found = probe(clip)
    assert (found.width, found.height, found.fps, found.rotation) == (640, 360, 24.0, 0)
    assert (found.has_audio, found.channels, found.interlaced, found.hdr, found.vfr) == (True, (1,), False, None, False)
    assert abs(found.duration_ms - 4000) <= 42
    assert [s.kind for s in found.streams] == ["video", "audio"]


def test_an_empty_file(tmp_path):
    path = tmp_path / "film.mp4"
    path.touch()
    with pytest.raises(RefusedError, match=r"^empty"):
        probe(path)


@pytest.mark.parametrize("text", ["hello\n" * 9, "привет, " * 2000, "#EXTM3U\n#EXTINF:1,\nfile:/etc/passwd\n"])
def test_text_under_the_name_of_a_film(tmp_path, text):
    path = tmp_path / "film.mp4"
    path.write_text(text)
    with pytest.raises(RefusedError, match=r"^a text file"):
        probe(path)


def test_bytes_that_are_nothing(tmp_path):
    path = tmp_path / "film.mkv"
    path.write_bytes(random.Random(7).randbytes(50_000))
    with pytest.raises(RefusedError, match=r"^not a film"):
        probe(path)


def test_a_picture_is_no_film(tmp_path, ffmpeg):
    picture = _make(ffmpeg, tmp_path / "p.png", *VIDEO, "-frames:v", "1")
    with pytest.raises(RefusedError, match=r"^not a film"):
        probe(picture.rename(tmp_path / "film.mp4"))


def test_an_mp4_without_its_index(tmp_path, clip):
    path = tmp_path / "film.mp4"
    path.write_bytes(clip.read_bytes()[:-20_000])
    with pytest.raises(RefusedError, match=r"^cut short: an MP4 without its index"):
        probe(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_film_that_ends_early(tmp_path, ffmpeg, suffix):
    more = ("-movflags", "+faststart") if suffix == "mp4" else ()
    whole = _make(ffmpeg, tmp_path / f"whole.{suffix}", *VIDEO, *X264, *more)
    short = tmp_path / f"short.{suffix}"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    assert probe(whole).duration_ms == pytest.approx(3000, abs=45)
    with pytest.raises(RefusedError, match=r"^cut short: \d\.\d s are there of 3\.\d s"):
        probe(short)


def test_sound_without_pictures(tmp_path, ffmpeg):
    path = _make(ffmpeg, tmp_path / "sound.mp4", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac")
    with pytest.raises(RefusedError, match="no video stream"):
        probe(path)


def test_a_film_whose_pictures_are_noise(tmp_path, clip):
    damaged = bytearray(clip.read_bytes())
    start = damaged.index(b"mdat") + 4
    end = damaged.index(b"moov")
    damaged[start : end - 4] = b"\xff" * (end - 4 - start)
    path = tmp_path / "film.mp4"
    path.write_bytes(damaged)
    with pytest.raises(RefusedError, match=r"^the video \(h264\) cannot be decoded"):
        probe(path)


def test_rotation_interlacing_and_several_tracks_are_recorded(tmp_path, ffmpeg):
    plain = _make(
        ffmpeg, tmp_path / "a.mp4", *VIDEO, "-f", "lavfi", "-i", "sine=duration=3", "-f", "lavfi",
        "-i", "anullsrc=channel_layout=5.1:duration=3", "-map", "0", "-map", "1", "-map", "2", *X264, "-c:a", "aac",
        "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=rus",
    )  # fmt: skip
    found = probe(
        _make(ffmpeg, tmp_path / "b.mp4", "-display_rotation", "90", "-i", str(plain), "-map", "0", "-c", "copy")
    )
    assert found.rotation == 90
    assert (found.channels, found.languages) == ((1, 6), ("eng", "rus"))
    fields = _make(
        ffmpeg, tmp_path / "c.mpg", *VIDEO, "-vf", "interlace", "-flags", "+ildct+ilme", "-c:v", "mpeg2video"
    )
    assert probe(fields).interlaced


def test_nothing_that_is_damaged_escapes_as_another_error(tmp_path, clip):
    whole = clip.read_bytes()
    chance = random.Random(11)
    path = tmp_path / "film.mp4"
    for _ in range(40):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.choice([1, 30, 900])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        with suppress(RefusedError, MemoryError):  # a damaged index may claim to be larger than any memory
            assert probe(path).width > 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hdr10_720p2997_3s.mp4", {"hdr": "pq", "pix_fmt": "yuv420p10le"}),
        ("interlaced_576i25.mpg", {"interlaced": True, "sar": "64:45"}),
        ("no_audio.mp4", {"has_audio": False}),
        ("odd_853x479_yuv444.mp4", {"width": 853, "height": 479, "pix_fmt": "yuv444p"}),
        ("rotated_90.mp4", {"rotation": 90}),
        ("surround51_eac3_subs.mkv", {"channels": (6,), "duration_ms": 5000}),
        ("vfr_phone.mp4", {"vfr": True}),
    ],
)
def test_odd_but_sound_films_are_recorded_as_what_they_are(shared, name, expected):
    found = probe(shared / "data" / "clips" / "damaged" / name).as_json()
    assert {key: found[key] for key in expected} == expected
