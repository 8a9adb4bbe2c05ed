"""The feature store: definitions applied, values in Redis, frames for training."""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import polars as pl

from features.asof import check_frame
from features.erase import forget_erased
from features.errors import FeatureError
from features.keys import SEEDED
from features.turns import building
from features.views import DEFINITIONS, EVENT_TIMESTAMP, PROJECT, SERVICE, VIEWS, View, full_name
from matinee.db.connect import connect
from matinee.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

REGISTRY = "registry.db"
APPLIED = "applied.json"  # beside the registry: by which version of the definitions it was written
MARK_KEY = "features:materialised"
_ROW = "matinee_row"
_BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FeatureSummary:
    """What the online store holds: `rows` were written by this call, none when the snapshot was there already."""

    snapshot_id: str
    views: int
    entities: int
    rows: int
    skipped: bool


def open_store(settings: Settings) -> "FeatureStore":
    """The Feast project `matinee` of this home: registry in `features/`, offline store DuckDB, online store Redis."""
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore, RepoConfig

    folder = settings.home.features
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry=str(folder / REGISTRY),
        offline_store={"type": "duckdb"},
        online_store={
            "type": "redis",
            "connection_string": connection_string(settings.redis()),
            # One writer recomputes every value. Without this a value is refused when its day has one already, so that
            # what was watched since the last build of the same day would never reach Redis.
            "skip_dedup": True,
        },
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    return FeatureStore(config=config)


def apply_and_materialise(settings: Settings) -> FeatureSummary:
    """Bring the definitions and the newest value of every entity online; once for each content of the snapshot.

    Nobody who is erased meanwhile stays online.

    Raises:
        NoSnapshotError: nothing is published yet.
        FeatureError: the snapshot lacks a feature mart, or a newer version of this code wrote the registry.
    """
    import redis

    from warehouse.snapshot import hold

    with connect(settings, autocommit=True) as connection, building(connection), hold(settings.lake) as snapshot:
        marts = snapshot.path / "marts"
        entities = {view.mart: _entities(marts / f"{view.mart}.parquet", view.entity.join_key) for view in VIEWS}
        known, mark = redis.Redis.from_url(settings.redis()), _mark(snapshot.data_hash)
        # The mark lies in Redis beside the values: whatever empties Redis takes it along.
        if known.get(MARK_KEY) == mark and (settings.home.features / REGISTRY).exists():
            return FeatureSummary(snapshot.snapshot_id, len(VIEWS), sum(entities.values()), 0, skipped=True)
        check_registry(settings)
        from features.definitions import objects

        known.delete(MARK_KEY, SEEDED)
        store = open_store(settings)
        store.apply(objects(settings.lake.current / "marts"))
        (settings.home.features / APPLIED).write_text(json.dumps({"definitions": DEFINITIONS}))
        try:
            for view in VIEWS:
                _materialise(store, view, _newest(marts / f"{view.mart}.parquet"))
        finally:
            forget_erased(connection, known)
        known.set(MARK_KEY, mark)
    written = sum(entities.values())
    return FeatureSummary(snapshot.snapshot_id, len(VIEWS), written, written, skipped=False)


def online_features(settings: Settings, rows: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """For each row `{"profile_key": …, "title_id": …}`: the features of `ranker_v1` as they are now, by full name."""
    asked = [dict(row) for row in rows]
    if not asked:
        return []
    store = open_store(settings)
    answer = store.get_online_features(store.get_feature_service(SERVICE), asked, full_feature_names=True).to_dict()
    return [{name: values[row] for name, values in answer.items()} for row in range(len(asked))]


def training_frame(settings: Settings, entity_frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of `entity_frame` in their order, with every feature of `ranker_v1` as it was known at that moment.

    In: `profile_key`, `title_id`, `event_timestamp` (timezone-aware) and whatever else the caller needs (labels). Out:
    those columns, then `<view>__<feature>`. Feast joins; `features.asof.asof_join` gives the same, faster.

    Raises:
        FeatureError: the frame lacks a column, or features were never applied.
    """
    check_frame(entity_frame, VIEWS)
    store = open_store(settings)
    try:
        service = store.get_feature_service(SERVICE)
    except Exception as error:
        raise FeatureError(f"no feature service {SERVICE} in {settings.home.features}: run `matinee build`") from error
    asked = entity_frame.with_row_index(_ROW).with_columns(pl.col(EVENT_TIMESTAMP).dt.convert_time_zone("UTC"))
    joined = store.get_historical_features(asked.to_pandas(), service, full_feature_names=True).to_arrow()
    found = pl.from_arrow(joined)
    assert isinstance(found, pl.DataFrame)
    names = [full_name(view, name) for view in VIEWS for name in view.names]
    features = found.select(pl.col(_ROW).cast(pl.UInt32), *names)
    return entity_frame.with_row_index(_ROW).join(features, on=_ROW, how="left").sort(_ROW).drop(_ROW)


def check_registry(settings: Settings) -> None:
    """Raise `FeatureError` if a newer version of this code has written the registry."""
    path = settings.home.features / APPLIED
    applied = json.loads(path.read_text())["definitions"] if path.exists() else 0
    if applied > DEFINITIONS:
        raise FeatureError(
            f"{path.parent} holds definitions of version {applied}, this code knows {DEFINITIONS}: "
            "upgrade it, or remove that folder and run `matinee build`"
        )


def connection_string(url: str) -> str:
    """A Redis URL in the form that Feast reads: `host:port,db=0,password="…"`.

    Raises:
        FeatureError: the URL has no host (a Unix socket), which Feast's Redis store cannot use.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise FeatureError(f"MATINEE_REDIS_URL={url}: the feature store needs redis://host:port, not a socket")
    words = [f"{parts.hostname}:{parts.port or 6379}", f"db={int(parts.path.strip('/') or 0)}"]
    if parts.scheme == "rediss":
        words.append("ssl=true")
    if parts.username:
        words.append(f"username={json.dumps(unquote(parts.username))}")
    if parts.password:
        words.append(f"password={json.dumps(unquote(parts.password))}")
    return ",".join(words)


def _materialise(store: "FeatureStore", view: View, newest: datetime | None) -> None:
    if newest is not None:
        with redirect_stdout(io.StringIO()):  # Feast reports to the terminal
            store.materialize(_BEGINNING, newest + timedelta(seconds=1), feature_views=[view.name])


def _entities(path: Path, key: str) -> int:
    if not path.exists():
        raise FeatureError(f"the snapshot has no {path.name}: run `matinee build`")
    return int(pl.scan_parquet(path).select(pl.col(key).n_unique()).collect().item())


def _newest(path: Path) -> datetime | None:
    return pl.scan_parquet(path).select(pl.col(EVENT_TIMESTAMP).max()).collect().item()


def _mark(snapshot_hash: str) -> bytes:
    """What decides the online values: the data and the definitions."""
    room = Path(__file__).parent
    code = b"".join((room / name).read_bytes() for name in ("views.py", "definitions.py", "store.py"))
    return hashlib.sha256(snapshot_hash.encode() + code).hexdigest().encode()
