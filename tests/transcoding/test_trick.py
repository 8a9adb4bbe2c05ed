"""I-frames and thumbnails of a generated film whose grey tells the second that it shows."""

import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from matinee.cues import read_cues
from transcoding import trick
from transcoding.arguments import segment_options
from transcoding.boxes import read_segment, read_track
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import Plan, Rung
from transcoding.thumbnails import interval, thumbnail_cues, write_thumbnails
from transcoding.trick import pictures, trick_rung, write_iframes

STEP = 15
SMALL = Rung("180p", 320, 180, 23, 400, 800)


def grey(second: int) -> int:
    """Full-range luminance of the film's picture at a second."""
    return round(STEP * (second % 14) * 255 / 219)


def draft(ffmpeg: Path, folder: Path, rate: Fraction, frames: int) -> Plan:
    """A draft with one finished rung."""
    plan = Plan(rate, round(2 * rate), frames, (SMALL,), ())
    video = folder / "video" / SMALL.name
    video.mkdir(parents=True)
    level = f"geq=lum='16+{STEP}*mod(floor(T+0.001)\\,14)':cb=128:cr=128"
    picture = f"color=black:size=16x16:rate={rate},{level},scale=320:180:flags=neighbor"
    options = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", str(plan.gop), "-sc_threshold", "0"]
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, "-frames:v", str(frames), "-pix_fmt", "yuv420p"]
    subprocess.run([*command, *options, *segment_options(plan, video)], check=True)
    (video / "main.m3u8").unlink()  # whoever packages writes it later
    return plan


@pytest.mark.parametrize(
    ("rate", "frames", "last"), [(Fraction(30_000, 1001), 390, 390), (Fraction(25), 100, 25), (Fraction(24), 1, 1)]
)
def test_one_picture_a_second_each_a_segment(
    ffmpeg: Path, tmp_path: Path, rate: Fraction, frames: int, last: int
) -> None:
    plan = draft(ffmpeg, tmp_path, rate, frames)
    write_iframes(tmp_path, plan)
    folder = tmp_path / "iframes" / "180p"
    track = read_track(folder / "init.mp4")
    assert track.codec.startswith("avc1.64")
    assert (track.width, track.height) == (320, 180)
    cut = [read_segment(path) for path in sorted(folder.glob("*.m4s"))]
    assert [segment.name for segment in cut] == [f"{second:05d}.m4s" for second in range(pictures(plan))]
    assert all(segment.samples == 1 and segment.independent for segment in cut)
    assert [segment.start for segment in cut] == [second * track.timescale for second in range(len(cut))]
    assert all(segment.duration == track.timescale for segment in cut[:-1])
    assert cut[-1].duration == last
    assert Fraction(sum(segment.duration for segment in cut), track.timescale) == plan.duration
    assert {path.name for path in folder.iterdir()} == {"init.mp4", *(segment.name for segment in cut)}
    assert list((tmp_path / "video" / "180p").glob(".*")) == []


def test_every_picture_decodes_alone_and_is_the_one_of_its_second(ffmpeg: Path, tmp_path: Path) -> None:
    plan = draft(ffmpeg, tmp_path, Fraction(25), 25 * 13)
    write_iframes(tmp_path, plan)
    folder = tmp_path / "iframes" / "180p"
    for second in range(13):
        alone = tmp_path / "alone.mp4"
        alone.write_bytes((folder / "init.mp4").read_bytes() + (folder / f"{second:05d}.m4s").read_bytes())
        command = [ffmpeg, "-v", "error", "-xerror", "-i", alone, "-fps_mode", "passthrough", "-vf", "format=gray"]
        out = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
        assert len(out) == 320 * 180
        assert sum(out) / len(out) == pytest.approx(grey(second), abs=3)


