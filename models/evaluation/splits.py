"""Splits that never let the future into training.

Those for comparison with the literature only are `leave_one_out`, which mixes the future of some users into the
training of others (Ji et al., arXiv 2010.11060), `strong_generalisation` and `random_folds`, which know no time.
Promotion is decided on `rolling`.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.interactions import Interactions, Ints, Ragged

Target = Literal["first", "last", "all"]
DAY_S = 86_400.0
_LEAST_BEFORE = 0.4


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


@dataclass(frozen=True)
class Rolling:
    """Consecutive parts of time, oldest first, each asked of a model that was fitted to what came before it.

    `starts` [tasks] in seconds: where each begins; it ends where the next one does, the last one with the data. `kind`:
    parts of equal length ("days"), or of equally many interactions ("shares") where time is too short or too uneven.
    """

    tasks: tuple[Task, ...]
    starts: tuple[float, ...]
    kind: Literal["days", "shares"]
    text: str


def rolling(
    data: Interactions, *, folds: int = 3, days: float = 7, target: Target = "all", min_users: int = 20
) -> Rolling:
    """The last `folds` parts of `days`; `text` says in one line which kind of part it became, and why.

    Parts of `days` need `min_users` with targets in each, and two fifths of the interactions before the first; else
    every part is a tenth of the interactions. Parts in which nobody took anything new are left out.
    """
    if len(data) == 0:
        return Rolling((), (), "shares", "nothing: there are no interactions")
    end = float(np.nextafter(data.times[-1], np.inf))
    starts = [end - days * DAY_S * left for left in range(folds, 0, -1)]
    weeks = _parts(data, starts, end, target)
    fewest = min((len(task) for task in weeks.tasks), default=0) if len(weeks.tasks) == folds else 0
    before = float((data.times < starts[0]).mean())
    if fewest >= min_users and before >= _LEAST_BEFORE:
        return replace(weeks, kind="days", text=f"{folds} folds of {days:g} days")
    made = _parts(data, [quantile_boundary(data, 1 - left / 10) for left in range(folds, 0, -1)], end, target)
    why = f"{folds} folds of {days:g} days have as few as {fewest} viewers and {before:.0%} of the interactions before"
    return replace(made, text=f"{len(made.tasks)} folds of a tenth of the interactions each, because {why}")


def _parts(data: Interactions, starts: list[float], end: float, target: Target) -> Rolling:
    made = [(temporal(data, start, target, end=stop), start) for start, stop in pairwise([*starts, end])]
    kept = [(task, start) for task, start in made if len(task) and len(task.train)]
    return Rolling(tuple(task for task, _ in kept), tuple(start for _, start in kept), "shares", "")


def strong_generalisation(
    data: Interactions, *, users: int, folded: float = 0.8, least: int = 5, seed: int = 0
) -> Task:
    """Liang et al., WWW 2018: `users` are held out of training altogether; of what each took, a random share `folded`
    is the history (in its order) and the rest the targets.

    Only users with `least` items take part, and only items that somebody took in training. Held-out users for
    validation are those of a second call on this one's `train`.
    """
    rng = np.random.default_rng(seed)
    every = data.histories()
    able = np.flatnonzero(every.lengths >= least)
    held = np.sort(rng.permutation(able)[:users])
    train = data.where(np.isin(data.users, np.setdiff1d(able, held)))
    rows = every.take(held)
    known = np.bincount(train.items, minlength=data.n_items)[rows.values] > 0
    rows = _kept(rows, known)
    hidden = np.floor(rows.lengths * (1 - folded) + 1e-9)
    return _hidden(train, held, rows, _ranked_at_random(rows, rng) < hidden[rows.rows])


def random_folds(data: Interactions, *, folds: int = 5, seed: int = 0) -> list[Task]:
    """Every user's items dealt at random into `folds` parts of the same size; each part is once the targets.

    The protocol of Anelli et al. (arXiv 2203.01155): 80 / 20 with five folds, after `core(data, 10)`.
    """
    every = data.histories()
    part = _ranked_at_random(every, np.random.default_rng(seed)) % folds
    order = np.argsort(data.users, kind="stable")
    made = []
    for fold in range(folds):
        hidden = np.empty(len(data), dtype=np.bool_)
        hidden[order] = part == fold
        made.append(_hidden(data.where(~hidden), np.arange(data.n_users), every, part == fold))
    return made


def core(data: Interactions, least: int) -> Interactions:
    """Users and items with fewer than `least` interactions taken out until none is left; both counted from 0 anew."""
    kept = np.ones(len(data), dtype=np.bool_)
    while True:
        users = np.bincount(data.users[kept], minlength=data.n_users)
        items = np.bincount(data.items[kept], minlength=data.n_items)
        few = kept & ((users[data.users] < least) | (items[data.items] < least))
        if not few.any():
            break
        kept &= ~few
    own, user = np.unique(data.users[kept], return_inverse=True)
    titles, item = np.unique(data.items[kept], return_inverse=True)
    return Interactions(user, item, data.times[kept], len(own), len(titles))


def _ranked_at_random(rows: Ragged, rng: np.random.Generator) -> Ints:
    """Each value's place, from 0, in a random order of its row."""
    order = np.lexsort((rng.random(len(rows.values)), rows.rows))
    made = np.empty(len(order), dtype=np.int64)
    made[order] = np.arange(len(order)) - np.repeat(rows.indptr[:-1], rows.lengths)
    return made


def _hidden(train: Interactions, users: Ints, rows: Ragged, hidden: NDArray[np.bool_]) -> Task:
    """The visible part of each row is its history, the hidden one its targets; rows with nothing hidden fall away."""
    targets = _kept(rows, hidden)
    some = np.flatnonzero(targets.lengths)
    return Task(train, users[some], _kept(rows, ~hidden).take(some), targets.take(some))


def _kept(rows: Ragged, kept: NDArray[np.bool_]) -> Ragged:
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows.rows[kept], minlength=len(rows))))).astype(np.int64)
    return Ragged(indptr, rows.values[kept], None if rows.times is None else rows.times[kept])


def quantile_boundary(data: Interactions, share: float) -> float:
    """The moment before which `share` of the interactions lie."""
    return float(data.times[min(int(len(data) * share), len(data) - 1)])
