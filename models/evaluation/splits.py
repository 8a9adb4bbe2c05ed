"""Splits that never let the future into training.

`leave_one_out` is kept for comparison with the literature only: it mixes the future of some users into the training of
others (Ji et al., arXiv 2010.11060). Promotion is decided on `temporal`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.interactions import Interactions, Ints, Ragged

Target = Literal["first", "last", "all"]


@dataclass(frozen=True)
class Task:
    """Fit on `train`; then, for each row, rank all items given `histories` and look where the `targets` come.

    `users` are the rows' users; `gaps` the seconds between the newest event of the history and the first target
    (infinite without a history).
    """

    train: Interactions
    users: Ints
    histories: Ragged
    targets: Ragged
    gaps: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.users)

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
    rows = [every[int(user)] for user in users]
    age = np.empty(len(data), dtype=np.int64)
    age[np.argsort(data.users, kind="stable")] = every.age
    return Task(
        data.where(age >= (train_holdout or holdout)),
        users,
        Ragged.of([row[:-holdout].tolist() for row in rows]),
        Ragged.of([[int(row[-holdout])] for row in rows]),
        np.zeros(len(users)),
    )


def temporal(data: Interactions, boundary: float, target: Target, *, end: float = np.inf) -> Task:
    """Train on what happened before `boundary`, judge on what came from then to before `end` (seconds).

    Target "all": everything later, from the history at the boundary; "first": the first of it; "last": the last of it,
    the history then reaching up to it. Follows the global temporal split of arXiv 2507.16289.
    """
    train = data.where(data.times < boundary)
    later = data.where((data.times >= boundary) & (data.times < end))
    users = np.unique(later.users)
    past, future = train.histories(), later.histories()
    newest = _bounds(train, np.inf)[1]
    first, last = _bounds(later, 0.0)
    if target == "last":
        histories = Ragged.of([[*past[u], *future[u][:-1]] for u in users.tolist()])
        targets = Ragged.of([[int(future[u][-1])] for u in users.tolist()])
        gaps = last[users] - _second_last(data, users, end)
    else:
        stop = 1 if target == "first" else None
        histories = past.take(users)
        targets = Ragged.of([future[u][:stop].tolist() for u in users.tolist()])
        gaps = first[users] - newest[users]
    return Task(train, users, histories, targets, np.where(histories.lengths == 0, np.inf, np.abs(gaps)))


def quantile_boundary(data: Interactions, share: float) -> float:
    """The moment before which `share` of the interactions lie."""
    return float(data.times[min(int(len(data) * share), len(data) - 1)])


def _bounds(data: Interactions, missing: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first and last moment of each user."""
    first = np.full(data.n_users, missing)
    last = np.full(data.n_users, missing)
    last[data.users] = data.times  # ascending: the last one stays
    first[data.users[::-1]] = data.times[::-1]
    return first, last


def _second_last(data: Interactions, users: Ints, end: float) -> NDArray[np.float64]:
    inside = data.where(data.times < end)
    order = np.argsort(inside.users, kind="stable")
    stops = np.cumsum(np.bincount(inside.users, minlength=inside.n_users))[users]
    counts = np.bincount(inside.users, minlength=inside.n_users)[users]
    return np.where(counts > 1, inside.times[order][np.maximum(stops - 2, 0)], np.inf)
