"""The exploration slot: now and then a row shows a title that is not shown enough to be judged, with known chances."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

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
    row = [int(item) for item in order]
    propensity = [1.0] * len(row)
    pool, chances = _pool(row, candidates, weights)
    if row and pool and rate > 0:
        slot = min(slot, len(row) - 1)
        coin, pick = ((seed >> 64) & (2**64 - 1)) >> 11, (seed & (2**64 - 1)) >> 11
        if coin / _UNIT >= rate:
            propensity[slot] = 1 - rate
        else:
            drawn = min(bisect_right(list(accumulate(chances)), pick / _UNIT), len(pool) - 1)
            row[slot], propensity[slot] = pool[drawn], rate * chances[drawn]
    return np.array(row, dtype=np.int64), np.array(propensity)


def _pool(row: Sequence[int], candidates: Sequence[int] | Ints, weights: ArrayLike | None) -> tuple[list[int], list]:
    """What may be drawn, and the chance of each. A row has few candidates: NumPy would take longer."""
    given = [1.0] * len(candidates) if weights is None else np.asarray(weights, dtype=np.float64).tolist()
    pairs = [(int(item), of) for item, of in zip(candidates, given, strict=True) if item not in row and of > 0]
    whole = sum(of for _, of in pairs)
    return [item for item, _ in pairs], [of / whole for _, of in pairs]
