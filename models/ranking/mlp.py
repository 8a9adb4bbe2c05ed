"""A small neural ranker: Keras fits it with a loss over whole pages, numpy scores with its weights."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats
from models.ranking.base import RankingSet

if TYPE_CHECKING:
    import keras

_LONGEST = 64  # impressions of a page that are looked at together


@dataclass(frozen=True)
class Mlp:
    """Layers of weights over prepared features: signed logarithm, standardised, 0 where unknown, and a flag beside each
    column that was ever unknown. ReLU between the layers."""

    names: tuple[str, ...]
    mean: Floats
    spread: Floats
    flagged: NDArray[np.int64]
    layers: tuple[tuple[Floats, Floats], ...]

    @property
    def kind(self) -> str:
        return "mlp"

    @property
    def features(self) -> tuple[str, ...]:
        return self.names

    def score(self, X: Floats) -> Floats:  # noqa: N803  the field's name for a feature matrix
        """[m] log-odds of X [m, features]."""
        if X.shape[1] != len(self.names):
            raise ModelError(f"the ranker knows {len(self.names)} features, it is given {X.shape[1]}")
        hidden = self.prepared(X)
        for number, (kernel, bias) in enumerate(self.layers):
            hidden = hidden @ kernel + bias
            if number + 1 < len(self.layers):
                hidden = np.maximum(hidden, 0)
        return hidden[:, 0]

    def prepared(self, X: Floats) -> Floats:  # noqa: N803
        unknown = np.isnan(X)
        values = np.clip((_compressed(X) - self.mean) / self.spread, -5, 5)
        return np.hstack((np.where(unknown, 0, values), unknown[:, self.flagged])).astype(np.float32)

    def scaled(self, slope: float, shift: float) -> "Mlp":
        """The same order with scores `slope` x score + `shift`."""
        kernel, bias = self.layers[-1]
        last = (kernel * np.float32(slope), bias * np.float32(slope) + np.float32(shift))
        return replace(self, layers=(*self.layers[:-1], last))

    def arrays(self) -> dict[str, NDArray]:
        made: dict[str, NDArray] = {
            "names": np.array(self.names), "mean": self.mean, "spread": self.spread, "flagged": self.flagged,
        }  # fmt: skip
        for number, (kernel, bias) in enumerate(self.layers):
            made |= {f"kernel{number}": kernel, f"bias{number}": bias}
        return made

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray]) -> "Mlp":
        count = sum(name.startswith("kernel") for name in arrays)
        layers = tuple((arrays[f"kernel{n}"], arrays[f"bias{n}"]) for n in range(count))
        names = tuple(str(name) for name in arrays["names"])
        return cls(names, arrays["mean"], arrays["spread"], arrays["flagged"], layers)


@dataclass(frozen=True)
class Pages:
    """Impressions padded to pages: `inputs` [pages, longest, width], `facts` [pages, longest, 3] (label, weight, 1)."""

    inputs: Floats
    facts: Floats


def unfitted(data: RankingSet, names: Sequence[str]) -> Mlp:
    """The preparation of the features alone, without layers."""
    compressed = _compressed(data.X).astype(np.float64)
    known = ~np.isnan(data.X)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, compressed, 0).sum(axis=0) / counts
    spread = np.sqrt((np.where(known, compressed - mean, 0) ** 2).sum(axis=0) / counts)
    flagged = np.flatnonzero(known.any(axis=0) & ~known.all(axis=0))
    return Mlp(
        tuple(names), mean.astype(np.float32), np.where(spread > 1e-6, spread, 1).astype(np.float32), flagged, ()
    )


def train(
    data: RankingSet,
    names: Sequence[str],
    seed: int,
    *,
    epochs: int,
    hidden: Sequence[int] = (32, 16),
    after_epoch: Callable[[Mlp], None] | None = None,
) -> Mlp:
    """Fit to pages: softmax cross-entropy over each page with a play (Bruch et al. 2019) plus binary cross-entropy of
    each impression, so that a score is a log-odds as well. `after_epoch` hears of the model as it stands."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(seed)
    base = unfitted(data, names)
    pages = _pages(data, base)
    inputs = keras.Input((None, pages.inputs.shape[2]))
    layer: Any = inputs
    for width in hidden:
        layer = keras.layers.Dense(width, activation="relu")(layer)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer))
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=_loss)
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _epoch, _logs: after_epoch(exported(model, base)) if after_epoch else None
    )
    model.fit(
        pages.inputs,
        pages.facts,
        batch_size=128,
        epochs=epochs,
        verbose=0,  # pyright: ignore[reportArgumentType] its stub knows "auto" alone
        callbacks=[watch],
    )
    return exported(model, base)


def exported(model: "keras.Model", base: Mlp) -> Mlp:
    """The weights of a stack of Dense layers."""
    flat = [np.asarray(weight, dtype=np.float32) for weight in model.get_weights()]
    return Mlp(base.names, base.mean, base.spread, base.flagged, tuple(zip(flat[::2], flat[1::2], strict=True)))


def _loss(facts: Any, scores: Any) -> Any:
    import keras

    ops: Any = keras.ops  # its stubs know numpy alone
    label, weight, real = facts[..., 0], facts[..., 1], facts[..., 2]
    logit = scores[..., 0]
    pointwise = weight * real * (ops.softplus(logit) - label * logit)
    listwise = weight * label * (ops.logsumexp(logit - 1e9 * (1 - real), axis=1, keepdims=True) - logit)
    return (ops.sum(pointwise, axis=1) + ops.sum(listwise, axis=1)) / ops.maximum(ops.sum(real, axis=1), 1.0)


def _pages(data: RankingSet, base: Mlp) -> Pages:
    order = np.lexsort((data.position, data.group))
    _, page, counts = np.unique(data.group[order], return_inverse=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = place < _LONGEST
    page, place, order = page[kept], place[kept], order[kept]
    prepared = base.prepared(data.X[order])
    longest = min(int(counts.max()), _LONGEST)
    inputs = np.zeros((len(counts), longest, prepared.shape[1]), dtype=np.float32)
    facts = np.zeros((len(counts), longest, 3), dtype=np.float32)
    inputs[page, place] = prepared
    facts[page, place] = np.stack((data.label[order], data.weight[order], np.ones(len(order))), axis=1)
    return Pages(inputs, facts)


def _compressed(X: Floats) -> Floats:  # noqa: N803
    return np.sign(X) * np.log1p(np.abs(X))
