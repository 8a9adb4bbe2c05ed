"""Live rows into the online store, through Feast. Importing this module is cheap, opening a `Pusher` is not (5 s)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import FeatureError
from features.keys import online_key
from features.live import Row
from features.online import fields_of
from features.store import REGISTRY, check_registry, open_store
from features.views import EVENT_TIMESTAMP, PROFILE, View, pushed
from matinee.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import redis
    from feast import FeatureStore

_DTYPES = {"string": "object", "int32": "Int32", "int64": "Int64", "double": "float64"}


class Pusher:
    """Writes rows of the views behind the push source `profile_events`.

    A row replaces what is there, whatever its time: who pushes computes it of all that is known, the newest included,
    and does so under the lock of `features.turns`.
    """

    def __init__(self, settings: Settings, client: "redis.Redis") -> None:
        """Raises:
        FeatureError: the registry is not there yet, or was written by a newer version of this code.
        """
        check_registry(settings)
        self._registry: Path = settings.home.features / REGISTRY
        if not self._registry.exists():
            raise FeatureError(f"no feature registry in {settings.home.features}: run `matinee build`")
        self._store: FeatureStore = open_store(settings)
        self._client = client

    def push(self, made: Mapping[str, Mapping[str, Row | None]]) -> int:
        """Write `profile_key -> view -> row`; None takes away what is there. Returns how many rows changed.

        Raises:
            FeatureError: the registry knows no such view.
            redis.RedisError: Redis does not answer.
        """
        changed = 0
        for view in pushed():
            rows = [row for of in made.values() if (row := of.get(view.name)) is not None]
            if rows:
                self._write(view, rows)
            gone = [key for key, of in made.items() if view.name in of and of[view.name] is None]
            self._take_away(view, gone)
            changed += len(rows) + len(gone)
        return changed

    def _write(self, view: View, rows: list[Row]) -> None:
        from feast.errors import FeatureViewNotFoundException

        try:
            # Feast's `push` writes one frame to all views of the source; each of ours has a time of its own.
            self._store.write_to_online_store(view.name, _frame(view, rows))
        except FeatureViewNotFoundException as error:
            raise FeatureError(f"{self._registry} knows no view {view.name}: run `matinee build`") from error

    def _take_away(self, view: View, profile_keys: Iterable[str]) -> None:
        # Feast refuses a frame without a single value.
        pipeline = self._client.pipeline(transaction=False)
        for key in profile_keys:
            pipeline.execute_command("HDEL", online_key(key), *fields_of(view))
        pipeline.execute()


def push(settings: Settings, made: Mapping[str, Mapping[str, Row | None]]) -> int:
    """`Pusher.push` for once."""
    import redis

    client = redis.Redis.from_url(settings.redis())
    try:
        return Pusher(settings, client).push(made)
    finally:
        client.close()


def _frame(view: View, rows: list[Row]) -> "pd.DataFrame":
    import pandas as pd

    columns = {PROFILE.join_key: pd.Series([row[PROFILE.join_key] for row in rows], dtype="object")}
    columns[EVENT_TIMESTAMP] = pd.Series([row[EVENT_TIMESTAMP] for row in rows])
    for name, kind in view.columns:
        columns[name] = pd.Series([row[name] for row in rows], dtype=_DTYPES[kind])
    return pd.DataFrame(columns)
