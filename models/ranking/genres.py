"""The genres of all titles as one matrix: how candidates suit a taste, without a look at each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Ints


@dataclass(frozen=True)
class GenreTable:
    """`shares` [n_items, genres]: of each genre in a title; rows sum to 1, or 0 without genres. `column` by genre."""

    shares: NDArray[np.float64]
    column: Mapping[str, int]

    @classmethod
    def of(cls, titles: Sequence[Sequence[str]]) -> "GenreTable":
        column = {name: place for place, name in enumerate(sorted({genre for of in titles for genre in of}))}
        shares = np.zeros((len(titles), max(1, len(column))))
        for row, of in enumerate(titles):
            for genre in of:
                shares[row, column[genre]] += 1 / len(of)
        return cls(shares, column)

    def matches(self, chosen: Ints, history: Ints, top: object) -> tuple[Floats, Floats]:
        """[m] the features `genre_match` and `top_genre_match` of `chosen` items, for a viewer with this history (each
        of its titles counts one; Steck 2018) and this most watched genre; NaN where nothing is known."""
        own, taste = self.shares[chosen], self.shares[history].sum(axis=0)
        known = own.any(axis=1)
        likes = known & bool(taste.any())
        match = np.where(likes, own @ (taste / max(taste.sum(), 1e-12)), np.nan)
        if not isinstance(top, str):
            return match.astype(np.float32), np.full(len(chosen), np.nan, dtype=np.float32)
        is_top = own[:, self.column[top]] > 0 if top in self.column else np.zeros(len(chosen), dtype=np.bool_)
        return match.astype(np.float32), np.where(known, is_top, np.nan).astype(np.float32)
