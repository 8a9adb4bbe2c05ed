"""The rows of the table, with intervals over users."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import bootstrap_mean
from models.evaluation.metrics import Scores

Row = dict[str, Any]


def row(
    name: str,
    value: float,
    unit: str,
    reference: float | None = None,
    goal: float | None = None,
    interval: Sequence[float] | None = None,
) -> Row:
    """A goal is held where the value, rounded as it is printed, is above it."""
    rounded = round(float(value), 4)
    made = {
        "name": name,
        "value": rounded,
        "unit": unit,
        "reference": reference,
        "ratio": None if reference is None else round(float(value) / reference, 3),
        "goal": None if goal is None else f"> {goal:g}",
        "holds": None if goal is None else bool(rounded > goal),
    }
    return made if interval is None else made | {"interval": [round(float(edge), 4) for edge in interval]}


def interval(values: NDArray[np.float64], *, seeds: Sequence[int] = (0, 1, 2)) -> tuple[float, float]:
    """95 % of the mean of one value a user: the widest of 2,000 resamples under each seed."""
    found = [bootstrap_mean(values, seed=seed) for seed in seeds]
    return min(one.low for one in found), max(one.high for one in found)


def accuracy(
    name: str, scores: Scores, items: int, reference: float | None = None, goal: float | None = None
) -> list[Row]:
    """NDCG@10 with its interval, HR@10, and the share of the catalogue that is in somebody's ten."""
    shown = len(np.unique(scores.top[scores.top >= 0])) / items
    return [
        row(name, scores.ndcg.mean(), "NDCG@10", reference, goal, interval(scores.ndcg)),
        row(name, scores.hit.mean(), "HR@10"),
        row(name, shown, "coverage@10"),
    ]
