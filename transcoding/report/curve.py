"""The rate-quality chart as SVG: what the probes found, what was chosen, what came out, and the fixed ladder."""

import html
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from transcoding.fixed import APPLE_H264
from transcoding.report.words import number

_WIDTH, _HEIGHT = 900, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 30, 58
_COLOURS = ("#c8472f", "#2f6fc8", "#2a8f5b", "#8e4fb8", "#b98616", "#1f9aa6", "#7a5a43", "#5c6470")
_TICKS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


@dataclass(frozen=True)
class Point:
    """A rate in kbit/s and a VMAF score; the fixed ladder has rates whose score nobody knows."""

    kbps: float
    vmaf: float | None
    label: str


@dataclass(frozen=True)
class Curves:
    """`probes`: for each codec and size the points by rising rate. `planned` and `measured`: the rungs."""

    probes: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    hulls: Sequence[Sequence[Point]] = ()
    planned: Sequence[Point] = ()
    measured: Sequence[Point] = ()
    fixed: Sequence[Point] = ()

    @property
    def points(self) -> list[Point]:
        series = [*self.probes.values(), self.planned, self.measured]
        return [point for points in series for point in points if point.vmaf is not None]


def probe_curves(probes: Iterable[Mapping[str, object]]) -> dict[str, list[Point]]:
    """Means over the samples of each codec, size and CRF: `720p` or `720p av1` -> points by rising rate."""
    sums: dict[tuple[str, int], dict[float, list[tuple[float, float]]]] = {}
    for probe in probes:
        codec, height = str(probe["codec"]), int(str(probe["height"]))
        at = sums.setdefault((codec, height), {}).setdefault(float(str(probe["crf"])), [])
        at.append((float(str(probe["kbps"])), float(str(probe["vmaf"]))))
    curves = {}
    for (codec, height), by_crf in sorted(sums.items(), key=lambda item: (item[0][0] != "h264", -item[0][1])):
        name = f"{height}p" if codec == "h264" else f"{height}p {codec}"
        means = [(crf, *_means(pairs)) for crf, pairs in by_crf.items()]
        points = [Point(kbps, vmaf, f"{name}, CRF {crf:g}") for crf, kbps, vmaf in means]
        curves[name] = sorted(points, key=lambda point: point.kbps)
    return curves


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(kbps for kbps, _ in pairs) / len(pairs), sum(vmaf for _, vmaf in pairs) / len(pairs)


def hulls(curves: Mapping[str, Sequence[Point]]) -> list[list[Point]]:
    """The upper convex hull over all sizes of each codec, in the logarithm of the rate."""
    codecs: dict[str, list[Point]] = {}
    for name, points in curves.items():
        codecs.setdefault(name.partition(" ")[2], []).extend(points)
    return [_hull(points) for points in codecs.values()]


def _hull(points: Sequence[Point]) -> list[Point]:
    hull: list[Point] = []
    for point in sorted(points, key=lambda point: (point.kbps, point.vmaf or 0)):
        while hull and (hull[-1].vmaf or 0) <= (point.vmaf or 0) and hull[-1].kbps == point.kbps:
            hull.pop()
        while len(hull) > 1 and _slope(hull[-2], point) >= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(point)
    best = max(range(len(hull)), key=lambda index: hull[index].vmaf or 0)
    return hull[: best + 1]  # beyond the best quality more bits buy nothing


def _slope(a: Point, b: Point) -> float:
    run = math.log(b.kbps / a.kbps)
    return ((b.vmaf or 0) - (a.vmaf or 0)) / run if run else math.inf


def fixed_points(curves: Mapping[str, Sequence[Point]], top_height: int) -> list[Point]:
    """Apple's variants up to the film's size, with the score that its probes give them, or None beyond the probes."""
    fitting = [(height, kbps) for _, height, kbps in APPLE_H264 if height <= top_height]
    return [Point(kbps, _score(curves.get(f"{height}p", ()), kbps), f"{height}p") for height, kbps in fitting]


def _score(points: Sequence[Point], kbps: float) -> float | None:
    place = bisect_left([point.kbps for point in points], kbps)
    if place in (0, len(points)):
        return None
    low, high = points[place - 1], points[place]
    share = math.log(kbps / low.kbps) / math.log(high.kbps / low.kbps)
    return (low.vmaf or 0) + share * ((high.vmaf or 0) - (low.vmaf or 0))