@pytest.mark.parametrize(("seconds", "every"), [(13, 1), (24, 2), (125, 10)])
def test_every_thumbnail_shows_its_time(ffmpeg: Path, tmp_path: Path, seconds: int, every: int) -> None:
    plan = draft(ffmpeg, tmp_path, Fraction(4), 4 * seconds)
    write_iframes(tmp_path, plan)
    write_thumbnails(tmp_path, plan)
    folder = tmp_path / "thumbnails"
    cues = read_cues((folder / "thumbnails.vtt").read_bytes(), "vtt").cues
    assert len(cues) == -(-seconds // every)
    assert [cue.start_ms for cue in cues] == [number * every * 1000 for number in range(len(cues))]
    assert cues[-1].end_ms == seconds * 1000
    for number, cue in enumerate(cues):
        name, area = cue.text.split("#xywh=")
        x, y, width, height = map(int, area.split(","))
        assert (width, height) == (240, 136)
        with Image.open(folder / name) as sprite:
            assert x + width <= sprite.width
            assert y + height <= sprite.height
            middle = sprite.convert("L").getpixel((x + width // 2, y + height // 2))
        assert middle == pytest.approx(grey(number * every), abs=4)


def test_many_thumbnails_take_several_sprites(ffmpeg: Path, tmp_path: Path) -> None:
    plan = draft(ffmpeg, tmp_path, Fraction(1), 1015)
    write_iframes(tmp_path, plan)
    write_thumbnails(tmp_path, plan)
    assert sorted(path.name for path in (tmp_path / "thumbnails").glob("*.jpg")) == ["sprite-000.jpg", "sprite-001.jpg"]
    cues = read_cues((tmp_path / "thumbnails" / "thumbnails.vtt").read_bytes(), "vtt").cues
    assert [cue.text for cue in cues[99:102]] == [
        "sprite-000.jpg#xywh=2160,1224,240,136",
        "sprite-001.jpg#xywh=0,0,240,136",
        "sprite-001.jpg#xywh=240,0,240,136",
    ]


@given(st.integers(1, 5 * 3600 * 25))
def test_thumbnails_cover_the_film_without_a_gap(frames: int) -> None:
    plan = Plan(Fraction(25), 50, frames, (SMALL,), ())
    every = interval(plan.duration)
    count = len(range(0, pictures(plan), every))
    cues = thumbnail_cues(count, every, plan.duration, (240, 136))
    assert cues[0].start_ms == 0
    assert all(before.end_ms == after.start_ms for before, after in pairwise(cues))
    assert all(cue.start_ms < cue.end_ms for cue in cues)
    assert cues[-1].end_ms == max(1, int(plan.duration * 1000))


def test_the_rung_for_trick_play(tmp_path: Path) -> None:
    rungs = (
        Rung("1080p-av1", 1920, 1080, 30, 1, 1, codec="av1"),
        Rung("1080p-hevc", 1920, 1080, 30, 1, 1, codec="hevc", hdr=True),
        Rung("720p", 1280, 720, 23, 1, 1),
        Rung("480p", 854, 480, 23, 1, 1),
        Rung("360p", 640, 360, 23, 1, 1),
        Rung("270p", 480, 270, 23, 1, 1),
        Rung("234p", 416, 234, 23, 1, 1),
    )
    plan = Plan(Fraction(25), 50, 100, rungs, ())

    def having(*names: str) -> str:
        for name in names:
            (tmp_path / "video" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "video" / name / "init.mp4").touch()
        return trick_rung(plan, tmp_path).name

    with pytest.raises(TranscodingError, match="no SDR rung"):
        having()
    with pytest.raises(TranscodingError, match="no SDR rung"):
        having("1080p-hevc")
    assert having("1080p-av1") == "1080p-av1"
    assert having("720p") == "720p"
    assert having("234p") == "234p"
    assert having("270p") == "270p"
    assert having("480p") == "480p"
    assert having("360p") == "360p"


def test_pictures_that_a_full_disk_cut_off_are_made_again(
    ffmpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = draft(ffmpeg, tmp_path, Fraction(25), 60)
    run = trick.ffmpeg.run

    def with_no_room(*given: Any, **named: Any) -> Any:
        told = run(*given, **named)
        (tmp_path / "iframes" / SMALL.name / "00001.m4s").write_bytes(b"")
        return told

    monkeypatch.setattr(trick.ffmpeg, "run", with_no_room)
    with pytest.raises(TransientError, match=r"00001\.m4s: is empty"):
        write_iframes(tmp_path, plan)
