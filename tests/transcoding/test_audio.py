"""Real sound through real ffmpeg, measured again after decoding."""

import dataclasses
import math
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from transcoding.audio import CEILING_DBTP, TARGET_LUFS, Loudness, encode_audio, gain_db
from transcoding.boxes import read_segment, read_track
from transcoding.encode import EncodeProgress
from transcoding.plan import AudioRendition, Plan, plan_ladder
from transcoding.source import Source, read_source

RATE = 48_000


@pytest.fixture
def movie(ffmpeg: Path, tmp_path: Path) -> Callable[..., Path]:
    """A film of a small grey picture and the given sounds (lavfi sources, each with its input options)."""

    def make(name: str, *sounds: str, seconds: float = 8, options: tuple[str, ...] = ()) -> Path:
        path = tmp_path / name
        inputs = ["-f", "lavfi", "-i", f"color=gray:size=64x64:rate=25:duration={seconds}"]
        maps = ["-map", "0:v"]
        for number, sound in enumerate(sounds):
            inputs += ["-f", "lavfi", "-i", sound]
            maps += ["-map", f"{number + 1}:a"]
        arguments = [*maps, "-c:v", "libx264", "-preset", "ultrafast", *options, "-y", path]
        subprocess.run([ffmpeg, "-v", "error", *inputs, *arguments], check=True)
        return path

    return make


def planned(path: Path, *tracks: AudioRendition) -> tuple[Plan, Source]:
    source = read_source(path)
    plan = plan_ladder(source)
    return dataclasses.replace(plan, audio=tracks or plan.audio), source


def stereo(name: str = "en", index: int = 1) -> AudioRendition:
    return AudioRendition(name, name, 2, index)


def surround(name: str = "en-6ch", index: int = 1) -> AudioRendition:
    return AudioRendition(name, name.removesuffix("-6ch"), 6, index, kbps=320)


def whole(folder: Path) -> Path:
    """All segments as one file, without a playlist."""
    path = folder / "whole.mp4"
    parts = [folder / "init.mp4", *sorted(folder.glob("0*.m4s"))]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def loudness(ffmpeg: Path, path: Path) -> tuple[float, float]:
    """Integrated loudness and true peak of what comes out of the decoder, by ffmpeg's own summary."""
    command = [ffmpeg, "-hide_banner", "-nostats", "-i", path, "-af", "ebur128=peak=true:framelog=quiet", "-f", "null"]
    told = subprocess.run([*command, "-"], capture_output=True, text=True, check=True).stderr
    summary = told[told.rindex("Integrated loudness") :]
    integrated, peak = re.search(r"I:\s+(\S+) LUFS", summary), re.search(r"Peak:\s+(\S+) dBFS", summary)
    assert integrated is not None
    assert peak is not None
    return float(integrated[1]), float(peak[1])


