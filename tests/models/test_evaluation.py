"""Metrics against slow, obvious versions of themselves; splits that cannot leak; intervals that cover."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.evaluation.bootstrap import bootstrap_mean, paired_bootstrap
from models.evaluation.metrics import evaluate, of_lists, target_ranks, top_items
from models.evaluation.splits import (
    DAY_S,
    Task,
    core,
    leave_one_out,
    quantile_boundary,
    random_folds,
    rolling,
    strong_generalisation,
    temporal,
)
from models.interactions import Interactions, Ragged


def task_of(histories: list[list[int]], targets: list[list[int]], items: int) -> Task:
    empty = Interactions.sorted([], [], [], len(histories), items)
    rows = np.arange(len(histories))
    return Task(empty, rows, Ragged.of(histories), Ragged.of(targets))


@st.composite
def rankings(draw):
    items = draw(st.integers(3, 12))
    users = draw(st.integers(1, 6))
    scores, histories, targets = [], [], []
    for _ in range(users):
        scores.append(draw(st.lists(st.integers(0, 4).map(float), min_size=items, max_size=items)))
        order = draw(st.permutations(range(items)))
        seen = draw(st.integers(0, items - 1))
        wanted = draw(st.integers(1, items - seen))
        histories.append(list(order[:seen]))
        targets.append(list(order[seen : seen + wanted]))
    return np.array(scores, dtype=np.float32), histories, targets


@settings(max_examples=60, deadline=None)
@given(rankings(), st.integers(1, 12))
def test_metrics_equal_their_definition(case, k) -> None:
    scores, histories, targets = case
    made = evaluate(lambda _: scores, task_of(histories, targets, scores.shape[1]), k=k)
    for row, (own, seen, wanted) in enumerate(zip(scores, histories, targets, strict=True)):
        left = [item for item in range(len(own)) if item not in seen]
        ranks = [
            1 + sum(own[o] > own[t] for o in left) + sum(own[o] == own[t] for o in left if o != t) / 2 for t in wanted
        ]
        gain = sum(1 / math.log2(1 + rank) for rank in ranks if rank <= k)
        ideal = sum(1 / math.log2(1 + rank) for rank in range(1, min(k, len(wanted)) + 1))
        assert made.ndcg[row] == pytest.approx(gain / ideal)
        assert made.recall[row] == pytest.approx(sum(rank <= k for rank in ranks) / len(wanted))
        assert made.at(k, capped=True).recall[row] == pytest.approx(sum(r <= k for r in ranks) / min(k, len(wanted)))
        assert made.hit[row] == float(any(rank <= k for rank in ranks))
        above = [(rank, sum(other < rank for other in ranks), ranks.count(rank)) for rank in ranks if rank <= k]
        precision = sum((1 + better + (equal - 1) / 2) / rank for rank, better, equal in above)
        assert made.average_precision[row] == pytest.approx(precision / min(k, len(wanted)))
        assert made.reciprocal_rank[row] == pytest.approx(1 / min(ranks))


@settings(max_examples=60, deadline=None)
@given(rankings(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_parts_of_scores_are_the_scores_of_the_parts(case, k, random) -> None:
    """A cut, a choice of rows and a choice of titles made afterwards equal what is measured so from the start."""
    scores, histories, targets = case
    items = scores.shape[1]
    made = evaluate(lambda _: scores, task_of(histories, targets, items), k=12)
    rows = np.array([random.random() < 0.5 for _ in histories])
    titles = np.array([random.random() < 0.5 for _ in range(items)])
    left = [(row, [t for t in wanted if titles[t]]) for row, wanted in enumerate(targets)]
    left = [(row, wanted) for row, wanted in left if wanted]
    for part, chosen, wanted in (
        (made.at(k), range(len(histories)), targets),
        (made.at(k).of_rows(rows), np.flatnonzero(rows), [targets[row] for row in np.flatnonzero(rows)]),
        (made.at(k).of_titles(titles), [row for row, _ in left], [wanted for _, wanted in left]),
    ):
        if len(chosen):
            task = task_of([histories[row] for row in chosen], wanted, items)
            fresh = evaluate(lambda _, own=list(chosen): scores[own], task, k=k)
            for name in ("ndcg", "recall", "hit", "reciprocal_rank", "average_precision", "top"):
                np.testing.assert_allclose(getattr(part, name), getattr(fresh, name))


@settings(max_examples=60, deadline=None)
@given(rankings(), st.integers(1, 12), st.floats(0, 2))
def test_debiased_ndcg_weighs_each_target_by_its_inverse_propensity(case, k, power) -> None:
    scores, histories, targets = case
    popularity = np.arange(scores.shape[1]) ** 2
    made = evaluate(lambda _: scores, task_of(histories, targets, scores.shape[1]), k=k)
    weight = [(max(count, 1) / popularity.max()) ** -power for count in popularity.tolist()]
    ranks = iter(made.ranks)
    gain = sum(weight[t] / math.log2(1 + rank) if (rank := next(ranks)) <= k else 0 for own in targets for t in own)
    best = sum(
        w / math.log2(2 + place)
        for own in targets
        for place, w in enumerate(sorted((weight[t] for t in own), reverse=True)[:k])
    )
    assert made.debiased_ndcg(popularity, power=power) == pytest.approx(gain / best)
    if power == 0:
        ideal = [sum(1 / math.log2(2 + place) for place in range(min(k, len(own)))) for own in targets]
        assert made.debiased_ndcg(popularity, power=0) == pytest.approx(np.average(made.ndcg, weights=ideal))


@settings(max_examples=60, deadline=None)
@given(rankings(), st.randoms(use_true_random=False))
def test_what_is_not_allowed_neither_comes_out_nor_stands_before_a_target(case, random) -> None:
    scores, histories, targets = case
    allowed = np.array([[random.random() < 0.7 for _ in range(scores.shape[1])] for _ in histories])
    task = task_of(histories, targets, scores.shape[1])
    made = evaluate(lambda _: scores, task, allowed=allowed)
    seen = [[*own, *np.setdiff1d(np.flatnonzero(~may), own)] for own, may in zip(histories, allowed, strict=True)]
    fresh = evaluate(lambda _: scores, task_of(seen, targets, scores.shape[1]))
    np.testing.assert_array_equal(made.ranks, fresh.ranks)
    np.testing.assert_array_equal(made.top, fresh.top)


@settings(max_examples=60, deadline=None)
@given(rankings(), st.integers(1, 15))
def test_lists_are_the_best_unseen_items_in_a_stable_order(case, k) -> None:
    scores, histories, targets = case
    made = evaluate(lambda _: scores, task_of(histories, targets, scores.shape[1]), k=k).top
    for row, seen in enumerate(histories):
        left = sorted((i for i in range(scores.shape[1]) if i not in seen), key=lambda i: (-scores[row, i], i))
        assert [item for item in made[row] if item >= 0] == left[:k]


@settings(max_examples=60, deadline=None)
@given(rankings(), st.integers(1, 12))
def test_lists_made_elsewhere_are_judged_like_those_of_scores(case, k) -> None:
    """Distinct scores, so that no place is shared: the two differ beyond `k` only."""
    scores, histories, targets = case
    scores = scores + np.arange(scores.shape[1], dtype=np.float32) / 100
    task = task_of(histories, targets, scores.shape[1])
    made = evaluate(lambda _: scores, task, k=k)
    again = of_lists(made.top, task)
    for name in ("ndcg", "recall", "hit", "average_precision"):
        np.testing.assert_allclose(getattr(again, name), getattr(made, name))


def test_a_seen_target_is_a_miss_not_a_hit() -> None:
    scores = np.array([[3.0, 2.0, 1.0]], dtype=np.float32)
    made = evaluate(lambda _: scores, task_of([[0]], [[0]], 3))
    assert made.ndcg[0] == made.reciprocal_rank[0] == 0


def test_equal_scores_do_not_help() -> None:
    ranks = target_ranks(np.zeros((1, 101), dtype=np.float32), Ragged.of([[7]]))
    assert ranks[0] == 51, "a model that knows nothing ranks in the middle"
    assert top_items(np.full((1, 3), -np.inf, dtype=np.float32), 2).tolist() == [[-1, -1]]


def data_of(rows: list[tuple[int, int, float]]) -> Interactions:
    users, items, times = zip(*rows, strict=True)
    return Interactions.sorted(users, items, times, max(users) + 1, max(items) + 1)


def test_leave_one_out_takes_the_last_and_never_trains_on_it() -> None:
    data = data_of([(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 2, 1), (1, 0, 2), (2, 1, 1)])
    test = leave_one_out(data)
    assert test.users.tolist() == [0, 1], "one item is no history"
    assert [test.histories[row].tolist() for row in range(2)] == [[0, 1], [2]]
    assert test.targets.values.tolist() == [2, 0]
    validation = leave_one_out(data, holdout=2)
    assert validation.targets.values.tolist() == [1]
    assert len(validation.train) == 1
    assert len(leave_one_out(data, train_holdout=2).train) == 1


def test_items_of_one_second_keep_their_order() -> None:
    data = Interactions.sorted([0] * 30, list(range(30)), [5.0] * 30, 1, 30)
    assert data.items.tolist() == list(range(30))
    assert leave_one_out(data).targets.values.tolist() == [29]


@pytest.mark.parametrize("target", ["first", "last", "all"])
def test_the_temporal_split_never_trains_on_what_comes_later(target) -> None:
    rng = np.random.default_rng(0)
    data = data_of([(int(rng.integers(20)), item, float(rng.uniform(0, 100))) for item in range(300)])
    boundary = quantile_boundary(data, 0.8)
    task = temporal(data, boundary, target)
    assert task.train.times.max() < boundary
    whole = data.histories()
    for row, user in enumerate(task.users):
        history, targets = task.histories[row].tolist(), task.targets[row].tolist()
        before = [
            i
            for i, t in zip(data.items[data.users == user], data.times[data.users == user], strict=True)
            if t < boundary
        ]
        assert history[: len(before)] == before
        own = whole[int(user)].tolist()
        assert own[len(history) : len(history) + len(targets)] == targets, "targets follow the history at once"
        assert target != "all" or len(history) + len(targets) == len(own)
        assert target != "last" or own[-1] == targets[-1]
        if history:
            times = data.times[data.users == user]
            assert task.histories.times is not None
            assert task.histories.part(row, row + 1).times.tolist() == times[: len(history)].tolist()
            assert task.histories.at[row] == times[len(history)], "asked at the moment of the first target"


def test_validation_ends_where_the_test_begins() -> None:
    data = data_of([(0, 0, 1), (0, 1, 5), (0, 2, 9)])
    task = temporal(data, 4, "all", end=8)
    assert task.targets.values.tolist() == [1]
    assert temporal(data, 4, "last", end=8).targets.values.tolist() == [1]


def random_data(seed: int, users: int = 40, items: int = 30, days: float = 100) -> Interactions:
    rng = np.random.default_rng(seed)
    pairs = np.unique(rng.integers(0, users * items, size=500))
    times = rng.uniform(0, days * DAY_S, size=len(pairs))
    return Interactions.sorted(pairs // items, pairs % items, times, users, items)


def test_rolling_folds_follow_one_another_and_see_their_past_only() -> None:
    data = random_data(0)
    made = rolling(data, min_users=5)
    assert (made.kind, made.text) == ("days", "3 folds of 7 days")
    assert np.diff(made.starts).tolist() == pytest.approx([7 * DAY_S] * 2)
    ends = [*made.starts[1:], np.inf]
    for task, start, end in zip(made.tasks, made.starts, ends, strict=True):
        assert task.train.times.max() < start
        assert task.targets.times.min() >= start
        assert task.targets.times.max() < end
        assert len(task.train) == (data.times < start).sum()
    told = sum(len(task.targets.values) for task in made.tasks)
    assert told == (data.times >= made.starts[0]).sum(), "every later interaction is a target once"


def test_where_time_is_short_folds_are_shares_and_say_so() -> None:
    data = random_data(1, days=10)
    made = rolling(data)
    assert made.kind == "shares"
    assert "a tenth of the interactions each, because 3 folds of 7 days have as few as" in made.text
    assert [len(task.train) for task in made.tasks] == [int(len(data) * share) for share in (0.7, 0.8, 0.9)]
    assert rolling(data.where(data.times < 0)).tasks == ()


def test_strong_generalisation_keeps_held_out_viewers_out_of_training() -> None:
    data = random_data(2)
    task = strong_generalisation(data, users=15, seed=3)
    assert len(task) == 15
    assert not set(task.users) & set(task.train.users)
    known = set(task.train.items)
    for row, user in enumerate(task.users):
        own = [item for item in data.items[data.users == user].tolist() if item in known]
        history, targets = task.histories[row].tolist(), task.targets[row].tolist()
        assert sorted(history + targets) == sorted(own)
        assert history == [item for item in own if item in set(history)], "in its order"
        assert len(targets) == len(own) // 5
    again = strong_generalisation(data, users=15, seed=3)
    assert again.targets.values.tolist() == task.targets.values.tolist(), "seeded"
    validation = strong_generalisation(task.train, users=5)
    assert not set(validation.users) & (set(validation.train.users) | set(task.users))


def test_random_folds_ask_for_everything_once() -> None:
    data = core(random_data(4), 5)
    folds = random_folds(data)
    asked = [
        (user, item) for task in folds for row, user in enumerate(task.users) for item in task.targets[row].tolist()
    ]
    assert sorted(asked) == sorted(zip(data.users.tolist(), data.items.tolist(), strict=True))
    for task in folds:
        assert len(task.train) + len(task.targets.values) == len(data)
        assert task.histories.values.tolist() == task.train.histories().take(task.users).values.tolist()
        assert abs(task.targets.lengths - data.histories().lengths[task.users] / 5).max() < 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40, unique=True), st.integers(1, 4)
)
def test_the_core_is_the_largest_part_in_which_all_have_enough(pairs, least) -> None:
    left = list(pairs)
    while True:
        kept = [
            (u, i) for u, i in left
            if sum(u == v for v, _ in left) >= least and sum(i == j for _, j in left) >= least
        ]  # fmt: skip
        if kept == left:
            break
        left = kept
    made = core(Interactions.sorted(*zip(*pairs, strict=True), range(len(pairs)), 7, 7), least)
    users, items = sorted({u for u, _ in left}), sorted({i for _, i in left})
    assert (made.n_users, made.n_items) == (len(users), len(items))
    assert [(users[u], items[i]) for u, i in zip(made.users, made.items, strict=True)] == left


def test_viewers_are_drawn_with_all_their_rows() -> None:
    """Ten equal rows of a viewer are one observation: their interval is that of one row each, not narrower."""
    values = np.random.default_rng(3).normal(size=200)
    once = bootstrap_mean(values, seed=1)
    tenfold = bootstrap_mean(np.repeat(values, 10), seed=1, groups=np.repeat(np.arange(200), 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    naive = bootstrap_mean(np.repeat(values, 10), seed=1)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_bootstrap_intervals_cover_the_mean() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        values = rng.exponential(1.0, size=150)
        interval = bootstrap_mean(values, resamples=400, seed=seed)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.89 <= covered / 200 <= 0.99


def test_pairing_removes_what_users_have_in_common() -> None:
    rng = np.random.default_rng(2)
    base = rng.uniform(size=300)
    better = base + rng.normal(0.01, 0.01, size=300)
    interval = paired_bootstrap(better, base)
    assert 0 < interval.low < interval.mean < interval.high < 0.02
    assert paired_bootstrap(better, base) == interval, "seeded"
    with pytest.raises(ValueError, match="shape"):
        paired_bootstrap(better, base[:-1])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused_and_never_rank_first(wrong: float) -> None:
    data = Interactions.sorted([0, 0, 1, 1], [0, 1, 1, 2], [0, 5, 1, 6], 2, 3)
    task = temporal(data, 4, "all")
    made = np.array([[0, wrong, 1], [0, 1, -np.inf]], dtype=np.float32)
    with pytest.raises(ModelError, match="1 of 2 rows"):
        evaluate(lambda rows: made, task)
    made[0, 1] = 0.5
    assert np.isinf(evaluate(lambda rows: made, task).ranks[1]), "never is a score"
