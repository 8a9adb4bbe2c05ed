"""Splits that never let the future into training.

`leave_one_out` is kept for comparison with the literature only: it mixes the future of some users into the training of
others (Ji et al., arXiv 2010.11060). Promotion is decided on `temporal`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from models.interactions import Interactions, Ints, Ragged

Target = Literal["first", "last", "all"]


@dataclass(frozen=True)
class Task:
    """Fit on `train`; then, for each row, rank all items given `histories` and look where the `targets` come.

    `users` are the rows' users. Histories made by the splits below know their times and the moment of the first target.
    """

    train: Interactions
    users: Ints
    histories: Ragged
    targets: Ragged

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: ArrayLike) -> "Task":
        """These rows of the task, over the same training part."""
        chosen = np.asarray(rows, dtype=np.int64)
        return Task(self.train, self.users[chosen], self.histories.take(chosen), self.targets.take(chosen))

    def sample(self, rows: int, seed: int = 0) -> "Task":
        """At most so many rows, drawn without replacement, in their order."""
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:rows]))

    @property
    def cold(self) -> int:
        """Rows without any history."""
        return int((self.histories.lengths == 0).sum())


def leave_one_out(data: Interactions, *, holdout: int = 1, train_holdout: int | None = None) -> Task:
    """The `holdout`-th last item of each user is the target, what came before it the history.

    `train_holdout` (default `holdout`): how many of each user's last items are kept out of training.
    """
    every = data.histories()
    users = np.flatnonzero(every.lengths > holdout)
    age = np.empty(len(data), dtype=np.int64)
    age[np.argsort(data.users, kind="stable")] = every.age
    places = every.indptr[1:][users] - holdout
    histories = every.without_newest(holdout).take(users)
    return Task(data.where(age >= (train_holdout or holdout)), users, *_asked(every, histories, places, places + 1))


def temporal(data: Interactions, boundary: float, target: Target, *, end: float = np.inf) -> Task:
    """Train on what happened before `boundary`, judge on what came from then to before `end` (seconds).

    Target "all": everything later, from the history at the boundary; "first": the first of it; "last": the last of it,
    the history then reaching up to it. Follows the global temporal split of arXiv 2507.16289.
    """
    train = data.where(data.times < boundary)
    every = data.where(data.times < end).histories()
    before = np.bincount(train.users, minlength=data.n_users)
    users = np.flatnonzero(every.lengths > before)
    start, stop = every.indptr[:-1][users] + before[users], every.indptr[1:][users]
    if target == "last":
        return Task(train, users, *_asked(every, every.without_newest(1).take(users), stop - 1, stop))
    return Task(
        train, users, *_asked(every, train.histories().take(users), start, start + 1 if target == "first" else stop)
    )


def _asked(every: Ragged, histories: Ragged, start: Ints, stop: Ints) -> tuple[Ragged, Ragged]:
    """Histories asked at the moment of the first target, and the targets: for each row `every.values[start:stop]`."""
    assert every.times is not None  # of `Interactions.histories`
    indptr = np.concatenate(([0], np.cumsum(stop - start))).astype(np.int64)
    places = np.repeat(start - indptr[:-1], stop - start) + np.arange(indptr[-1])
    return histories.asked(every.times[start]), Ragged(indptr, every.values[places], every.times[places])


def quantile_boundary(data: Interactions, share: float) -> float:
    """The moment before which `share` of the interactions lie."""
    return float(data.times[min(int(len(data) * share), len(data) - 1)])
