"""A small network that ranks the candidates of one history against each other (ListNet: Cao et al., ICML 2007).

Plain numpy: two hidden layers and a linear path beside them, softmax over the candidates of a history, Adam. One loss
for a whole list is what distinguishes it from a pointwise ranker: only differences within the list count.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Ints

_CLIP = 6.0
_ROWS = 64


@dataclass(frozen=True)
class Training:
    hidden: tuple[int, int] = (64, 32)
    epochs: int = 3
    lists: int = 48  # in a step
    rate: float = 2e-3
    penalty: float = 1e-5
    dropout: float = 0.1


@dataclass(frozen=True)
class Scale:
    """Features to mean 0 and deviation 1, clipped, as half floats: they are many."""

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, features: NDArray) -> "Scale":
        sample = features[:: max(1, len(features) // 1000)].astype(np.float32)
        return cls(sample.mean(axis=(0, 1)), sample.std(axis=(0, 1)) + 1e-3)

    def apply(self, features: NDArray) -> NDArray[np.float16]:
        made = np.empty(features.shape, dtype=np.float16)
        for start in range(0, len(features), _ROWS):
            part = slice(start, start + _ROWS)
            made[part] = np.clip((features[part].astype(np.float32) - self.mean) / self.spread, -_CLIP, _CLIP)
        return made


@dataclass(frozen=True)
class Network:
    """Layers (weights, bias) and the linear path; `score` [lists, m, d] of scaled features -> [lists, m]."""

    weights: tuple[Floats, ...]

    def score(self, features: NDArray[np.float16]) -> Floats:
        made = np.empty(features.shape[:2], dtype=np.float32)
        for start in range(0, len(features), _ROWS):
            part = features[start : start + _ROWS].astype(np.float32)
            made[start : start + _ROWS] = _forward(self.weights, part.reshape(-1, part.shape[2]))[-1].reshape(
                part.shape[:2]
            )
        return made


def fit_listwise(
    features: NDArray[np.float16],
    label: Ints,
    training: Training,
    seed: int,
    watch: Callable[[int, Network], None] = lambda *_: None,
) -> Network:
    """`features` [lists, m, d], scaled; `label` [lists]: the place of the one that was taken."""
    rng = np.random.default_rng(seed)
    weights = _start(features.shape[2], training.hidden, rng)
    moments = [(np.zeros_like(part), np.zeros_like(part)) for part in weights]
    steps = training.epochs * -(-len(features) // training.lists)
    step = 0
    for epoch in range(training.epochs):
        order = rng.permutation(len(features))
        for start in range(0, len(order), training.lists):
            chosen = order[start : start + training.lists]
            step += 1
            rate = training.rate * min(1.0, step / 100) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
            slopes = _slopes(weights, features[chosen].astype(np.float32), label[chosen], training.dropout, rng)
            for part, slope, (first, second) in zip(weights, slopes, moments, strict=True):
                _adam(part, slope + training.penalty * part, first, second, rate, step)
        watch(epoch, Network(tuple(part.copy() for part in weights)))
    return Network(tuple(weights))


def _start(width: int, hidden: tuple[int, int], rng: np.random.Generator) -> list[Floats]:
    def layer(rows: int, columns: int, gain: float) -> Floats:
        return (rng.normal(size=(rows, columns)) * np.sqrt(gain / rows)).astype(np.float32)

    first, second = hidden
    zeros = [np.zeros(size, np.float32) for size in (first, second)]
    return [
        layer(width, first, 2.0), zeros[0], layer(first, second, 2.0), zeros[1], layer(second, 1, 0.1),
        np.zeros((width, 1), np.float32),
    ]  # fmt: skip


def _forward(weights: tuple[Floats, ...] | list[Floats], rows: Floats, masks: tuple[Floats, ...] = ()) -> list[Floats]:
    """The two hidden layers and the score [n]."""
    first = np.maximum(rows @ weights[0] + weights[1], 0)
    first = first * masks[0] if masks else first
    second = np.maximum(first @ weights[2] + weights[3], 0)
    second = second * masks[1] if masks else second
    return [first, second, (second @ weights[4] + rows @ weights[5])[:, 0]]


def _slopes(
    weights: list[Floats], features: Floats, label: Ints, dropout: float, rng: np.random.Generator
) -> list[Floats]:
    """Gradients of the mean softmax loss of these lists."""
    lists, width, size = features.shape
    rows = features.reshape(-1, size)
    keep = np.float32(1 - dropout)
    masks = tuple((rng.random((len(rows), len(weights[place])), np.float32) < keep) / keep for place in (1, 3))
    first, second, score = _forward(weights, rows, masks)
    share = score.reshape(lists, width)
    share = np.exp(share - share.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(lists), label] -= 1
    out = (share / lists).reshape(-1, 1).astype(np.float32)
    back = (out @ weights[4].T) * masks[1] * (second > 0)
    deep = (back @ weights[2].T) * masks[0] * (first > 0)
    return [rows.T @ deep, deep.sum(axis=0), first.T @ back, back.sum(axis=0), second.T @ out, rows.T @ out]


def _adam(part: Floats, slope: Floats, first: Floats, second: Floats, rate: float, step: int) -> None:
    first += 0.1 * (slope - first)
    second += 0.001 * (slope**2 - second)
    part -= (rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)).astype(np.float32)
