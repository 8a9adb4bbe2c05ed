"""Which renditions a master gets: pure functions."""

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from transcoding.source import Source

# Changes whenever the same source would be encoded or packaged differently: failed masters are then tried again.
PLAN_VERSION = "1"
HEIGHTS = (2160, 1440, 1080, 720, 480)
MAX_RATE = 60
GOP_S = 2
GOPS_PER_SEGMENT = 3
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
class Rung:
    """One video rendition: even width and height in square pixels, rates in kbit/s."""

    name: str
    width: int
    height: int
    crf: int
    maxrate_kbps: int
    bufsize_kbps: int


@dataclass(frozen=True)
class AudioRendition:
    """AAC-LC, stereo, 48 kHz, made from one stream of the source."""

    language: str
    stream_index: int
    kbps: int = 128


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a package. `frames` at `frame_rate` is the length of every rung.

    All rungs share the rate and the closed GOP of `gop` frames, so a player may switch at every segment.
    """

    frame_rate: Fraction
    gop: int
    frames: int
    rungs: tuple[Rung, ...]
    audio: tuple[AudioRendition, ...]
    preset: str = "veryfast"
    deinterlace: bool = False
    tone_map: bool = False

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return self.frames / self.frame_rate

    @property
    def segment(self) -> Fraction:
        """Seconds of a whole segment: three GOPs."""
        return GOPS_PER_SEGMENT * self.gop / self.frame_rate

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"frame_rate": str(self.frame_rate)}


def plan_ladder(source: Source, *, heights: tuple[int, ...] = HEIGHTS, tone_mapper: bool = True) -> Plan:
    """The H.264 and AAC ladder of a source.

    Rungs go up to the source's height as seen; a source smaller than the least one gets a single rung at its own even
    size. The natural rate is kept up to 60 frames/s, an uneven one becomes the nearest usual one, interlaced fields
    become frames. One stereo rendition for the first track of each language. HDR is tone-mapped to SDR where the
    ffmpeg at hand can (`tone_mapper`); elsewhere the codes are taken as they are, which looks flat but plays.
    """
    rate = output_rate(source)
    return Plan(
        frame_rate=rate,
        gop=max(1, round(GOP_S * rate)),
        frames=max(1, round((source.offset + source.duration) * rate)),
        rungs=tuple(_rung(width, height) for width, height in rung_sizes(source, heights)),
        audio=_audio(source),
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


def _rung(width: int, height: int) -> Rung:
    cap = cap_kbps(width * height)
    return Rung(f"{height}p", width, height, _CRF, maxrate_kbps=cap * 3 // 2, bufsize_kbps=cap * 3)


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
    return tuple(AudioRendition(language, index) for language, index in first.items())
