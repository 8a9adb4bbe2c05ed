import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.recommenders.cold import expected

NUMBERS = st.floats(-100, 100, width=32)


def test_new_titles_lie_on_the_line_through_the_known_ones() -> None:
    content = np.array([0, 1, 2, 3, 10], np.float32)
    total = np.array([1, 3, 5, np.nan, np.nan], np.float32)
    np.testing.assert_allclose(expected(total, content), [1, 3, 5, 7, 21], rtol=1e-5)
    np.testing.assert_allclose(expected(-total, content), [-1, -3, -5, -3, -3], rtol=1e-5)
    np.testing.assert_allclose(expected(total, np.ones(5, np.float32)), [1, 3, 5, 3, 3], rtol=1e-5)
    assert expected(np.full(5, np.nan, np.float32), content).tolist() == [0.0] * 5


@given(total=arrays(np.float32, 6, elements=NUMBERS | st.just(np.nan)), content=arrays(np.float32, 6, elements=NUMBERS))
def test_what_is_known_stays_and_better_content_never_ranks_lower(total: np.ndarray, content: np.ndarray) -> None:
    made, known = expected(total, content), ~np.isnan(total)
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made[known], total[known])
    order = np.argsort(content[~known], kind="stable")
    assert (np.diff(made[~known][order]) >= 0).all()
