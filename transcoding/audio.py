"""The sound of a film: every planned rendition in one process, levelled to one loudness.

Loudness is that of EBU R 128 (ITU-R BS.1770): measured over the film's length in a first pass, then moved to the target
by one constant gain. So the film's dynamics stay as they were mixed; where its peaks leave no room for the whole gain,
it stays quieter than the target rather than being compressed.
"""

import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from transcoding import ffmpeg
from transcoding.arguments import QUIET, segment_options
from transcoding.encode import EncodeProgress, OnEncode
from transcoding.loudness import tell_loudness
from transcoding.plan import AudioRendition, Plan
from transcoding.source import Source

# EBU R 128: programmes are levelled to -23 LUFS. A target of music services (-14 to -16) would leave a film's peaks no
# room, and it would have to be compressed.
TARGET_LUFS = -23.0
# EBU R 128 allows -1 dBTP to what comes out of the decoder; the encoder may add half a decibel.
CEILING_DBTP = -1.5
_SILENT_LUFS = -60.0  # below this there is nothing to level: raising it would raise noise
_MOST_GAIN_DB = 20.0
_RUN_IN = Fraction(1024, 48_000)  # that the encoder puts in front
_LAYOUTS = {2: "stereo", 6: "5.1"}
# Centre and surrounds at -3 dB, no low-frequency effects: the downmix of ITU-R BS.775.
_DOWNMIX = "center_mix_level=0.7071:surround_mix_level=0.7071:lfe_mix_level=0"
# Containers whose times ffmpeg counts from the first stream in use, not from the first stream of the file.
_OWN_START = {"mpeg", "mpegts"}
_NOTES = ".loudness"
_SHARE_OF_MEASURING = 0.3
_PATIENCE = 20  # seconds for each second of film
_LEAST_TIMEOUT_S = 300


@dataclass(frozen=True)
class Loudness:
    """Measured: integrated loudness in LUFS, loudness range in LU (EBU Tech 3342), the highest true peak in dBTP.

    None: silence, or too short to have one (0.4 s).
    """

    lufs: float | None
    range_lu: float | None
    peak_dbtp: float | None


@dataclass(frozen=True)
class AudioFacts:
    """One rendition: how loud its source was, the constant gain, and how loud it is (before the lossy encoder)."""

    name: str
    language: str
    channels: int
    source_lufs: float | None
    range_lu: float | None
    gain_db: float
    loudness_lufs: float | None
    true_peak_dbtp: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def encode_audio(
    plan: Plan,
    source: Source,
    out: Path,
    *,
    cancel: threading.Event | None = None,
    on_progress: OnEncode | None = None,
) -> list[AudioFacts]:
    """Write `audio/<name>/` (AAC-LC, CMAF segments) of every rendition below `out`, which must be a folder.

    Two passes over the film, each one process that decodes every stream once. Sound that starts later than the film is
    preceded by silence, what runs past its end is cut.

    Raises:
        TranscodingError: ffmpeg failed, was cancelled or took too long.
    """
    if not plan.audio:
        return []
    for track in plan.audio:
        (out / "audio" / track.name).mkdir(parents=True)
    (out / _NOTES).mkdir()

    def run(arguments: Sequence[str], first: float, share: float) -> None:
        ffmpeg.run(
            arguments,
            cwd=out,
            timeout_s=limit,
            on_progress=_reporter(plan, first, share, started, on_progress),
            cancel=cancel,
            sandbox=ffmpeg.confined(source.path, write=(out,), timeout_s=limit),
        )

    started, limit = time.monotonic(), max(_LEAST_TIMEOUT_S, _PATIENCE * float(plan.duration))
    run(measure_arguments(plan, source), 0.0, _SHARE_OF_MEASURING)
    measured = [_read_loudness(out / _NOTES, number) for number in range(len(plan.audio))]
    shutil.rmtree(out / _NOTES)
    gains = [gain_db(loudness) for loudness in measured]
    run(audio_arguments(plan, source, Path(), gains), _SHARE_OF_MEASURING, 1 - _SHARE_OF_MEASURING)
    facts = [_facts(*three) for three in zip(plan.audio, measured, gains, strict=True)]
    for fact in facts:
        tell_loudness(out / "audio" / fact.name / "init.mp4", fact.loudness_lufs, fact.true_peak_dbtp)
    return facts


def gain_db(loudness: Loudness) -> float:
    """The constant gain towards the target: no peak above the ceiling, and silence stays silence."""
    wanted = 0.0
    if loudness.lufs is not None and loudness.lufs > _SILENT_LUFS:
        wanted = min(TARGET_LUFS - loudness.lufs, _MOST_GAIN_DB)
    if loudness.peak_dbtp is not None:
        wanted = min(wanted, CEILING_DBTP - loudness.peak_dbtp)
    return round(wanted, 2)


