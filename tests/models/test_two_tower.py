"""The two towers in a world where what titles are about decides who takes them."""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders import zoo
from models.recommenders.content import ContentSpec, TitleContent, encode
from models.recommenders.two_tower import TwoTower, TwoTowerFitted, fading

SMALL = TwoTower(dim=16, hidden=32, epochs=12, batch=256)
_MATURITY = {"G": 0, "PG": 6, "PG-13": 12, "R": 16, "NC-17": 18}


@dataclass(frozen=True)
class World:
    """`topics` [all titles]; the last ones are cold: `data` and `content` are of the others, `new` is their content."""

    content: list[TitleContent]
    new: list[TitleContent]
    topics: Ints
    data: Interactions
    regions: list[str | None]
    kids: NDArray[np.bool_]


@pytest.fixture(scope="module")
def world() -> World:
    """Viewers like two of six topics, which only the words tell: a genre covers two."""
    rng = np.random.default_rng(5)
    topics = rng.integers(0, 6, 120)
    words = [[f"слово{topic}{word}" for word in "абвгдежзиклмнопрстуф"] for topic in range(6)]
    titles = [
        TitleContent(
            f"t{n}", genres=(("drama", "crime", "comedy")[topic % 3],), text=" ".join(rng.choice(words[topic], 10))
        )
        for n, topic in enumerate(topics)
    ]
    users, items = [], []
    for user in range(300):
        liked = np.isin(topics, rng.choice(6, 2, replace=False))
        chosen = rng.choice(120, 15, replace=False, p=np.where(liked, 1, 0.05) / np.where(liked, 1, 0.05).sum())
        users += [user] * 15
        items += chosen.tolist()
    data = Interactions.sorted(users, items, rng.random(len(users)), 300, 100)
    regions = [("DE", "KZ", None)[user % 3] for user in range(300)]
    return World(titles[:100], titles[100:], topics, data.where(data.items < 100), regions, np.arange(300) % 10 == 0)


@pytest.fixture(scope="module")
def keras_and_numpy(world: World):
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    from models.recommenders.towers import Viewers, exported, trained

    spec = ContentSpec.of(world.content)
    viewers = Viewers.of(world.regions, world.kids, 300)
    towers, curve = trained(SMALL, world.data, encode(world.content, spec), viewers)
    return towers, exported(towers, SMALL, viewers.names, spec, curve)


@pytest.fixture(scope="module")
def fitted(keras_and_numpy) -> TwoTowerFitted:
    return keras_and_numpy[1]


def test_numpy_says_what_keras_says(keras_and_numpy, world: World) -> None:
    towers, fitted = keras_and_numpy
    histories = world.data.histories().take([0, 1, 2, 3, 10]).newest(9)
    targets = np.array([5, 17, 17, 99, 0])
    weights = np.stack([histories.matrix(100, fading(histories, decay)).toarray() for decay in SMALL.decays])
    asked = {
        "items": np.arange(100), "weights": weights, "targets": targets, "correction": np.zeros((5, 5), np.float32),
        "region": np.array([1, 2, 0, 1, 2]), "kids": np.array([1, 0, 0, 0, 1], np.float32),
    }  # fmt: skip
    ours = fitted.score(histories, ["DE", "KZ", None, "DE", "KZ"], [True, False, False, False, True])[:, targets]
    np.testing.assert_allclose(ours, np.asarray(towers(asked)), atol=1e-4)
    assert np.ptp(ours) > 1
    opinion = fitted.opinion(histories.take([0]), "DE", True)  # on one viewer
    np.testing.assert_allclose(opinion.scores[targets], ours[0], atol=1e-4)
    towers.own.assign(towers.own * 0)  # what is left of a title is its content: the vector of a new one
    grown = fitted.with_titles(world.content[:7])
    np.testing.assert_allclose(grown.vectors[100:], np.asarray(towers.titles(np.arange(7), training=False)), atol=1e-4)


def test_titles_that_nobody_took_find_their_viewers(fitted: TwoTowerFitted, world: World) -> None:
    """Average precision among the cold titles, against chance and against how popular their genre is."""
    grown = fitted.with_titles(world.new)
    topics, new = world.topics[:100], world.topics[100:]
    picks = [np.flatnonzero(topics == topic)[:6].tolist() for topic in range(6)]
    scores = grown.score(Ragged.of(picks))[:, 100:]
    counts = np.bincount(world.data.items, minlength=100)
    genre_of = np.array([counts[topics % 3 == topic % 3].mean() for topic in new])
    chance = np.mean([(new == topic).mean() for topic in range(6)])
    ours = np.mean([precision(scores[topic], new == topic) for topic in range(6)])
    genres = np.mean([precision(genre_of, new == topic) for topic in range(6)])
    assert ours > 0.9 > 1.5 * max(chance, genres)


def test_a_new_viewer_is_served_after_three_picks(fitted: TwoTowerFitted, world: World) -> None:
    grown = fitted.with_titles(world.new)
    for topic in range(6):
        picks = np.flatnonzero(world.topics[:100] == topic)[:3]
        scores = grown.score(Ragged.of([picks.tolist()]))[0]
        scores[picks] = -np.inf
        best = np.argsort(-scores)[:8]
        assert (world.topics[best] == topic).mean() >= 0.75, topic


