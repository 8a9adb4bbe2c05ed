"""What everybody watched lately: the baseline that a personal model has to beat, and the fallback that serves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ragged

DAY_S = 86_400.0


@dataclass(frozen=True)
class Popularity:
    """Interactions of the last `days` before the newest one (all of them when `days` is None)."""

    days: int | None = None

    @property
    def name(self) -> str:
        return "popularity" if self.days is None else f"popularity_{self.days}d"

    def fit(self, data: Interactions) -> "PopularityFitted":
        recent = data.times > data.times.max(initial=0.0) - (np.inf if self.days is None else self.days * DAY_S)
        counts = np.bincount(data.items[recent], minlength=data.n_items)
        total = np.bincount(data.items, minlength=data.n_items)
        # all-time popularity breaks ties, far below one recent interaction
        return PopularityFitted((counts + total / (total.max(initial=0) + 1) * 1e-3).astype(np.float32))


@dataclass(frozen=True)
class PopularityFitted:
    counts: Floats  # [n_items]

    def score(self, histories: Ragged) -> Floats:
        return np.broadcast_to(self.counts, (len(histories), len(self.counts))).astype(np.float32)

    def arrays(self) -> dict[str, NDArray]:
        return {"counts": self.counts}

    @classmethod
    def restored(cls, arrays: dict[str, NDArray]) -> "PopularityFitted":
        return cls(arrays["counts"])
