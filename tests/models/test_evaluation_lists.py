"""What lists are like, segments and drift: against slow, obvious versions of themselves."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation import lists
from models.evaluation.drift import psi, psi_of_counts
from models.evaluation.metrics import evaluate
from models.evaluation.segments import by_segment, segments_of
from models.evaluation.splits import Task
from models.interactions import Interactions, Ragged

ITEMS, GENRES = 8, 3


@st.composite
def shown(draw):
    """Lists of at most four items with histories, genres that some items lack, and what is allowed to whom."""
    rows = draw(st.integers(1, 5))
    whole = [draw(st.lists(st.integers(0, ITEMS - 1), max_size=4, unique=True)) for _ in range(rows)]
    top = np.array([own + [-1] * (4 - len(own)) for own in whole])
    histories = [draw(st.lists(st.integers(0, ITEMS - 1), max_size=5, unique=True)) for _ in range(rows)]
    genres = np.array(
        draw(st.lists(st.lists(st.integers(0, 1), min_size=GENRES, max_size=GENRES), min_size=ITEMS, max_size=ITEMS))
    )
    allowed = np.array(
        draw(st.lists(st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS), min_size=rows, max_size=rows))
    )
    return top, whole, histories, genres.astype(np.float32), allowed


@settings(max_examples=60, deadline=None)
@given(shown())
def test_lists_equal_their_definitions(case) -> None:
    top, whole, histories, genres, allowed = case
    popularity = np.arange(ITEMS) * 3
    flat = [item for own in whole for item in own]
    assert lists.coverage(top, ITEMS) == len(set(flat)) / ITEMS
    assert lists.covered_users(top) == np.mean([len(own) == 4 for own in whole])
    counts = [flat.count(item) for item in range(ITEMS)]
    unequal = sum(abs(a - b) for a in counts for b in counts) / (2 * ITEMS * max(sum(counts), 1))
    assert lists.gini(top, ITEMS) == pytest.approx(unequal)
    if flat:
        assert lists.mean_popularity(top, popularity) == pytest.approx(np.mean([popularity[item] for item in flat]))
        rarity = [-math.log2(max(int(popularity[item]), 1) / 30) for item in flat]
        assert lists.novelty(top, popularity, 30) == pytest.approx(np.mean(rarity))
    bad = sum(
        item in seen or not may[item] for own, seen, may in zip(whole, histories, allowed, strict=True) for item in own
    )
    assert lists.violations(top, allowed, Ragged.of(histories)) == bad
    nobody = sum(
        item in seen or not allowed[0, item] for own, seen in zip(whole, histories, strict=True) for item in own
    )
    assert lists.violations(top, allowed[0], Ragged.of(histories)) == nobody
    diverse = lists.diversity(top, genres)
    calibrated = lists.calibration(top, Ragged.of(histories), genres)
    for row, own in enumerate(whole):
        pairs = [1 - cosine(genres[a], genres[b]) for a, b in combinations(own, 2)]
        np.testing.assert_allclose(diverse[row], np.mean(pairs) if pairs else np.nan, atol=1e-6)
        np.testing.assert_allclose(calibrated[row], steck(mix(histories[row], genres), mix(own, genres)), atol=1e-6)


def cosine(a, b) -> float:
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else 0.0


def mix(items: list[int], genres: np.ndarray) -> list[float] | None:
    found = [genres[item] / genres[item].sum() for item in items if genres[item].sum()]
    return list(np.mean(found, axis=0)) if found else None


def steck(wanted: list[float] | None, got: list[float] | None) -> float:
    if wanted is None or got is None:
        return math.nan
    return sum(p * math.log(p / (0.99 * q + 0.01 * p)) for p, q in zip(wanted, got, strict=True) if p)


def test_segments_partition_the_viewers_and_keep_their_means() -> None:
    rng = np.random.default_rng(0)
    histories = Ragged.of([list(range(size)) for size in (0, 0, 1, 4, 5, 7)])
    targets = Ragged.of([[9, 8], [10], [11], [9], [10, 11], [8]])
    task = Task(Interactions.sorted([], [], [], 6, 12), np.array([5, 4, 3, 2, 1, 0]), histories, targets)
    scores = evaluate(lambda rows: rng.random((len(rows), 12), np.float32), task, k=3)
    kids = np.array([True, False, False, False, False, True])
    segments = segments_of(task, kids=kids, regions=["RU", "RU", None, "KZ", "KZ", ""])
    assert {name: np.flatnonzero(rows).tolist() for name, rows in segments.items()} == {
        "cold": [0, 1], "warm": [2, 3], "active": [4, 5], "kids": [0, 5], "region KZ": [1, 2], "region RU": [4, 5],
    }  # fmt: skip
    new = np.isin(np.arange(12), [9, 11])
    table = by_segment(scores, {**segments, "nobody": np.zeros(6, dtype=np.bool_)}, {"new titles": new})
    found = dict(zip(table["segment"], table["ndcg"], strict=True))
    assert found["all"] == pytest.approx(scores.ndcg.mean())
    assert found["warm"] == pytest.approx(scores.ndcg[2:4].mean())
    assert "nobody" not in found
    assert dict(zip(table["segment"], table["users"], strict=True))["new titles"] == 4
    assert ((table["low"] <= table["ndcg"]) & (table["ndcg"] <= table["high"])).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_drift_of_categories_is_symmetric_and_zero_only_without_change(before, now) -> None:
    counts = [np.bincount(values, minlength=5) for values in (before, now)]
    found = psi_of_counts(*counts)
    assert found == pytest.approx(psi_of_counts(*reversed(counts)))
    same = np.array_equal(counts[0] * len(now), counts[1] * len(before))
    assert found >= 0
    assert (found < 1e-12) == same


def test_drift_of_numbers() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=20_000)
    assert psi(before, rng.normal(size=20_000)) < 0.005
    # two normals a standard deviation apart: the symmetric KL divergence is 1, of ten bins a little less
    assert 0.85 < psi(before, rng.normal(1, 1, size=20_000)) < 1
    assert psi(before, np.where(rng.random(20_000) < 0.3, np.nan, before)) > 0.2, "values that go missing are drift"
    assert psi(np.zeros(50), np.full(50, -1.0)) > 1, "a constant that becomes another is drift"
    assert psi(np.zeros(50), np.ones(50)) > 1
    assert psi(np.zeros(50), np.zeros(9)) == 0
    by_hand = (0.6 - 0.3) * math.log(0.6 / 0.3) + (0.4 - 0.7) * math.log(0.4 / 0.7)
    assert psi_of_counts([30, 70], [6, 4]) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="0 and 3"):
        psi([], [1, 2, 3])
