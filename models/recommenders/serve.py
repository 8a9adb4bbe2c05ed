"""The lists that the API serves, in Redis: for each viewer, for everybody, and beside each title."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from matinee.console import progress
from matinee.settings import Settings
from models.interactions import Ragged
from models.recommenders.lists import (
    LIMIT,
    Pick,
    filled,
    genre_matrix,
    personal_picks,
    popular_picks,
    similar_picks,
    taken_together,
)
from models.recommenders.marts import Marts, read_marts
from models.recommenders.stored import Stored

if TYPE_CHECKING:
    import redis

    from models.recommenders.registry import Champion

PROFILE_KEY = "recs:profile:"
SIMILAR_KEY = "recs:similar:"
POPULAR_KEY = "recs:popular"
DEFAULT_FALLBACK = "popularity_14d"
_BATCH = 256
_MATCH = "recs:*"


@dataclass(frozen=True)
class PublishSummary:
    """What serves now: `model` and `version`, and how many lists of each kind are in Redis."""

    model: str
    version: str
    snapshot_id: str
    profiles: int
    titles: int
    popular: int
    removed: int


def publish_lists(settings: Settings) -> PublishSummary:
    """Write `recs:profile:<profile_key>`, `recs:similar:<title_id>` and `recs:popular`; remove those that are stale.

    The champion ranks; without one, recent popularity does. Films that a viewer finished or rated are left out; once
    films play here only playable titles are listed (an imported catalogue without films is listed whole).

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    import redis

    from models.recommenders import registry

    marts = read_marts(settings)
    champion = registry.champion(settings) if marts.profiles else None
    store = redis.Redis.from_url(settings.redis())
    try:
        return _publish(store, marts, champion)
    finally:
        store.close()


def _publish(store: "redis.Redis", marts: Marts, champion: "Champion | None") -> PublishSummary:
    fallback = champion.stored.about.fallback if champion else DEFAULT_FALLBACK
    offered = marts.offered
    popular = popular_picks(marts.data, fallback, offered, marts.created)
    popular_model = {"name": fallback, "version": fallback.rpartition("_")[2], "snapshot_id": marts.snapshot_id}
    model = _named(champion) if champion else popular_model
    written: set[bytes] = {POPULAR_KEY.encode()}
    store.set(POPULAR_KEY, _blob(popular_model, popular, marts.items))
    with progress() as bar:
        task = bar.add_task("lists", total=len(marts.profiles) + len(marts.items))
        for batch in _profile_lists(marts, champion.stored if champion else None, popular):
            written |= _write(store, PROFILE_KEY, batch, model, marts.items)
            bar.advance(task, len(batch))
        similar_model = {"name": "similar", "version": "1", "snapshot_id": marts.snapshot_id}
        for batch in _similar_lists(marts):
            written |= _write(store, SIMILAR_KEY, batch, similar_model, marts.items)
            bar.advance(task, len(batch))
    removed = _remove_stale(store, written)
    return PublishSummary(
        model["name"], model["version"], marts.snapshot_id, len(marts.profiles), len(marts.items), len(popular), removed
    )


def _profile_lists(marts: Marts, stored: Stored | None, popular: list[Pick]) -> Iterator[dict[str, list[Pick]]]:
    histories = marts.data.histories()
    for start in range(0, len(marts.profiles), _BATCH):
        stop = min(start + _BATCH, len(marts.profiles))
        excluded = marts.finished.part(start, stop)
        if stored is None:
            lists = [filled([], popular, set(excluded[row].tolist())) for row in range(len(excluded))]
        else:
            lists = _in_catalogue(marts, stored, histories.part(start, stop), excluded, popular)
        yield dict(zip(marts.profiles[start:stop], lists, strict=True))


def _in_catalogue(
    marts: Marts, stored: Stored, histories: Ragged, excluded: Ragged, popular: list[Pick]
) -> list[list[Pick]]:
    """The stored model's lists, asked and answered in the numbering of today's catalogue, not of its training."""
    today = {title: row for row, title in enumerate(marts.items)}
    to_today = np.array([today.get(title, -1) for title in stored.items], dtype=np.int64)
    to_model = np.full(len(marts.items), -1, dtype=np.int64)
    to_model[to_today[to_today >= 0]] = np.flatnonzero(to_today >= 0)
    offered = np.where(to_today >= 0, marts.offered[to_today], False)
    rows = personal_picks(
        stored.model,
        stored.about.name,
        _renumbered(histories, to_model),
        _renumbered(excluded, to_model),
        offered,
        [],
    )
    lists = []
    for row, picks in enumerate(rows):
        own = [
            Pick(
                int(to_today[pick.item]),
                pick.score,
                pick.source,
                pick.reason if pick.because is None or to_today[pick.because] >= 0 else "popular_now",
                None if pick.because is None or to_today[pick.because] < 0 else int(to_today[pick.because]),
            )
            for pick in picks
        ]
        lists.append(filled(own, popular, set(excluded[row].tolist())))
    return lists


def _renumbered(rows: Ragged, numbers: np.ndarray) -> Ragged:
    return Ragged.of([[int(n) for n in numbers[rows[row]] if n >= 0] for row in range(len(rows))])


def _similar_lists(marts: Marts) -> Iterator[dict[str, list[Pick]]]:
    offered, together, tags = marts.offered, taken_together(marts.data), genre_matrix(marts.genres)
    for start in range(0, len(marts.items), _BATCH):
        items = np.arange(start, min(start + _BATCH, len(marts.items)))
        lists = similar_picks(together, tags, offered, items)
        yield {marts.items[item]: picks for item, picks in zip(items, lists, strict=True)}


def _named(champion: "Champion") -> dict[str, str]:
    from models.recommenders.registry import MODEL

    return {"name": MODEL, "version": champion.version, "snapshot_id": champion.stored.about.snapshot_id}


def _write(
    store: "redis.Redis", prefix: str, lists: dict[str, list[Pick]], model: dict[str, str], titles: list[str]
) -> set[bytes]:
    pipe = store.pipeline(transaction=False)
    for name, picks in lists.items():
        pipe.set(prefix + name, _blob(model, picks, titles))
    pipe.execute()
    return {(prefix + name).encode() for name in lists}


def _blob(model: dict[str, Any], picks: list[Pick], titles: list[str]) -> bytes:
    return orjson.dumps({"model": model, "items": [pick.blob(titles) for pick in picks[:LIMIT]]})


def _remove_stale(store: "redis.Redis", written: set[bytes]) -> int:
    stale = [key for key in store.scan_iter(match=_MATCH, count=1000) if key not in written]
    for start in range(0, len(stale), 1000):
        store.delete(*stale[start : start + 1000])
    return len(stale)
