"""Whether features can be believed: the same online as offline (skew), and as they were not long ago (drift)."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import redis

from features import live
from features.catalogue import read_catalogue
from features.keys import PLAYS, online_key
from features.live import Catalogue
from features.online import decoded, fields_of, moment_of
from features.training import training_set
from features.turns import turn
from features.views import EVENT_TIMESTAMP, PROFILE, VIEWS, View, full_name, pushed
from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.settings import Settings
from warehouse.snapshot import hold

TOLERANCE = 1e-9
SAMPLE = 500
WINDOWS = timedelta(days=30)


@dataclass(frozen=True)
class Skew:
    """`compared` rows of the online store, `live` of them newer than the snapshot; `wrong`: profile, feature, online
    value, the value that it should have."""

    compared: int
    live: int
    wrong: tuple[tuple[str, str, object, object], ...]


def skew(settings: Settings, *, sample: int = SAMPLE, seed: int = 0, clock: Clock | None = None) -> Skew:
    """Compare what serving reads of some profiles with what training reads: the newest row of the marts.

    Where events came after the snapshot, the row is held against one made anew of the profile's state.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    now, compared, ahead = (clock or SystemClock()).now(), 0, 0
    wrong: list[tuple[str, str, object, object]] = []
    with hold(settings.lake) as snapshot:
        newest = {view: _newest(snapshot.parquet(view.mart)) for view in pushed()}
    everybody = sorted({key for of in newest.values() for key in of})
    keys = pl.Series("key", everybody, dtype=pl.String).sample(min(sample, len(everybody)), seed=seed).to_list()
    with ExitStack() as stack:
        connection = stack.enter_context(connect(settings, autocommit=True))
        client = redis.Redis.from_url(settings.redis())
        stack.callback(client.close)
        catalogue = read_catalogue(connection)
        for key in keys:
            rows = {view: of[key] for view, of in newest.items() if key in of}
            found = _skew_of(key, rows, client, catalogue, now)
            if found.wrong:  # or half way: who writes live state does so within the turn
                with turn(connection):
                    found = _skew_of(key, rows, client, catalogue, now)
            compared, ahead, wrong = compared + found.compared, ahead + found.live, [*wrong, *found.wrong]
    return Skew(compared, ahead, tuple(wrong))


def _skew_of(
    key: str, rows: Mapping[View, Mapping[str, Any]], client: redis.Redis, catalogue: Catalogue, now: datetime
) -> Skew:
    values = [client.execute_command("HMGET", online_key(key), *fields_of(view)) for view in pushed()]
    online = decoded([value for of in values for value in of], now)
    wrong, compared, ahead = [], 0, 0
    for view, found in zip(pushed(), values, strict=True):
        row = rows.get(view)
        if row is None or moment_of(found[0]) != row[EVENT_TIMESTAMP]:
            row, ahead = _live(client, key, view, catalogue), ahead + (found[0] is not None)
        compared += row is not None
        if row is not None and _lives(view, row[EVENT_TIMESTAMP], now):
            wrong += _differences(key, view, online, row)
    return Skew(compared, ahead, tuple(wrong))


def _newest(path: Path) -> dict[str, dict[str, Any]]:
    rows = pl.read_parquet(path).sort(EVENT_TIMESTAMP).group_by(PROFILE.join_key, maintain_order=True).last()
    return {row[PROFILE.join_key]: row for row in rows.iter_rows(named=True)}


def _live(client: redis.Redis, key: str, view: View, catalogue: Catalogue) -> live.Row | None:
    plays = client.hgetall(PLAYS + key)
    assert isinstance(plays, dict)  # the client's types leave open that it is awaited
    return live.rows(key, live.state_of(plays), catalogue)[view.name]


def _lives(view: View, moment: Any, now: Any) -> bool:
    """Whether training would believe the row as well: where a day more or less decides, it is not compared."""
    return view.ttl is None or moment + view.ttl >= now + timedelta(days=1)


def _differences(
    key: str, view: View, online: Mapping[str, object], row: Mapping[str, Any]
) -> list[tuple[str, str, object, object]]:
    pairs = [(full_name(view, name), online[full_name(view, name)], row[name]) for name in view.names]
    return [(key, name, is_now, should) for name, is_now, should in pairs if not _equal(is_now, should)]


def _equal(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return one == other


def recent_and_before(
    settings: Settings, *, days: int = 7, views: Sequence[View] = VIEWS
) -> dict[str, tuple[pl.Series, pl.Series]]:
    """Feature -> its values at what was shown before the last `days`, and at what was shown within them (`sides`).

    Raises:
        FeatureError: the snapshot has no impressions.
        NoSnapshotError: nothing is published yet.
    """
    shown = training_set(settings)
    if shown.is_empty():
        return {}
    newest: datetime = shown[EVENT_TIMESTAMP][-1]
    return sides(shown, newest - timedelta(days=days), views)


def sides(
    shown: pl.DataFrame, since: datetime, views: Sequence[View] = VIEWS
) -> dict[str, tuple[pl.Series, pl.Series]]:
    """Feature -> its values in a training set before the moment `since`, and after it.

    The first 30 days are left out: windows fill then, which is no drift.
    """
    at = pl.col(EVENT_TIMESTAMP)
    filled = shown.filter(at >= at.min() + WINDOWS)
    is_recent = filled.select(at > since).to_series()
    names = [full_name(view, name) for view in views for name in view.names]
    return {name: (filled[name].filter(~is_recent), filled[name].filter(is_recent)) for name in names}
