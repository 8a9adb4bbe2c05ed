"""What is popular by region and kind of profile, against the estimator computed by hand."""

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.interactions import Interactions, Ragged
from models.recommenders.popularity import DAY_S
from models.recommenders.segments import (
    ProfileAbout,
    SegmentPopularity,
    SegmentPopularityFitted,
    read_profiles,
    strength_of,
)

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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([20.0, 60.0, 200.0, np.inf]))
def test_the_strength_is_that_of_the_world_that_made_the_counts(seed: int, strength: float) -> None:
    """Half of it to twice as much; where segments are alike, what is made of little weighs next to nothing."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(60))
    plays = rng.integers(200, 1500, size=25)
    own = [shares if strength == np.inf else rng.dirichlet(shares * strength) for _ in plays]
    found = strength_of(np.stack([rng.multinomial(count, of) for count, of in zip(plays, own, strict=True)]))
    assert found > 2_000 if strength == np.inf else strength / 2 < found < strength * 2


def test_places_that_are_alike_are_heard_together_and_others_apart() -> None:
    rng = np.random.default_rng(0)
    users, worth = np.arange(900), rng.dirichlet(np.ones(30))
    regions, kids = [("DE", "KZ", "RU")[user % 3] for user in users], np.zeros(900, dtype=np.bool_)
    alike = rng.choice(30, size=900, p=worth)
    apart = (alike + 10 * (users % 3)) % 30
    for items, expected in ((alike, False), (apart, True)):
        made = SegmentPopularity().fit(Interactions.sorted(users, items, np.full(900, DAY_S), 900, 30), regions, kids)
        differ = np.abs(made.of("DE", False).counts - made.of(None, False).counts).sum()
        assert (differ > 0.5) == expected
        assert expected or differ < 0.1


@pytest.mark.parametrize("counts", [np.zeros((0, 3)), np.zeros((2, 3)), np.ones((1, 3)), np.ones((4, 1)), np.eye(3)])
def test_what_says_nothing_of_differences_has_no_strength_of_its_own(counts: np.ndarray) -> None:
    assert strength_of(counts.astype(np.int64)) == np.inf


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
