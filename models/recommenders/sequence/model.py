"""The network as a Keras model whose output is its own loss. Importing this module imports Keras (9 s)."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from models.recommenders.sequence.forward import Shape, hidden, logits

ops: Any = keras.ops  # without types of its own
_OUT = -1e9


class Network(keras.Model):
    """Weights by the names of `Shape.weights`; called with a batch it gives the loss of each place [rows, length].

    The loss is the cross-entropy of the next item among the items not taken so far: those are masked when ranking, so
    the model need not learn to push them down. With sampled negatives their sum is scaled up to all items.
    """

    def __init__(self, shape: Shape, dropout: float, seed: int) -> None:
        super().__init__()
        self.sizes = shape
        self._dropout = dropout
        rng = np.random.default_rng(seed)
        self.named = {
            name: self.add_weight(shape=size, name=name.replace("/", "_"), initializer=_starting(rng, size, spread))
            for name, (size, spread) in shape.weights().items()
        }
        self._steps: dict[int, Any] = {}
        self.built = True

    def call(self, batch: Mapping[str, Any], training: bool = False) -> Any:
        weights = {name: ops.convert_to_tensor(value) for name, value in self.named.items()}
        times = batch["times"] if self.sizes.timed else None
        drop = self._dropper(batch["noise"]) if training and self._dropout > 0 else _same
        asked = hidden(ops, self.sizes, weights, batch["items"], batch["starts"], times, drop)
        wanted = ops.take(weights["items"], batch["targets"], axis=0)
        right = ops.sum(asked * wanted, axis=-1) + ops.take(weights["popular"], batch["targets"])
        others = logits(ops, weights, asked, batch["negatives"])
        places = np.arange(asked.shape[1], dtype=np.int32)[None, :, None]
        others = ops.where(batch["taken"][:, None, :] <= places + 1, _OUT, others)
        share = batch["negatives"].shape[0] / self.sizes.n_items
        top = ops.stop_gradient(ops.maximum(ops.max(others, axis=-1), right))
        rest = ops.sum(ops.exp(others - top[..., None]), axis=-1) / share
        return ops.log(ops.exp(right - top) + rest) + top - right

    def step(self, batch: Mapping[str, Any], rate: float) -> float:
        """One step of training; its loss. Each length keeps a step of its own: Keras would make one of open shape."""
        self.optimizer.learning_rate = rate  # pyright: ignore[reportAttributeAccessIssue] - Keras has no types
        length = batch["items"].shape[1]
        self.train_function = self._steps.get(length)
        loss = float(self.train_on_batch(batch, batch["weights"]))
        self._steps[length] = self.train_function
        return loss

    def _dropper(self, noise: Any) -> Callable[[Any], Any]:
        """Dropout from random bytes that come with the batch: compiled generators cost 30 times as much on a CPU."""
        spare = iter(range(noise.shape[0]))
        bar = round(self._dropout * 256)

        def drop(values: Any) -> Any:
            kept = ops.cast(noise[next(spare)] >= bar, values.dtype)
            return values * kept * (256 / (256 - bar))

        return drop

    def arrays(self) -> dict[str, NDArray]:
        return {name: np.asarray(ops.convert_to_numpy(value)) for name, value in self.named.items()}


def compiled(shape: Shape, *, dropout: float, decay: float, seed: int, jit: bool) -> Network:
    """`jit`: by XLA; each window length then costs some ten seconds first, and every step less."""
    network = Network(shape, dropout, seed)
    optimizer = keras.optimizers.AdamW(learning_rate=0.0, weight_decay=decay, beta_2=0.98, global_clipnorm=5.0)
    network.compile(optimizer=optimizer, loss=_weighted, jit_compile=jit)  # pyright: ignore[reportArgumentType] - typed as its default
    return network


def _weighted(weights: Any, losses: Any) -> Any:
    return ops.sum(weights * losses) / ops.sum(weights)


def _same(values: Any) -> Any:
    return values


def _starting(rng: np.random.Generator, size: tuple[int, ...], spread: float) -> Any:
    if spread == 1.0 and len(size) == 1:
        return keras.initializers.Ones()
    if spread == 0.0:
        return keras.initializers.Zeros()
    return keras.initializers.RandomNormal(stddev=spread, seed=int(rng.integers(2**31)))
