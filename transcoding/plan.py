"""Which renditions a master gets: pure functions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from transcoding.hull import Probe
from transcoding.source import Source

# Changes whenever the same source would be encoded or packaged differently: failed masters are then tried again.
PLAN_VERSION = "2"
HEIGHTS = (2160, 1440, 1080, 720, 480)
MAX_RATE = 60
GOP_S = 2
GOPS_PER_SEGMENT = 3
PARTED_FROM_S = 600
# Quantiles (at 5 %, 15 %, ... 95 %) of the bandwidth of viewers, in kbit/s: log-normal, median 8 Mbit/s, sigma 0.8.
DEFAULT_AUDIENCE = (2146.0, 3491.0, 4664.0, 5878.0, 7235.0, 8846.0, 10_888.0, 13_722.0, 18_332.0, 29_826.0)
_SMALL = 864 * 486  # pixels
_USUAL = (
    "12",
    "25/2",
    "15",
    "24000/1001",
    "24",
    "25",
    "30000/1001",
    "30",
    "48000/1001",
    "48",
    "50",
    "60000/1001",
    "60",
)
_RATES = tuple(Fraction(rate) for rate in _USUAL)
# Average kbit/s that a picture of so many pixels may take at most; between them the logarithm is interpolated.
_CAPS = (
    (416 * 234, 145), (640 * 360, 500), (768 * 432, 900), (960 * 540, 1600), (1280 * 720, 3000), (1920 * 1080, 6000),
    (2560 * 1440, 10_000), (3840 * 2160, 18_000),
)  # fmt: skip
_CRF = 23


@dataclass(frozen=True)
class Treatment:
    """How much a title is worth: `top_vmaf` is the quality of the best rung, measured at the source's size."""

    name: str
    h264_preset: str
    probes: bool
    top_vmaf: float
    av1: bool
    shot_aware: bool


TREATMENTS = {
    "fast": Treatment("fast", "veryfast", probes=False, top_vmaf=95.0, av1=False, shot_aware=False),
    "standard": Treatment("standard", "medium", probes=True, top_vmaf=95.0, av1=False, shot_aware=False),
    "premium": Treatment("premium", "medium", probes=True, top_vmaf=97.0, av1=True, shot_aware=True),
}


@dataclass(frozen=True)
class Rung:
    """One video rendition: even width and height in square pixels, rates in kbit/s.

    `marked`: a second variant of every segment carries the session watermark's other bit.
    """

    name: str
    width: int
    height: int
    crf: float
    maxrate_kbps: int
    bufsize_kbps: int
    codec: str = "h264"  # or 'av1', 'hevc'
    preset: str = "veryfast"
    hdr: bool = False
    predicted_kbps: int | None = None
    predicted_vmaf: float | None = None
    marked: bool = False


@dataclass(frozen=True)
class AudioRendition:
    """AAC-LC, 48 kHz, stereo (2 channels) or 5.1 (6), made from one stream of the source."""

    name: str
    language: str
    channels: int
    stream_index: int
    kbps: int = 128


@dataclass(frozen=True)
class SubtitleRendition:
    """WebVTT made from a text stream of the source, or from a file at `path` below the media store."""

    name: str
    language: str
    stream_index: int | None = None
    path: str | None = None
    forced: bool = False


@dataclass(frozen=True)
class Sidecar:
    """A subtitle file that came with a master; `path` is below the media store."""

    language: str
    path: str
    forced: bool = False


