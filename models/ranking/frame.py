"""The features of a viewer and its candidates: one function makes the rows of training and of serving.

What is not known is NaN, never a number that means something else; rankers treat it as a value of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.views import PROFILE, TITLE, VIEWS, full_name
from models.errors import ModelError
from models.interactions import Floats, Ints

# Where candidates may come from, by the names of the models; a source that did not take part is NaN.
SOURCES = (
    "blend",
    "popularity_7d",
    "popularity_14d",
    "popularity_30d",
    "segments",
    "ease",
    "ease_decay",
    "knn",
    "ials",
    "two_tower",
    "sequence",
)
# What a title brings along, by the columns of its views; `age_days` follows from its creation.
TITLE_NUMBERS = (
    "plays_7d",
    "plays_14d",
    "plays_30d",
    "viewers_30d",
    "completion_30d",
    "year",
    "runtime_s",
    "maturity",
)
VIEWER_NUMBERS = tuple(
    full_name(view, name) for view in VIEWS if view.entity == PROFILE for name, kind in view.columns if kind != "string"
)
# What these columns are called in a frame of features.
TITLE_FEATURES = {
    name: full_name(view, name)
    for view in VIEWS
    if view.entity == TITLE
    for name in view.names
    if name in TITLE_NUMBERS
}
TOP_GENRE = "profile_taste__top_genre"
# Kinds of rows by number: where an impression stood matters for what was seen of it, as position does.
ROW_KINDS = ("for_you", "popular", "continue", "because", "trending", "new", "genre", "gems", "similar", "search")

# Where an impression stood: kind of row, the row's place on the page, the place in the row.
ROW, VERTICAL, POSITION = "row", "vertical", "position"
PLACED = (ROW, VERTICAL, POSITION)
FEATURES: tuple[str, ...] = (
    *(f"score_{source}" for source in SOURCES),
    *(f"rank_{source}" for source in SOURCES),
    *TITLE_NUMBERS,
    "age_days",
    "genre_match",
    "top_genre_match",
    *VIEWER_NUMBERS,
    "kids",
    "hour",
    "weekday",
    *PLACED,
)
_COLUMN = {name: column for column, name in enumerate(FEATURES)}
_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class TitleTable:
    """What is known of m titles at one moment: `numbers` [m, TITLE_NUMBERS] (NaN: unknown), `created` [m] in epoch
    seconds (NaN: unknown), `genres` of each."""

    numbers: Floats
    created: NDArray[np.float64]
    genres: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, columns: Mapping[str, ArrayLike], created: ArrayLike, genres: Sequence[Sequence[str]]) -> "TitleTable":
        """From columns named like TITLE_NUMBERS; one that is missing is unknown of every title."""
        numbers = np.full((len(genres), len(TITLE_NUMBERS)), np.nan, dtype=np.float32)
        for place, name in enumerate(TITLE_NUMBERS):
            if name in columns:
                numbers[:, place] = np.asarray(columns[name], dtype=np.float32)
        return cls(numbers, np.asarray(created, dtype=np.float64), tuple(tuple(of) for of in genres))

    def __len__(self) -> int:
        return len(self.created)

    def unnamed(self, rows: Ints) -> "TitleTable":
        """`take` for whoever knows already how their genres suit a viewer: without them."""
        return TitleTable(self.numbers[rows], self.created[rows], ())

    def take(self, rows: ArrayLike) -> "TitleTable":
        chosen = np.asarray(rows, dtype=np.int64)
        return TitleTable(self.numbers[chosen], self.created[chosen], tuple(self.genres[row] for row in chosen))

    def known(self, columns: Mapping[str, ArrayLike]) -> "TitleTable":
        """The same titles with these columns (of TITLE_NUMBERS) as they were known at another moment."""
        numbers = self.numbers.copy()
        for name, values in columns.items():
            numbers[:, TITLE_NUMBERS.index(name)] = np.asarray(values, dtype=np.float32)
        return replace(self, numbers=numbers)


def candidate_frame(
    scores: Mapping[str, Floats],
    ranks: Mapping[str, ArrayLike],
    titles: TitleTable,
    user: Mapping[str, float | str | None],
    now: float,
    position: float | ArrayLike,
    *,
    taste: Mapping[str, float] | None = None,
    matches: tuple[Floats, Floats] | None = None,
    row: str | Sequence[str] = "for_you",
    vertical: float | ArrayLike = 0.0,
) -> Floats:
    """[m, FEATURES] of one viewer at `now` (epoch seconds, UTC) and its m candidates.

    `scores`: by source, standardised over all titles, NaN where the source does not know; `ranks`: 0 is the source's
    best; `user`: features named `<view>__<feature>`, and `kids` (0 or 1); `taste`: share of each genre in the viewer's
    history; `matches`: what `GenreTable.matches` made of it already; `position`, `row` and `vertical` (the row's place
    on the page): where the candidates stood (training), or one place for all of them (serving).

    Raises:
        ModelError: a source that FEATURES does not know.
    """
    if unknown := sorted({*scores, *ranks} - set(SOURCES)):
        raise ModelError(f"no feature for the scores of {', '.join(unknown)}: name one of {', '.join(SOURCES)}")
    made = np.full((len(FEATURES), len(titles)), np.nan, dtype=np.float32).T  # it is filled by columns
    for prefix, values in (("score", scores), ("rank", ranks)):
        for source, column in values.items():
            made[:, _COLUMN[f"{prefix}_{source}"]] = column
    first = _COLUMN[TITLE_NUMBERS[0]]
    made[:, first : first + len(TITLE_NUMBERS)] = titles.numbers
    # What was watched before it was there (an imported history) has no age.
    age = now - titles.created
    made[:, _COLUMN["age_days"]] = np.where(age >= 0, age, np.nan) / _SECONDS_PER_DAY
    match, top = matches or (_taste_match(titles.genres, taste), _top_match(titles.genres, user.get(TOP_GENRE)))
    made[:, _COLUMN["genre_match"]], made[:, _COLUMN["top_genre_match"]] = match, top
    for name in (*VIEWER_NUMBERS, "kids"):
        if isinstance(value := user.get(name), int | float):
            made[:, _COLUMN[name]] = value
    moment = datetime.fromtimestamp(now, UTC)
    made[:, _COLUMN["hour"]], made[:, _COLUMN["weekday"]] = moment.hour, moment.weekday()
    made[:, _COLUMN[ROW]] = row_number(row) if isinstance(row, str) else [row_number(of) for of in row]
    made[:, _COLUMN[VERTICAL]], made[:, _COLUMN[POSITION]] = vertical, position
    return made


def ranks(ordered: Floats, scores: Floats) -> Floats:
    """[m] how many of the `ordered` (ascending) scores of a source are better than each of these."""
    return (len(ordered) - np.searchsorted(ordered, scores, side="right")).astype(np.float32)


def source_columns(scores: Floats, chosen: Ints) -> tuple[Floats, Floats]:
    """What candidate_frame takes of one source: standardised scores and ranks [m] of the `chosen` columns.

    `scores` [n_items]: of all titles, masked or not, so that a number means the same in training and at serving. NaN
    for titles that the source does not know, and where it tells none from another.
    """
    known = scores[~np.isnan(scores)]
    own = scores[chosen]
    spread = known.std() if len(known) else np.float32(0)
    if not spread > 0:
        return np.full(len(own), np.nan, dtype=np.float32), np.full(len(own), np.nan, dtype=np.float32)
    standard = ((own - known.mean()) / spread).astype(np.float32)
    return standard, np.where(np.isnan(own), np.float32(np.nan), ranks(np.sort(known), own))


def as_served(X: Floats) -> Floats:  # noqa: N803  the field's name for a feature matrix
    """The same candidates, all of them at the place at which serving asks: the first of the first row."""
    made = X.copy()
    made[:, [_COLUMN[name] for name in PLACED]] = (row_number("for_you"), 0.0, 0.0)
    return made


def taste_of(genres: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of each genre in a history, given the genres of its titles; each title counts one (Steck 2018)."""
    shares: dict[str, float] = {}
    for of in genres:
        for genre in of:
            shares[genre] = shares.get(genre, 0.0) + 1 / len(of)
    whole = sum(shares.values())
    return {genre: share / whole for genre, share in shares.items()}


def row_kind(row: str) -> str:
    """`because:<title>` and `genre:<genre>` are rows of one kind each."""
    return row.partition(":")[0]


def row_number(row: str) -> float:
    kind = row_kind(row)
    return float(ROW_KINDS.index(kind)) if kind in ROW_KINDS else float("nan")


def _taste_match(genres: tuple[tuple[str, ...], ...], taste: Mapping[str, float] | None) -> Floats:
    if not taste:
        return np.full(len(genres), np.nan, dtype=np.float32)
    return np.array(
        [sum(taste.get(genre, 0.0) for genre in of) / len(of) if of else np.nan for of in genres], dtype=np.float32
    )


def _top_match(genres: tuple[tuple[str, ...], ...], top: float | str | None) -> Floats:
    if not isinstance(top, str):
        return np.full(len(genres), np.nan, dtype=np.float32)
    return np.array([float(top in of) if of else np.nan for of in genres], dtype=np.float32)
