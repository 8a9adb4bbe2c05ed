"""What the warehouse must find, worked out from the simulation itself and without a line of its code.

A playback belongs to the UTC day of its first recorded event; the largest counters that were recorded win; it is
complete when its furthest position reaches 90 % of the runtime. "Recorded" is what reached the server first, in time
and unbroken: no clean-up can bring back a heartbeat that was lost.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from simulation.dirt import Delivered
from simulation.errors import SimulationError
from simulation.parameters import MS_PER_DAY, Plan
from simulation.world import World

_PLAYBACK = ("play", "heartbeat", "stop")
_MS_PER_HOUR = 3_600_000


def playbacks(delivered: Delivered, world: World) -> pl.DataFrame:
    """One row a recorded playback: viewer, title, day, milliseconds played, whether completed and failed."""
    runtimes = pl.DataFrame(
        {"title_id": [t.title_id for t in world.titles], "runtime_ms": [t.runtime_ms for t in world.titles]}
    )
    return (
        _recorded(delivered.deliveries)
        .filter(pl.col("playback_id").is_not_null())
        .group_by("playback_id")
        .agg(
            pl.col("viewer").first(),
            pl.col("title_id").first(),
            pl.col("at").min().alias("started"),
            pl.col("played_ms").max().fill_null(0),
            pl.col("position_ms").max().fill_null(0),
            (pl.col("type") == "error").any().alias("is_failed"),
            pl.col("type").is_in(_PLAYBACK).any().alias("played"),
        )
        .filter(pl.col("played"))
        .join(runtimes, on="title_id")
        .with_columns(
            event_date=_date(pl.col("started")),
            is_completed=pl.col("position_ms") * 10 >= pl.col("runtime_ms") * 9,
        )
        .select("event_date", "title_id", "viewer", "played_ms", "is_completed", "is_failed")
        .sort("event_date", "title_id", "viewer", "played_ms")
    )


def title_day(played: pl.DataFrame) -> pl.DataFrame:
    """Day x title: plays, viewers, hours, completions."""
    return (
        played.group_by("event_date", "title_id")
        .agg(
            pl.len().cast(pl.Int64).alias("plays"),
            pl.col("viewer").n_unique().cast(pl.Int64).alias("viewers"),
            (pl.col("played_ms").sum() / _MS_PER_HOUR).alias("hours_viewed"),
            pl.col("is_completed").sum().cast(pl.Int64).alias("completions"),
        )
        .sort("event_date", "title_id")
    )


def event_day(deliveries: pl.DataFrame) -> pl.DataFrame:
    """Day x type: how many distinct events happened, and the sum of the ratings given."""
    return (
        _recorded(deliveries)
        .group_by(_date(pl.col("at")).alias("event_date"), pl.col("type").alias("event_type"))
        .agg(
            pl.len().cast(pl.Int64).alias("events"),
            pl.col("value").filter(pl.col("type") == "rate").sum().alias("rating"),
        )
        .sort("event_date", "event_type")
    )


def ledger(delivered: Delivered) -> pl.DataFrame:
    """Everything that did not simply arrive once: what happened to it, and the code that it must be refused with."""
    columns = ["event_id", "type", "at", "received", "fate", "code", "is_late"]
    late = (pl.col("received") - pl.col("at") > 3_600_000).alias("is_late")
    lost = delivered.lost.with_columns(
        late, fate=pl.lit("lost"), code=pl.lit(None, pl.String), received=pl.lit(None, pl.Int64)
    )
    dirty = delivered.deliveries.with_columns(late).filter((pl.col("fate") != "first") | pl.col("is_late"))
    return pl.concat([lost.select(columns), dirty.select(columns)]).sort("at", "event_id", "fate", "received")


def totals(deliveries: pl.DataFrame, lost: int, played: pl.DataFrame) -> dict[str, Any]:
    """Sums over the run: what was sent, what must be accepted, what must be refused and why, what was watched."""
    recorded = _recorded(deliveries)
    refused = deliveries.filter(pl.col("code").is_not_null())
    return {
        "sent": deliveries.height,
        "accepted": deliveries.height - refused.height,
        "distinct_events": recorded.height,
        "events_by_type": _counts(recorded, "type"),
        "dead_letters": _counts(refused, "code"),
        "fates": _counts(deliveries, "fate") | {"lost": lost},
        "late": deliveries.filter((pl.col("fate") == "first") & (pl.col("received") - pl.col("at") > 3_600_000)).height,
        "skewed": deliveries.filter(pl.col("skew") != 0).height,
        "plays": played.height,
        "hours": played["played_ms"].sum() / _MS_PER_HOUR,
        "completions": int(played["is_completed"].sum()),
        "failures": int(played["is_failed"].sum()),
        "viewers": played["viewer"].n_unique(),
    }


def write(
    folder: Path,
    plan: Plan,
    world: World,
    frames: Mapping[str, pl.DataFrame],
    documents: Mapping[str, Any],
    events_sha256: str,
) -> dict[str, Any]:
    """Write the truth of a run, whole or not at all; returns the manifest.

    Raises:
        SimulationError: another simulation of that name is there.
    """
    check_free(folder, plan, world)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, frame in frames.items():
        frame.write_parquet(draft / f"{name}.parquet", compression="zstd")
    for name, document in documents.items():
        (draft / f"{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    manifest = {
        "run": folder.name,
        "digest": plan.digest(world.fingerprint),
        "parameters": asdict(plan) | {"end": plan.end.isoformat()},
        "titles": len(world.titles),
        "events_sha256": events_sha256,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(draft.iterdir())},
    }
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return manifest


def check_free(folder: Path, plan: Plan, world: World) -> None:
    """
    Raises:
        SimulationError: the folder holds the truth of a simulation with other parameters or titles.
    """
    path = folder / "manifest.json"
    if path.exists() and json.loads(path.read_text())["digest"] != plan.digest(world.fingerprint):
        raise SimulationError(
            f"run {folder.name!r} exists in {folder.parent} with other parameters or titles: give another --run name"
        )


def _recorded(deliveries: pl.DataFrame) -> pl.DataFrame:
    return deliveries.filter(pl.col("fate") == "first")


def _counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(sorted(frame.group_by(column).len().iter_rows()))


def _date(milliseconds: pl.Expr) -> pl.Expr:
    return (milliseconds // MS_PER_DAY).cast(pl.Int32).cast(pl.Date)
