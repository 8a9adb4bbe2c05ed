"""A published snapshot with the feature marts only, as the warehouse would leave it."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from features.views import VIEWS
from matinee.settings import Settings

DAY = datetime(2026, 3, 1, tzinfo=UTC)
_KINDS = {"string": pl.String, "int32": pl.Int32, "int64": pl.Int64, "double": pl.Float64}


def schema(name: str) -> dict[str, pl.DataType | type[pl.DataType]]:
    view = next(view for view in VIEWS if view.name == name)
    head = {view.entity.join_key: pl.String, "event_timestamp": pl.Datetime("us", "UTC")}
    return {**head, **{column: _KINDS[kind] for column, kind in view.columns}}


def publish(settings: Settings, frames: dict[str, pl.DataFrame], name: str = "s1") -> Path:
    folder = settings.lake.published / name
    (folder / "marts").mkdir(parents=True)
    for view in VIEWS:
        frame = frames.get(view.name, pl.DataFrame(schema=schema(view.name)))
        frame.select(*schema(view.name)).cast(schema(view.name)).write_parquet(
            folder / "marts" / f"{view.mart}.parquet"
        )
    manifest = {"snapshot_id": name, "created_at": DAY.isoformat(), "data_hash": f"hash-{name}", "tables": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (settings.lake.published / "next").symlink_to(name)
    os.replace(settings.lake.published / "next", settings.lake.current)
    return folder / "marts"


def days(numbers: list[int]) -> list[datetime]:
    return [DAY + timedelta(days=number) for number in numbers]


@pytest.fixture(scope="session")
def lay() -> SimpleNamespace:
    return SimpleNamespace(publish=publish, day=DAY, days=days, sample=sample)


def sample() -> dict[str, pl.DataFrame]:
    """Two profiles and two titles over some days; a series of gaps longer than the time to live."""
    return {
        "profile_activity": pl.DataFrame(
            {
                "profile_key": ["a", "a", "a", "b"],
                "event_timestamp": days([0, 3, 50, 3]),
                "plays_7d": [1, 2, 3, 4],
                "plays_30d": [1, 3, 3, 4],
                "hours_30d": [0.5, 1.5, 1.0, 2.0],
                "completion_30d": [1.0, None, 0.25, 0.5],
            }
        ),
        "profile_taste": pl.DataFrame(
            {
                "profile_key": ["a", "b"],
                "event_timestamp": days([0, 3]),
                "top_genre": ["drama", "комедия"],
                "top_genre_share": [1.0, 0.5],
                "genres_watched": [1, 2],
            }
        ),
        "title_popularity": pl.DataFrame(
            {
                "title_id": ["t", "t", "u"],
                "event_timestamp": days([0, 1, 3]),
                "plays_7d": [1, 2, 3],
                "plays_14d": [1, 2, 3],
                "plays_30d": [1, 2, 3],
                "viewers_30d": [1, 1, 1],
                "completion_30d": [0.0, 0.5, 1.0],
            }
        ),
        "title_content": pl.DataFrame(
            {
                "title_id": ["t", "u"],
                "event_timestamp": days([-900, -900]),
                "kind": ["film", "series"],
                "year": [1999, None],
                "runtime_s": [3600, 60],
                "maturity": [0, 18],
                "main_genre": ["drama", None],
                "kbps_vmaf_95": [4200.0, None],
            }
        ),
    }
