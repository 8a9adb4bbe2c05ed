"""Many memories, one order: the best candidates of all of them, ranked by a small network (stacking, Wolpert 1992).

Nothing that a memory has counted is a label. Memories are fitted without the last `HELD` events of each user; the
networks learn from the `HELD`-th to the third last (each user gives two of these, by turns) and are checked on the
second last; the last is the test, looked at once, by memories fitted anew on everything but it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matinee.console import progress
from models.evaluation.splits import Task, leave_one_out
from models.interactions import Floats, Interactions, Ints, Ragged

from .candidates import Frame, frame
from .listwise import Network, Scale, Training, fit_listwise
from .memory import Memory, remember

HELD = 6
LABELS = tuple(range(3, HELD + 1))
_TURNS = 2  # of `LABELS` that each user gives a label for
_ABOVE = 1e3  # candidates stand above every title that is none
_BATCH = 256


@dataclass(frozen=True)
class Stack:
    """`score` [rows, items]: candidates by the mean of the networks, all other titles below them by the blend."""

    memory: Memory
    scale: Scale
    networks: tuple[Network, ...]

    def score(self, histories: Ragged) -> Floats:
        return self.score_each(histories)[0]

    def score_each(self, histories: Ragged) -> list[Floats]:
        """Of all networks together, then of each alone: what a seed changes."""
        parts = []
        for start in range(0, len(histories), _BATCH):
            made = frame(self.memory, histories.part(start, min(start + _BATCH, len(histories))))
            scaled = self.scale.apply(made.features)
            alone = [network.score(scaled) for network in self.networks]
            parts.append([_ranked(made, scores) for scores in (np.mean(alone, axis=0), *alone)])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def with_memory(self, memory: Memory) -> "Stack":
        return Stack(memory, self.scale, self.networks)


@dataclass(frozen=True)
class Lists:
    """Half-float `features` [lists, m, d] and `label` [lists], the place of the target among the candidates."""

    features: NDArray[np.float16]
    label: Ints


def learn(
    data: Interactions, *, timed: bool, seeds: Sequence[int] = (0, 1, 2), training: Training | None = None
) -> tuple[Stack, dict[str, float]]:
    """Networks for the next item of each user, with the memories that their labels were held out of, and seconds."""
    started = time.process_time()
    memory = remember(leave_one_out(data, holdout=HELD).train, timed=timed)
    remembered = time.process_time()
    lists = training_lists(memory, data)
    scale = Scale.of(lists.features)
    features = scale.apply(lists.features)
    framed = time.process_time()
    networks = tuple(fit_listwise(features, lists.label, training or Training(), seed) for seed in seeds)
    seconds = {
        "memories": remembered - started,
        "lists": framed - remembered,
        "networks": time.process_time() - framed,
    }
    return Stack(memory, scale, networks), seconds


def training_lists(memory: Memory, data: Interactions) -> Lists:
    """Of each user `_TURNS` of the held out places; lists without their target among the candidates teach nothing."""
    made = []
    with progress() as bar:
        work = bar.add_task("candidates", total=len(LABELS))
        for turn, held in enumerate(LABELS):
            task = leave_one_out(data, holdout=held, train_holdout=HELD)
            made.append(collect(memory, task.take(np.flatnonzero((task.users + turn) % len(LABELS) < _TURNS))))
            bar.advance(work)
    return Lists(np.concatenate([part.features for part in made]), np.concatenate([part.label for part in made]))


def collect(memory: Memory, task: Task) -> Lists:
    features, labels = [], []
    for start in range(0, len(task), _BATCH):
        rows = slice(start, min(start + _BATCH, len(task)))
        made = frame(memory, task.histories.part(rows.start, rows.stop))
        found = made.items == task.targets.values[rows, None]
        kept = found.any(axis=1)
        features.append(made.features[kept].astype(np.float16))
        labels.append(found[kept].argmax(axis=1))
    return Lists(np.concatenate(features), np.concatenate(labels))


def _ranked(made: Frame, scores: Floats) -> Floats:
    ranked = made.base.copy()
    np.put_along_axis(ranked, made.items, scores.astype(np.float32) + np.float32(_ABOVE), axis=1)
    return ranked
