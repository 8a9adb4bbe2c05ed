from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from ingest.errors import IngestError
from ingest.movielens import STREAM, import_movielens
from ingest.movielens_files import read_movies, read_ratings
from matinee.contracts.landing import LANDED_EVENT
from matinee.pseudonyms import salts

MOVIES = """movieId,title,genres
1,Toy Story (1995),Adventure|Animation|Children
2,"Matrix, The (1999)",Action
3,"City of Lost Children, The (Cité des enfants perdus, La) (1995)",(no genres listed)
4,Babylon 5,Sci-Fi
x,No Number (2000),Drama
5,"""
RATINGS = """userId,movieId,rating,timestamp
1,1,4.0,964982703
1,2,3.5,964982704
7,1,0.5,964982705
7,1,0.5,964982705
7,9,4.0,964982706
7,1,eleven,964982706
7,2,11,964982706
7,2,4.0,soon
7,2
nobody,2,4.0,964982706
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "movies.csv").write_text(MOVIES)
    (folder / "ratings.csv").write_text(RATINGS)
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n2,0133093,\n")
    return folder


def test_titles_come_with_their_names_in_order_and_their_years(small):
    movies = read_movies(small)
    assert [(m.name, m.year, m.genres) for m in movies.movies] == [
        ("Toy Story", 1995, ("adventure", "animation", "children")),
        ("The Matrix", 1999, ("action",)),
        ("The City of Lost Children (Cité des enfants perdus, La)", 1995, ()),
        ("Babylon 5", None, ("sci-fi",)),
    ]
    assert [(line.number, line.reason) for line in movies.rejected] == [
        (6, "the movie's id is not a number"),
        (7, "2 fields instead of 3"),
    ]


def test_ratings_become_rate_events_at_their_own_time(connection, settings, small, landed):
    summary = import_movielens(connection, settings.lake, small)
    assert (summary.titles.added, summary.viewers, summary.ratings, summary.repeated, summary.rejected) == (
        4,
        2,
        3,
        1,
        8,
    )
    table = landed(STREAM)
    assert table.schema.equals(LANDED_EVENT)
    rows = table.to_pylist()
    assert [(r["title_id"], r["rate_value"], r["type"], r["origin"]) for r in rows] == [
        ("ml:1", 4.0, "rate", "import"), ("ml:2", 3.5, "rate", "import"), ("ml:1", 0.5, "rate", "import"),
    ]  # fmt: skip
    moment = datetime.fromtimestamp(964982703, UTC)
    assert {rows[0][name] for name in ("ts_client", "ts_sent", "received_at", "event_ts")} == {moment}
    known = salts(connection, ["ml:1", "ml:7"])
    assert [r["account_key"] for r in rows] == [known[a].key(a) for a in ("ml:1", "ml:1", "ml:7")]
    assert len({r["event_id"] for r in rows}) == 3
    assert [r["log_id"] for r in rows] == [f"ratings.csv:{n:09}" for n in (2, 3, 4)]
    title = connection.execute("SELECT kind, maturity, extra, state FROM title WHERE title_id = 'ml:1'").fetchone()
    assert title == ("film", 16, {"movielens": 1, "imdb": "tt0114709", "tmdb": "862"}, "published")
    assert connection.execute("SELECT account_id, origin FROM account ORDER BY 1").fetchall() == [
        ("ml:1", "import"), ("ml:7", "import"),
    ]  # fmt: skip


def test_wrong_lines_are_kept_with_their_reasons(connection, settings, small):
    import_movielens(connection, settings.lake, small)
    rows = connection.execute(
        "SELECT line_number, reason FROM feed_rejection WHERE feed_name = 'ratings.csv' ORDER BY 1"
    ).fetchall()
    assert rows == [
        (6, "unknown movie"),
        (7, "the rating is not a number from 0.5 to 5"),
        (8, "the rating is not a number from 0.5 to 5"),
        (9, "the time stamp is not a number of seconds since 1970"),
        (10, "the user is not a number"),
        (11, "the user is not a number"),
    ]


def test_importing_twice_changes_nothing(connection, settings, small):
    def state():
        tables = ("title", "account", "account_salt", "landed_file", "feed_rejection")
        rows = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables]
        return rows, {path: path.stat().st_mtime_ns for path in settings.lake.root.rglob("*") if path.is_file()}

    import_movielens(connection, settings.lake, small)
    before = state()
    summary = import_movielens(connection, settings.lake, small)
    assert (summary.ratings, summary.known, summary.files, summary.viewers) == (0, 3, 0, 0)
    assert state() == before


def test_a_rating_keeps_its_id_in_a_longer_file(connection, settings, small, landed):
    import_movielens(connection, settings.lake, small)
    first = set(landed(STREAM)["event_id"].to_pylist())
    (small / "ratings.csv").write_text(RATINGS + "1,4,5.0,964982999\n")
    assert import_movielens(connection, settings.lake, small).ratings == 4
    assert len(set(landed(STREAM)["event_id"].to_pylist()) - first) == 1


@pytest.fixture
def one_m(tmp_path: Path) -> Path:
    folder = tmp_path / "one-m"
    folder.mkdir()
    (folder / "movies.dat").write_bytes(
        "1::Misérables, Les (1995)::Drama|Musical\n2::Heat (1995)::Action\n".encode("latin-1")
    )
    (folder / "users.dat").write_text("1::F::1::10::48067\n")
    return folder


def test_the_layout_with_double_colons(connection, settings, one_m, landed):
    (one_m / "ratings.dat").write_text("1::1::5::978300760\n1::2::3::978300761\n")
    import_movielens(connection, settings.lake, one_m)
    assert landed(STREAM)["rate_value"].to_pylist() == [5.0, 3.0]
    assert connection.execute("SELECT title FROM title_text WHERE title_id = 'ml:1'").fetchone() == ("Les Misérables",)


def test_the_parquet_layout_fills_what_is_not_known(one_m):
    rows = [(1, 1, None, 300, 0), (1, 2, 5, None, 1), (2, 1, 4, None, 0), (2, 2, 4, 500, 1), (3, 1, 4, None, 0)]
    columns = ["user_id", "movie_id", "rating", "ts", "sas_pos"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(one_m / "interactions.parquet")
    ratings = read_ratings(one_m, [1, 2])
    assert ratings.rows.select("user", "rating", "ts").rows() == [
        (1, 2.0, 300),
        (1, 5.0, 300),
        (2, 4.0, 500),
        (2, 4.0, 500),
    ]
    assert [line.reason for line in ratings.rejected] == ["the time stamp is not a number of seconds since 1970"]


def test_a_folder_that_is_not_movielens(tmp_path, one_m):
    with pytest.raises(IngestError, match="is no MovieLens folder"):
        read_movies(tmp_path)
    with pytest.raises(IngestError, match="has no ratings"):
        read_ratings(one_m, [1])
    pl.DataFrame({"user_id": [1]}).write_parquet(one_m / "interactions.parquet")
    with pytest.raises(IngestError, match="lacks the columns movie_id, rating, ts"):
        read_ratings(one_m, [1])


def test_the_real_small_set(connection, settings, shared, landed):
    summary = import_movielens(connection, settings.lake, shared / "data" / "ml-latest-small")
    assert (summary.titles.added, summary.viewers, summary.ratings, summary.rejected) == (9_742, 610, 100_836, 0)
    assert len(set(landed(STREAM)["event_id"].to_pylist())) == 100_836