def samples(ffmpeg: Path, path: Path, channel: int = 0) -> list[float]:
    command = [ffmpeg, "-v", "error", "-i", path, "-af", f"pan=mono|c0=c{channel}", "-f", "f32le", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def first_sound(heard: list[float], level: float = 0.02) -> float:
    """Seconds until the first sample above a level."""
    return next(number for number, value in enumerate(heard) if abs(value) > level) / RATE


def level(heard: list[float]) -> float:
    return math.sqrt(sum(value * value for value in heard) / len(heard))


def test_every_rendition_has_the_films_length_and_boundaries(movie: Callable[..., Path], tmp_path: Path) -> None:
    path = movie("two.mkv", "sine=440:d=15", "sine=660:d=13", seconds=14)
    plan, source = planned(path, stereo("en", 1), stereo("ru", 2))
    facts = encode_audio(plan, source, tmp_path)
    assert [(fact.name, fact.channels) for fact in facts] == [("en", 2), ("ru", 2)]
    for name in ("en", "ru"):
        folder = tmp_path / "audio" / name
        track = read_track(folder / "init.mp4")
        assert (track.codec, track.timescale, track.skipped) == ("mp4a.40.2", RATE, 1024)
        cut = [read_segment(part) for part in sorted(folder.glob("*.m4s"))]
        assert [segment.name for segment in cut] == ["00000.m4s", "00001.m4s", "00002.m4s"]
        for number, segment in enumerate(cut):
            assert segment.start / RATE == pytest.approx(6 * number, abs=1024 / RATE)
        assert sum(segment.duration for segment in cut) / RATE == pytest.approx(14, abs=1024 / RATE)


@pytest.mark.parametrize("volume", ["-25dB", "12dB"])
def test_loud_and_quiet_films_come_out_alike(
    movie: Callable[..., Path], ffmpeg: Path, tmp_path: Path, volume: str
) -> None:
    # A voice-like sound: bursts and pauses, so that gating matters.
    path = movie("film.mkv", f"aevalsrc=0.4*sin(500*t*6.283)*gt(mod(t\\,2)\\,0.7):d=8:s=48000,volume={volume}")
    plan, source = planned(path, stereo())
    (fact,) = encode_audio(plan, source, tmp_path)
    assert fact.loudness_lufs == pytest.approx(TARGET_LUFS, abs=0.02)
    heard, peak = loudness(ffmpeg, whole(tmp_path / "audio" / "en"))
    assert heard == pytest.approx(TARGET_LUFS, abs=0.3)
    assert peak <= CEILING_DBTP + 0.5


def test_peaks_are_never_raised_over_the_ceiling(movie: Callable[..., Path], ffmpeg: Path, tmp_path: Path) -> None:
    # Quiet speech and one loud bang.
    path = movie("bang.mkv", "aevalsrc=0.02*sin(500*t*6.283)+0.85*sin(999*t*6.283)*between(t\\,5\\,5.002):d=8:s=48000")
    plan, source = planned(path, stereo())
    (fact,) = encode_audio(plan, source, tmp_path)
    assert fact.source_lufs is not None
    assert fact.source_lufs < TARGET_LUFS
    assert fact.true_peak_dbtp == pytest.approx(CEILING_DBTP, abs=0.05)
    assert loudness(ffmpeg, whole(tmp_path / "audio" / "en"))[1] <= -1


def test_surround_stays_surround_and_is_mixed_down_sanely(
    movie: Callable[..., Path], ffmpeg: Path, tmp_path: Path
) -> None:
    """Left 300 Hz, centre 500 Hz, left surround 900 Hz, all alike: BS.775 puts centre and surround 3 dB below left."""
    channels = "0.1*sin(300*t*6.283)|0|0.1*sin(500*t*6.283)|0.1*sin(60*t*6.283)|0.1*sin(900*t*6.283)|0"
    path = movie("six.mkv", f"aevalsrc={channels}:d=6:s=48000:c=5.1", options=("-c:a", "pcm_s16le"))
    plan, source = planned(path, surround(), stereo())
    facts = encode_audio(plan, source, tmp_path)
    assert [(fact.name, fact.channels) for fact in facts] == [("en-6ch", 6), ("en", 2)]
    assert read_track(tmp_path / "audio" / "en-6ch" / "init.mp4").codec == "mp4a.40.2"
    six = whole(tmp_path / "audio" / "en-6ch")
    levels = [level(samples(ffmpeg, six, channel)) for channel in range(6)]
    assert levels[0] == pytest.approx(levels[2], rel=0.05)
    assert levels[0] == pytest.approx(levels[4], rel=0.05)
    assert max(levels[1], levels[5]) < levels[0] / 50
    two = whole(tmp_path / "audio" / "en")

    def band(channel: int, hertz: int) -> float:
        """Amplitude of one frequency (a single bin of a Fourier transform, over whole seconds)."""
        heard = samples(ffmpeg, two, channel)[RATE : 3 * RATE]
        turn = 2 * math.pi * hertz / RATE
        sums = [sum(v * f(turn * n) for n, v in enumerate(heard)) for f in (math.cos, math.sin)]
        return math.hypot(*sums) / len(heard)

    left = {hertz: band(0, hertz) for hertz in (300, 500, 900, 60)}
    assert left[500] / left[300] == pytest.approx(0.707, rel=0.05)
    assert left[900] / left[300] == pytest.approx(0.707, rel=0.05)
    assert left[60] < left[300] / 50, "low-frequency effects do not belong into a stereo mix"
    right = {hertz: band(1, hertz) for hertz in (300, 500)}
    assert right[500] == pytest.approx(left[500], rel=0.05)
    assert right[300] < left[300] / 50


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.ts"])
def test_sound_that_starts_late_stays_in_sync(
    movie: Callable[..., Path], ffmpeg: Path, tmp_path: Path, name: str
) -> None:
    dry = movie("dry.mkv", "sine=440:d=6", seconds=6)
    late = tmp_path / name
    inputs = ["-i", dry, "-itsoffset", "1.7", "-i", dry, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac"]
    subprocess.run([ffmpeg, "-v", "error", *inputs, late], check=True)
    plan, source = planned(late, stereo())
    encode_audio(plan, source, tmp_path)
    heard = samples(ffmpeg, whole(tmp_path / "audio" / "en"))
    assert first_sound(heard) == pytest.approx(1.7, abs=0.05)


def test_sound_that_starts_first_stays_in_sync(movie: Callable[..., Path], ffmpeg: Path, tmp_path: Path) -> None:
    """The picture then stands still until it begins, so the film's zero is the sound's."""
    dry = movie("dry.mkv", "aevalsrc=0.3*sin(440*t*6.283)*gt(t\\,2):d=6:s=48000", seconds=6)
    early = tmp_path / "early.mkv"
    inputs = ["-itsoffset", "1.5", "-i", dry, "-i", dry, "-map", "0:v", "-map", "1:a", "-c", "copy"]
    subprocess.run([ffmpeg, "-v", "error", *inputs, early], check=True)
    plan, source = planned(early, stereo())
    assert float(plan.duration) == pytest.approx(7.5, abs=0.05)
    encode_audio(plan, source, tmp_path)
    heard = samples(ffmpeg, whole(tmp_path / "audio" / "en"))
    assert first_sound(heard) == pytest.approx(2.0, abs=0.05)


def test_silence_and_a_tenth_of_a_second_are_left_as_they_are(movie: Callable[..., Path], tmp_path: Path) -> None:
    for name, sound, seconds in [("still.mkv", "anullsrc=d=3", 3), ("blink.mkv", "sine=440:d=0.04", 0.12)]:
        plan, source = planned(movie(name, sound, seconds=seconds), stereo())
        out = tmp_path / name.split(".")[0]
        out.mkdir()
        (fact,) = encode_audio(plan, source, out)
        assert (fact.gain_db, fact.loudness_lufs) == (0.0, None)
        track = read_segment(out / "audio" / "en" / "00000.m4s")
        assert track.duration / RATE == pytest.approx(float(plan.duration), abs=1024 / RATE)


def test_progress_rises_to_the_end_and_only_the_package_is_left(movie: Callable[..., Path], tmp_path: Path) -> None:
    plan, source = planned(movie("film.mkv", "sine=440:d=8"), stereo())
    out = tmp_path / "out"
    out.mkdir()
    seen: list[EncodeProgress] = []
    encode_audio(plan, source, out, on_progress=seen.append)
    fractions = [step.fraction for step in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1, abs=0.01)
    assert [path.name for path in out.iterdir()] == ["audio"]


@pytest.mark.parametrize(
    ("measured", "gain"),
    [
        (Loudness(-27.0, 8.0, -9.0), 4.0),
        (Loudness(-14.0, 8.0, -0.1), -9.0),
        (Loudness(-27.0, 18.0, -2.0), 0.5),  # its peaks leave no room
        (Loudness(-58.0, 1.0, -40.0), 20.0),
        (Loudness(-65.0, 1.0, -50.0), 0.0),  # noise
        (Loudness(None, None, None), 0.0),
        (Loudness(None, None, 2.0), -3.5),  # a click over full scale
    ],
)
def test_the_gain_heeds_target_ceiling_and_silence(measured: Loudness, gain: float) -> None:
    assert gain_db(measured) == pytest.approx(gain)


def test_real_films_reach_the_target(shared: Path, ffmpeg: Path, tmp_path: Path) -> None:
    clips = shared / "data" / "clips"
    plan, source = planned(clips / "damaged" / "surround51_eac3_subs.mkv")
    index = source.audio[0].index
    plan = dataclasses.replace(plan, audio=(stereo("und", index), surround("und-6ch", index)))
    two, six = encode_audio(plan, source, tmp_path)
    assert loudness(ffmpeg, whole(tmp_path / "audio" / "und"))[0] == pytest.approx(two.loudness_lufs, abs=0.3)
    assert loudness(ffmpeg, whole(tmp_path / "audio" / "und-6ch"))[0] == pytest.approx(six.loudness_lufs, abs=0.3)
    for fact in (two, six):
        assert fact.true_peak_dbtp is not None
        assert fact.true_peak_dbtp <= CEILING_DBTP + 0.01
