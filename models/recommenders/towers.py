"""Training of the two towers in Keras. Importing this takes seconds: only `TwoTower.fit` does."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # after the two lines above, which it reads when it is imported
import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.content import ContentSpec
from models.recommenders.two_tower import ItemTower, TwoTower, TwoTowerFitted, ViewerTower, fading

ops: Any = keras.ops  # its annotations know nothing of what comes back

_NEWEST = 50  # of a history, in training
_SHORT = 0.3  # of the examples see a viewer's last one to three titles only, as of one who has just come
_STEP = 512  # numbers of titles in a step are rounded up to this, so that few shapes are compiled


@dataclass(frozen=True)
class Viewers:
    """`names` of regions that a viewer has; `region` [n_users] is 1 + its place there, or 0; `kids` [n_users]."""

    names: tuple[str, ...]
    region: Ints
    kids: Floats

    @classmethod
    def of(cls, regions: Sequence[str | None] | None, kids: NDArray[np.bool_] | None, count: int) -> "Viewers":
        told = list(regions) if regions is not None else [None] * count
        names = tuple(sorted({region for region in told if region is not None}))
        place = {name: number + 1 for number, name in enumerate(names)}
        known = np.array([0 if region is None else place[region] for region in told], dtype=np.int64)
        return cls(names, known, np.zeros(count, np.float32) if kids is None else np.asarray(kids, np.float32))


@dataclass(frozen=True)
class Step:
    """One batch: `items` [u] the titles in it; the others refer to their places among these."""

    items: Ints
    weights: Floats  # [decays, batch, u] of the histories
    region: Ints
    kids: Floats
    targets: Ints

    def inputs(self, frequency: Floats) -> dict[str, NDArray]:
        chosen = self.items[self.targets]
        again = (chosen[:, None] == chosen[None, :]) & ~np.eye(len(chosen), dtype=np.bool_)
        # How often a title is a target is corrected; one that stands in the batch twice is no wrong answer to itself.
        correction = -np.log(frequency[chosen])[None, :] + np.where(again, np.float32(-1e9), np.float32(0))
        return {**vars(self), "correction": correction.astype(np.float32)}


class Towers(keras.Model):
    """Scores of each row's viewer for each row's target, [batch, batch]."""

    def __init__(self, model: TwoTower, encoded: Floats, regions: int) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(model.seed)
        self.left_out = model.own_left_out
        self.encoded = ops.convert_to_tensor(encoded)
        drawn = iter(range(model.seed * 100, model.seed * 100 + 100))
        glorot: Any = keras.initializers.GlorotUniform
        small: Any = keras.initializers.RandomNormal
        self.hidden = keras.layers.Dense(model.hidden, kernel_initializer=glorot(next(drawn)))
        self.out = keras.layers.Dense(model.dim, kernel_initializer=glorot(next(drawn)))
        self.own: Any = self.add_weight(
            shape=(len(encoded), model.dim), initializer=small(0.0, 0.02, next(drawn)), name="own"
        )
        shape = (len(model.decays), model.dim, model.dim)
        self.maps = self.add_weight(shape=shape, initializer=glorot(next(drawn)), name="maps")
        self.prior = self.add_weight(shape=(model.dim,), initializer="zeros", name="prior")
        self.regions = self.add_weight(shape=(regions + 1, model.dim), initializer="zeros", name="regions")
        self.kids = self.add_weight(shape=(model.dim,), initializer="zeros", name="kids")

    def call(self, inputs: dict, training: bool = False):
        vectors = self.titles(inputs["items"], training)
        means = ops.einsum("kbu,ud->kbd", inputs["weights"], vectors)
        viewers = ops.einsum("kbd,kde->be", means, self.maps) + self.prior
        known = ops.cast(inputs["region"] > 0, "float32")[:, None]
        viewers = viewers + known * ops.take(self.regions, inputs["region"], axis=0)
        viewers = viewers + inputs["kids"][:, None] * self.kids
        targets = ops.take(vectors, inputs["targets"], axis=0)
        return ops.matmul(viewers, ops.transpose(targets)) + inputs["correction"]

    def titles(self, items, training: bool):
        encoded = ops.take(self.encoded, items, axis=0)
        about = self.out(keras.activations.gelu(self.hidden(encoded), approximate=True))
        own = ops.take(self.own, items, axis=0)
        if not training:
            return about + own
        kept = keras.random.uniform((ops.shape(items)[0], 1), seed=self.seeds) >= self.left_out
        return about + own * ops.cast(kept, "float32")


def trained(model: TwoTower, data: Interactions, encoded: Floats, viewers: Viewers) -> tuple[Towers, list[float]]:
    """The towers after training, and the mean loss of each tenth of it."""
    towers = Towers(model, encoded, len(viewers.names))
    optimizer = keras.optimizers.Adam(model.learning_rate)
    never: Any = False  # compiled once for each shape, XLA would cost more than it saves
    towers.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=never)
    curve = _run(model, data, viewers, towers)
    seen = np.bincount(data.items, minlength=data.n_items) > 0
    # A title that nobody took has learnt nothing of its own.
    towers.own.assign(towers.own * seen[:, None].astype(np.float32))
    return towers, curve


def exported(
    towers: Towers, model: TwoTower, regions: tuple[str, ...], spec: ContentSpec, curve: Sequence[float] = ()
) -> TwoTowerFitted:
    """The same as plain arrays."""

    def plain(value) -> Floats:
        return np.asarray(ops.convert_to_numpy(value), dtype=np.float32)

    vectors = plain(towers.titles(np.arange(towers.own.shape[0]), training=False))
    items = ItemTower(*(plain(part) for layer in (towers.hidden, towers.out) for part in (layer.kernel, layer.bias)))
    beside = plain(towers.regions)[1:], plain(towers.kids)
    viewer = ViewerTower(model.decays, plain(towers.maps), plain(towers.prior), regions, *beside)
    return TwoTowerFitted(vectors, spec, items, viewer, tuple(curve))


def _run(model: TwoTower, data: Interactions, viewers: Viewers, towers: Towers) -> list[float]:
    """Train until the examples (or the seconds, if these are bounded) are used up."""
    started, losses = time.monotonic(), []
    histories = data.histories()
    places = np.flatnonzero(histories.age < histories.lengths[histories.rows] - 1)  # all but each viewer's first
    batch = min(model.batch, len(places))
    steps = min(model.epochs * len(places), model.examples) // batch if batch > 1 else 0
    counts = np.bincount(histories.values[places], minlength=data.n_items)
    frequency = ((counts + 1) / (counts.sum() + data.n_items)).astype(np.float32)
    labels = np.arange(batch)
    for number, step in enumerate(_steps(model, histories, places, viewers, batch, steps)):
        spent = 0.0 if model.max_seconds is None else (time.monotonic() - started) / model.max_seconds
        used = max(number / steps, spent)
        if used >= 1:
            break
        towers.optimizer.learning_rate = model.learning_rate * (1 - used)
        losses.append(float(np.asarray(towers.train_on_batch(step.inputs(frequency), labels))))
    return [float(part.mean()) for part in np.array_split(np.array(losses), 10) if len(part)]


def _steps(
    model: TwoTower, histories: Ragged, places: Ints, viewers: Viewers, batch: int, steps: int
) -> Iterator[Step]:
    rng = np.random.default_rng(model.seed)
    rows, order = histories.rows, np.zeros(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) < batch:
            order = rng.permutation(places)
        chosen, order = order[:batch], order[batch:]
        users = rows[chosen]
        before = chosen - histories.indptr[users]
        short = np.where(rng.random(batch) < _SHORT, rng.integers(1, 4, batch), _NEWEST)
        yield _step(model, histories, chosen, np.minimum(before, short), users, viewers)


def _step(model: TwoTower, histories: Ragged, chosen: Ints, lengths: Ints, users: Ints, viewers: Viewers) -> Step:
    """The targets at these places with so many values before each."""
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    past = histories.values[np.repeat(chosen - lengths - indptr[:-1], lengths) + np.arange(indptr[-1])]
    targets = histories.values[chosen]
    items, where = np.unique(np.concatenate([past, targets]), return_inverse=True)
    width = -(-len(items) // _STEP) * _STEP
    bags = Ragged(indptr, where[: len(past)].astype(np.int64))
    weights = np.stack([bags.matrix(width, fading(bags, decay)).toarray() for decay in model.decays])
    filled = np.concatenate([items, np.zeros(width - len(items), dtype=np.int64)])
    return Step(filled, weights, viewers.region[users], viewers.kids[users], where[len(past) :].astype(np.int64))