@dataclass(frozen=True)
class _Scale:
    low_kbps: float
    high_kbps: float
    low_vmaf: float

    def x(self, kbps: float) -> float:
        share = math.log(kbps / self.low_kbps) / math.log(self.high_kbps / self.low_kbps)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, vmaf: float) -> float:
        share = (min(vmaf, 100) - self.low_vmaf) / (100 - self.low_vmaf)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def draw(curves: Curves) -> str:
    """The chart, or nothing where no quality was measured."""
    points = curves.points
    if not points:
        return ""
    rates = [point.kbps for point in (*points, *curves.fixed)]
    scores = [point.vmaf or 0 for point in points]
    scale = _Scale(min(rates) / 1.15, max(rates) * 1.15, max(0, min(90, math.floor(min(scores) / 10) * 10)))
    colours = dict(zip(curves.probes, _COLOURS * 4, strict=False))
    parts = [
        *_axes(scale),
        *(_line(scale, points, colours[name], dash="2 4") for name, points in curves.probes.items()),
        *(_line(scale, hull, "#26231f", width=1.6) for hull in curves.hulls),
        *_fixed(scale, curves.fixed),
        *(_dot(scale, p, 3, colours[name], colours[name]) for name, ps in curves.probes.items() for p in ps),
        *(_dot(scale, point, 7, "none", "#26231f") for point in curves.planned),
        *(_dot(scale, point, 4.5, "#26231f", "#fff") for point in curves.measured),
        *(_label(scale, point) for point in curves.measured or curves.planned),
    ]
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>{_key(curves, colours)}'


def _axes(scale: _Scale) -> list[str]:
    low, bottom = int(scale.low_vmaf), _HEIGHT - _BOTTOM
    parts = []
    for vmaf in range(low, 101, 10 if low < 80 else 5):
        y = scale.y(vmaf)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{vmaf}</text>')
    for kbps in _TICKS:
        if scale.low_kbps <= kbps <= scale.high_kbps:
            x = scale.x(kbps)
            parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>')
            parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{number(kbps)}</text>')
    parts.append(f'<text x="{_LEFT - 40}" y="{_TOP - 16}">VMAF</text>')
    for language, unit in (("en", "kbit/s"), ("ru", "кбит/с")):
        x, y = _WIDTH - _RIGHT, bottom + 40
        parts.append(f'<text lang="{language}" x="{x}" y="{y}" text-anchor="end">{unit}</text>')
    return parts


def _line(scale: _Scale, points: Sequence[Point], colour: str, *, width: float = 1.2, dash: str = "") -> str:
    # Between two probes a line is drawn, not more: nobody measured there.
    steps = "".join(
        f"M{scale.x(a.kbps)} {scale.y(a.vmaf or 0)}L{scale.x(b.kbps)} {scale.y(b.vmaf or 0)}"
        for a, b in pairwise(points)
    )
    return f'<path d="{steps}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/>'


def _dot(scale: _Scale, point: Point, radius: float, fill: str, stroke: str) -> str:
    if point.vmaf is None:
        return ""
    told = html.escape(f"{point.label}: {number(point.kbps)} kbit/s, VMAF {point.vmaf:.1f}")
    place = f'cx="{scale.x(point.kbps)}" cy="{scale.y(point.vmaf)}" r="{radius}"'
    return f'<circle {place} fill="{fill}" stroke="{stroke}"><title>{told}</title></circle>'


def _label(scale: _Scale, point: Point) -> str:
    if point.vmaf is None:
        return ""
    x, y = scale.x(point.kbps), scale.y(point.vmaf) + 20
    return f'<text class="rung" x="{x}" y="{y}" text-anchor="middle">{html.escape(point.label)}</text>'


def _fixed(scale: _Scale, points: Sequence[Point]) -> list[str]:
    """A mark on the axis for each rate of the fixed ladder, and a square where its quality is known."""
    parts = []
    for point in points:
        x, bottom = scale.x(point.kbps), _HEIGHT - _BOTTOM
        told = f"{point.label}: {number(point.kbps)} kbit/s"
        parts.append(f'<path class="fixed" d="M{x} {bottom}v-9"><title>{told}</title></path>')
        if point.vmaf is not None:
            y = scale.y(point.vmaf) - 4
            told = f"{told}, VMAF {point.vmaf:.1f}"
            parts.append(f'<rect class="fixed" x="{x - 4}" y="{y}" width="8" height="8"><title>{told}</title></rect>')
    return parts


def _key(curves: Curves, colours: Mapping[str, str]) -> str:
    entries = [(f'<i style="background:{colours[name]}"></i>', name, name) for name in curves.probes]
    told = (
        (curves.hulls, '<i class="bar"></i>', "convex hull of the probes", "выпуклая оболочка проб"),
        (curves.planned, '<i class="ring"></i>', "rung as planned", "ступень по плану"),
        (curves.measured, '<i class="full"></i>', "rung as measured", "ступень по измерению"),
        (curves.fixed, '<i class="box"></i>', "Apple's fixed H.264 ladder", "постоянная лестница H.264 от Apple"),
    )
    entries += [(sign, en, ru) for points, sign, en, ru in told if points]
    items = "".join(
        f'<li>{sign}<span lang="en">{html.escape(en)}</span><span lang="ru">{html.escape(ru)}</span></li>'
        for sign, en, ru in entries
    )
    return f'<ul class="key">{items}</ul>'
