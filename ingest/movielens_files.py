"""Reading the MovieLens layouts: `ml-latest-small` (CSV) and `ml-1m` (`::`, Latin-1; ratings also as Parquet).

Every reader gives the rows that can be used, with their line numbers, and the lines that cannot, with reasons.
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import IngestError
from ingest.feed import Rejected

if TYPE_CHECKING:
    import polars as pl

# A null rating of the Parquet layout is known to be 1, 2 or 3: the middle stands for it.
UNKNOWN_LOW_RATING = 2.0
_TITLE = re.compile(r"^(?P<name>.*?)\s*\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*$")
_ARTICLE = re.compile(
    r"^(?P<name>.+?), (?P<article>The|A|An|La|Le|Les|L'|El|Los|Las|Il|Lo|I|Gli|Der|Die|Das|Den|Det|En|Ett|O|Os|As)"
    r"(?P<rest>(?: \(.*\))?)$"
)
_NO_GENRES = "(no genres listed)"
_EARLIEST_S, _LATEST_S = 0, 4_102_444_800  # 1970 to 2100


@dataclass(frozen=True)
class Movie:
    movie_id: int
    name: str
    year: int | None
    genres: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One file, read. `sha256` is of its bytes."""

    name: str
    sha256: str
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class Movies(Table):
    movies: tuple[Movie, ...]


@dataclass(frozen=True)
class Ratings(Table):
    """`rows`: line (1-based), user, movie (integers), rating (0.5 to 5), ts (Unix seconds)."""

    rows: "pl.DataFrame"


def read_movies(folder: Path) -> Movies:
    """`movies.csv` or `movies.dat`.

    Raises:
        IngestError: the folder has neither layout.
    """
    if (folder / "movies.csv").is_file():
        path = folder / "movies.csv"
        lines = _csv_lines(path)
    elif (folder / "movies.dat").is_file():
        path = folder / "movies.dat"
        lines = ((n, raw.split("::"), raw) for n, raw in _lines(path, "latin-1"))
    else:
        raise IngestError(f"{folder} is no MovieLens folder: it has neither movies.csv nor movies.dat")
    movies: dict[int, Movie] = {}
    rejected: list[Rejected] = []
    for number, fields, raw in lines:
        movie = _movie(fields)
        if isinstance(movie, str):
            rejected.append(Rejected(number, movie, raw.encode()))
        elif movie.movie_id in movies:
            rejected.append(Rejected(number, f"duplicate movie {movie.movie_id}", raw.encode()))
        else:
            movies[movie.movie_id] = movie
    return Movies(path.name, _sha256(path), tuple(rejected), tuple(movies.values()))


def read_links(folder: Path) -> dict[int, dict[str, str]]:
    """Movie -> its ids elsewhere (`imdb`, `tmdb`) from `links.csv`; empty where there is none."""
    path = folder / "links.csv"
    if not path.is_file():
        return {}
    found: dict[int, dict[str, str]] = {}
    for _, fields, _ in _csv_lines(path):
        if len(fields) == 3 and fields[0].isdecimal():
            known = {"imdb": f"tt{fields[1]}" if fields[1] else "", "tmdb": fields[2]}
            found[int(fields[0])] = {name: value for name, value in known.items() if value}
    return found


def read_ratings(folder: Path, movies: Iterable[int]) -> Ratings:
    """`ratings.csv`, `ratings.dat` or `interactions.parquet`; ratings of unknown movies are rejected.

    Raises:
        IngestError: there is none of them, or the Parquet file lacks a column.
    """
    import polars as pl

    for name, read in (("ratings.csv", _csv), ("ratings.dat", _dat), ("interactions.parquet", _parquet)):
        path = folder / name
        if path.is_file():
            rows = read(path)
            break
    else:
        raise IngestError(f"{folder} has no ratings: neither ratings.csv, ratings.dat nor interactions.parquet")
    known = pl.Series("movie", sorted(movies), dtype=pl.Int64).implode()
    judged = rows.with_columns(
        reason=pl.when(pl.col("user").is_null() | (pl.col("user") < 0))
        .then(pl.lit("the user is not a number"))
        .when(pl.col("movie").is_null())
        .then(pl.lit("the movie is not a number"))
        .when(~pl.col("movie").is_in(known))
        .then(pl.lit("unknown movie"))
        .when(pl.col("rating").is_null() | ~pl.col("rating").is_between(0.5, 5))
        .then(pl.lit("the rating is not a number from 0.5 to 5"))
        .when(pl.col("ts").is_null() | ~pl.col("ts").is_between(_EARLIEST_S, _LATEST_S))
        .then(pl.lit("the time stamp is not a number of seconds since 1970"))
    )
    rejected = judged.filter(pl.col("reason").is_not_null())
    wrong = tuple(
        Rejected(line, reason, raw.encode())
        for line, reason, raw in rejected.select("line", "reason", "raw").iter_rows()
    )
    rows = judged.filter(pl.col("reason").is_null()).select("line", "user", "movie", "rating", "ts")
    return Ratings(path.name, _sha256(path), wrong, rows)


