"""Which sizes, codecs and qualities the picture of a master gets: pure functions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from transcoding.hull import Curve, Point, Probe, best_point, fit, hull, space
from transcoding.source import Source

HEIGHTS = (2160, 1440, 1080, 720, 480)
# At VMAF 95 SVT-AV1's preset 8 takes what x264's medium takes; 6 takes a fifth less, for twice the time.
AV1_PRESET = "5"
HEVC_PRESET = "fast"
_LEAST_LINES = 64
_PROBED_HEIGHTS = (2160, 1440, 1080, 720, 540, 432, 360, 234)
_MOST_SIZES = 5
_APART = 0.85  # the source's own height stands for a usual one that is nearer than this
_AV1_FROM = 720  # lines; the two largest sizes in any case
_WORTH = 0.95  # AV1 twins that take more than this share of their H.264 rungs' rates are not made
_HEVC_SIZES = 3
_MARKED = 2
_SMALL_SOURCE = 720  # lines
_CRF = 23
_HEVC_CRF = 22
# Of its average that a rung may take in its worst seconds; Apple's authoring rules ask for no more than twice.
_PEAK = 2
# Average kbit/s that a picture of so many pixels may take at most; between them the logarithm is interpolated.
_CAPS = (
    (416 * 234, 145), (640 * 360, 500), (768 * 432, 900), (960 * 540, 1600), (1280 * 720, 3000), (1920 * 1080, 6000),
    (2560 * 1440, 10_000), (3840 * 2160, 18_000),
)  # fmt: skip


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


def hull_heights(source: Source) -> tuple[int, ...]:
    """Heights that are worth probing, largest first: the source's own (at most 2160) down to 234, five at most."""
    own = min(_even_below(display_size(source)[1]), _PROBED_HEIGHTS[0])
    below = [height for height in _PROBED_HEIGHTS if height < own * _APART]
    if len(below) < _MOST_SIZES:
        return (own, *below)
    step = (below[-1] / own) ** (1 / (_MOST_SIZES - 1))
    wanted = [own * step**number for number in range(1, _MOST_SIZES)]
    nearest = {min(below, key=lambda height: abs(math.log(height / at))) for at in wanted}
    return (own, *sorted(nearest, reverse=True))


def av1_heights(heights: Sequence[int]) -> tuple[int, ...]:
    """Those of the sizes, largest first, at which AV1 pays: from 720 lines on, and the two largest in any case."""
    return tuple(height for place, height in enumerate(heights) if height >= _AV1_FROM or place < 2)


