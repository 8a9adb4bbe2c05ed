"""Which pieces stand for a film."""

import dataclasses
import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.plan import Plan, plan_ladder
from transcoding.shots import MOST_SAMPLES, Sample, choose_samples, find_cuts, parse_cuts, sample_count
from transcoding.source import Source, read_source

PLAN = Plan(Fraction(25), 50, 250, (), ())


def of_length(seconds: float) -> Plan:
    return dataclasses.replace(PLAN, frames=max(1, round(25 * seconds)))


@given(st.floats(0.04, 9000), st.lists(st.floats(0.1, 9000), max_size=200).map(sorted))
def test_pieces_lie_on_the_grid_apart_and_in_order(seconds: float, cuts: list[float]) -> None:
    plan = of_length(seconds)
    samples = choose_samples(plan, cuts)
    assert 1 <= len(samples) <= MOST_SAMPLES
    assert len(samples) == sample_count(plan)
    assert sum(sample.weight for sample in samples) == pytest.approx(1)
    assert all(sample.weight > 0 for sample in samples)
    for sample in samples:
        assert sample.window.first_frame % plan.gop == 0
        assert sample.window.frames % plan.gop == 0 or len(samples) == 1
    ends = [sample.window.first_frame + sample.window.frames for sample in samples]
    for end, following in zip(ends, samples[1:], strict=False):
        assert end <= following.window.first_frame
    assert ends[-1] <= plan.frames


@pytest.mark.parametrize(
    ("seconds", "count", "sampled"), [(1, 1, 1), (8, 1, 8), (13, 5, 10), (600, 5, 10), (1200, 10, 20), (4500, 12, 48)]
)
def test_how_much_is_sampled(seconds: float, count: int, sampled: float) -> None:
    samples = choose_samples(of_length(seconds), [])
    assert len(samples) == count
    assert sum(sample.window.frames for sample in samples) / 25 == sampled


def starts(samples: tuple[Sample, ...]) -> list[float]:
    return [sample.window.first_frame / 25 for sample in samples]


def test_without_cuts_pieces_are_spread_by_the_clock() -> None:
    at = starts(choose_samples(of_length(4800), []))
    assert all(abs(b - a - 400) <= 4 for a, b in itertools.pairwise(at))


def test_a_busy_passage_gets_more_pieces_and_each_of_them_weighs_less() -> None:
    busy = [1000 + 5 * number for number in range(200)]  # a thousand seconds of short shots
    samples = choose_samples(of_length(4800), busy)
    inside = [sample for sample in samples if 1000 <= sample.window.first_frame / 25 < 2000]
    assert len(inside) >= 6  # by the clock there would be two or three
    assert max(sample.weight for sample in inside) < min(s.weight for s in samples if s not in inside)


def test_cuts_are_read_from_what_the_filter_prints() -> None:
    told = "frame:0 pts:0 pts_time:0\nlavfi.scd.mafd=0\nlavfi.scd.score=40.0\nframe:1 pts:5 pts_time:0.25\n"
    told += "lavfi.scd.mafd=12.0\nlavfi.scd.score=3.1\nframe:2 pts:9 pts_time:0.5\nlavfi.scd.score=31.5\n"
    assert parse_cuts(told) == (0.5,)


def test_cuts_of_a_real_film(film: Callable[..., Path]) -> None:
    half = "testsrc2=size=320x180:rate=25:duration=3[a];color=white:size=320x180:rate=25:duration=2[b];[a][b]concat"
    source: Source = read_source(film("cut.mp4", half))
    assert find_cuts(plan_ladder(source), source) == pytest.approx((3.0,), abs=0.3)