def test_what_each_title_of_a_history_adds_is_exact(fitted: TwoTowerFitted, world: World) -> None:
    history, items = world.data.histories()[4], np.array([0, 3, 99])
    added = fitted.contributions(history, items)
    prior = fitted.viewers.prior @ fitted.vectors[items].T
    np.testing.assert_allclose(
        added.sum(axis=0) + prior, fitted.score(Ragged.of([history.tolist()]))[0, items], atol=1e-4
    )


def test_stored_arrays_serve_the_same_and_still_know_new_titles(fitted: TwoTowerFitted, world: World) -> None:
    again = zoo.unpack(zoo.pack(fitted, "two_tower"))
    assert isinstance(again, TwoTowerFitted)
    histories = world.data.histories().take([0, 7])
    for one, other in ((fitted, again), (fitted.with_titles(world.new), again.with_titles(world.new))):
        np.testing.assert_array_equal(other.score(histories, ["KZ", "ZZ"]), one.score(histories, ["KZ", "ZZ"]))
    assert not again.score(Ragged.of([[]])).any()
    assert again.with_titles([]) is again


def test_little_data_is_no_error_and_equal_data_gives_an_equal_model(fitted: TwoTowerFitted, world: World) -> None:
    two = world.data.where(np.arange(len(world.data)) < 2)
    assert np.isfinite(SMALL.fit(two, world.content).score(Ragged.of([[1, 2]]))).all()
    brief = replace(SMALL, examples=512)
    one, other = (brief.fit(world.data, world.content, spec=fitted.spec) for _ in range(2))
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    assert fitted.curve[-1] < fitted.curve[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_movielens_titles_without_a_single_rating_are_ranked_better_than_by_genre(shared: Path) -> None:
    """A tenth of the films and a tenth of the viewers are kept out of training; full ranking of the films kept out."""
    folder = shared / "data" / "ml-1m"
    if not (folder / "movies_extrainfos.dat").exists():
        pytest.skip(f"no texts of films in {folder}")
    titles = {int(title.title_id): title for title in movielens(folder / "movies_extrainfos.dat")}
    liked = pl.read_parquet(folder / "interactions.parquet").filter(
        (pl.col("rating") >= 4) & pl.col("movie_id").is_in(list(titles))
    )
    rng = np.random.default_rng(0)
    films = rng.permutation(np.unique(liked["movie_id"].to_numpy()))
    warm = len(films) * 9 // 10
    items = np.argsort(films)[np.searchsorted(np.sort(films), liked["movie_id"].to_numpy())]
    users = np.unique(liked["user_id"].to_numpy(), return_inverse=True)[1]
    data = Interactions.sorted(users, items, liked["ts"].cast(pl.Float64), int(users.max()) + 1, len(films))
    kept_out = rng.random(data.n_users) < 0.1
    train = data.where(~kept_out[data.users] & (data.items < warm))
    train = replace(train, n_items=warm)
    content = [titles[int(film)] for film in films]
    fitted = TwoTower().fit(train, content[:warm]).with_titles(content[warm:])

    known = data.where(kept_out[data.users] & (data.items < warm)).histories()
    wanted = data.where(kept_out[data.users] & (data.items >= warm)).histories()
    rows = np.flatnonzero((known.lengths >= 5) & (wanted.lengths > 0))
    targets = wanted.take(rows)
    ours = fitted.score(known.take(rows))[:, warm:]
    counts = np.bincount(train.items, minlength=warm)
    by_genre = {
        genre: np.mean([counts[n] for n in range(warm) if genre in content[n].genres])
        for genre in {genre for title in content for genre in title.genres}
    }
    popular = np.array([np.mean([by_genre[genre] for genre in title.genres]) for title in content[warm:]])
    reached = {
        "two_tower": ndcg(ours, targets, warm),
        "genre": ndcg(np.tile(popular, (len(rows), 1)), targets, warm),
        "random": ndcg(rng.random(ours.shape), targets, warm),
    }
    assert len(rows) > 500
    assert reached["two_tower"] > 1.5 * max(reached["genre"], reached["random"]), reached


def movielens(path: Path) -> list[TitleContent]:
    made = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        film, title, year, rated, _, genres, director, writers, cast, plot, *_ = line.split("::")
        people = [(director, "director")] + [(name.split("(")[0], "writer") for name in writers.split(",")]
        people += [(name, "actor") for name in cast.split(",")]
        made.append(
            TitleContent(
                film, "film", tuple(genre.strip() for genre in genres.split(",")),
                tuple((name.strip(), role) for name, role in people), int(year) if year.isdigit() else None,
                _MATURITY.get(rated, 16), text=f"{title}\n{plot}",
            )
        )  # fmt: skip
    return made


def precision(scores: Floats | NDArray, wanted: NDArray[np.bool_]) -> float:
    """Average precision of one ranking."""
    hits = wanted[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def ndcg(scores: NDArray, targets: Ragged, first: int, k: int = 10) -> float:
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k] + first
    gain = 1 / np.log2(np.arange(k) + 2)
    rows = [
        gain[np.isin(top[row], targets[row])].sum() / gain[: len(targets[row])].sum() for row in range(len(targets))
    ]
    return math.fsum(rows) / len(rows)
