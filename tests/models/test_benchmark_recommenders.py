"""The parts of the benchmark's stack: each against its definition on data small enough to count by hand."""

import json

import numpy as np
import pytest

from benchmarks.recommenders import listwise, recorded, stack
from benchmarks.recommenders.blending import choose, judged, log_shares, pooled
from benchmarks.recommenders.candidates import frame, newest
from benchmarks.recommenders.memory import Memory, gap_of, remember
from models.evaluation.metrics import evaluate
from models.evaluation.splits import Task, leave_one_out
from models.interactions import Interactions, Ragged
from models.recommenders.knn import TransitionKnn


@pytest.fixture(scope="module")
def data() -> Interactions:
    """Viewers who follow a ring of 200 titles, a page of three in the same second, an hour between pages."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 24)
    steps = np.tile(np.arange(24), 60)
    items = (rng.integers(200, size=60)[users] + steps) % 200
    times = steps // 3 * 3600.0 + users
    return Interactions.sorted(users, items, times, 60, 200)


@pytest.fixture(scope="module")
def memory(data: Interactions) -> Memory:
    return remember(leave_one_out(data).train, timed=True)


@pytest.fixture(scope="module")
def task(data: Interactions) -> Task:
    return leave_one_out(data)


def test_nothing_of_the_held_out_part_changes_what_is_remembered(data: Interactions, task: Task) -> None:
    last = np.zeros(len(data), dtype=np.bool_)
    last[[np.flatnonzero(data.users == user)[-1] for user in range(60)]] = True
    items = np.where(last, 7, data.items)
    other = leave_one_out(Interactions(data.users, items, data.times, 60, 200))
    one, two = (frame(remember(made.train, timed=True), task.histories.part(0, 8)) for made in (task, other))
    np.testing.assert_array_equal(one.features, two.features)


def test_features_look_at_what_was_before_the_moment_alone(memory: Memory, task: Task) -> None:
    """`popular_…d` of a history asked at the beginning of time counts nothing; asked at the end, everything."""
    histories = task.histories.part(0, 2)
    names = frame(memory, histories).names
    column = names.index("popular_30.00d")
    assert frame(memory, histories.asked([0.0, 0.0])).features[:, :, column].max() == 0
    late = frame(memory, histories.asked([1e6, 1e6]))
    np.testing.assert_allclose(late.features[0, :, column], np.log1p(memory.counts[late.items[0]]), rtol=1e-5)


def test_gaps_are_counted_apart(memory: Memory) -> None:
    assert gap_of(np.array([0.0, 1.0, 60.0, 61.0, 3600.0, 3601.0])).tolist() == [0, 1, 1, 2, 2, 3]
    assert memory.lift["gap0"].max() > 2  # the next title of a page
    assert memory.lift["gap1"].max() == pytest.approx(0, abs=1e-5)  # nobody came back within a minute


def test_the_newest_are_the_last_and_know_how_long_ago_they_were() -> None:
    titles, since = newest(Ragged.of([[4, 5], []]).asked([100.0, 0.0]), 3)
    assert titles.tolist() == [[5, 4, -1], [-1, -1, -1]]
    assert since.tolist() == [[0, 0, 0]] * 2
    known = Ragged(np.array([0, 2]), np.array([4, 5]), np.array([10.0, 40.0]), np.array([100.0]))
    assert newest(known, 2)[1].tolist() == [[60, 90]]


def test_stretches_that_share_more_count_more_than_in_proportion(memory: Memory, task: Task) -> None:
    part = task.histories.newest(2).part(0, 1).matrix(200)
    found = (part @ memory.near.matched).toarray()[0]
    stretches = memory.near.recommended.toarray()
    np.testing.assert_allclose(memory.near.score(part)[0], found**4 @ stretches, rtol=1e-4)


def test_titles_that_are_no_candidates_keep_their_order_below(memory: Memory, task: Task) -> None:
    made = frame(memory, task.histories.part(0, 4))
    scale = listwise.Scale.of(made.features)
    network = listwise.fit_listwise(scale.apply(made.features), np.zeros(4, np.int64), listwise.Training(epochs=1), 0)
    scores = stack.Stack(memory, scale, (network,)).score(task.histories.part(0, 4))
    for row in range(4):
        rest = np.setdiff1d(np.arange(200), made.items[row])
        assert scores[row, made.items[row]].min() > scores[row, rest].max()
        np.testing.assert_array_equal(np.argsort(scores[row, rest]), np.argsort(made.base[row, rest]))


def test_slopes_are_those_of_the_softmax_loss() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(3, 5, 4)).astype(np.float32)
    label = np.array([0, 3, 2])
    weights = listwise._start(4, (6, 5), rng)
    weights[5] += 0.1

    def loss() -> float:
        scores = listwise._forward(weights, features.reshape(-1, 4))[-1].reshape(3, 5).astype(np.float64)
        return float((np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(3), label]).mean())

    slopes = listwise._slopes(weights, features, label, 0.0, rng)
    for part, slope in zip(weights, slopes, strict=True):
        place = np.unravel_index(np.argmax(np.abs(slope)), part.shape)
        before = part[place]
        part[place] = before + 1e-2
        up = loss()
        part[place] = before - 1e-2
        down = loss()
        part[place] = before
        assert (up - down) / 2e-2 == pytest.approx(float(slope[place]), rel=0.02, abs=1e-4)


def test_the_stack_learns_what_follows_and_the_same_from_the_same_seed(data: Interactions, task: Task) -> None:
    made, _ = stack.learn(data, timed=True, seeds=(0,), training=listwise.Training(epochs=6, lists=8))
    again, _ = stack.learn(data, timed=True, seeds=(0,), training=listwise.Training(epochs=6, lists=8))
    system = made.with_memory(remember(task.train, timed=True))
    assert evaluate(system.score, task).ndcg.mean() > 0.8
    for one, two in zip(made.networks[0].weights, again.networks[0].weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_labels_were_never_counted(data: Interactions) -> None:
    """The memories of the training lists stand before every label: `HELD` events of each user are out of them."""
    early = leave_one_out(data, holdout=stack.HELD).train
    assert len(early) == len(data) - 60 * stack.HELD
    assert min(stack.LABELS) > 2  # the second last is validation, the last the test


def test_a_pool_is_a_weighted_sum_of_log_shares_of_unseen_titles() -> None:
    histories = Ragged.of([[0], [2]])
    shares = log_shares(np.array([[9, 1, 2], [1, 1, 30]], dtype=np.float32), histories)
    np.testing.assert_allclose(shares[0, 1:], [1 - np.log(np.exp(1) + np.exp(2)), 2 - np.log(np.exp(1) + np.exp(2))])
    np.testing.assert_allclose(shares[1, :2], [-np.log(2)] * 2, rtol=1e-6)
    assert shares[0, 0] == shares[1, 2] == -16
    both = pooled({"one": shares, "two": 3 * shares, "none": shares}, {"one": 1.0, "two": 0.5, "none": 0.0})
    np.testing.assert_allclose(both, 2.5 * shares)


def test_a_model_gets_a_say_where_it_helps_on_validation(memory: Memory, task: Task) -> None:
    noise = np.random.default_rng(0).normal(size=(len(task), 200)).astype(np.float32)
    knows = np.zeros_like(noise)
    knows[np.arange(len(task)), task.targets.values] = 3
    shares = {name: log_shares(values, task.histories) for name, values in (("noise", noise), ("knows", knows))}
    weights = choose(shares, task)
    assert weights["noise"] == 1
    assert weights["knows"] == 2
    assert choose({"knows": shares["knows"], "noise": shares["noise"]}, task) == {"knows": 1.0, "noise": 0.0}
    assert judged(shares["knows"], task).ndcg.mean() == 1


def test_items_under_other_numbers_are_the_same_items(data: Interactions, task: Task) -> None:
    other = np.random.default_rng(3).permutation(200)
    renamed = Interactions(data.users, other[data.items], data.times, 60, 200)
    model = recorded.Renamed(TransitionKnn().fit(leave_one_out(renamed).train), other)
    expected = TransitionKnn().fit(task.train).score(task.histories)
    np.testing.assert_allclose(model.score(task.histories), expected, atol=1e-6)


def test_the_record_says_what_it_is() -> None:
    if not recorded.RESULTS.exists():
        pytest.skip("nothing is recorded yet")
    record = json.loads(recorded.RESULTS.read_text())
    assert record["recorded"] is True
    assert {"measured_at", "machine", "commit", "seeds", "tables"} <= set(record)
    for table in record["tables"].values():
        for part in (table["pool"], table["stack"]):
            low, high = part["ndcg_interval"]
            assert low < part["ndcg"] < high
        assert len(table["ndcg_of_seed"]) == len(record["seeds"])
