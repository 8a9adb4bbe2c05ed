from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.timing import MAX_RATE, frame_rate, output_rate


@pytest.mark.parametrize("declared", [None, Fraction(1, 3600), Fraction(1, 1_000_000)])
def test_two_frames_an_hour_apart_are_a_slow_film_and_are_shown_at_a_usual_rate(declared: Fraction | None) -> None:
    rate, steady = frame_rate([0, 3_600_000], Fraction(1, 1000), declared)
    assert rate == Fraction(1, 1001)
    assert steady
    assert output_rate(rate, interlaced=False, steady=steady) == 12


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=9, unique=True).map(sorted),
    st.sampled_from([Fraction(1, 90_000), Fraction(1, 1000), Fraction(1), Fraction(1, 2)]),
    st.none() | st.fractions(Fraction(1, 10**6), 1000).filter(bool),
    st.booleans(),
)
def test_whatever_the_times_the_rate_shown_is_one_that_segments_can_be_made_of(
    times, base, declared, interlaced
) -> None:
    rate, steady = frame_rate(times, base, declared)
    assert rate > 0
    assert 1 <= output_rate(rate, interlaced=interlaced, steady=steady) <= MAX_RATE