def fixed_rungs(source: Source, treatment: Treatment, heights: tuple[int, ...]) -> tuple[Rung, ...]:
    """The same quality setting at every usual size; of a small source also half of its own, to switch down to."""
    made = []
    sizes = rung_sizes(source, heights)
    if len(sizes) == 1 and sizes[0][1] >= 2 * _LEAST_LINES:
        sizes += rung_sizes(source, (sizes[0][1] // 4 * 2,))
    for width, height in sizes:
        cap = cap_kbps(width * height)
        made.append(Rung(f"{height}p", width, height, _CRF, cap * 3 // 2, cap * 3, preset=treatment.h264_preset))
    return tuple(made)


def measured_rungs(
    source: Source, treatment: Treatment, probes: Sequence[Probe], audience: Sequence[float]
) -> tuple[Rung, ...]:
    """H.264 rungs on the film's own convex hull, best first, then the AV1 twins of the upper ones."""
    probed = tuple({probe.height for probe in probes})
    sizes = {height: (width, height) for width, height in rung_sizes(source, probed)}
    caps = {height: float(cap_kbps(width * height)) for width, height in sizes.values()}
    if (largest := max(caps)) < _SMALL_SOURCE:
        caps[largest] *= 2  # bits that this size does not get have no larger one to go to
    curves = fit(probes)
    points = hull([curve for curve in curves if curve.codec == "h264"], caps)
    chosen = space(points, treatment.top_vmaf, audience)
    rungs = [_measured(point, sizes[point.height], treatment.h264_preset, caps) for point in chosen]
    if treatment.av1:
        by_height = {curve.height: curve for curve in curves if curve.codec == "av1"}
        twins = _twins(chosen, by_height, caps, treatment.top_vmaf)
        rungs += [_measured(point, sizes[point.height], AV1_PRESET, caps) for point in twins]
    return _named(rungs)


def _twins(chosen: Sequence[Point], curves: Mapping[int, Curve], caps: Mapping[int, float], top: float) -> list[Point]:
    """The AV1 points that look like the upper H.264 ones; none where they do not take clearly less, taken together.

    All or none: a player stays with one codec, so a family without its best rung would cost its viewers quality.
    """
    upper = av1_heights(sorted({point.height for point in chosen}, reverse=True))
    pairs = []
    for point in chosen:
        if point.height in upper and point.height in curves:
            allowed = [at for at in curves[point.height].points if at.kbps <= caps[point.height]]
            if allowed:
                # The best one may show a little more than was asked for, or be held down by its cap: AV1's need not.
                pairs.append((point, best_point(allowed, top if point == chosen[0] else point.vmaf)))
    if sum(twin.kbps for _, twin in pairs) > _WORTH * sum(point.kbps for point, _ in pairs):
        return []
    made: list[Point] = []
    for _, twin in pairs:
        if not made or twin.kbps < made[-1].kbps:
            made.append(twin)
    return made


def _measured(point: Point, size: tuple[int, int], preset: str, caps: Mapping[int, float]) -> Rung:
    width, height = size
    predicted = max(1, round(point.kbps))
    # A rung above its cap is there for want of a slower one: its buffer holds it down.
    most = 1.5 * caps[height] if predicted <= caps[height] else min(1.5 * predicted, 3 * caps[height])
    maxrate = max(16, round(min(_PEAK * predicted, most)))
    return Rung(
        f"{height}p", width, height, point.crf, maxrate, 2 * maxrate, point.codec, preset,
        predicted_kbps=predicted, predicted_vmaf=round(point.vmaf, 2),
    )  # fmt: skip


def _named(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """By size and codec; a second one of a size by its rate too."""
    taken: set[str] = set()
    made = []
    for rung in rungs:
        name = f"{rung.height}p" if rung.codec == "h264" else f"{rung.height}p-{rung.codec}"
        while name in taken:
            name = f"{name}-{rung.predicted_kbps}k" if not name.endswith("k") else f"{name}k"
        taken.add(name)
        made.append(replace(rung, name=name))
    return tuple(made)


def hevc_rungs(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """HEVC Main10 in HDR at the largest sizes of an SDR ladder."""
    sizes = sorted({(rung.width, rung.height) for rung in rungs}, key=lambda size: -size[1])[:_HEVC_SIZES]
    made = []
    for width, height in sizes:
        cap = cap_kbps(width * height)
        name = f"{height}p-hevc"
        made.append(Rung(name, width, height, _HEVC_CRF, cap * 3 // 2, cap * 3, "hevc", HEVC_PRESET, hdr=True))
    return tuple(made)


def marked(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """The same rungs with the session watermark in the two best of each codec, HDR too: any of them is worth a copy."""
    best: set[str] = set()
    for codec in {rung.codec for rung in rungs}:
        own = [rung for rung in rungs if rung.codec == codec]
        own.sort(key=lambda rung: (rung.width * rung.height, rung.maxrate_kbps), reverse=True)
        best |= {rung.name for rung in own[:_MARKED]}
    return tuple(replace(rung, marked=rung.name in best) for rung in rungs)


def cap_kbps(pixels: int) -> int:
    """The most that a picture of this many pixels may take on average, in kbit/s."""
    (low, low_rate), (high, high_rate) = next(
        (pair for pair in pairwise(_CAPS) if pixels <= pair[1][0]), (_CAPS[-2], _CAPS[-1])
    )
    slope = math.log(high_rate / low_rate) / math.log(high / low)
    return max(16, round(low_rate * (pixels / low) ** slope))
