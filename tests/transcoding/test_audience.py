"""Bandwidths from what was loaded: right where everything was seen, honest where the top rung hid it."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.audience import LEVELS, audience, product_limit, quantiles
from transcoding.plan import DEFAULT_AUDIENCE

HOUR = 3_600_000
RUNGS = np.array([145 * 1.75**step for step in range(9)])


def sessions(bandwidth: np.ndarray, rungs: np.ndarray) -> pl.DataFrame:
    """What players would load over these connections (kbit/s): the best rung within three quarters of them."""
    rung = np.clip(np.searchsorted(rungs, bandwidth * 0.75, side="right") - 1, 0, len(rungs) - 1)
    hour = np.full(len(bandwidth), HOUR)
    return pl.DataFrame(
        {"bits": (rungs[rung] * HOUR).astype(np.int64), "played_ms": hour, "at_top": rung == len(rungs) - 1}
    )


@pytest.mark.parametrize(("top", "within"), [(9, 0.35), (7, 0.35)])
def test_a_known_population_is_found_again_even_where_the_top_rung_hides_half_of_it(top: int, within: float) -> None:
    drawn = np.exp(np.log(3000) + 0.8 * np.random.default_rng(3).standard_normal(20_000))
    made = audience(sessions(drawn, RUNGS[:top]))
    assert made is not None
    truth = np.quantile(drawn, LEVELS)
    assert np.abs(np.log(np.array(made.kbps) / truth)).max() < np.log(1 + within)
    assert made.hours == pytest.approx(20_000)
    assert made.censored == pytest.approx((drawn * 0.75 >= RUNGS[top - 1]).mean())
    naive = np.quantile(sessions(drawn, RUNGS[:top])["bits"] / HOUR, 0.95)
    assert made.kbps[-1] > naive, "the top rung's own rate is not the viewers' bandwidth"


def test_too_little_viewing_or_only_the_top_rung_says_nothing() -> None:
    few = sessions(np.full(19, 1000.0), RUNGS)
    assert audience(few) is None
    assert audience(few.clear()) is None
    assert audience(sessions(np.full(100, 1e6), RUNGS)) is None
    assert audience(sessions(np.linspace(500, 9000, 40), RUNGS)) is not None


def test_the_product_limit_by_hand() -> None:
    """Of four equal hours, one of them censored between: 1/4, then of two left one: 1/4 + 3/4 x 1/2."""
    seen = pl.DataFrame({"kbps": [1.0, 2.0, 3.0, 4.0], "at_top": [False, True, False, True], "weight": [1.0] * 4})
    assert product_limit(seen) == [(1.0, pytest.approx(0.25)), (3.0, pytest.approx(0.625))]


@given(st.lists(st.tuples(st.floats(10, 1e6), st.booleans(), st.floats(0.01, 100)), min_size=1, max_size=30))
def test_quantiles_never_fall_and_are_as_many_as_the_plan_takes(rows: list[tuple[float, bool, float]]) -> None:
    seen = pl.DataFrame(rows, schema={"kbps": pl.Float64, "at_top": pl.Boolean, "weight": pl.Float64}, orient="row")
    steps = product_limit(seen)
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in shares)
    made = quantiles(steps)
    assert list(made) == sorted(made)
    assert len(made) in (0, len(DEFAULT_AUDIENCE))


@given(st.lists(st.floats(10, 1e5), min_size=20, max_size=200))
def test_without_censoring_the_quantiles_are_those_of_the_sample(values: list[float]) -> None:
    seen = pl.DataFrame({"kbps": values, "at_top": [False] * len(values), "weight": [1.0] * len(values)})
    made = quantiles(product_limit(seen))
    for level, kbps in zip(LEVELS, made, strict=True):
        at_or_below = sum(value <= kbps for value in values) / len(values)
        below = sum(value < kbps for value in values) / len(values)
        assert below <= level + 1e-9
        assert at_or_below >= level - 1e-9
