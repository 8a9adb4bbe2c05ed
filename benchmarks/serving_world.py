"""What the API is measured on: a catalogue of MovieLens' size, viewers with histories, and a system fitted to them."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from matinee.settings import Settings
from models.interactions import Interactions
from models.recommenders.system import System

VIEWERS, TITLES, WATCHED = 1_200, 3_700, 60
FORBIDDEN = 0.1  # share of the titles that nobody may be shown: withdrawn, over, or without a film
GENRES = ("drama", "comedy", "nature", "crime", "family", "war", "romance", "western", "horror", "musical")


@dataclass(frozen=True)
class World:
    """`tokens`: viewer -> bearer token; `keys`: viewer -> what it is called in Redis; `forbidden`: not to be shown,
    `secret`: not even to be named."""

    tokens: dict[str, str]
    keys: dict[str, str]
    finished: dict[str, set[str]]
    forbidden: frozenset[str]
    secret: frozenset[str]


def prepare(settings: Settings) -> World:
    """Catalogue, accounts, histories in Redis, and the system that serves."""
    from models.recommenders.export import export
    from serving.commands import issue_token

    random = np.random.default_rng(0)
    titles = [f"title-{n}" for n in range(TITLES)]
    genres = [tuple(random.choice(GENRES, 2, replace=False)) for _ in titles]
    forbidden, secret = _catalogue(settings, titles, genres)
    viewers = [f"viewer-{n}" for n in range(VIEWERS)]
    keys = _viewers(settings, viewers)
    data = _histories(random)
    finished = _known(settings, keys, data, titles)
    export(_system(data, titles, genres), settings.home)
    tokens = {viewer: issue_token(settings, viewer, "viewer", timedelta(hours=1)) for viewer in viewers}
    return World(tokens, keys, finished, forbidden, secret)


def _catalogue(
    settings: Settings, titles: list[str], genres: list[tuple[str, ...]]
) -> tuple[frozenset[str], frozenset[str]]:
    from ingest.catalog import upsert_titles
    from matinee.contracts.feed import FeedTitle, Offer
    from matinee.db.connect import connect

    feed = [
        FeedTitle(
            id=title,
            kind="film",
            titles={"en": f"The film of number {n}", "ru": f"Фильм под номером {n}"},
            year=1960 + n % 66,
            genres=of,
            maturity=12,
            offers=(Offer(kind="free"),),
        )
        for n, (title, of) in enumerate(zip(titles, genres, strict=True))
    ]
    hidden = np.random.default_rng(1).permutation(TITLES)[: int(FORBIDDEN * TITLES)]
    withdrawn, over, unfilmed = ([titles[n] for n in part] for part in np.array_split(hidden, 3))
    with connect(settings) as connection:
        upsert_titles(connection, feed)
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "SELECT 'm-' || title_id, title_id, 'f', 'x', 1, 'accepted' FROM title"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
            "SELECT 'p-' || title_id, title_id, 'm-' || title_id, 'published', 6000000 FROM title "
            "WHERE NOT title_id = ANY(%s)",
            (unfilmed,),
        )
        connection.execute("UPDATE title SET state = 'draft' WHERE title_id = ANY(%s)", (withdrawn,))
        connection.execute("UPDATE offer SET open = tstzrange(NULL, now()) WHERE title_id = ANY(%s)", (over,))
    return frozenset((*withdrawn, *over, *unfilmed)), frozenset((*withdrawn, *over))


def _viewers(settings: Settings, viewers: list[str]) -> dict[str, str]:
    from matinee.db.connect import connect
    from matinee.db.viewers import Viewer, add_viewers
    from matinee.pseudonyms import salts

    with connect(settings) as connection:
        add_viewers(connection, [Viewer(viewer, viewer, "simulate") for viewer in viewers])
        return {viewer: salt.key(viewer) for viewer, salt in salts(connection, viewers).items()}


def _histories(random: np.random.Generator) -> Interactions:
    chance = 1 / (np.arange(TITLES) + 20.0)
    taken = random.choice(TITLES, size=VIEWERS * WATCHED, p=chance / chance.sum())
    pairs = np.unique(np.repeat(np.arange(VIEWERS), WATCHED) * TITLES + taken)
    moments = random.uniform(0, 90 * 86_400, len(pairs))
    return Interactions.sorted(pairs // TITLES, pairs % TITLES, moments, VIEWERS, TITLES)


def _known(settings: Settings, keys: dict[str, str], data: Interactions, titles: list[str]) -> dict[str, set[str]]:
    """Histories as the worker keeps them; a third of what was taken is finished."""
    import redis

    from features.keys import DONE, HISTORY, VERSION

    histories = data.histories()
    assert histories.times is not None
    finished = {}
    with redis.Redis.from_url(settings.redis()) as store, store.pipeline(transaction=False) as pipeline:
        for row, (viewer, key) in enumerate(sorted(keys.items(), key=lambda pair: int(pair[0].rpartition("-")[2]))):
            span = slice(int(histories.indptr[row]), int(histories.indptr[row + 1]))
            mine = [titles[item] for item in histories.values[span]]
            finished[viewer] = set(mine[::3])
            pipeline.zadd(HISTORY + key, dict(zip(mine, histories.times[span].tolist(), strict=True)))
            pipeline.sadd(DONE + key, *finished[viewer])
            pipeline.incr(VERSION + key)
        pipeline.execute()
    return finished


def _system(data: Interactions, titles: list[str], genres: list[tuple[str, ...]]) -> System:
    """The blend of the product: EASE that fades, transition kNN, iALS."""
    from models.recommenders.assemble import recent
    from models.recommenders.blend import Blend
    from models.recommenders.ease import Ease
    from models.recommenders.ials import Ials
    from models.recommenders.knn import TransitionKnn
    from models.recommenders.similar import neighbours
    from models.recommenders.system import About, Asked, golden_of

    parts = {
        "ease_decay": Ease(max_items=5_000, keep=300).fit(data),
        "knn": TransitionKnn().fit(data),
        "ials": Ials().fit(data),
    }
    made = System(
        about=About("matinee-recommender", "1", "bench", "bench", "blend"),
        items=titles,
        titles=genres,
        created=np.zeros(len(titles)),
        model=Blend(parts, {"ease_decay": 1.0, "knn": 1.0, "ials": 0.5}),
        recent=recent(data, 14),
        neighbours=neighbours(data, genres),
    )
    return replace(made, golden=golden_of(made, [Asked(("title-1", "title-2"), now=1.0)]))
