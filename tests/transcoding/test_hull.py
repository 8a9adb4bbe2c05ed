"""From probes to rungs, as rules over all films."""

import dataclasses
import itertools
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcoding.hull import (
    LEAST_STEP,
    LOWEST_KBPS,
    MOST_RUNGS,
    RATIO,
    WIDEST_STEP,
    Point,
    Probe,
    best_point,
    fit,
    hull,
    shift_crf,
    space,
)
from transcoding.ladder import TREATMENTS, av1_heights, cap_kbps, display_size, hull_heights, rung_sizes
from transcoding.plan import DEFAULT_AUDIENCE, Plan, plan_ladder
from transcoding.source import AudioTrack, Source

SOURCE = Source(
    path=Path("/films/a.mkv"), container="matroska,webm", video_index=0, width=1920, height=1080,
    sample_aspect=Fraction(1), rotation=0, frame_rate=Fraction(24), steady=True, frames=240, offset=Fraction(0),
    duration=Fraction(10), interlaced=False, hdr=False, audio=(AudioTrack(1, "en", 6),),
)  # fmt: skip
CRFS = (18, 26, 34)
audiences = st.lists(st.floats(50, 200_000), min_size=1, max_size=20).map(sorted)


def film(
    heights: tuple[int, ...], kbps: float, ease: float, loss: float = 12.0, codec: str = "h264", samples: int = 1
) -> list[Probe]:
    """Probes as films give them: the rate halves every six CRFs, and smaller pictures lose more than they save."""
    made = []
    for height, crf, sample in itertools.product(heights, CRFS, range(samples)):
        scale = height / heights[0]
        rate = kbps * scale**1.6 * 2 ** ((18 - crf) / 6)
        quality = ease - loss * (1 / scale - 1) - 0.35 * (crf - 18) - 0.04 * (crf - 18) ** 2
        made.append(Probe(codec, height, crf, sample, 2.0 * sample, rate, min(100.0, max(0.0, quality))))
    return made


sources = st.builds(
    dataclasses.replace,
    st.just(SOURCE),
    width=st.integers(16, 5000),
    height=st.integers(16, 3000),
    rotation=st.sampled_from([0, 90]),
    sample_aspect=st.sampled_from([Fraction(1), Fraction(64, 45)]),
    duration=st.fractions(Fraction(1, 2), 9000, max_denominator=100),
)


@st.composite
def probed(draw: st.DrawFn) -> tuple[Source, list[Probe]]:
    source = draw(sources)
    heights = hull_heights(source)
    probes = film(heights, draw(st.floats(20, 60_000)), draw(st.floats(60, 101)), draw(st.floats(1, 40)))
    probes += film(av1_heights(heights), draw(st.floats(20, 60_000)), draw(st.floats(60, 101)), codec="av1")
    return source, probes


@settings(deadline=None)
@given(probed(), st.sampled_from(["standard", "premium"]), audiences)
def test_a_measured_ladder(made: tuple[Source, list[Probe]], name: str, audience: list[float]) -> None:
    source, probes = made
    treatment = TREATMENTS[name]
    plan = plan_ladder(source, treatment, probes, audience=audience)
    width, height = display_size(source)
    assert len({rung.name for rung in plan.rungs}) == len(plan.rungs)
    for rung in plan.rungs:
        assert rung.width % 2 == rung.height % 2 == 0
        assert rung.width <= max(2, width)
        assert rung.height <= max(2, height)
        assert rung.predicted_kbps is not None
        assert rung.maxrate_kbps <= max(16, 2 * rung.predicted_kbps)
        assert rung.bufsize_kbps == 2 * rung.maxrate_kbps
    h264 = [rung for rung in plan.rungs if rung.codec == "h264"]
    assert plan.rungs[: len(h264)] == tuple(h264)
    assert 1 <= len(h264) <= MOST_RUNGS
    for better, worse in itertools.pairwise(h264):
        assert (better.predicted_kbps or 0) > (worse.predicted_kbps or 0)
        assert (better.predicted_vmaf or 0) > (worse.predicted_vmaf or 0)
        assert better.height >= worse.height
    sizes = dict(reversed(size) for size in rung_sizes(source, hull_heights(source)))
    reachable = [
        point.vmaf
        for curve in fit([probe for probe in probes if probe.codec == "h264"])
        for point in curve.points
        if point.kbps <= cap_kbps(sizes[point.height] * point.height)
    ]
    if reachable:
        assert (h264[0].predicted_vmaf or 0) >= min(treatment.top_vmaf, max(reachable)) - 0.01
    twins = plan.rungs[len(h264) :]
    assert sum(rung.predicted_kbps or 0 for rung in twins) <= sum(rung.predicted_kbps or 0 for rung in h264)
    for twin in twins:
        assert treatment.av1
        assert twin.codec == "av1"
        assert twin.crf == int(twin.crf)
        same = [rung for rung in h264 if rung.height == twin.height]
        assert same
    assert Plan.from_json(plan.as_json()) == plan


