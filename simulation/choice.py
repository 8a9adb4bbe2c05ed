"""What a viewer is shown, and what is chosen: softmax of taste, popularity and place on the screen."""

from dataclasses import dataclass

import numpy as np

from simulation.parameters import Behaviour

ROWS = ("popular", "for_you")


@dataclass(frozen=True)
class Shown:
    """The two rows of the home page, one line a visit: item indices, best first; -1 where nothing is left to show.

    `propensity`: the probability of the item at its place, given those before it (1 for the popular row, which is
    the same for everybody; Plackett-Luce for the row drawn by taste).
    """

    popular: np.ndarray
    for_you: np.ndarray
    for_you_propensity: np.ndarray


def show(match: np.ndarray, log_popularity: np.ndarray, noise: np.ndarray, behaviour: Behaviour) -> Shown:
    """Fill the rows. All arrays are visits x items; minus infinity in `log_popularity` marks what may not be shown.

    `noise` is standard Gumbel: the largest of score + noise are a draw without replacement (Plackett-Luce).
    """
    length = min(behaviour.row_length, match.shape[1])
    popular = _largest(log_popularity, length)
    scores = np.where(np.isfinite(log_popularity), 6 * match + 0.3 * log_popularity, -np.inf)
    for_you = _largest(scores + noise, length)
    return Shown(popular, for_you, _plackett_luce(scores, for_you))


def attention(shown: Shown, items: int, behaviour: Behaviour, for_you_lead: float) -> np.ndarray:
    """Visits x items: what its place on the screen adds to an item's utility; 0 for what is not shown."""
    bonus = np.zeros((len(shown.popular), items), dtype=np.float32)
    values = examination(behaviour, for_you_lead, shown.popular.shape[1])
    for row, of_places in zip((shown.popular, shown.for_you), values, strict=True):
        for place, value in enumerate(of_places):
            present = np.flatnonzero(row[:, place] >= 0)
            item = row[present, place]
            bonus[present, item] = np.maximum(bonus[present, item], value)
    return bonus


def examination(behaviour: Behaviour, for_you_lead: float, places: int) -> np.ndarray:
    """ROWS x places: what standing there adds to an item's utility, which is its log-odds of being chosen."""
    step = 1 - behaviour.second_row
    weights = np.array([1 - step * for_you_lead, behaviour.second_row + step * for_you_lead])
    return behaviour.attention * weights[:, None] * np.exp(-behaviour.position_decay * np.arange(places))[None, :]


def choose(utility: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The item chosen in each visit: arg max of utility + Gumbel noise, which is a draw from their softmax.

    With the same noise under two arms of an experiment the choices differ only where the arms make a difference.
    """
    return np.argmax(utility + noise, axis=1)


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    picked = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(scores, picked, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(picked, order, axis=1)
    return np.where(np.isfinite(np.take_along_axis(values, order, axis=1)), best, -1)


def _plackett_luce(scores: np.ndarray, picked: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    weight = np.nan_to_num(weight)
    left = weight.sum(axis=1)
    chances = np.zeros(picked.shape)
    for place in range(picked.shape[1]):
        own = np.take_along_axis(weight, np.maximum(picked[:, place : place + 1], 0), axis=1)[:, 0]
        own = np.where(picked[:, place] >= 0, own, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            chances[:, place] = np.clip(np.nan_to_num(own / left), 0, 1)
        left = left - own
    return chances
