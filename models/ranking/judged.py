"""How good an order of shown titles is: NDCG over pages, each play weighted by how seldom its place is looked at."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.interactions import Ints


def page_ndcg(scores: ArrayLike, gains: ArrayLike, pages: Ints, k: int = 10) -> NDArray[np.float64]:
    """NDCG@k of every page with a gain, in the order of the page's number.

    With `gains` = label / examination it is an unbiased estimate of what a page without position bias would give, up to
    the clipping (Joachims, Swaminathan and Schnabel 2017). Of equal scores, the mean of the best and the worst order.
    """
    score, gain = np.asarray(scores, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    found = [_dcg(np.lexsort((sign * gain, -score, pages)), gain, pages, k) for sign in (-1, 1)]
    ideal = _dcg(np.lexsort((-gain, pages)), gain, pages, k)
    kept = ideal > 0
    return (found[0] + found[1])[kept] / 2 / ideal[kept]


def log_loss(scores: ArrayLike, label: ArrayLike) -> float:
    """Mean negative log-likelihood of plays under log-odds `scores`."""
    signed = np.where(np.asarray(label) > 0, 1, -1) * np.asarray(scores, dtype=np.float64)
    return float(np.logaddexp(0, -signed).mean())


def _dcg(order: Ints, gain: NDArray[np.float64], pages: Ints, k: int) -> NDArray[np.float64]:
    page = pages[order]
    starts = np.flatnonzero(np.r_[True, page[1:] != page[:-1]])
    place = np.arange(len(page)) - np.repeat(starts, np.diff(np.r_[starts, len(page)]))
    part = np.where(place < k, gain[order] / np.log2(place + 2), 0.0)
    return np.add.reduceat(part, starts) if len(page) else part