@given(st.floats(100, 60_000), st.floats(70, 101), st.floats(1, 40))
def test_the_hull_rises_in_rate_and_quality_and_bends_down(kbps: float, ease: float, loss: float) -> None:
    points = hull(fit(film((1080, 720, 540, 360, 234), kbps, ease, loss)), {})
    for one, other in itertools.pairwise(points):
        assert one.kbps < other.kbps
        assert one.vmaf < other.vmaf
        assert one.height <= other.height
    slopes = [(b.vmaf - a.vmaf) / (b.kbps - a.kbps) for a, b in itertools.pairwise(points)]
    assert all(after < before * (1 + 1e-9) for before, after in itertools.pairwise(slopes))


@given(st.floats(400, 60_000), st.floats(85, 101), st.floats(90, 97), audiences)
def test_rungs_are_spread_from_the_top_to_the_bottom(
    kbps: float, ease: float, target: float, audience: list[float]
) -> None:
    points = hull(fit(film((1080, 720, 540, 360, 234), kbps, ease)), {})
    top = best_point(points, target)
    rungs = space(points, target, audience)
    assert rungs[0] == top
    assert (top.vmaf >= target) == any(point.vmaf >= target for point in points)
    lowest = min(points, key=lambda point: abs(math.log(point.kbps / LOWEST_KBPS)))
    if top.kbps > lowest.kbps * RATIO:
        assert rungs[-1] == lowest
    gaps = [b.kbps / a.kbps for a, b in itertools.pairwise(points)]
    for better, worse in itertools.pairwise(rungs):
        assert LEAST_STEP * 0.999 <= better.kbps / worse.kbps <= WIDEST_STEP * max(1.0, *gaps) * 1.001


def expected_vmaf(rungs: tuple[Point, ...], audience: tuple[float, ...]) -> float:
    shown = [next((r.vmaf for r in rungs if r.kbps <= 0.75 * kbps), rungs[-1].vmaf) for kbps in audience]
    return sum(shown) / len(shown)


@pytest.mark.parametrize(("median", "better"), [(600.0, 0.0), (1200.0, 0.3), (3000.0, 0.1)])
def test_a_ladder_spaced_for_an_audience_serves_it_better_with_as_many_rungs(median: float, better: float) -> None:
    points = hull(fit(film((1080, 720, 540, 360, 234), 12_000, 99)), {})
    audience = tuple(median * 2 ** ((place - 9.5) / 12) for place in range(20))
    its_own, usual = space(points, 95, audience), space(points, 95, DEFAULT_AUDIENCE)
    assert len(its_own) == len(usual)
    assert expected_vmaf(its_own, audience) >= expected_vmaf(usual, audience) + better


def test_the_top_is_the_least_rate_that_reaches_the_target() -> None:
    plan = {name: plan_ladder(SOURCE, TREATMENTS[name], film((1080, 720, 360), 9000, 99)) for name in TREATMENTS}
    assert plan["standard"].rungs[0].predicted_vmaf == pytest.approx(95, abs=0.4)
    assert plan["premium"].rungs[0].predicted_vmaf == pytest.approx(97, abs=0.4)
    assert [rung.name for rung in plan["fast"].rungs] == ["1080p", "720p", "480p"]  # it does without probes


def test_two_rungs_of_one_size_have_two_names() -> None:
    rungs = plan_ladder(SOURCE, TREATMENTS["standard"], film((1080,), 9000, 99)).rungs
    names = [rung.name for rung in rungs]
    assert names == ["1080p", *(f"1080p-{rung.predicted_kbps}k" for rung in rungs[1:])]
    assert len(names) > 2


