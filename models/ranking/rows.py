"""What the kinds of rows are worth, learned from what was played of them, wherever on the page they stood."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.ranking.frame import row_kind

_STEPS = 50


def row_values(
    kinds: Sequence[str], vertical: ArrayLike, played: ArrayLike, *, shrink: float = 20.0
) -> dict[str, float]:
    """The worth of each kind of row: log-odds that something of it is played, against the mean kind, at equal place.

    One element a row shown: its `kinds` (or row id), `vertical` place on the page (0: first), whether something of it
    was `played`. Logistic regression on kind and place; `shrink`: ridge on the kinds, as many views as it takes to be
    believed by half, so that a kind that was rarely shown stays near 0. {} where nothing was shown or nothing played.
    """
    label = np.asarray(played, dtype=np.float64)
    if not len(label) or label.min() == label.max():
        return {}
    names, kind = np.unique([row_kind(name) for name in kinds], return_inverse=True)
    places, place = np.unique(np.asarray(vertical), return_inverse=True)
    # A cell of kind and place stands for all its views.
    views = np.zeros((len(names), len(places)))
    plays = np.zeros_like(views)
    np.add.at(views, (kind, place), 1)
    np.add.at(plays, (kind, place), label)
    worth = _fit(views, plays, shrink * label.mean() * (1 - label.mean()))
    return {str(name): float(value) for name, value in zip(names, worth - worth.mean(), strict=True)}


def order_rows(rows: Sequence[str], values: Mapping[str, float]) -> list[int]:
    """The rows' indices, most worth first; a kind without a value counts as the mean, equal ones keep their order."""
    return sorted(range(len(rows)), key=lambda row: -values.get(row_kind(rows[row]), 0.0))


def _fit(views: NDArray[np.float64], plays: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Newton's method on the penalised likelihood; returns the effects of the kinds."""
    n_kinds, n_places = views.shape
    design = np.hstack((np.repeat(np.eye(n_kinds), n_places, axis=0), np.tile(np.eye(n_places), (n_kinds, 1))))
    penalty = np.diag(np.concatenate((np.full(n_kinds, ridge), np.full(n_places, 1e-3))))
    weights, size, done = np.zeros(n_kinds + n_places), views.ravel(), plays.ravel()
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (done - size * chance) - penalty @ weights
        hessian = (design.T * (size * chance * (1 - chance))) @ design + penalty
        step = np.linalg.solve(hessian, gradient)
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    return weights[:n_kinds]
