"""The exploration slot: now and then a row shows a title that is not shown enough to be judged, with known chances."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.interactions import Ints

SLOT = 2  # the third place: seen by most, not what opens the row
_UNIT = float(1 << 53)


def seed_of(*parts: object) -> int:
    """A seed of 128 bits that is the same wherever the same things are asked: profile, day, system version, row."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:16], "big")


def explore(
    order: Sequence[int] | Ints,
    candidates: Sequence[int] | Ints,
    rate: float,
    seed: int,
    *,
    weights: ArrayLike | None = None,
    slot: int = SLOT,
) -> tuple[Ints, NDArray[np.float64]]:
    """What a row shows, and the exact probability of each of its titles at its place.

    `order`: the row, best first; with probability `rate` its place `slot` (the last one of a shorter row) shows one of
    the `candidates` that are not in the row, drawn in proportion to `weights` (uniformly without them), instead of what
    stood there. The draw depends on the seed alone, so that a page can be made again and cached.
    """
    row = np.array(order, dtype=np.int64)
    propensity = np.ones(len(row))
    pool, chances = _pool(row, candidates, weights)
    if not len(row) or not len(pool) or rate <= 0:
        return row, propensity
    slot = min(slot, len(row) - 1)
    coin, pick = ((seed >> 64) & (2**64 - 1)) >> 11, (seed & (2**64 - 1)) >> 11
    if coin / _UNIT >= rate:
        propensity[slot] = 1 - rate
        return row, propensity
    drawn = min(int(np.searchsorted(np.cumsum(chances), pick / _UNIT, side="right")), len(pool) - 1)
    row[slot], propensity[slot] = pool[drawn], rate * chances[drawn]
    return row, propensity


def _pool(row: Ints, candidates: Sequence[int] | Ints, weights: ArrayLike | None) -> tuple[Ints, NDArray[np.float64]]:
    pool, shown = np.asarray(candidates, dtype=np.int64), set(row.tolist())
    given = np.ones(len(pool)) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = np.array([item not in shown for item in pool.tolist()], dtype=np.bool_) & (given > 0)
    pool, given = pool[kept], given[kept]
    return pool, given / given.sum() if len(given) else given
