"""What lists are like beyond accuracy. A list is a row of item numbers, best first, -1 where nothing is left."""

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Ints, Ragged


def coverage(top: Ints, offered: int) -> float:
    """The share of the `offered` titles that are in at least one list."""
    return len(np.unique(top[top >= 0])) / offered if offered else 0.0


def covered_users(top: Ints) -> float:
    """The share of rows whose list is full."""
    return float((top >= 0).all(axis=1).mean()) if len(top) else 0.0


def mean_popularity(top: Ints, popularity: NDArray) -> float:
    """Mean of `popularity` [n_items] over everything listed."""
    shown = top[top >= 0]
    return float(popularity[shown].mean()) if len(shown) else 0.0


def gini(top: Ints, items: int) -> float:
    """How unequally the `items` are listed: 0 all alike, towards 1 only one of them (Gini 1912)."""
    counts = np.sort(np.bincount(top[top >= 0], minlength=items))
    total = counts.sum()
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, items + 1) - items - 1) @ counts / (items * total))


def novelty(top: Ints, popularity: NDArray, users: int) -> float:
    """Mean inverse user frequency in bits: -log2 of the share of `users` who took the item, nobody counting as one.

    Zhou et al., PNAS 2010 ("self-information").
    """
    shown = top[top >= 0]
    return float(-np.log2(np.maximum(popularity[shown], 1) / max(users, 1)).mean()) if len(shown) else 0.0


def diversity(top: Ints, embeddings: Floats) -> NDArray[np.float64]:
    """Intra-list diversity of each row: the mean of 1 - cosine over the pairs of its list; NaN below two items.

    Ziegler et al., WWW 2005. `embeddings` [n_items, d]: genres or any other; a row of zeros is like nothing.
    """
    size = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = np.where(size > 0, embeddings / np.where(size > 0, size, 1), 0).astype(np.float64)
    listed = unit[top] * (top >= 0)[:, :, None]
    count = (top >= 0).sum(axis=1)
    alike = (listed.sum(axis=1) ** 2).sum(axis=1) - (listed**2).sum(axis=(1, 2))
    return np.where(count > 1, 1 - alike / np.maximum(count * (count - 1), 1), np.nan)


def calibration(top: Ints, histories: Ragged, genres: Floats, *, alpha: float = 0.01) -> NDArray[np.float64]:
    """KL divergence of each list's genre mix from its history's (Steck, RecSys 2018); NaN where either has none.

    `genres` [n_items, g] >= 0: an item's genres share one unit. The list's mix is smoothed with `alpha` of the
    history's, so that a genre that is missing costs much and not infinitely much.
    """
    total = genres.sum(axis=1, keepdims=True)
    mix = np.where(total > 0, genres / np.where(total > 0, total, 1), 0).astype(np.float64)
    wanted = _shares(np.asarray(histories.matrix(len(genres)) @ mix))
    shown = _shares((mix[top] * (top >= 0)[:, :, None]).sum(axis=1))
    smooth = (1 - alpha) * shown + alpha * wanted
    terms = np.where(wanted > 0, wanted * np.log(np.where(wanted > 0, wanted, 1) / np.where(wanted > 0, smooth, 1)), 0)
    return np.where((wanted.sum(axis=1) > 0) & (shown.sum(axis=1) > 0), terms.sum(axis=1), np.nan)


def violations(top: Ints, allowed: NDArray[np.bool_], histories: Ragged) -> int:
    """Listed titles that must not be: not `allowed` ([n_items] or [rows, n_items]), or already in the history."""
    shown = top >= 0
    may = allowed[top] if allowed.ndim == 1 else np.take_along_axis(allowed, np.maximum(top, 0), axis=1)
    items = allowed.shape[-1]
    keys = np.arange(len(top))[:, None] * items + np.maximum(top, 0)
    watched = np.isin(keys, histories.rows * items + histories.values)
    return int((shown & (~may | watched)).sum())


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    total = values.sum(axis=1, keepdims=True)
    return np.where(total > 0, values / np.where(total > 0, total, 1), 0)
