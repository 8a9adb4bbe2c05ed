"""Fitting a sequence model within a budget of epochs or steps, and asking the fitted one."""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.opinion import Opinion
from models.recommenders.sequence.batches import Batches
from models.recommenders.sequence.forward import NUMPY, Kind, Shape, hidden, logits

_BATCH = 64
_WARM_UP = 0.03  # of the whole training
_WATCHED = 5  # epochs
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequenceModel:
    """`kind`: "sasrec" knows the order alone, "hstu" the moments too; the other parameters as in the papers.

    Training ends after `epochs`, or after `steps` or `max_seconds` if one of these comes first: the learning rate
    (warm-up, then a cosine down to 0) follows whichever is furthest. `negatives`: items that the softmax compares with
    in a batch. `tokens`: places of histories in a batch. `lengths`: window lengths that steps are made for (default:
    `length` alone). `jit`: compile them by XLA, which pays where training takes minutes, and on JAX always. The same
    seed gives the same model as long as `max_seconds` does not strike. The seconds count from the end of the first
    step, which has to be compiled first.
    """

    kind: Kind = "sasrec"
    dim: int = 64
    blocks: int = 2
    heads: int = 2
    length: int = 200
    lengths: tuple[int, ...] = ()
    epochs: int = 40
    steps: int | None = None
    max_seconds: float | None = None
    negatives: int = 512
    tokens: int = 3200
    rate: float = 2e-3
    dropout: float = 0.2
    decay: float = 0.0
    seed: int = 0
    jit: bool = False
    name: str = "sequence"

    def fit(self, data: Interactions, watch: "Callable[[SequenceFitted], float] | None" = None) -> "SequenceFitted":
        """`watch` is asked after every fifth epoch; what it says stands in the curve "watched"."""
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from models.recommenders.sequence.model import compiled

        shape = Shape(self.kind, data.n_items, self.dim, self.blocks, self.heads, self.length)
        network = compiled(shape, dropout=self.dropout, decay=self.decay, seed=self.seed, jit=self.jit)
        lengths = self.lengths or (self.length,)
        noise = (shape.drops, self.dim) if self.dropout > 0 else (0, 0)
        batches = Batches(data.histories(), data.n_items, lengths, self.tokens, self.negatives, shape.starts, noise)
        rng, clock = np.random.default_rng(self.seed), _Clock(self.max_seconds)
        curves: dict[str, list[float]] = {"loss": [], "seconds": []}
        taken, most = 0, math.inf if self.steps is None else self.steps
        for epoch in range(self.epochs):
            losses, plan = [], batches.plan(rng)
            for number, windows in enumerate(plan):
                done = max((epoch + number / len(plan)) / self.epochs, taken / most, clock.used)
                if done >= 1:
                    break
                losses.append(network.step(batches.batch(windows, rng), self.rate * _schedule(done)))
                taken += 1
                clock.start()
            curves["loss"].append(float(np.mean(losses)) if losses else math.nan)
            curves["seconds"].append(clock.seconds)
            _log.info("epoch %d: loss %.4f, %.0f s", epoch + 1, curves["loss"][-1], clock.seconds)
            if watch is not None and epoch % _WATCHED == _WATCHED - 1:
                curves.setdefault("watched", []).append(watch(SequenceFitted(shape, network.arrays())))
            if clock.used >= 1 or taken >= most:
                break
        return SequenceFitted(shape, network.arrays(), curves)


class _Clock:
    """Seconds since the first `start`, against a budget (None: without end)."""

    def __init__(self, budget: float | None) -> None:
        self._budget = math.inf if budget is None else budget
        self._began: float | None = None

    def start(self) -> None:
        self._began = time.monotonic() if self._began is None else self._began

    @property
    def seconds(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def used(self) -> float:
        return self.seconds / self._budget


def _schedule(done: float) -> float:
    return min(done / _WARM_UP, 0.5 * (1 + math.cos(math.pi * done)), 1.0)


@dataclass(frozen=True)
class SequenceFitted:
    """A network's weights; asked with NumPy alone. `history`: the curves of its training, one value an epoch."""

    shape: Shape
    weights: dict[str, NDArray]
    history: dict[str, list[float]] = field(default_factory=dict)

    def score(self, histories: Ragged) -> Floats:
        """Rows without a history score 0 throughout. A model with a sense of time does without where there is none."""
        scores = np.zeros((len(histories), self.shape.n_items), dtype=np.float32)
        order = np.argsort(histories.lengths, kind="stable")
        order = order[histories.lengths[order] > 0]
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            scores[rows] = logits(NUMPY, self.weights, self.asked(histories.take(rows)))
        return scores

    def asked(self, histories: Ragged) -> Floats:
        """[rows, dim]: what each history (none empty) asks for."""
        newest = histories.newest(self.shape.length)
        lengths = newest.lengths
        place = np.arange(int(lengths.max()))
        at = np.minimum(newest.indptr[:-1, None] + place, newest.indptr[1:, None] - 1)
        starts = np.minimum((histories.lengths - lengths)[:, None] + place, self.shape.starts - 1)
        every = hidden(NUMPY, self.shape, self.weights, newest.values[at], starts, _times(newest, at))
        return every[np.arange(len(lengths)), lengths - 1]

    def opinion(self, history: Ragged, _region: str | None, _kids: bool, /) -> Opinion:
        """Of one viewer nothing is padded, and only what the whole history asks for is wanted."""
        taken = history.values[-self.shape.length :]
        if not len(taken):
            return Opinion(np.zeros(self.shape.n_items, dtype=np.float32), taken)
        skipped = len(history.values) - len(taken)
        starts = np.minimum(np.arange(skipped, len(history.values)), self.shape.starts - 1)
        times = _times(history.newest(self.shape.length), np.arange(len(taken))[None]) if self.shape.timed else None
        asked = hidden(NUMPY, self.shape, self.weights, taken[None], starts[None], times, newest=True)
        return Opinion(logits(NUMPY, self.weights, asked[0, 0]), history.values)

    def arrays(self) -> dict[str, NDArray]:
        shape = self.shape
        sizes = [shape.n_items, shape.dim, shape.blocks, shape.heads, shape.length, shape.starts]
        return {**self.weights, "kind": np.array([shape.kind]), "sizes": np.array(sizes, dtype=np.int64)}

    @classmethod
    def restored(cls, arrays: dict[str, NDArray]) -> "SequenceFitted":
        weights = dict(arrays)
        kind, sizes = str(weights.pop("kind")[0]), [int(size) for size in weights.pop("sizes")]
        return cls(Shape(kind, *sizes), weights)  # pyright: ignore[reportArgumentType] - the kind that was stored


def _times(histories: Ragged, at: Ints) -> NDArray[np.int32] | None:
    if histories.times is None or histories.at is None:
        return None
    times = histories.times[at]
    asked = np.concatenate((times[:, 1:], histories.at[:, None]), axis=1)
    last = np.arange(at.shape[1]) >= (histories.lengths - 1)[:, None]
    asked = np.where(last, histories.at[:, None], asked)
    whole = np.concatenate((times[:, :1], asked), axis=1) - times[:, :1]
    return whole.astype(np.int32)
