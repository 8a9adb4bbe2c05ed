"""Each model against its definition on data small enough to compute by hand or by dense algebra."""

import numpy as np
import pytest

from models.evaluation.splits import leave_one_out
from models.interactions import Interactions, Ragged
from models.recommenders.base import with_fallback
from models.recommenders.blend import Blend, choose_weights
from models.recommenders.ease import Ease
from models.recommenders.ials import Ials
from models.recommenders.knn import TransitionKnn
from models.recommenders.popularity import DAY_S, Popularity
from models.recommenders.zoo import Zoo, pack, unpack


@pytest.fixture(scope="module")
def data() -> Interactions:
    rng = np.random.default_rng(0)
    users, items = np.divmod(np.unique(rng.integers(0, 60 * 25, size=500)), 25)
    return Interactions.sorted(users, items, rng.uniform(0, 90 * DAY_S, size=len(users)), 60, 25)


def test_popularity_counts_the_days_before_the_newest_event() -> None:
    data = Interactions.sorted([0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 20 * DAY_S, 31 * DAY_S], 4, 3)
    everyone = Ragged.of([[], [0]])
    assert Popularity(7).fit(data).score(everyone).round().tolist() == [[0, 1, 0]] * 2
    assert Popularity(30).fit(data).score(everyone).round().tolist() == [[0, 2, 0]] * 2
    assert Popularity().fit(data).score(everyone).round().tolist() == [[2, 2, 0]] * 2