def measure_arguments(plan: Plan, source: Source) -> list[str]:
    """ffmpeg's arguments for the first pass; the meters write into the folder `.loudness`."""
    meters = [
        "ebur128=peak=true:metadata=1,"
        + ",".join(f"ametadata=print:key=lavfi.r128.{key}:file={_NOTES}/{number}.{key}" for key in _KEYS)
        for number in range(len(plan.audio))
    ]
    arguments = [*_input(source), "-filter_complex", _graph(plan, meters)]
    for number in range(len(plan.audio)):
        arguments += ["-map", f"[a{number}]", "-f", "null", "-"]
    return [*arguments, *_anchor(source)]


def audio_arguments(plan: Plan, source: Source, out: Path, gains: Sequence[float]) -> list[str]:
    """ffmpeg's arguments for the second pass: `gains` in dB, one a rendition."""
    arguments = [*_input(source), "-filter_complex", _graph(plan, [f"volume={gain:.2f}dB" for gain in gains])]
    for number, track in enumerate(plan.audio):
        arguments += ["-map", f"[a{number}]", "-c:a", "aac", "-b:a", f"{track.kbps}k"]
        arguments += segment_options(plan, out / "audio" / track.name)
    return [*arguments, *_anchor(source)]


def _input(source: Source) -> list[str]:
    # No seeking and no `-copyts`: the start of the file is zero, as it is for the picture.
    whitelists = ["-protocol_whitelist", "file,pipe", "-format_whitelist", source.container]
    return [*QUIET, *whitelists, "-i", f"file:{source.path}"]


def _anchor(source: Source) -> list[str]:
    """The picture's packets to nowhere, where sound alone would make the clock start at its own first sample."""
    if source.container not in _OWN_START:
        return []
    return ["-map", f"0:{source.video_index}", "-c:v", "copy", "-f", "null", "-"]


def _graph(plan: Plan, last: Sequence[str]) -> str:
    """`[0:i]` -> `[a0]`, `[a1]`, ...: one for each rendition; a stream that several are made of is decoded once."""
    chains = []
    for index in dict.fromkeys(track.stream_index for track in plan.audio):
        numbers = [number for number, track in enumerate(plan.audio) if track.stream_index == index]
        chains.append(f"[0:{index}]asplit={len(numbers)}{''.join(f'[s{number}]' for number in numbers)}")
        chains += [f"[s{number}]{_shape(plan, plan.audio[number])},{last[number]}[a{number}]" for number in numbers]
    return ";".join(chains)


def _shape(plan: Plan, track: AudioRendition) -> str:
    """48 kHz, the rendition's channels, and as long as the picture.

    The encoder puts 1024 samples of its own in front, so that many less are given to it: the playlists of sound and
    picture then add up to the same length.
    """
    length = f"{float(max(plan.duration - _RUN_IN, Fraction(1, 1000))):.6f}"
    return (
        f"aresample=48000:async=1:first_pts=0:out_sample_fmt=fltp:out_chlayout={_LAYOUTS[track.channels]}:{_DOWNMIX},"
        f"apad=whole_dur={length},atrim=end={length}"
    )


_KEYS = ("I", "LRA", "true_peak")


def _read_loudness(notes: Path, number: int) -> Loudness:
    integrated, spread, peak = (_last_note(notes / f"{number}.{key}") for key in _KEYS)
    heard = integrated is not None and integrated > -70  # the absolute gate of BS.1770: nothing passed it
    return Loudness(
        integrated if heard else None,
        spread if heard else None,
        round(20 * math.log10(peak), 2) if peak else None,
    )


def _last_note(path: Path) -> float | None:
    """The last value that a meter wrote: that over the whole film."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 200))
        values = [line.split(b"=", 1)[1] for line in file.read().splitlines() if line.startswith(b"lavfi.r128.")]
    return float(values[-1]) if values else None


def _facts(track: AudioRendition, measured: Loudness, gain: float) -> AudioFacts:
    def moved(level: float | None) -> float | None:
        return None if level is None else round(level + gain, 2)

    lufs, peak = moved(measured.lufs), moved(measured.peak_dbtp)
    return AudioFacts(
        track.name, track.language, track.channels, measured.lufs, measured.range_lu, gain, lufs, peak
    )  # fmt: skip


def _reporter(
    plan: Plan, first: float, share: float, started: float, listener: OnEncode | None
) -> Callable[[ffmpeg.Progress], None] | None:
    """Hears one pass, tells of both: it is `share` of the work, after `first`."""
    if listener is None:
        return None

    def report(progress: ffmpeg.Progress) -> None:
        fraction = first + share * min(1.0, progress.seconds / float(plan.duration))
        spent = time.monotonic() - started
        listener(EncodeProgress(fraction, spent * (1 - fraction) / fraction if fraction > 0 else None))

    return report
