"""What short encodes say of a film: quality against rate for every size, and the ladder that follows from it.

The method is that of per-title encoding by convex hull (Netflix, "Per-Title Encode Optimization", 2015). For each size
VMAF and the logarithm of the rate are quadratics of the CRF through three probes.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RATIO = 1.75  # between neighbouring rungs on average
LEAST_STEP, WIDEST_STEP = 1.5, 3.0
LOWEST_KBPS = 150
MOST_RUNGS = 8
MOST_SHIFT = 3.0  # of a CRF, for one part of a film
PLAYER_SHARE = 0.75  # of its bandwidth that a player dares to use
_CRF_STEP = {"h264": 0.5, "hevc": 0.5, "av1": 1.0}  # AV1's CRF is a whole number
_BEYOND = 2.0  # CRF steps that a curve is trusted outside of its probes
_THIN = 1.03  # candidates nearer than this to each other are one
_SPREAD = 200  # viewers that stand for an audience
_ANYWHERE = 0.2


@dataclass(frozen=True)
class Probe:
    """One short encode: `sample` is the number of its piece of the film, which begins at `start_s`.

    `kbps` is the rate of the picture alone; `vmaf` is the mean over the piece, measured at the source's size. `weight`
    is the share of the film, 0 to 1, that the piece stands for.
    """

    codec: str
    height: int
    crf: int
    sample: int
    start_s: float
    kbps: float
    vmaf: float
    weight: float = 1.0


@dataclass(frozen=True)
class Point:
    """What a size gives at a CRF: mean VMAF at a mean rate."""

    codec: str
    height: int
    crf: float
    kbps: float
    vmaf: float


@dataclass(frozen=True)
class Curve:
    """A codec at one size. `vmaf` and `log_kbps` are polynomials of the CRF, highest power first."""

    codec: str
    height: int
    vmaf: tuple[float, ...]
    log_kbps: tuple[float, ...]
    low: float
    high: float

    def at(self, crf: float) -> Point:
        quality = min(100.0, max(0.0, _value(self.vmaf, crf)))
        return Point(self.codec, self.height, crf, math.exp(_value(self.log_kbps, crf)), quality)

    @property
    def points(self) -> tuple[Point, ...]:
        """From the lowest CRF to the highest, a little beyond the probes."""
        step = _CRF_STEP[self.codec]
        first, last = math.ceil((self.low - _BEYOND) / step), math.floor((self.high + _BEYOND) / step)
        return tuple(self.at(number * step) for number in range(max(1, first), last + 1))


def _value(coefficients: Sequence[float], at: float) -> float:
    total = 0.0
    for coefficient in coefficients:
        total = total * at + coefficient
    return total


def fit(probes: Sequence[Probe]) -> tuple[Curve, ...]:
    """One curve for each codec and size, largest first; the pieces of the film are averaged by their weights."""
    groups: dict[tuple[str, int], list[Probe]] = defaultdict(list)
    for probe in probes:
        groups[probe.codec, probe.height].append(probe)
    return tuple(_fit(*key, groups[key]) for key in sorted(groups, key=lambda key: (key[0], -key[1])))


def _fit(codec: str, height: int, probes: Sequence[Probe]) -> Curve:
    import numpy as np

    crfs = sorted({probe.crf for probe in probes})
    means = []
    for crf in crfs:
        # Always in the same order: a sum of floats, and so the ladder, is then the same however probes are kept.
        same = sorted((probe for probe in probes if probe.crf == crf), key=lambda probe: probe.sample)
        total = sum(probe.weight for probe in same)
        kbps = sum(probe.weight * probe.kbps for probe in same) / total
        means.append((sum(probe.weight * probe.vmaf for probe in same) / total, math.log(max(kbps, 1e-3))))
    degree = min(2, len(crfs) - 1)
    vmaf, log_kbps = (tuple(map(float, np.polyfit(crfs, values, degree))) for values in zip(*means, strict=True))
    return Curve(codec, height, vmaf, log_kbps, crfs[0], crfs[-1])


def hull(curves: Sequence[Curve], caps: Mapping[int, float]) -> tuple[Point, ...]:
    """The upper convex hull over all sizes of one codec, from the least rate to the best quality.

    `caps` are the kbit/s that a size may take at most, by height. Along the hull rate and VMAF rise strictly, and no
    size follows a larger one. Where nothing below its cap is slow enough for slow viewers, the least rate that was
    measured is allowed as well.
    """
    points = [point for curve in curves for point in curve.points]
    allowed = [point for point in points if point.kbps <= caps.get(point.height, math.inf)]
    least = min(points, key=lambda point: point.kbps)
    if not allowed or min(point.kbps for point in allowed) > LEAST_STEP * max(LOWEST_KBPS, least.kbps):
        allowed.append(least)
    made: list[Point] = []
    for point in sorted(allowed, key=lambda point: (point.kbps, -point.vmaf)):
        if made and point.vmaf <= made[-1].vmaf:
            continue
        while len(made) > 1 and _slope(made[-2], made[-1]) <= _slope(made[-1], point):
            made.pop()
        if len(made) == 1 and made[0].kbps == point.kbps:
            made.pop()
        made.append(point)
    kept: list[Point] = []
    for point in reversed(made):
        if not kept or point.height <= kept[-1].height:
            kept.append(point)
    return tuple(reversed(kept))


def _slope(one: Point, other: Point) -> float:
    return (other.vmaf - one.vmaf) / max(other.kbps - one.kbps, 1e-9)


def best_point(points: Sequence[Point], target: float) -> Point:
    """The least rate that reaches `target` VMAF, or the best quality there is."""
    reaching = [point for point in points if point.vmaf >= target]
    return min(reaching, key=lambda point: point.kbps) if reaching else max(points, key=lambda point: point.vmaf)


def space(points: Sequence[Point], target: float, audience: Sequence[float]) -> tuple[Point, ...]:
    """Rungs out of a hull's points, best first: from the top down to about 150 kbit/s.

    Their number is what steps of about 1.75 would need, at most eight. Which they are is chosen for the `audience`
    (quantiles of viewers' kbit/s, rising): the mean VMAF of viewers whose players take the best rung below three
    quarters of their bandwidth is greatest, among ladders whose steps are between 1.5 and 3: nearer rungs cost storage
    and show nothing. Where the hull itself has a wider gap, so has the ladder. A fifth of the viewers is taken to be
    anywhere, so that rungs that hardly anyone needs today are spread by what they show too.
    """
    top = best_point(points, target)
    below = sorted((point for point in points if point.kbps <= top.kbps), key=lambda point: point.kbps)
    bottom = min(below, key=lambda point: abs(math.log(point.kbps / LOWEST_KBPS)))
    candidates = [bottom]
    for point in below:
        if point.kbps >= candidates[-1].kbps * _THIN and point.kbps * _THIN <= top.kbps:
            candidates.append(point)
    if top.kbps >= bottom.kbps * LEAST_STEP:
        candidates.append(top)
    else:
        candidates = [top]
    count = min(MOST_RUNGS, 1 + round(math.log(top.kbps / candidates[0].kbps) / math.log(RATIO)))
    return tuple(reversed(_best_ladder(candidates, max(count, min(2, len(candidates))), _Audience(audience, top.kbps))))


def shift_crf(probes: Sequence[Probe], height: int, crf: float, target: float) -> float:
    """By how much, -3 to 3, the CRF of a size must change for one piece of the film to reach `target` VMAF.

    `probes` are those of the piece. A piece that was not probed at this size asks for nothing.
    """
    own = [probe for probe in probes if probe.height == height]
    if not own:
        return 0.0
    curve = _fit(own[0].codec, height, own)
    steps = [number / 2 for number in range(round(-2 * MOST_SHIFT), round(2 * MOST_SHIFT) + 1)]
    return min(steps, key=lambda step: (round(abs(curve.at(crf + step).vmaf - target), 3), abs(step)))


class _Audience:
    """What rates viewers' players dare to take: as the quantiles say, with a fifth anywhere below the top."""

    def __init__(self, quantiles: Sequence[float], top_kbps: float) -> None:
        import numpy as np

        logs = np.log(np.sort(np.asarray(quantiles, dtype=float)))
        places = (np.arange(len(logs)) + 0.5) / len(logs)
        at = (np.arange(_SPREAD) + 0.5) / _SPREAD
        self._told = np.exp(np.interp(at, places, logs)) * PLAYER_SHARE
        self._anywhere = np.exp(np.interp(at, [0, 1], np.log([min(LOWEST_KBPS, top_kbps), top_kbps])))

    def below(self, kbps: float) -> float:
        """The share of viewers whose player would not take a rung of this rate."""
        import numpy as np

        told, anywhere = (float(np.searchsorted(kind, kbps)) / _SPREAD for kind in (self._told, self._anywhere))
        return (1 - _ANYWHERE) * told + _ANYWHERE * anywhere


def _best_ladder(candidates: Sequence[Point], count: int, audience: _Audience) -> list[Point]:
    """From the first candidate to the last by `count` rungs, or as many as the steps allow (dynamic programming)."""
    below = [audience.below(point.kbps) for point in candidates]
    # best[i]: (mean VMAF of the viewers below i, path to i) for every number of rungs that leads there
    best: list[dict[int, tuple[float, list[int]]]] = [{} for _ in candidates]
    best[0][1] = (candidates[0].vmaf * below[0], [0])
    for j in range(1, len(candidates)):
        for i in range(j):
            step = candidates[j].kbps / candidates[i].kbps
            if step < LEAST_STEP or (step > WIDEST_STEP and i + 1 < j):
                continue
            for rungs, (value, path) in best[i].items():
                reached = value + candidates[i].vmaf * (below[j] - below[i])
                if rungs < count and reached > best[j].get(rungs + 1, (-1.0, []))[0]:
                    best[j][rungs + 1] = (reached, [*path, j])
    if not best[-1]:
        return [candidates[0], candidates[-1]] if len(candidates) > 1 else [candidates[0]]
    return [candidates[place] for place in best[-1][max(best[-1])][1]]