def test_ease_minimises_its_objective(data: Interactions) -> None:
    """B of Steck 2019: B_ij = -P_ij / P_jj, so that P = (X'X + penalty I)^-1 and diag(B) = 0."""
    taken = data.histories().matrix(data.n_items).toarray().astype(np.float64)
    inverse = np.linalg.inv(taken.T @ taken + 10 * np.eye(data.n_items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    fitted = Ease(penalty=10, decay=1.0).fit(data)
    np.testing.assert_allclose(fitted.weights, expected, atol=1e-4)
    np.testing.assert_allclose(fitted.score(data.histories()), taken @ expected, atol=1e-3)


def test_fewer_users_than_items_give_the_same_weights(data: Interactions) -> None:
    few = data.where(data.users < 10)
    few = Interactions(few.users, few.items, few.times, 10, few.n_items)
    wide = Ease(penalty=10).fit(few)
    taken = few.histories().matrix(few.n_items).toarray().astype(np.float64)
    inverse = np.linalg.inv(taken.T @ taken + 10 * np.eye(few.n_items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(wide.weights, expected, atol=1e-4)


def test_a_fading_history_weighs_the_newest_most(data: Interactions) -> None:
    fitted = Ease(penalty=10, decay=0.5).fit(data)
    scores = fitted.score(Ragged.of([[1, 2]]))[0]
    np.testing.assert_allclose(scores, 0.5 * fitted.weights[1] + fitted.weights[2], atol=1e-5)


def test_limited_ease_keeps_the_strongest_weights_of_the_most_taken(data: Interactions) -> None:
    full, limited = Ease(penalty=10).fit(data), Ease(penalty=10, max_items=data.n_items, keep=5).fit(data)
    dense = limited.weights.toarray()
    for item in range(data.n_items):
        strongest = np.argsort(-np.abs(full.weights[:, item]))[:5]
        np.testing.assert_allclose(dense[strongest, item], full.weights[strongest, item], atol=1e-4)
        assert (dense[:, item] != 0).sum() <= 5
    few = Ease(penalty=10, max_items=3).fit(data).weights.toarray()
    assert len(np.flatnonzero(np.abs(few).sum(axis=0))) <= 3


def test_transitions_count_by_distance_and_by_how_often_the_item_was_taken() -> None:
    data = Interactions.sorted([0, 0, 0, 1, 1], [0, 1, 2, 0, 2], [0, 1, 2, 0, 1], 2, 4)
    weights = TransitionKnn(window=2).fit(data).weights.toarray()
    assert weights[0].tolist() == [0, 1 / 2, (1 / 2 + 1) / 2, 0]
    assert weights[1].tolist() == [0, 0, 1, 0]
    assert weights[3].sum() == 0
    assert TransitionKnn(window=1).fit(data).weights.toarray()[0].tolist() == [0, 0.5, 0.5, 0]


def test_only_the_last_items_are_asked(data: Interactions) -> None:
    fitted = TransitionKnn(last=2).fit(data)
    assert fitted.score(Ragged.of([[9, 8, 1, 2]])).tolist() == fitted.score(Ragged.of([[1, 2]])).tolist()


def test_contributions_sum_to_the_scores(data: Interactions) -> None:
    history, items = np.array([3, 1, 7, 5, 11, 2]), np.arange(data.n_items)
    for model in (Ease(penalty=10), Ease(penalty=10, keep=4), TransitionKnn(), Ials(factors=8)):
        fitted = model.fit(data)
        np.testing.assert_allclose(
            fitted.contributions(history, items).sum(axis=0), fitted.score(Ragged.of([history.tolist()]))[0], atol=1e-4
        )


@pytest.mark.parametrize("history", [[], [3], [1, 7, 2, 19, 4, 11, 8, 20, 13, 5, 9, 6]])
def test_the_opinion_on_one_viewer_is_what_is_said_of_many(data: Interactions, history: list[int]) -> None:
    row, items = Ragged.of([history]), np.arange(data.n_items)
    for model in (Ease(keep=5).fit(data), Ease().fit(data), TransitionKnn(last=4).fit(data), Ials(factors=8).fit(data)):
        opinion = model.opinion(row, None, False)
        np.testing.assert_allclose(opinion.scores, model.score(row)[0], rtol=1e-4, atol=1e-5)
        assert opinion.contributions is not None
        added = opinion.contributions(items)
        assert len(added) == len(opinion.asked)
        whole = model.contributions(np.array(history, dtype=np.int64), items)
        np.testing.assert_allclose(added, whole[len(history) - len(added) :], rtol=1e-4, atol=1e-5)


def test_ials_fold_in_is_the_least_squares_solution(data: Interactions) -> None:
    fitted = Ials(factors=8, penalty=2.0, confidence=5.0).fit(data)
    history = [1, 4, 6]
    wanted = np.zeros(data.n_items)
    wanted[history] = 1
    weight = np.diag(1 + 4 * wanted)
    items = fitted.items.astype(np.float64)
    factors = np.linalg.solve(items.T @ weight @ items + 2 * np.eye(items.shape[1]), items.T @ weight @ wanted)
    np.testing.assert_allclose(fitted.score(Ragged.of([history]))[0], items @ factors, atol=1e-3)


def test_the_same_seed_gives_the_same_model(data: Interactions) -> None:
    np.testing.assert_array_equal(Ials(factors=8).fit(data).items, Ials(factors=8).fit(data).items)


def test_viewers_that_a_model_knows_nothing_about_get_the_fallback(data: Interactions) -> None:
    ease, popular = Ease().fit(data), Popularity(30).fit(data)
    scores = with_fallback(ease, popular, Ragged.of([[], [1, 2]]))
    np.testing.assert_array_equal(scores[0], popular.counts)
    np.testing.assert_array_equal(scores[1], ease.score(Ragged.of([[1, 2]]))[0])


def test_the_blend_is_never_worse_on_validation_than_its_best_part(data: Interactions) -> None:
    from models.evaluation.metrics import evaluate

    task = leave_one_out(data)
    fitted = Zoo().fit(task.train)
    weights = choose_weights(fitted, task)
    blend = Blend({name: fitted[name] for name in weights}, weights)
    reached = evaluate(blend.score, task).ndcg.mean()
    assert reached >= max(evaluate(model.score, task).ndcg.mean() for model in fitted.values()) - 1e-9


def test_a_stored_model_scores_as_before(data: Interactions) -> None:
    fitted = Zoo().fit(data)
    blend = Blend(dict(fitted), dict.fromkeys(fitted, 0.5))
    asked = Ragged.of([[1, 2], [], [7, 3, 4]])
    np.testing.assert_allclose(unpack(pack(blend, "blend")).score(asked), blend.score(asked), atol=1e-5)


def test_dropout_is_a_ridge_by_how_often_an_item_was_taken(data: Interactions) -> None:
    """EDLAE, Steck 2020: Lambda = dropout / (1 - dropout) diag(X'X) + penalty I; by way of the users just as well."""
    few = data.where(data.users < 10)
    for part in (data, Interactions(few.users, few.items, few.times, 10, few.n_items)):
        taken = part.histories().matrix(part.n_items).toarray().astype(np.float64)
        gram = taken.T @ taken
        inverse = np.linalg.inv(gram + np.diag(0.5 * np.diag(gram)) + 10 * np.eye(part.n_items))
        expected = -inverse / np.diag(inverse)
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(Ease(penalty=10, dropout=1 / 3).fit(part).weights, expected, atol=1e-4)


def test_weights_are_chosen_for_the_asked_length_of_the_list(data: Interactions) -> None:
    from models.evaluation.metrics import evaluate

    task = leave_one_out(data)
    fitted = {model.name: model.fit(task.train) for model in (Ease(), Ials(factors=8))}
    weights = choose_weights(fitted, task, k=3)
    blend = Blend({name: fitted[name] for name in weights}, weights)
    best = max(evaluate(model.score, task, k=3).ndcg.mean() for model in fitted.values())
    assert evaluate(blend.score, task, k=3).ndcg.mean() >= best - 1e-9