def test_no_rung_takes_more_than_its_size_may() -> None:
    rungs = plan_ladder(SOURCE, TREATMENTS["standard"], film((1080, 720, 360, 234), 30_000, 99)).rungs
    assert all((rung.predicted_kbps or 0) <= cap_kbps(rung.width * rung.height) for rung in rungs[:-1])
    assert rungs[-1].height == 234  # above its cap, for want of anything slower
    assert 145 < (rungs[-1].predicted_kbps or 0) < 500
    hopeless = plan_ladder(SOURCE, TREATMENTS["standard"], film((1080, 720), 5_000_000, 99)).rungs
    assert len(hopeless) == 1  # still something to watch, held down by its buffer
    assert hopeless[0].maxrate_kbps <= 3 * cap_kbps(hopeless[0].width * hopeless[0].height)


def test_av1_twins_look_the_same_for_less() -> None:
    heights = (1080, 720, 540, 360, 234)
    cheaper = film(av1_heights(heights), 5000, 99, codec="av1")
    rungs = plan_ladder(SOURCE, TREATMENTS["premium"], [*film(heights, 9000, 99), *cheaper]).rungs
    twins = {rung.name: rung for rung in rungs if rung.codec == "av1"}
    h264 = {rung.name: rung for rung in rungs if rung.codec == "h264"}
    assert {rung.height for rung in twins.values()} == {r.height for r in h264.values() if r.height >= 720}
    assert twins["1080p-av1"].preset == "5"
    assert twins["1080p-av1"].predicted_vmaf == pytest.approx(h264["1080p"].predicted_vmaf, abs=1)
    assert (twins["1080p-av1"].predicted_kbps or 0) < 0.7 * (h264["1080p"].predicted_kbps or 0)
    dearer = film(av1_heights(heights), 11_000, 99, codec="av1")
    assert not [
        rung
        for rung in plan_ladder(SOURCE, TREATMENTS["premium"], [*film(heights, 9000, 99), *dearer]).rungs
        if rung.codec == "av1"
    ]


def test_hard_chunks_get_more_bits_and_easy_ones_fewer() -> None:
    source = dataclasses.replace(SOURCE, duration=Fraction(180))
    easy, hard = film((1080, 720), 4000, 99), film((1080, 720), 4000, 94)
    pieces = [(easy, 0, 10.0), (hard, 1, 70.0)]
    probes = [dataclasses.replace(p, sample=n, start_s=at, weight=0.5) for made, n, at in pieces for p in made]
    premium = plan_ladder(source, TREATMENTS["premium"], probes)
    assert len(premium.crf_shifts) == len(premium.chunks) == 3
    assert 0 < premium.crf_shifts[0] <= 3
    assert -3 <= premium.crf_shifts[1] < 0
    assert premium.crf_shifts[2] == 0  # nothing is known of it
    assert plan_ladder(source, TREATMENTS["standard"], probes).crf_shifts == ()


@given(st.integers(20, 100), st.integers(18, 34), st.floats(0, 100))
def test_shifts_are_bounded(ease: int, crf: int, target: float) -> None:
    assert abs(shift_crf(film((720,), 3000, ease), 720, crf, target)) <= 3
    assert shift_crf([], 720, crf, target) == 0


def test_pieces_count_by_what_they_stand_for() -> None:
    light, heavy = film((720,), 1000, 99), film((720,), 4000, 90)
    probes = [dataclasses.replace(p, sample=0, weight=0.75) for p in light]
    probes += [dataclasses.replace(p, sample=1, weight=0.25) for p in heavy]
    at = fit(probes)[0].at(18)
    assert at.kbps == pytest.approx(0.75 * 1000 + 0.25 * 4000)
    assert at.vmaf == pytest.approx(0.75 * 99 + 0.25 * 90)


@given(sources)
def test_sizes_to_probe(source: Source) -> None:
    heights = hull_heights(source)
    own = display_size(source)[1]
    assert 1 <= len(heights) <= 5
    assert list(heights) == sorted(set(heights), reverse=True)
    assert own - 2 < heights[0] <= own or heights[0] == 2160
    assert heights[-1] == (heights[0] if heights[0] * 0.85 <= 234 else 234)
    assert all(height % 2 == 0 for height in heights)


@pytest.mark.parametrize(
    ("height", "expected"),
    [
        (2160, (2160, 1080, 720, 432, 234)), (1080, (1080, 720, 540, 360, 234)), (800, (800, 540, 432, 360, 234)),
        (720, (720, 540, 432, 360, 234)), (479, (478, 360, 234)), (180, (180,)), (4320, (2160, 1080, 720, 432, 234)),
    ],
)  # fmt: skip
def test_known_sizes(height: int, expected: tuple[int, ...]) -> None:
    assert hull_heights(dataclasses.replace(SOURCE, height=height)) == expected
