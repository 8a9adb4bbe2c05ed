"""Training rows from logged impressions: what each source would have said then, and what was known then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.views import EVENT_TIMESTAMP
from models.errors import ModelError
from models.interactions import Floats, Interactions, Ints, Ragged
from models.ranking.base import RankingSet
from models.ranking.debias import weights
from models.ranking.frame import (
    FEATURES,
    TITLE_FEATURES,
    TOP_GENRE,
    VIEWER_NUMBERS,
    TitleTable,
    candidate_frame,
    source_columns,
    taste_of,
)
from models.ranking.pages import paged
from models.recommenders.base import Fitted
from models.recommenders.blend import scored

_BATCH = 256  # pages scored at once
_NOT_CHOSEN = ("continue", "search")  # rows that viewers fill themselves: nothing is learned of candidates


def ranking_set(
    impressions: pl.DataFrame,
    sources: Mapping[str, Fitted],
    data: Interactions,
    users: Mapping[str, int],
    items: Sequence[str],
    titles: TitleTable,
    fitted_until: float,
    kids: Mapping[str, bool] | None = None,
    regions: Mapping[str, str | None] | None = None,
) -> RankingSet:
    """One row an impression of a title that the models know, in pages.

    `impressions`: `features.training_set`; `sources`: by the names of SOURCES, fitted to what happened before
    `fitted_until` (epoch seconds); `data`, `users` (profile_key -> row): histories, cut at each page's moment; `items`
    and `titles` (for genres and creation; its numbers are those known at the page's moment): by column of the models.
    `kids`, `regions`: by profile_key.

    Raises:
        ModelError: an impression is older than what the sources were fitted to, so that they would know its outcome.
    """
    number = {item: column for column, item in enumerate(items)}
    judged = ~pl.col("surface_row").is_in(_NOT_CHOSEN)
    shown = paged(impressions.filter(pl.col("title_id").is_in(list(number)) & judged))
    if shown.is_empty():
        return _empty()
    if (first := _seconds(shown)[0]) < fitted_until:
        raise ModelError(
            f"an impression of {first:.0f} s is older than the fit of its sources ({fitted_until:.0f} s): "
            "fit them to what was before, or drop it"
        )
    page, starts = np.unique(shown["page"].to_numpy(), return_index=True)
    bounds = np.append(starts, len(shown))
    at = _seconds(shown)[starts]
    profiles = [shown["profile_key"][int(start)] for start in starts]
    rows = np.array([users.get(profile, -1) for profile in profiles], dtype=np.int64)
    histories, logged = _before(data, rows, at), _Logged.of(shown)
    chosen = np.array([number[item] for item in shown["title_id"].to_list()], dtype=np.int64)
    X = np.empty((len(shown), len(FEATURES)), dtype=np.float32)  # noqa: N806  the field's name for a feature matrix
    for begin in range(0, len(page), _BATCH):
        stop = min(begin + _BATCH, len(page))
        places = [(regions or {}).get(profile) for profile in profiles[begin:stop]]
        children = [bool((kids or {}).get(profile)) for profile in profiles[begin:stop]]
        asked = histories.part(begin, stop)
        made = {name: scored(model, asked, places, children) for name, model in sources.items()}
        for index in range(begin, stop):
            part = slice(int(bounds[index]), int(bounds[index + 1]))
            of = {name: source_columns(scores[index - begin], chosen[part]) for name, scores in made.items()}
            taste = taste_of([titles.genres[item] for item in histories[index]])
            own = bool(kids.get(profiles[index], False)) if kids is not None else None
            X[part] = logged.frame(part, of, titles.take(chosen[part]), float(at[index]), taste, own)
    return RankingSet(
        X=X,
        label=shown["is_played"].to_numpy().astype(np.float32),
        group=shown["page"].to_numpy().astype(np.int64),
        weight=weights(shown["propensity"].cast(pl.Float64).to_numpy()),
        position=shown["surface_position"].cast(pl.Float32).to_numpy(),
        at=_seconds(shown),
    )


@dataclass(frozen=True)
class _Logged:
    """The columns that a page's frame reads, one element an impression."""

    position: Floats
    vertical: Floats
    rows: list[str]
    titles: dict[str, Floats]  # by TITLE_NUMBERS, as known then
    viewer: dict[str, list[float | str | None]]

    @classmethod
    def of(cls, shown: pl.DataFrame) -> "_Logged":
        def numbers(column: str) -> Floats:
            return shown[column].cast(pl.Float32).to_numpy()

        known = {name: column for name, column in TITLE_FEATURES.items() if column in shown.columns}
        return cls(
            numbers("surface_position"),
            numbers("vertical"),
            shown["surface_row"].to_list(),
            {name: numbers(column) for name, column in known.items()},
            {name: shown[name].to_list() for name in (*VIEWER_NUMBERS, TOP_GENRE) if name in shown.columns},
        )

    def frame(
        self,
        part: slice,
        of: Mapping[str, tuple[Floats, Floats]],
        titles: TitleTable,
        at: float,
        taste: Mapping[str, float],
        kids: bool | None,
    ) -> Floats:
        user = {name: values[part.start] for name, values in self.viewer.items()}
        return candidate_frame(
            {name: scores for name, (scores, _) in of.items()},
            {name: ranks for name, (_, ranks) in of.items()},
            titles.known({name: values[part] for name, values in self.titles.items()}),
            user if kids is None else {**user, "kids": float(kids)},
            at,
            self.position[part],
            taste=taste,
            row=self.rows[part],
            vertical=self.vertical[part],
        )


def _before(data: Interactions, rows: Ints, at: NDArray[np.float64]) -> Ragged:
    """The history of each of `rows` (-1: nobody known) before the moment `at`."""
    whole = data.histories()
    assert whole.times is not None
    kept, times, lengths = [], [], []
    for row, moment in zip(rows, at, strict=True):
        start, stop = (int(whole.indptr[row]), int(whole.indptr[row + 1])) if row >= 0 else (0, 0)
        stop = start + int(np.searchsorted(whole.times[start:stop], moment, side="left"))
        kept.append(whole.values[start:stop])
        times.append(whole.times[start:stop])
        lengths.append(stop - start)
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return Ragged(indptr, np.concatenate(kept), np.concatenate(times), at)


def _seconds(frame: pl.DataFrame) -> NDArray[np.float64]:
    return frame[EVENT_TIMESTAMP].dt.epoch("us").to_numpy() / 1e6


def _empty() -> RankingSet:
    nothing = np.zeros(0, dtype=np.float32)
    X = np.zeros((0, len(FEATURES)), dtype=np.float32)  # noqa: N806
    return RankingSet(X, nothing, np.zeros(0, dtype=np.int64), nothing, nothing, np.zeros(0))