def _csv(path: Path) -> "pl.DataFrame":
    import polars as pl

    # The first line names the columns.
    return _fields(path, ",").filter(~((pl.col("line") == 1) & pl.col("raw").str.starts_with("userId")))


def _dat(path: Path) -> "pl.DataFrame":
    return _fields(path, "::")


def _fields(path: Path, separator: str) -> "pl.DataFrame":
    """Lines of four numbers; what is no number is null, and so is everything where there are not four."""
    import polars as pl

    lines = pl.read_csv(
        path, has_header=False, separator="\x1f", quote_char=None, new_columns=["raw"], infer_schema=False,
        row_index_name="line", row_index_offset=1, encoding="utf8-lossy", raise_if_empty=False,
        truncate_ragged_lines=True,
    )  # fmt: skip
    if "raw" not in lines.columns:
        lines = pl.DataFrame(schema={"line": pl.UInt32, "raw": pl.String})
    parts = pl.col("raw").str.strip_chars().str.split(separator)
    whole = parts.list.len() == 4

    def field(place: int, kind: type[pl.DataType]) -> pl.Expr:
        return pl.when(whole).then(parts.list.get(place, null_on_oob=True)).cast(kind, strict=False)

    return lines.filter(pl.col("raw").is_not_null()).select(
        "line",
        "raw",
        user=field(0, pl.Int64),
        movie=field(1, pl.Int64),
        rating=field(2, pl.Float64),
        ts=field(3, pl.Int64),
    )


def _parquet(path: Path) -> "pl.DataFrame":
    """Columns user_id, movie_id, rating, ts (and sas_pos). A null rating is a low one; a null time stamp takes that of
    the same user's rating before it, else after it. A bracketed time stamp counts at its given end."""
    import polars as pl

    found = pl.read_parquet(path).with_row_index("line", offset=1)
    if missing := {"user_id", "movie_id", "rating", "ts"} - set(found.columns):
        raise IngestError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    order = ["sas_pos", "line"] if "sas_pos" in found.columns else ["line"]
    ts = pl.col("ts").cast(pl.Int64)
    near = (
        ts.forward_fill().over("user_id", order_by=order).fill_null(ts.backward_fill().over("user_id", order_by=order))
    )
    return found.select(
        "line",
        raw=pl.concat_str(pl.col("user_id", "movie_id", "rating", "ts").cast(pl.String).fill_null(""), separator=","),
        user=pl.col("user_id").cast(pl.Int64),
        movie=pl.col("movie_id").cast(pl.Int64),
        rating=pl.col("rating").cast(pl.Float64).fill_null(UNKNOWN_LOW_RATING),
        ts=ts.fill_null(near),
    )


def _movie(fields: list[str]) -> Movie | str:
    if len(fields) != 3:
        return f"{len(fields)} fields instead of 3"
    movie_id, title, genres = (field.strip() for field in fields)
    if not (movie_id.isdecimal() and movie_id.isascii()) or len(movie_id) > 18:
        return "the movie's id is not a number"
    parts = _TITLE.match(title)
    name = parts["name"] if parts else title
    year = int(parts["year"]) if parts else None
    if article := _ARTICLE.match(name):
        glue = "" if article["article"].endswith("'") else " "
        name = f"{article['article']}{glue}{article['name']}{article['rest']}"
    if not name or len(name) > 500:
        return "the movie has no usable name"
    kinds = tuple(g.strip().lower() for g in genres.split("|") if g.strip() and g != _NO_GENRES)
    return Movie(int(movie_id), name, year if year and 1870 <= year <= 2200 else None, kinds)


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str], str]]:
    """Data lines of a CSV file with a header: number, fields, text."""
    for number, raw in _lines(path, "utf-8"):
        if number == 1:
            continue
        try:
            yield number, next(csv.reader([raw])), raw
        except (csv.Error, StopIteration):
            yield number, [], raw


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    with path.open(encoding=encoding, errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if text := line.rstrip("\r\n").replace("\0", "?"):
                yield number, text


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
