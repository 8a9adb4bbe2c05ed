"""Random numbers by address: Philox keyed by (seed, component, block), so any shard regenerates alone, in any order."""

import hashlib

import numpy as np


def stream(seed: int, component: str, block: int = 0) -> np.random.Generator:
    """The generator of one component of one block; the same address always gives the same numbers.

    Counter-based generation after Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    digest = hashlib.sha256(f"{seed}\0{component}\0{block}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))
