"""A ranker with what it must know of the titles: what a system holds to put its candidates in order. Pure numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats, Ints
from models.ranking.base import Ranker
from models.ranking.fit import restored
from models.ranking.frame import FEATURES, TITLE_NUMBERS, TOP_GENRE, TitleTable, candidate_frame
from models.ranking.genres import GenreTable


@dataclass(frozen=True)
class Ranking:
    """`titles`: row = item of the system."""

    ranker: Ranker
    titles: TitleTable

    def scores(
        self,
        chosen: Ints,
        sources: Mapping[str, tuple[Floats, Floats]],
        history: Ints,
        features: Mapping[str, float | str | None],
        kids: bool,
        now: float,
    ) -> Floats:
        """[m] log-odds of a play of the `chosen` items, all at the first place.

        `sources`: by name, what `frame.source_columns` makes of their scores; `history`: items, whose genres are
        the viewer's taste; `features`: `<view>__<feature>`; `now`: epoch seconds.

        Raises:
            ValueError: a source is no pair of columns [m].
        """
        frame = candidate_frame(
            {name: scores for name, (scores, _) in sources.items()},
            {name: ranks for name, (_, ranks) in sources.items()},
            self.titles.unnamed(chosen),
            {**features, "kids": float(kids)},
            now,
            0.0,
            matches=self._genres.matches(chosen, history, features.get(TOP_GENRE)),
        )
        return self.ranker.score(frame)

    @cached_property
    def _genres(self) -> GenreTable:
        return GenreTable.of(self.titles.genres)

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
