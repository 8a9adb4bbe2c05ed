"""Metrics against slow, obvious versions of themselves; splits that cannot leak; intervals that cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.bootstrap import bootstrap_mean, paired_bootstrap
from models.evaluation.metrics import evaluate, target_ranks, top_items
from models.evaluation.splits import Task, leave_one_out, quantile_boundary, temporal
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
        assert made.hit[row] == float(any(rank <= k for rank in ranks))
        assert made.reciprocal_rank[row] == pytest.approx(1 / min(ranks))


@given(rankings(), st.integers(1, 15))
def test_lists_are_the_best_unseen_items_in_a_stable_order(case, k) -> None:
    scores, histories, targets = case
    made = evaluate(lambda _: scores, task_of(histories, targets, scores.shape[1]), k=k).top
    for row, seen in enumerate(histories):
        left = sorted((i for i in range(scores.shape[1]) if i not in seen), key=lambda i: (-scores[row, i], i))
        assert [item for item in made[row] if item >= 0] == left[:k]


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
