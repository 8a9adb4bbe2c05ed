"""Loudness in the initialisation segment: another reader's numbers, and a file that still plays."""

import subprocess
from pathlib import Path

import pytest

from transcoding.boxes import boxes, find, read_track
from transcoding.loudness import loudness_box, tell_loudness


@pytest.fixture
def sound(ffmpeg: Path, tmp_path: Path) -> Path:
    """A folder with a second of sound in CMAF segments."""
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", "-f", "hls",
         "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4", "main.m3u8"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    return tmp_path


def decoded(ffmpeg: Path, folder: Path) -> bytes:
    arguments = ["-v", "error", "-xerror", "-i", folder / "main.m3u8", "-f", "md5", "-"]
    return subprocess.run([ffmpeg, *arguments], capture_output=True, check=True).stdout


def test_it_is_told_and_nothing_else_changes(sound: Path, ffmpeg: Path) -> None:
    init = sound / "init.mp4"
    before, track, played = init.read_bytes(), read_track(init), decoded(ffmpeg, sound)
    tell_loudness(init, -23.0, -1.5)
    after = init.read_bytes()
    start, end = find(after, "moov/trak/udta/ludt/tlou")
    # Version and flags, downmix and DRC, peaks (0 and 688), how the peak was measured, one measurement.
    assert after[start:end].hex(" ") == "00 00 00 00 00 00 00 02 b0 21 01 01 8b 23"
    assert 20 - 688 / 32 == -1.5
    assert -57.75 + 0x8B / 4 == -23.0
    assert [kind for kind, _, _ in boxes(after)] == [kind for kind, _, _ in boxes(before)]
    assert read_track(init) == track
    assert decoded(ffmpeg, sound) == played


def test_it_joins_what_is_known_of_the_track_already(sound: Path) -> None:
    init = sound / "init.mp4"
    tell_loudness(init, -30.0, None)
    tell_loudness(init, -23.0, -1.5)
    data = init.read_bytes()
    trak = find(data, "moov/trak")
    assert [kind for kind, _, _ in boxes(data, *trak)].count("udta") == 1
    assert [kind for kind, _, _ in boxes(data, *find(data, "udta", *trak))] == ["ludt", "ludt"]
    read_track(init)


def test_silence_has_no_loudness(sound: Path) -> None:
    before = (sound / "init.mp4").read_bytes()
    tell_loudness(sound / "init.mp4", None, None)
    assert (sound / "init.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("lufs", "peak", "value", "level"),
    [(-27.5, -13.9375, 121, 1086), (-90.0, -200.0, 0, 4095), (9.0, 30.0, 255, 1), (-23.1, None, 139, 0)],
)
def test_values_are_rounded_and_stay_in_their_range(lufs: float, peak: float | None, value: int, level: int) -> None:
    box = loudness_box(lufs, peak)
    assert int.from_bytes(box[22:25]) & 0xFFF == level
    assert box[-2] == value
