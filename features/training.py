"""Training sets: what was shown, what was known of viewer and title at that moment, and what came of it."""

from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from features.asof import asof_join
from features.errors import FeatureError
from features.views import EVENT_TIMESTAMP, VIEWS
from matinee.settings import Settings
from warehouse.snapshot import hold, named

WINDOW = timedelta(hours=24)  # within which a label is decided; fct_impression's
LABELS = ("is_played",)

_IMPRESSIONS = """
SELECT profile_key, item_id AS title_id, shown_at AS event_timestamp, event_id, session_id, request_id, seq,
       row_id AS surface_row, position AS surface_position, model, version, source, propensity, experiments, origin,
       title_id AS shown_title_id, is_played
FROM read_parquet(?)
WHERE profile_key IS NOT NULL AND NOT is_bot AND shown_at + INTERVAL 24 HOUR <= ?
ORDER BY shown_at, event_id
"""


def training_set(
    settings: Settings, *, as_of: datetime | None = None, label: str = "is_played", snapshot_id: str | None = None
) -> pl.DataFrame:
    """Impressions whose label was decided before `as_of`, oldest first, with all features as they were known then.

    Columns: `profile_key`, `title_id` (the item: film or series), `event_timestamp` (when it was shown), the label
    (Boolean), `surface_row`, `surface_position`, `propensity` and what else `fct_impression` says, then
    `<view>__<feature>`.
    `as_of` is when the snapshot (`snapshot_id`, None: the current one) was made unless given. What happens at or after
    `as_of` changes no row, and no feature of a row knows what began after its `event_timestamp`: of a playback that
    goes on past midnight (UTC) the day on which it began knows how it ended. Bots and people without a profile are
    left out.

    Raises:
        FeatureError: there is no such label, `as_of` has no time zone, or the snapshot has no impressions yet.
        NoSnapshotError: nothing is published yet, or there is no such snapshot.
    """
    if label not in LABELS:
        raise FeatureError(f"there is no label {label!r}: choose one of {', '.join(LABELS)}")
    if as_of is not None and as_of.tzinfo is None:
        raise FeatureError(f"as_of={as_of.isoformat()} has no time zone: add one (datetime.UTC)")
    chosen = hold(settings.lake) if snapshot_id is None else nullcontext(named(settings.lake, snapshot_id))
    with chosen as snapshot:
        shown = _impressions(snapshot.parquet("fct_impression"), as_of or snapshot.created_at)
        return asof_join(shown, snapshot.path / "marts", VIEWS)


def _impressions(path: Path, as_of: datetime) -> pl.DataFrame:
    if not path.exists():
        raise FeatureError(f"the snapshot has no {path.name}: run `matinee build`")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.sql(_IMPRESSIONS, params=[str(path), as_of]).pl()
    return found.with_columns(pl.col(EVENT_TIMESTAMP).dt.convert_time_zone("UTC"))
