"""Features, re-rank, exploration, rows and off-policy estimates: the parts without a fit."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.ranking import ope
from models.ranking.explore import SLOT, explore, seed_of
from models.ranking.frame import FEATURES, TitleTable, candidate_frame, source_columns, taste_of
from models.ranking.genres import GenreTable
from models.ranking.judged import page_ndcg
from models.ranking.rerank import Knobs, rerank, rerank_rows
from models.ranking.rows import order_rows, row_values


def column(name: str) -> int:
    return FEATURES.index(name)


def some_titles() -> TitleTable:
    numbers = {"plays_7d": [5, 0, np.nan], "runtime_s": [3600, 1200, 60]}
    return TitleTable.of(numbers, [0.0, 86_400.0, np.nan], [("drama",), ("drama", "comedy"), ()])


def test_a_frame_says_what_is_known_and_nan_for_the_rest() -> None:
    user = {"profile_activity__plays_7d": 3, "profile_taste__top_genre": "comedy", "kids": 1.0}
    scores = {"knn": np.array([0.5, -1, np.nan], dtype=np.float32)}
    now = 20 * 86_400.0 + 7 * 3600  # a Wednesday, 7 o'clock
    made = candidate_frame(
        scores, {"knn": [0, 2, 1]}, some_titles(), user, now, [3, 4, 5], taste={"drama": 0.75, "comedy": 0.25}
    )
    expected = {
        "score_knn": [0.5, -1, np.nan], "rank_knn": [0, 2, 1], "score_ease": [np.nan] * 3, "plays_7d": [5, 0, np.nan],
        "age_days": [20 + 7 / 24, 19 + 7 / 24, np.nan], "genre_match": [0.75, 0.5, np.nan],
        "top_genre_match": [0, 1, np.nan], "profile_activity__plays_7d": [3] * 3,
        "profile_activity__plays_30d": [np.nan] * 3, "kids": [1] * 3, "hour": [7] * 3, "weekday": [2] * 3,
        "position": [3, 4, 5], "vertical": [0] * 3,
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(made[:, column(name)], np.array(values, dtype=np.float32), err_msg=name)


def test_a_source_without_a_feature_is_named() -> None:
    with pytest.raises(ModelError, match="oracle"):
        candidate_frame({"oracle": np.zeros(3, dtype=np.float32)}, {}, some_titles(), {}, 0.0, 0.0)


def test_a_source_that_tells_nothing_apart_is_unknown_and_ranks_count_what_is_better() -> None:
    scores, ranks = source_columns(np.array([3, 1, 3, 2], dtype=np.float32), np.array([0, 3, 1]))
    assert ranks.tolist() == [0, 2, 3]
    assert scores[0] > scores[1] > scores[2]
    assert np.isnan(source_columns(np.ones(4, dtype=np.float32), np.array([0, 1]))).all()


def test_a_title_of_two_genres_gives_half_to_each() -> None:
    assert taste_of([("a",), ("a", "b"), ()]) == {"a": 0.75, "b": 0.25}
    assert taste_of([]) == {}


def test_page_ndcg_by_hand_and_ties_count_half() -> None:
    pages = np.array([0, 0, 0, 1, 1, 2])
    gains = np.array([1.0, 0, 0, 0, 2, 0])
    found = page_ndcg([0.1, 0.9, 0.0, 0.5, 0.5, 1.0], gains, pages)
    second = 1 / np.log2(3)
    np.testing.assert_allclose(found, [second, (1 + second) / 2])  # a page without a gain does not count


# -- re-rank


def world_of_genres(seed: int, m: int = 60, g: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    genres = np.zeros((m, g), dtype=np.float32)
    for row in genres:
        row[rng.choice(g, rng.integers(1, 3), replace=False, p=np.arange(g, 0, -1) / (g * (g + 1) / 2))] = 1
    genres /= genres.sum(axis=1, keepdims=True)
    history = rng.dirichlet(np.full(g, 0.5)).astype(np.float32)
    # Relevance loves one genre, as models do.
    return (genres[:, 0] + rng.normal(0, 0.4, m)).astype(np.float32), genres, history


def intra_list_diversity(genres: np.ndarray) -> float:
    unit = genres / np.linalg.norm(genres, axis=1, keepdims=True)
    return float(1 - (unit @ unit.T)[np.triu_indices(len(genres), 1)].mean())


def divergence(genres: np.ndarray, history: np.ndarray) -> float:
    mixed = 0.99 * genres.mean(axis=0) + 0.01 * history
    return float((history * np.log(history / mixed)).sum())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 40), st.integers(0, 30), st.floats(0, 0.5), st.floats(0, 0.5), st.booleans()
)
def test_a_rerank_is_a_permutation_and_with_knobs_at_zero_the_order_of_scores(
    seed: int, m: int, size: int, diversity: float, calibration: float, embedded: bool
) -> None:
    scores, genres, history = world_of_genres(seed, max(m, 1))
    scores, genres = np.round(scores[:m], 1), genres[:m]
    vectors = np.random.default_rng(seed).normal(size=(m, 3)).astype(np.float32) if embedded else None
    order = rerank(scores, genres, history, Knobs(diversity, calibration, size=size), vectors)
    assert sorted(order.tolist()) == list(range(m))
    by_score = np.argsort(-scores, kind="stable")
    assert rerank(scores, genres, history, Knobs(size=size), vectors).tolist() == by_score.tolist()
    # What is behind the row stays in the order of its scores.
    place = np.empty(m, dtype=int)
    place[by_score] = np.arange(m)
    assert all(a < b for a, b in pairwise(place[order[size:]]))


def test_each_knob_moves_what_it_is_for_on_average() -> None:
    worlds = [world_of_genres(seed) for seed in range(40)]
    grid = (0.0, 0.2, 0.5, 0.8)
    diverse = [
        np.mean([intra_list_diversity(g[rerank(s, g, h, Knobs(diversity=knob, size=10))[:10]]) for s, g, h in worlds])
        for knob in grid
    ]
    calibrated = [
        np.mean([divergence(g[rerank(s, g, h, Knobs(calibration=knob, size=10))[:10]], h) for s, g, h in worlds])
        for knob in grid
    ]
    assert all(a < b for a, b in pairwise(diverse))
    assert all(a > b for a, b in pairwise(calibrated))


def test_knobs_that_leave_nothing_for_relevance_are_refused() -> None:
    with pytest.raises(ModelError, match="at most 1"):
        Knobs(diversity=0.7, calibration=0.7)


# -- exploration


def every_seed(steps: int) -> list[int]:
    """A lattice over both draws: 2 x 64 bits."""
    points = [int((step + 0.5) / steps * 2**64) for step in range(steps)]
    return [coin << 64 | pick for coin in points for pick in points]


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 8), st.integers(0, 6), st.floats(0, 1), st.integers(0, 1000))
def test_propensities_are_exact_and_those_of_a_place_sum_to_one(size: int, pool: int, rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, candidates = np.arange(size), np.arange(size - 1, size - 1 + pool)  # the first one stands in the row already
    weights = rng.integers(0, 4, pool).astype(float)
    steps = 30
    seen: dict[tuple[int, int], list[float]] = {}
    for number in every_seed(steps):
        shown, chance = explore(row, candidates, rate, number, weights=weights)
        assert len(set(shown.tolist())) == size
        for place, (title, probability) in enumerate(zip(shown.tolist(), chance.tolist(), strict=True)):
            seen.setdefault((place, title), []).append(probability)
    for (place, title), told in seen.items():
        assert np.ptp(told) == 0, (place, title)
        # Of a lattice, each share is off by a step of either draw at most.
        assert len(told) / steps**2 == pytest.approx(told[0], abs=2 / steps)
    slot = min(SLOT, size - 1)
    whole = sum(told[0] for (place, _), told in seen.items() if place == slot)
    assert whole <= 1 + 1e-9
    assert whole == pytest.approx(1, abs=0.15)  # what is rarer than a step of the lattice is not seen


def test_the_chances_of_a_slot_sum_to_one_over_all_that_it_can_show() -> None:
    found: dict[int, float] = {}
    for number in range(2_000):
        shown, chance = explore(range(5), [7, 8, 9], 0.3, seed_of("profile", number), weights=[1, 2, 5])
        found[int(shown[SLOT])] = float(chance[SLOT])
    assert found == pytest.approx({SLOT: 0.7, 7: 0.3 / 8, 8: 0.6 / 8, 9: 1.5 / 8})
    assert sum(found.values()) == pytest.approx(1)


def test_the_same_seed_shows_the_same_and_other_parts_another() -> None:
    first, again = (explore(range(9), range(20, 40), 0.5, seed_of("p", "2026-11-23", "7", "new")) for _ in range(2))
    assert first[0].tolist() == again[0].tolist()
    days = {tuple(explore(range(9), range(20, 40), 0.5, seed_of("p", day, "7", "new"))[0]) for day in range(40)}
    assert len(days) > 8


def test_off_policy_estimates_hold_the_known_reward_of_a_policy_that_was_not_served() -> None:
    rate, worth = 0.4, {SLOT: 0.10, 7: 0.5, 8: 0.2, 9: 0.05}
    rng = np.random.default_rng(1)
    shown, logged = [], []
    for number in range(6_000):
        row, chance = explore(range(5), [7, 8, 9], rate, seed_of("viewer", number))
        shown.append(int(row[SLOT]))
        logged.append(float(chance[SLOT]))
    reward = rng.random(len(shown)) < np.array([worth[title] for title in shown])
    wanted = {SLOT: 0.2, 7: 0.6, 8: 0.2, 9: 0.0}
    target = np.array([wanted[title] for title in shown])
    truth = sum(wanted[title] * worth[title] for title in wanted)
    naive = float(reward.mean())
    guess = np.full(len(shown), 0.3)  # a wrong model of the reward
    estimates = [ope.ips(reward, target, logged), ope.snips(reward, target, logged)]
    estimates.append(ope.doubly_robust(reward, target, logged, guess, guess))
    for estimate in estimates:
        assert estimate.low < truth < estimate.high
        assert estimate.high < 2 * truth
        assert not estimate.low < naive < estimate.high
    with pytest.raises(ModelError, match="propensity is 0"):
        ope.snips([1.0], [1.0], [0.0])


# -- rows


def test_the_worth_of_rows_is_freed_of_where_they_stood() -> None:
    rng = np.random.default_rng(2)
    looked, liked = np.array([0.9, 0.45, 0.2, 0.1]), {"for_you": 0.30, "popular": 0.20, "genre": 0.15}
    # The weaker row was mostly shown first.
    kind = rng.choice(["popular", "for_you", "genre:drama"], 30_000)
    first = np.where(kind == "popular", 0, np.where(kind == "for_you", 2, 1))
    place = np.where(rng.random(len(kind)) < 0.7, first, rng.integers(0, 4, len(kind)))
    chance = looked[place] * np.array([liked[name.partition(":")[0]] for name in kind])
    played = rng.random(len(kind)) < chance
    naive = {name: played[kind == name].mean() for name in ("popular", "for_you")}
    assert naive["popular"] > naive["for_you"]
    values = row_values(list(kind), place, played)
    assert order_rows(["genre:drama", "popular", "for_you"], values) == [2, 1, 0]
    assert values["for_you"] - values["popular"] == pytest.approx(np.log(0.30 / 0.20), abs=0.2)


def test_a_row_that_was_hardly_shown_is_worth_little_either_way() -> None:
    kinds = ["often"] * 2_000 + ["other"] * 2_000 + ["rare"] * 2
    played = np.r_[np.arange(2_000) % 10 == 0, np.arange(2_000) % 5 == 0, True, True]
    values = row_values(kinds, np.zeros(len(kinds)), played)
    assert values["other"] > values["often"]
    assert abs(values["rare"]) < 1
    assert row_values(kinds, np.zeros(len(kinds)), np.zeros(len(kinds))) == {}
    assert row_values([], [], []) == {}


def test_rows_without_a_known_worth_keep_their_order() -> None:
    assert order_rows(["b", "a", "genre:x", "c"], {"genre": -1.0, "c": 2.0}) == [3, 0, 1, 2]


def test_genres_as_a_matrix_suit_a_taste_as_title_by_title() -> None:
    titles = [("drama",), ("drama", "comedy"), (), ("war",), ("comedy", "war", "drama")]
    table, chosen, history = GenreTable.of(titles), np.array([4, 2, 1, 0]), np.array([1, 4, 2])
    taste = taste_of([titles[item] for item in history])
    for top in ("comedy", "opera", None):
        user = {"profile_taste__top_genre": top}
        some = TitleTable.of({}, np.zeros(5), titles).take(chosen)
        slow = candidate_frame({}, {}, some, user, 0.0, 0.0, taste=taste)
        quick = candidate_frame({}, {}, some, user, 0.0, 0.0, matches=table.matches(chosen, history, top))
        np.testing.assert_allclose(quick, slow, rtol=1e-6)


@given(st.integers(0, 1000))
def test_rows_are_reranked_together_as_alone(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(0, 30, 5)
    scores = [random.normal(size=size).astype(np.float32) for size in sizes]
    genres = [np.eye(4, dtype=np.float32)[random.integers(0, 4, size)] for size in sizes]
    history = random.random(4).astype(np.float32)
    knobs = [Knobs(0.1, 0.2), Knobs(), Knobs(0.3, size=4), Knobs(calibration=0.5), Knobs(0.2)]
    together = rerank_rows(scores, genres, history, knobs)
    for order, *given_alone in zip(together, scores, genres, knobs, strict=True):
        alone = rerank(given_alone[0], given_alone[1], history, given_alone[2])
        assert order.tolist() == alone.tolist()
