"""Rankers: exported ones say what their libraries say, and position's pull is taken out of what is learned."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingClassifier

from models.errors import ModelError
from models.ranking import fit, gbdt, mlp
from models.ranking.base import RankerResult, RankingSet
from models.ranking.debias import CLIP, weights
from models.ranking.frame import FEATURES, PLACED, as_served
from models.ranking.judged import page_ndcg

PLACES, ROWS = 6, 2
LOOKED = np.array([1.0, 0.45])[:, None] * np.exp(-0.3 * np.arange(PLACES))


def logged(pages: int, seed: int) -> tuple[RankingSet, np.ndarray]:
    """Impressions of a position-based world, and how much each title is truly liked (log-odds).

    What was logged was ordered by a score that says little of what is liked, so that place and title are confounded.
    """
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(pages, ROWS * PLACES, 3))
    old = 1.5 * known[..., 0] + 0.5 * known[..., 1] + rng.normal(0, 0.7, known.shape[:2])
    known = np.take_along_axis(known, np.argsort(-old, axis=1)[..., None], axis=1)
    liked = 0.3 * known[..., 0] + known[..., 1] + 0.8 * np.tanh(known[..., 1] * known[..., 2]) - 1.6
    played = rng.random(liked.shape) < LOOKED.ravel() / (1 + np.exp(-liked))
    features = np.full((*liked.shape, len(FEATURES)), np.nan, dtype=np.float32)
    for number, name in enumerate(("score_blend", "score_ease", "score_knn")):
        features[..., FEATURES.index(name)] = known[..., number]
    row, place = np.divmod(np.arange(ROWS * PLACES), PLACES)
    for name, values in zip(PLACED, (0, row, place), strict=True):
        features[..., FEATURES.index(name)] = values
    n = liked.size
    group = np.repeat(np.arange(pages), ROWS * PLACES)
    label, position = played.ravel().astype(np.float32), np.tile(place, pages).astype(np.float32)
    made = RankingSet(features.reshape(n, -1), label, group, np.ones(n, dtype=np.float32), position, group * 60.0)
    return made, liked.ravel()


@pytest.fixture(scope="module")
def past() -> RankingSet:
    return logged(2_000, 0)[0]


@pytest.fixture(scope="module")
def result(past: RankingSet) -> RankerResult:
    return fit.fit_ranker(past, kinds=("gbdt",))


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 0.5), st.integers(2, 31), st.integers(1, 12), st.booleans())
def test_the_walk_says_what_scikit_learn_says(
    seed: int, unknown: float, leaves: int, trees: int, at_infinity: bool
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(600, 5)).astype(np.float32).round(1)
    features[:, 0] = rng.integers(0, 3, len(features))
    if at_infinity:
        features[rng.random(len(features)) < 0.1, 1] = np.inf
    y = rng.random(len(features)) < 1 / (1 + np.exp(-features[:, 0] - np.nan_to_num(features[:, 2])))
    features[rng.random(features.shape) < unknown * np.array([1, 1, 0, 0.2, 1])] = np.nan
    model = HistGradientBoostingClassifier(
        max_iter=trees, max_leaf_nodes=leaves, min_samples_leaf=5, early_stopping=False, random_state=0
    ).fit(features, y)
    forest = gbdt.exported(model, list("abcde"))
    asked = rng.normal(size=(200, 5)).astype(np.float32)
    asked[rng.random(asked.shape) < 0.3] = np.nan  # unknown also where training knew everything
    chance = 1 / (1 + np.exp(-(forest.stages(asked).sum(axis=1) + forest.baseline)))
    np.testing.assert_allclose(chance, model.predict_proba(asked)[:, 1], atol=1e-6)
    # By bit vectors: where a row stands at a threshold, and where columns are the same for all rows.
    asked[:, 3] = asked[0, 3]
    inner = np.flatnonzero(np.isfinite(forest.threshold))[:50]
    asked[np.arange(len(inner)), forest.feature[inner]] = forest.threshold[inner]
    walked = forest.stages(asked).sum(axis=1) + forest.baseline
    np.testing.assert_allclose(forest.score(asked), walked, rtol=1e-6, atol=1e-6)
    again = gbdt.Forest.restored(forest.arrays())
    np.testing.assert_array_equal(again.score(asked), forest.score(asked))
    np.testing.assert_allclose(
        forest.first(1).score(asked), forest.stages(asked)[:, 0] + forest.baseline, rtol=1e-5, atol=1e-6
    )


def test_a_classifier_of_three_things_and_a_row_of_other_features_are_refused() -> None:
    features = np.random.default_rng(0).normal(size=(90, 2))
    three = HistGradientBoostingClassifier(max_iter=2).fit(features, np.arange(90) % 3)
    with pytest.raises(ModelError, match="3 classes"):
        gbdt.exported(three, ["a", "b"])
    two = gbdt.exported(HistGradientBoostingClassifier(max_iter=2).fit(features, np.arange(90) % 2), ["a", "b"])
    with pytest.raises(ModelError, match="knows 2 features, it is given 3"):
        two.score(np.zeros((1, 3), dtype=np.float32))


def test_weights_are_clipped_and_unknown_propensities_count_once() -> None:
    found = weights([1.0, 0.5, 0.0001, np.nan])
    np.testing.assert_allclose(found / found[0], [1, 2, CLIP, 1], rtol=1e-6)
    assert found.mean() == pytest.approx(1)


def test_the_effect_of_place_is_what_the_world_made_it(result: RankerResult) -> None:
    """Within 0.12 everywhere and 0.04 on average."""
    assert result.position_effect.shape == LOOKED.shape
    off = np.abs(result.position_effect - LOOKED)
    assert off.max() < 0.12
    assert off.mean() < 0.04


def test_naive_plays_say_that_far_places_are_worse_than_they_are(past: RankingSet) -> None:
    naive = past.label.reshape(-1, ROWS, PLACES).mean(axis=0)
    assert np.abs(naive / naive.max() - LOOKED).mean() > 0.06


def test_a_debiased_ranker_knows_what_is_liked_better_than_a_naive_one(past: RankingSet, result: RankerResult) -> None:
    asked, liked = logged(500, 9)
    blind = past.X.copy()
    blind[:, [FEATURES.index(name) for name in PLACED]] = np.nan
    naive = gbdt.train(replace(past, X=blind), FEATURES, 0, trees=75)
    assert result.ranker is not None
    chance = 1 / (1 + np.exp(-liked))
    reached = {}
    for name, ranker in (("debiased", result.ranker), ("naive", naive)):
        scores = ranker.score(as_served(asked.X))
        reached[name] = spearmanr(scores, liked).statistic, page_ndcg(scores, chance, asked.group).mean()
    assert reached["debiased"][0] > reached["naive"][0] + 0.03
    assert reached["debiased"][1] > reached["naive"][1] + 0.015
    assert reached["debiased"][1] > 0.98


def test_the_ranker_beats_the_blend_on_later_pages_and_tells_how(result: RankerResult) -> None:
    assert result.kind == "gbdt"
    assert result.metrics["gbdt"]["ndcg"] > result.metrics["blend"]["ndcg"] + 0.05
    assert result.metrics["gbdt"]["ndcg"] > result.metrics["logged"]["ndcg"] + 0.05
    difference = result.metrics["gbdt"]["ndcg"] - result.metrics["logged"]["ndcg"]
    assert 0 < result.metrics["gbdt"]["above_logged_low"] < difference
    assert "surely better than both: it ranks" in result.reason
    curve = result.curves["gbdt"]
    assert max(curve) > curve[0]


def test_with_few_plays_or_without_a_gain_the_blend_ranks(past: RankingSet) -> None:
    few = fit.fit_ranker(past.take(np.flatnonzero(past.group < 150)), kinds=("gbdt",))
    assert few.ranker is None
    assert "a ranker needs 200" in few.reason
    # The blend knows exactly what will be played.
    told = past.take(np.flatnonzero(past.group < 600))
    features = told.X.copy()
    features[:, FEATURES.index("score_blend")] = told.label
    features[:, FEATURES.index("score_ease")] = np.nan
    knowing = fit.fit_ranker(replace(told, X=features), kinds=("gbdt",))
    assert knowing.ranker is None
    assert "the blend ranks" in knowing.reason
    # What the pages were ordered by knows more than any feature: titles that were played stood first.
    ordered = told.X.copy()
    place = np.empty(len(told), dtype=np.float32)
    place[np.lexsort((-told.label, told.group))] = np.tile(np.arange(ROWS * PLACES), len(told) // (ROWS * PLACES))
    ordered[:, FEATURES.index("position")] = place
    ordered[:, FEATURES.index("vertical")] = 0
    behind = fit.fit_ranker(replace(told, X=ordered, position=place), kinds=("gbdt",))
    assert behind.metrics["gbdt"]["above_logged_low"] < 0
    assert behind.ranker is None
    assert "not surely better" in behind.reason
    # Nothing is played for what it is.
    shuffled = replace(told, label=np.random.default_rng(0).permutation(told.label))
    poisoned = fit.fit_ranker(shuffled, kinds=("gbdt",))
    assert poisoned.metrics["gbdt"]["above_logged_low"] < 0
    assert poisoned.ranker is poisoned.judged is None
    empty = fit.fit_ranker(past.take([]))
    assert empty.ranker is None


def test_what_judges_a_ranker_has_taught_it_nothing(past: RankingSet) -> None:
    until = float(past.at[np.flatnonzero(past.group == 700)[0]])
    whole, part = past.take(np.flatnonzero(past.group < 1000)), past.take(np.flatnonzero(past.group < 800))
    undecided = (part.at < until) & (part.at + 9000 > until)
    assert len(set(part.group[undecided])) == 149
    part = replace(part, label=np.where(undecided, 1 - part.label, part.label))
    found = [fit.fit_ranker(data, kinds=("gbdt",), judged_from=until, decided_s=9000) for data in (whole, part)]
    judged, serves = ([getattr(of, name) for of in found] for name in ("judged", "ranker"))
    assert all(np.array_equal(judged[0].arrays()[name], values) for name, values in judged[1].arrays().items())
    assert (judged[0].score(whole.X) != serves[0].score(whole.X)).any(), "what serves has learned from all"
    assert [re.findall(r"on (\d+) later pages", of.reason) for of in found] == [
        [str(len(np.unique(data.group[(data.at >= until) & (data.label > 0)])))] for data in (whole, part)
    ]


def test_a_network_scores_in_numpy_as_in_keras_and_competes(past: RankingSet) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    data = past.take(np.flatnonzero(past.group < 600))
    made = fit.fit_ranker(data, seed=1, kinds=("mlp",))
    assert isinstance(made.ranker, mlp.Mlp)
    assert made.metrics["mlp"]["ndcg"] > made.metrics["blend"]["ndcg"] + 0.03
    assert len(made.curves["mlp"]) > 1
    network, prepared = made.ranker, made.ranker.prepared(data.X[:400])
    inputs = keras.Input((prepared.shape[1],))
    layer = inputs
    for width in [bias.shape[0] for _, bias in network.layers[:-1]]:
        layer = keras.layers.Dense(width, activation="relu")(layer)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer))
    model.set_weights([array for pair in network.layers for array in pair])
    again = fit.restored("mlp", network.arrays())
    np.testing.assert_allclose(again.score(data.X[:400]), np.asarray(model(prepared))[:, 0], atol=1e-5)
    # What was never known in training and is known now, and the other way round, leaves scores finite.
    odd = data.X[:50].copy()
    odd[:, FEATURES.index("year")], odd[:, FEATURES.index("score_knn")] = 1e9, np.nan
    assert np.isfinite(network.score(odd)).all()
