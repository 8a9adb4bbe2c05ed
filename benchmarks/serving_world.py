"""What the API is measured on: a catalogue of MovieLens' size, viewers of several countries and ages with histories and
features, and a system of every source that is fitted to them (`serving_system`)."""

import struct
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

import numpy as np

from benchmarks.serving_system import Fitted, system_of
from matinee.settings import Settings
from models.interactions import Interactions
from models.recommenders.content import TitleContent

VIEWERS, TITLES, WATCHED = 1_200, 3_700, 60
FORBIDDEN = 0.1  # share of the titles that nobody may be shown: withdrawn, over, without a film, or sold elsewhere
ADULT = 0.1  # share that children may not be shown
COUNTRIES = ("FR", "RU", None)
CHILDREN = 7  # every so manieth viewer is one
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
    adult: frozenset[str]

    def hidden_from(self, viewer: str) -> set[str]:
        """What a page of this viewer may not show."""
        hidden = self.finished[viewer] | self.forbidden
        return hidden | self.adult if is_child(viewer) else hidden


def is_child(viewer: str) -> bool:
    return int(viewer.rpartition("-")[2]) % CHILDREN == 0


def country(viewer: str) -> str | None:
    return COUNTRIES[int(viewer.rpartition("-")[2]) % len(COUNTRIES)]


def prepare(settings: Settings) -> World:
    """Catalogue, accounts, histories in Redis, and the system that serves."""
    from models.recommenders.export import export
    from serving.commands import issue_token

    random = np.random.default_rng(0)
    titles = [f"title-{n}" for n in range(TITLES)]
    content = [
        TitleContent(
            title,
            genres=tuple(random.choice(GENRES, 2, replace=False).tolist()),
            year=1960 + n % 66,
            maturity=18 if random.random() < ADULT else 12,
            text=f"The film of number {n}",
        )
        for n, title in enumerate(titles)
    ]
    forbidden, secret = _catalogue(settings, content)
    viewers = [f"viewer-{n}" for n in range(VIEWERS)]
    keys = _viewers(settings, viewers)
    data = _histories(random)
    finished = _known(settings, keys, data, content)
    kids = np.array([is_child(viewer) for viewer in viewers], dtype=np.bool_)
    export(system_of(Fitted(data, content, [country(viewer) for viewer in viewers], kids)), settings.home)
    tokens = {viewer: issue_token(settings, viewer, "viewer", timedelta(hours=1)) for viewer in viewers}
    adult = frozenset(of.title_id for of in content if of.maturity > 12)
    return World(tokens, keys, finished, forbidden, secret, adult)


def _catalogue(settings: Settings, content: list[TitleContent]) -> tuple[frozenset[str], frozenset[str]]:
    from ingest.catalog import upsert_titles
    from matinee.contracts.feed import FeedTitle, Offer
    from matinee.db.connect import connect

    titles = [of.title_id for of in content]
    feed = [
        FeedTitle(
            id=of.title_id,
            kind="film",
            titles={"en": of.text, "ru": f"Фильм под номером {n}"},
            year=of.year,
            genres=of.genres,
            maturity=18 if of.maturity > 12 else 12,
            offers=(Offer(kind="free"),),
        )
        for n, of in enumerate(content)
    ]
    hidden = np.random.default_rng(1).permutation(TITLES)[: int(FORBIDDEN * TITLES)]
    withdrawn, over, unfilmed, abroad = ([titles[n] for n in part] for part in np.array_split(hidden, 4))
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
        connection.execute("UPDATE offer SET regions = '{US}' WHERE title_id = ANY (%s)", (abroad,))
    return frozenset((*withdrawn, *over, *unfilmed, *abroad)), frozenset((*withdrawn, *over, *abroad))


def _viewers(settings: Settings, viewers: list[str]) -> dict[str, str]:
    from matinee.db.connect import connect
    from matinee.db.viewers import Viewer, add_viewers
    from matinee.pseudonyms import salts

    with connect(settings) as connection:
        made = [Viewer(v, v, "simulate", country(v), 12 if is_child(v) else 18) for v in viewers]
        add_viewers(connection, made)
        return {viewer: salt.key(viewer) for viewer, salt in salts(connection, viewers).items()}


def _histories(random: np.random.Generator) -> Interactions:
    chance = 1 / (np.arange(TITLES) + 20.0)
    taken = random.choice(TITLES, size=VIEWERS * WATCHED, p=chance / chance.sum())
    pairs = np.unique(np.repeat(np.arange(VIEWERS), WATCHED) * TITLES + taken)
    moments = random.uniform(0, 90 * 86_400, len(pairs))
    return Interactions.sorted(pairs // TITLES, pairs % TITLES, moments, VIEWERS, TITLES)


def _known(
    settings: Settings, keys: dict[str, str], data: Interactions, content: list[TitleContent]
) -> dict[str, set[str]]:
    """Histories and features as the worker keeps them; a third of what was taken is finished."""
    import redis

    from features.keys import DONE, HISTORY, VERSION, online_key
    from features.online import FIELDS

    titles = [of.title_id for of in content]
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
            values = _features(row, content[histories.values[span.start]].genres[0])
            pipeline.execute_command("HSET", online_key(key), *chain(*zip(FIELDS, values, strict=True)))
            pipeline.incr(VERSION + key)
        pipeline.execute()
    return finished


def _features(row: int, genre: str) -> list[bytes]:
    """What Feast keeps of a viewer: of each view a `Timestamp`, then its columns as `Value`s of Protocol Buffers."""
    from features.views import PROFILE, VIEWS

    now = _varint(8, int(time.time()))
    made = []
    for view in VIEWS:
        if view.entity == PROFILE:
            made.append(now)
            for _, kind in view.columns:
                text = b"\x12" + bytes([len(genre)]) + genre.encode()
                number = _varint(32, row % 50) if kind == "int64" else b"\x29" + struct.pack("<d", row % 10 / 10)
                made.append(text if kind == "string" else number)
    return made


def _varint(tag: int, value: int) -> bytes:
    made = bytearray([tag])
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])
