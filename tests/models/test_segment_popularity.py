"""What is popular by region and kind of profile, against the estimator computed by hand."""

import duckdb
import numpy as np
import pytest

from models.interactions import Interactions, Ragged
from models.recommenders.popularity import DAY_S
from models.recommenders.segments import ProfileAbout, SegmentPopularity, SegmentPopularityFitted, read_profiles

REGIONS = ["DE", "DE", "KZ", None, "KZ"]
KIDS = np.array([False, False, False, False, True])


@pytest.fixture(scope="module")
def fitted() -> SegmentPopularityFitted:
    # Item 2 was taken long ago; in KZ grown-ups take 1, a child takes 3, everybody else 0.
    users, items, days = [0, 0, 1, 2, 3, 4], [2, 0, 0, 1, 0, 3], [0, 99, 99, 99, 99, 100]
    data = Interactions.sorted(users, items, np.array(days) * DAY_S, 5, 4)
    return SegmentPopularity(days=14, strength=2.0).fit(data, REGIONS, KIDS)


def test_a_segment_is_shrunk_to_the_ones_above_it(fitted: SegmentPopularityFitted) -> None:
    everybody = np.array([3, 1, 0, 1]) / 5
    grown = (np.array([3, 1, 0, 0]) + 2 * everybody) / 6
    kazakh = (np.array([0, 1, 0, 0]) + 2 * grown) / 3
    np.testing.assert_allclose(fitted.of("KZ", False).counts, kazakh, atol=1e-3)
    np.testing.assert_allclose(fitted.of(None, False).counts, grown, atol=1e-3)
    child = (np.array([0, 0, 0, 1]) + 2 * (np.array([0, 0, 0, 1]) + 2 * everybody) / 3) / 3
    np.testing.assert_allclose(fitted.of("KZ", True).counts, child, atol=1e-3)


def test_the_order_differs_where_people_differ(fitted: SegmentPopularityFitted) -> None:
    best = {
        (region, kids): int(fitted.of(region, kids).counts.argmax())
        for region in ("DE", "KZ")
        for kids in (False, True)
    }
    assert best == {("DE", False): 0, ("DE", True): 3, ("KZ", False): 1, ("KZ", True): 3}


def test_an_unknown_region_says_what_this_kind_of_profile_does_everywhere(fitted: SegmentPopularityFitted) -> None:
    for kids in (False, True):
        np.testing.assert_array_equal(fitted.of("ZZ", kids).counts, fitted.of(None, kids).counts)


def test_shares_sum_to_one_and_come_back_from_arrays(fitted: SegmentPopularityFitted) -> None:
    np.testing.assert_allclose(fitted.shares.sum(axis=1), 1, atol=1e-5)
    again = SegmentPopularityFitted.restored(fitted.arrays())
    np.testing.assert_array_equal(again.of("KZ", True).counts, fitted.of("KZ", True).counts)
    assert again.score(Ragged.of([[], [1]])).argmax(axis=1).tolist() == [0, 0]


def test_nobody_and_nothing_is_answered() -> None:
    empty = SegmentPopularity().fit(Interactions.sorted([], [], [], 2, 3), ["DE", None], np.array([False, True]))
    assert empty.of("DE", True).score(Ragged.of([[]])).tolist() == [[0.0, 0.0, 0.0]]


def test_profiles_of_the_marts() -> None:
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS marts")
        rows = "('p', 'DE', 18), ('k', NULL, 12), ('t', 'KZ', 16)"
        connection.execute(
            f"CREATE TABLE marts.dim_profile AS FROM (VALUES {rows}) AS t(profile_key, country, maturity)"
        )
        assert read_profiles(connection) == {
            "p": ProfileAbout("DE", False),
            "k": ProfileAbout(None, True),
            "t": ProfileAbout("KZ", False),
        }
