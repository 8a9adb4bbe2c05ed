"""Sequence models on a world whose rules only order, or only moments, reveal."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from models.errors import ModelError
from models.evaluation.metrics import evaluate
from models.evaluation.splits import leave_one_out
from models.interactions import Interactions, Ragged
from models.recommenders.blend import Blend
from models.recommenders.content import TitleContent
from models.recommenders.popularity import Popularity
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.sequence.fit import SequenceFitted, SequenceModel
from models.recommenders.sequence.forward import Shape
from models.recommenders.zoo import Side, Zoo

ITEMS, SOON, LATER = 24, 10.0, 100_000.0


def world(viewers: int, steps: int, seed: int) -> Interactions:
    """After item i comes i + 1 where ten seconds have passed, i + 2 where it was a day."""
    rng = np.random.default_rng(seed)
    late = rng.random((viewers, steps)) < 0.3
    items = (rng.integers(ITEMS, size=(viewers, 1)) + np.cumsum(1 + late, axis=1)) % ITEMS
    times = np.cumsum(np.where(late, LATER, SOON), axis=1)
    users = np.repeat(np.arange(viewers), steps)
    return Interactions.sorted(users, items.ravel(), times.ravel(), viewers, ITEMS)


@pytest.fixture(scope="module")
def data() -> Interactions:
    return world(150, 9, seed=0)


@pytest.fixture(scope="module")
def fitted(data: Interactions) -> SequenceFitted:
    model = SequenceModel("hstu", dim=16, blocks=2, heads=2, length=8, epochs=40, tokens=160, rate=0.01, jit=False)
    return model.fit(leave_one_out(data).train)


def test_it_learns_what_only_order_and_moments_reveal(data: Interactions, fitted: SequenceFitted) -> None:
    task = leave_one_out(data)
    popular = evaluate(Popularity().fit(task.train).score, task).ndcg.mean()
    first = evaluate(fitted.score, task, k=1).hit.mean()
    assert popular < 0.5
    assert first > 0.9
    elsewhere = leave_one_out(world(60, 9, seed=1))  # viewers of whom the fit knows nothing
    assert evaluate(fitted.score, elsewhere, k=1).hit.mean() > 0.9
    assert fitted.history["loss"][-1] < 0.5 * fitted.history["loss"][0]


def test_the_moment_that_is_asked_about_decides(fitted: SequenceFitted) -> None:
    history = Ragged(np.array([0, 3]), np.array([4, 5, 6]), np.array([0.0, 10.0, 20.0]))
    scores = {gap: fitted.score(history.asked([20.0 + gap]))[0] for gap in (SOON, LATER)}
    assert scores[SOON][7] > scores[SOON][8]
    assert scores[LATER][7] < scores[LATER][8]


def test_without_moments_it_still_goes_forward(fitted: SequenceFitted) -> None:
    scores = fitted.score(Ragged.of([[4, 5, 6], []]))
    assert set(np.argsort(-scores[0])[:4]) & {7, 8}
    assert not scores[1].any()  # knows nothing about who took nothing


@pytest.mark.parametrize("kind", ["sasrec", "hstu"])
def test_numpy_and_keras_agree_and_nothing_looks_ahead(kind: Literal["sasrec", "hstu"]) -> None:
    from keras import ops

    from models.recommenders.sequence.forward import NUMPY, hidden
    from models.recommenders.sequence.model import Network

    shape = Shape(kind, ITEMS, 16, 2, 2, 8)
    network, rng = Network(shape, 0.0, seed=1), np.random.default_rng(0)
    weights = {name: value + rng.normal(0, 0.1, value.shape).astype("f") for name, value in network.arrays().items()}
    items, starts = rng.integers(ITEMS, size=(3, 8)), np.tile(np.arange(8), (3, 1))
    times = np.cumsum(rng.integers(0, 1000, size=(3, 9)), axis=1)
    reference = hidden(NUMPY, shape, weights, items, starts, times)
    assert reference.dtype == np.float32
    np.testing.assert_allclose(hidden(ops, shape, weights, items, starts, times), reference, atol=1e-4)
    items[:, 5], times[:, 6:] = (items[:, 5] + 1) % ITEMS, times[:, 6:] + 99_999
    changed = hidden(NUMPY, shape, weights, items, starts, times)
    np.testing.assert_array_equal(changed[:, :5], reference[:, :5])
    assert np.abs(changed[:, 5:] - reference[:, 5:]).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("kind", ["sasrec", "hstu"])
@pytest.mark.parametrize("length", [0, 1, 5, 13])
def test_the_opinion_on_one_viewer_is_the_score(kind: Literal["sasrec", "hstu"], length: int) -> None:
    shape, rng = Shape(kind, ITEMS, 16, 2, 2, 8, starts=4), np.random.default_rng(3)
    model = SequenceFitted(
        shape, {name: rng.normal(0, 0.3, of).astype("f") for name, (of, _) in shape.weights().items()}
    )
    history = Ragged.of([rng.integers(ITEMS, size=length).tolist()])
    moments = np.cumsum(rng.integers(1, 100_000, size=length)).astype(np.float64)
    for of in (history, replace(history, times=moments, at=np.array([2e6]))):
        np.testing.assert_allclose(model.opinion(of, None, False).scores, model.score(of)[0], rtol=1e-4, atol=1e-5)


def test_what_others_watched_and_the_batch_do_not_matter(data: Interactions, fitted: SequenceFitted) -> None:
    histories = leave_one_out(data).histories
    uneven = replace(histories, at=None, times=None).take([0, 1, 2])
    short = Ragged.of([[3], [int(item) for item in uneven[0]], [5, 6]])
    alone = np.concatenate([fitted.score(short.take([row])) for row in range(3)])
    np.testing.assert_allclose(fitted.score(short), alone, atol=1e-4)


def test_it_is_stored_as_plain_arrays(data: Interactions, fitted: SequenceFitted) -> None:
    histories = leave_one_out(data).histories
    restored = SequenceFitted.restored(fitted.arrays())
    np.testing.assert_array_equal(restored.score(histories), fitted.score(histories))


def test_two_fits_of_a_recipe_reach_the_same(data: Interactions) -> None:
    """Whatever else the machine does: neither network is bounded by seconds, and one that is is refused."""
    whole = Zoo.whole()
    assert whole.sequence is not None
    assert whole.two_tower is not None
    zoo = replace(
        whole,
        sequence=replace(whole.sequence, dim=8, length=8, tokens=160, steps=40),
        two_tower=replace(whole.two_tower, dim=8, hidden=16, batch=128, examples=4_000),
    )
    recipe = Recipe.of(Recipe(zoo, "blend", {"sequence": 1.0, "two_tower": 1.0}).json())
    assert recipe == Recipe.of(recipe.json())
    task = leave_one_out(data)
    content = [TitleContent(f"t{item}", genres=(f"genre{item % 3}",)) for item in range(ITEMS)]
    side = Side(content, [None] * data.n_users, np.zeros(data.n_users, dtype=np.bool_))
    fitted = [Fits(side).complete(recipe, task.train) for _ in range(2)]
    blend = fitted[0].model
    assert isinstance(blend, Blend)
    network = blend.parts["sequence"]
    assert isinstance(network, SequenceFitted)
    losses = network.history["loss"]
    assert len(losses) == 5, "40 steps are five epochs of eight batches"
    assert losses[-1] < losses[0]
    first, second = (evaluate(model.score, task).ndcg.mean() for model in fitted)
    assert abs(first - second) <= 0.002
    assert first > evaluate(Popularity().fit(task.train).score, task).ndcg.mean()
    with pytest.raises(ModelError, match="cannot be repeated"):
        replace(zoo, sequence=replace(whole.sequence, max_seconds=30.0))


def test_a_budget_of_seconds_ends_the_fit(data: Interactions) -> None:
    model = SequenceModel(dim=8, blocks=1, heads=1, length=8, epochs=10_000, max_seconds=0.5, tokens=320, jit=False)
    fitted = model.fit(data)
    assert len(fitted.history["loss"]) < 10_000
    assert np.isfinite(fitted.score(data.histories())).all()
