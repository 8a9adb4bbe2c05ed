"""MovieLens comes in: movies as titles, users as accounts, ratings as `rate` events at their own time.

The ratings do not pass the event log: they land as Parquet directly, in the same columns. Everything that is made is
derived from the content, so that importing twice changes nothing.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from ingest import parts
from ingest.catalog import Upserted, keep_rejections, upsert_titles
from ingest.movielens_files import Movie, Ratings, read_links, read_movies, read_ratings
from matinee.clock import Clock, SystemClock
from matinee.contracts.events import SCHEMA_MAJOR, SCHEMA_NAME
from matinee.contracts.feed import FeedTitle, Offer
from matinee.db.viewers import Viewer, add_viewers
from matinee.ids import content_uuid7
from matinee.lake import Lake
from matinee.pseudonyms import salts

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

SOURCE = "movielens"
STREAM = f"import:{SOURCE}"
# MovieLens has no age ratings; nothing in it is for adults only by that alone, nor is all of it for children.
MATURITY = 16
ROWS_PER_PART = 1_000_000


@dataclass(frozen=True)
class ImportSummary:
    """What an import made. `ratings` landed now, `known` were landed before, `repeated` stood twice in the file."""

    titles: Upserted
    viewers: int
    ratings: int
    known: int
    repeated: int
    rejected: int
    files: int


def import_movielens(
    connection: psycopg.Connection,
    lake: Lake,
    folder: Path,
    *,
    clock: Clock | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> ImportSummary:
    """Import a folder in the layout of ml-latest-small or ml-1m, in one transaction.

    Titles `ml:<movieId>` (films, free, maturity 16), accounts `ml:<userId>`. Lines that cannot be used are kept in
    `feed_rejection`. Where the Parquet layout has a null rating (known to be 1 to 3) 2.0 stands for it.

    Raises:
        IngestError: the folder has another layout, or the lake cannot be written.
    """
    today = (clock or SystemClock()).now().date()
    on_step("movies")
    movies = read_movies(folder)
    links = read_links(folder)
    on_step("ratings")
    ratings = read_ratings(folder, (movie.movie_id for movie in movies.movies))
    with connection.transaction():
        titles = upsert_titles(connection, [_title(movie, links.get(movie.movie_id, {})) for movie in movies.movies])
        on_step("viewers")
        users = ratings.rows["user"].unique().sort().to_list()
        viewers = add_viewers(connection, [Viewer(_account(user), f"Viewer {user}", "import") for user in users])
        for table in (movies, ratings):
            keep_rejections(connection, table.sha256, table.name, table.rejected)
        on_step("events")
        made, known, repeated = _land(connection, lake, ratings, today)
        parts.record(connection, made)
    landed = sum(part.rows for part in made)
    rejected = len(movies.rejected) + len(ratings.rejected)
    return ImportSummary(titles, viewers, landed, known, repeated, rejected, len(made))


def _land(
    connection: psycopg.Connection, lake: Lake, ratings: Ratings, today: date
) -> tuple[list[parts.Part], int, int]:
    """Write the parts that are not in the lake yet: (parts, rows known, rows repeated)."""
    rows = ratings.rows.unique(["user", "movie", "rating", "ts"], keep="first", maintain_order=True)
    repeated = ratings.rows.height - rows.height
    recorded = parts.recorded(connection, STREAM)
    made: list[parts.Part] = []
    known = 0
    for place, start in enumerate(range(0, rows.height, ROWS_PER_PART)):
        piece = rows[start : start + ROWS_PER_PART]
        path = f"landing/imports/{SOURCE}/part-{ratings.sha256[:16]}-{place:04}.parquet"
        if path in recorded and (lake.root / path).exists():
            known += piece.height
            continue
        table = _events(connection, ratings, piece)
        if not table.num_rows:
            continue
        parts.write(lake.root, path, table)
        ids = table["log_id"]
        made.append(parts.Part(path, STREAM, ids[0].as_py(), ids[-1].as_py(), table.num_rows, today))
    return made, known, repeated


def _events(connection: psycopg.Connection, ratings: Ratings, rows: "pl.DataFrame") -> "pa.Table":
    """Rows of ratings as landed events. The visit is the viewer's: one a viewer, named by the key."""
    import polars as pl

    from matinee.contracts.landing import LANDED_EVENT

    users = rows["user"].unique().sort().to_list()
    known = salts(connection, [_account(user) for user in users])
    users = [user for user in users if _account(user) in known]  # who was erased is not imported again
    rows = rows.filter(pl.col("user").is_in(users))
    keys = pl.DataFrame(
        {"user": users, "account_key": [known[_account(user)].key(_account(user)) for user in users]},
        schema={"user": pl.Int64, "account_key": pl.String},
    )
    moment = pl.from_epoch("ts", time_unit="s").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    rows = rows.join(keys, on="user", how="left", maintain_order="left")
    prints, event_ids = _identities(rows)
    frame = rows.select(
        event_id=pl.Series(event_ids),
        schema=pl.lit(f"{SCHEMA_NAME}/{SCHEMA_MAJOR}.0"),
        origin=pl.lit("import"),
        log_id=pl.format("{}:{}", pl.lit(ratings.name), pl.col("line").cast(pl.String).str.zfill(9)),
        fingerprint=pl.Series(prints),
        account_key="account_key",
        profile_key="account_key",  # the one profile of an imported viewer has the account's id
        session_id=pl.col("account_key").str.slice(0, 32),
        seq=pl.lit(0, pl.Int64),
        title_id=pl.format("ml:{}", "movie"),
        ts_client=moment,
        ts_sent=moment,
        received_at=moment,
        event_ts=moment,
        type=pl.lit("rate"),
        rate_value="rating",
    )
    return _filled(frame.to_arrow(), LANDED_EVENT)


def _filled(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """The table in the columns of the schema; those it does not have are null."""
    import pyarrow as pa

    present = set(table.column_names)
    columns = [
        table[field.name].cast(field.type) if field.name in present else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _identities(rows: "pl.DataFrame") -> tuple[list[str], list[str]]:
    """Fingerprint and event id of each rating, from its content alone; a user enters only as the key."""
    prints: list[str] = []
    event_ids: list[str] = []
    for key, movie, rating, ts in rows.select("account_key", "movie", "rating", "ts").iter_rows():
        prints.append(hashlib.sha256(f"{movie},{rating},{ts}".encode()).hexdigest())
        event_ids.append(content_uuid7(ts * 1000, SOURCE, key, str(movie), str(rating)))
    return prints, event_ids


def _title(movie: Movie, links: dict[str, str]) -> FeedTitle:
    return FeedTitle(
        id=f"ml:{movie.movie_id}",
        kind="film",
        titles={"en": movie.name},
        year=movie.year,
        genres=movie.genres,
        maturity=MATURITY,
        offers=(Offer(kind="free"),),
        extra={SOURCE: movie.movie_id, **links},
    )


def _account(user: int) -> str:
    return f"ml:{user}"