@dataclass(frozen=True)
class Chunk:
    """A run of whole segments of every rung, encoded by one worker at a time."""

    number: int
    first_segment: int
    segments: int
    first_frame: int
    frames: int


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a package. `frames` at `frame_rate` is the length of every rung.

    All rungs share the rate and the closed GOP of `gop` frames, so a player may switch at every segment.
    `crf_shifts`, where there are any, are one a chunk and are added to every rung's CRF.
    """

    frame_rate: Fraction
    gop: int
    frames: int
    rungs: tuple[Rung, ...]
    audio: tuple[AudioRendition, ...]
    subtitles: tuple[SubtitleRendition, ...] = ()
    treatment: str = "fast"
    chunk_segments: int = 10
    deinterlace: bool = False
    tone_map: bool = False
    crf_shifts: tuple[float, ...] = ()
    version: str = PLAN_VERSION

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return self.frames / self.frame_rate

    @property
    def segment(self) -> Fraction:
        """Seconds of a whole segment: three GOPs."""
        return self.segment_frames / self.frame_rate

    @property
    def segment_frames(self) -> int:
        return GOPS_PER_SEGMENT * self.gop

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The film cut at segment boundaries; the last chunk also takes a last segment that is not whole."""
        whole, segments = self.frames // self.segment_frames, -(-self.frames // self.segment_frames)
        starts = range(0, max(1, whole), self.chunk_segments)
        made = []
        for number, (first, end) in enumerate(pairwise([*starts, segments])):
            start = first * self.segment_frames
            frames = min(end * self.segment_frames, self.frames) - start
            made.append(Chunk(number, first, end - first, start, frames))
        return tuple(made)

    @property
    def parts(self) -> tuple[tuple[Rung, ...], ...]:
        """Rungs that are encoded and published together: of a long film the small ones come first."""
        small = tuple(rung for rung in self.rungs if rung.width * rung.height <= _SMALL)
        large = tuple(rung for rung in self.rungs if rung not in small)
        if self.duration <= PARTED_FROM_S or not small or not large:
            return (self.rungs,)
        return (small, large)

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` makes the same plan of them again."""
        return asdict(self) | {"frame_rate": str(self.frame_rate)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Plan":
        return cls(
            **{
                **told,
                "frame_rate": Fraction(told["frame_rate"]),
                "rungs": tuple(Rung(**rung) for rung in told["rungs"]),
                "audio": tuple(AudioRendition(**track) for track in told["audio"]),
                "subtitles": tuple(SubtitleRendition(**track) for track in told["subtitles"]),
                "crf_shifts": tuple(told["crf_shifts"]),
            }
        )


def plan_ladder(
    source: Source,
    treatment: Treatment = TREATMENTS["fast"],
    probes: Sequence[Probe] = (),  # noqa: ARG001 - a treatment without probes takes a fixed ladder
    *,
    audience: Sequence[float] = DEFAULT_AUDIENCE,  # noqa: ARG001 - only a ladder of probes is spaced for viewers
    sidecars: Sequence[Sidecar] = (),  # noqa: ARG001 - subtitles are planned where the source tells of them
    watermark: bool = False,  # noqa: ARG001 - no rung is marked without a watermark
    tone_mapper: bool = True,
    heights: tuple[int, ...] | None = None,
) -> Plan:
    """The H.264 and AAC ladder of a source.

    Rungs go up to the source's height as seen; a source smaller than the least one gets a single rung at its own even
    size. The natural rate is kept up to 60 frames/s, an uneven one becomes the nearest usual one, interlaced fields
    become frames. One stereo rendition for the first track of each language. HDR is tone-mapped to SDR where the
    ffmpeg at hand can (`tone_mapper`); elsewhere the codes are taken as they are, which looks flat but plays.
    """
    rate = output_rate(source)
    sizes = rung_sizes(source, heights or HEIGHTS)
    return Plan(
        frame_rate=rate,
        gop=max(1, round(GOP_S * rate)),
        frames=max(1, round((source.offset + source.duration) * rate)),
        rungs=tuple(_rung(width, height, treatment) for width, height in sizes),
        audio=_audio(source),
        treatment=treatment.name,
        deinterlace=source.interlaced,
        tone_map=source.hdr and tone_mapper,
    )


def output_rate(source: Source) -> Fraction:
    """Frames per second of every rung."""
    rate = source.frame_rate * (2 if source.interlaced else 1)
    rate /= max(1, math.ceil(rate / MAX_RATE))
    nearest = min(_RATES, key=lambda usual: abs(usual - rate))
    if not source.steady or abs(nearest / rate - 1) < Fraction(1, 2000):
        return nearest
    return rate


def display_size(source: Source) -> tuple[Fraction, Fraction]:
    """Width and height as a viewer sees them: square pixels, upright."""
    width, height = source.width * source.sample_aspect, Fraction(source.height)
    return (height, width) if source.rotation % 180 else (width, height)


def rung_sizes(source: Source, heights: tuple[int, ...] = HEIGHTS) -> list[tuple[int, int]]:
    """Even sizes of the rungs, largest first, never larger than the source."""
    width, height = display_size(source)
    fitting = sorted((rung for rung in heights if rung <= height), reverse=True) or [_even_below(height)]
    return [(max(2, min(2 * round(width * rung / height / 2), _even_below(width))), rung) for rung in fitting]


def _even_below(length: Fraction) -> int:
    return max(2, int(length) // 2 * 2)


def _rung(width: int, height: int, treatment: Treatment) -> Rung:
    cap = cap_kbps(width * height)
    return Rung(f"{height}p", width, height, _CRF, cap * 3 // 2, cap * 3, preset=treatment.h264_preset)


def cap_kbps(pixels: int) -> int:
    """The most that a picture of this many pixels may take on average, in kbit/s."""
    (low, low_rate), (high, high_rate) = next(
        (pair for pair in pairwise(_CAPS) if pixels <= pair[1][0]), (_CAPS[-2], _CAPS[-1])
    )
    slope = math.log(high_rate / low_rate) / math.log(high / low)
    return max(16, round(low_rate * (pixels / low) ** slope))


def _audio(source: Source) -> tuple[AudioRendition, ...]:
    first: dict[str, int] = {}
    for track in source.audio:
        first.setdefault(track.language, track.index)
    return tuple(AudioRendition(language, language, 2, index) for language, index in first.items())
