"""A ranker with what it must know of the titles: what a system holds to put its candidates in order. Pure numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats, Ints
from models.ranking.base import Ranker
from models.ranking.fit import restored
from models.ranking.frame import FEATURES, TITLE_NUMBERS, TitleTable, candidate_frame, source_columns, taste_of


@dataclass(frozen=True)
class Ranking:
    """`titles`: row = item of the system."""

    ranker: Ranker
    titles: TitleTable

    def scores(
        self,
        chosen: Ints,
        sources: Mapping[str, Floats],
        history: Ints,
        features: Mapping[str, float | str | None],
        kids: bool,
        now: float,
    ) -> Floats:
        """[m] log-odds of a play of the `chosen` items, all at the first place.

        `sources`: by name, the scores of all items, on any scale (NaN: not known); `history`: items, whose genres are
        the viewer's taste; `features`: `<view>__<feature>`; `now`: epoch seconds.
        """
        of = {name: source_columns(scores, chosen) for name, scores in sources.items()}
        frame = candidate_frame(
            {name: scores for name, (scores, _) in of.items()},
            {name: ranks for name, (_, ranks) in of.items()},
            self.titles.take(chosen),
            {**features, "kids": float(kids)},
            now,
            0.0,
            taste=taste_of([self.titles.genres[item] for item in history]),
        )
        return self.ranker.score(frame)

    def with_titles(self, genres: Sequence[Sequence[str]]) -> "Ranking":
        """The same with new titles behind the others, known by their genres."""
        count = len(genres)
        nothing = np.full((count, len(TITLE_NUMBERS)), np.nan, dtype=np.float32)
        grown = TitleTable(
            np.concatenate((self.titles.numbers, nothing)),
            np.concatenate((self.titles.created, np.full(count, np.nan))),
            (*self.titles.genres, *(tuple(of) for of in genres)),
        )
        return replace(self, titles=grown)

    def arrays(self) -> dict[str, NDArray]:
        """Without the genres, which the system knows."""
        own = {f"ranker/{name}": array for name, array in self.ranker.arrays().items()}
        return own | {"titles/numbers": self.titles.numbers, "titles/created": self.titles.created}

    @classmethod
    def restored(cls, kind: str, arrays: Mapping[str, Any], genres: Sequence[Sequence[str]]) -> "Ranking":
        """The way back from `arrays`; `kind`: of the ranker.

        Raises:
            ModelError: the ranker was fitted to other features than this code makes.
        """
        own = {name.removeprefix("ranker/"): array for name, array in arrays.items() if name.startswith("ranker/")}
        ranker = restored(kind, own)
        if ranker.features != FEATURES:
            other = sorted(set(ranker.features) ^ set(FEATURES))
            raise ModelError(f"the ranker was fitted to other features ({', '.join(other)}): train again")
        titles = TitleTable(arrays["titles/numbers"], arrays["titles/created"], tuple(tuple(of) for of in genres))
        return cls(ranker, titles)
