"""Policies that every asset shares, in one place."""

from datetime import timedelta
from typing import Any

import dagster as dg

# One writer owns the DuckDB build file.
BUILD_FILE_POOL = "duckdb_build"

# On a run: dbt builds its incremental models from all events.
FULL_REFRESH = "matinee/full_refresh"

RETRIES = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)

# The nightly build runs once a day; half a day of slack before somebody is told.
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))

OWNERS = {
    "ingest": "team:ingest",
    "transcoding": "team:video",
    "warehouse": "team:data",
    "transforms": "team:analytics",
    "features": "team:ml",
    "models": "team:ml",
    "serving": "team:service",
}


def room(name: str, **more: Any) -> dict[str, Any]:
    """The arguments that all assets of a room have in common."""
    return {"key_prefix": name, "group_name": name, "owners": [OWNERS[name]], "retry_policy": RETRIES, **more}
