"""Deliveries as rows of the landing zone, all at once: what the intake and the collector make of them one by one.

A test holds the two ways equal, row for row.
"""

from collections.abc import Mapping

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from matinee.contracts.landing import LANDED_EVENT
from models.experiments.assignment import Experiment
from simulation.watching import RENDITIONS
from simulation.wire import ALTERED_RENDITION, BOT, ERROR_CODE, GROWS, ROW_NAMES, SCHEMA, SURFACE_MODEL


def landed_table(
    deliveries: pl.DataFrame, running: tuple[Experiment, ...], keys: Mapping[str, str], origin: str, first: int
) -> pa.Table:
    """The accepted deliveries in the columns of the landing zone. `keys`: account id -> its pseudonym; events of others
    are left out. `first`: the number of the first row within the run, which makes log ids distinct.

    The fingerprint is not a hash: it spells the event's id and whether the payload was altered, which say of
    simulated events whether two payloads are the same.
    """
    known = pl.DataFrame(
        {"account_id": list(keys), "key": list(keys.values())}, schema={"account_id": pl.String, "key": pl.String}
    )
    rows = (
        deliveries.filter(pl.col("code").is_null())
        .join(known, on="account_id", how="left", maintain_order="left")
        .filter(pl.col("account_id").is_null() | pl.col("key").is_not_null())
        .with_row_index("n", offset=first)
    )
    altered, kind = pl.col("fate") == "altered", pl.col("type")
    client = pl.col("at") + pl.col("skew")
    columns = {
        "event_id": pl.col("event_id"),
        "schema": pl.lit(SCHEMA),
        "origin": pl.lit(origin),
        "log_id": pl.format("{}-{}", "received", "n"),
        "fingerprint": _fingerprint(altered),
        "account_key": pl.col("key"),
        "profile_key": pl.col("key"),
        "ts_client": _moment(client),
        "ts_sent": _moment(client + pl.col("delay")),
        "received_at": _moment(pl.col("received")),
        "event_ts": _moment(pl.col("received") - pl.col("delay")),
        "rendition": pl.when(altered).then(pl.lit(ALTERED_RENDITION)).otherwise(_named("rendition", RENDITIONS)),
        **{name: pl.col(name) + pl.when(altered).then(step).otherwise(0) for name, step in GROWS.items()},
        **_surface(),
        "experiments": _experiments(running),
        **_data(running, altered),
        "bot": pl.when(pl.col("viewer") < 0).then(pl.lit(BOT)),
        **{name: pl.col(name) for name in ("session_id", "playback_id", "seq", "title_id", "device", "country")},
        "type": kind,
        **{name: pl.col(name) for name in ("stall_ms", "stalls", "paused_ms", "startup_ms")},
    }
    table = rows.select(**columns).to_arrow()
    arrays = [
        table[field.name].cast(field.type) if field.name in columns else pa.nulls(table.num_rows, field.type)
        for field in LANDED_EVENT
    ]
    return pa.Table.from_arrays(arrays, schema=LANDED_EVENT)


def _moment(milliseconds: pl.Expr) -> pl.Expr:
    return (milliseconds * 1000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _named(column: str, names: tuple[str, ...]) -> pl.Expr:
    return (
        pl.col(column)
        .cast(pl.Int32)
        .replace_strict(np.arange(len(names)).tolist(), list(names), default=None, return_dtype=pl.String)
    )


def _fingerprint(altered: pl.Expr) -> pl.Expr:
    digits = pl.col("event_id").str.replace_all("-", "", literal=True)
    return pl.concat_str(digits, pl.when(altered).then(pl.lit("a" * 32)).otherwise(pl.lit("0" * 32)))


def _surface() -> dict[str, pl.Expr]:
    placed = pl.col("row").is_not_null() & (pl.col("place") >= 0)
    return {
        "surface_row": _named("row", ROW_NAMES),
        "surface_position": pl.when(placed).then("place"),
        "surface_model": pl.when(placed).then(pl.lit(SURFACE_MODEL["model"])),
        "surface_version": pl.when(placed).then(pl.lit(SURFACE_MODEL["version"])),
        "surface_propensity": pl.when(placed).then("propensity"),
    }


def _experiments(running: tuple[Experiment, ...]) -> pl.Expr:
    """JSON with sorted keys, as the collector writes it."""
    told = pl.col("type").is_in(["play", "impression"]) & (pl.col("viewer") >= 0)
    pieces: list[pl.Expr] = []
    for experiment in sorted(running, key=lambda e: e.name):
        name = orjson.dumps(experiment.name).decode()
        pieces += [pl.lit(f'{"," if pieces else "{"}{name}:"'), pl.col(experiment.name), pl.lit('"')]
    return pl.when(told).then(pl.concat_str(*pieces, pl.lit("}"))) if pieces else pl.lit(None, pl.String)


def _data(running: tuple[Experiment, ...], altered: pl.Expr) -> dict[str, pl.Expr]:
    kind, value = pl.col("type"), pl.col("value")
    words = pl.col("title_id").str.replace_all("-", " ", literal=True).str.strip_chars(" ").str.split(" ")
    opposite = pl.when(value > 2).then(0.5).otherwise(5.0)
    shown = pl.col("experiment").cast(pl.Int32)
    number = list(range(len(running)))

    def of_experiment(values: list[str]) -> pl.Expr:
        return shown.replace_strict(number, values, default=None, return_dtype=pl.String)

    variant = pl.lit(None, pl.String)
    for i, experiment in enumerate(running):
        variant = pl.when(shown == i).then(pl.col(experiment.name)).otherwise(variant)
    exposed = kind == "exposure"
    return {
        "rate_value": pl.when(kind == "rate").then(pl.when(altered).then(opposite).otherwise(value)),
        "favourite_on": pl.when(kind == "favourite").then(value != 0),
        "search_query": pl.when(kind == "search").then(words.list.last().str.head(12)),
        "search_results": pl.when(kind == "search").then(value.cast(pl.Int64)),
        "search_clicked": pl.when(kind == "search").then("title_id"),
        "error_code": pl.when(kind == "error").then(pl.lit(ERROR_CODE)),
        "error_fatal": pl.when(kind == "error").then(pl.lit(value=True)),
        "exposure_experiment": pl.when(exposed).then(of_experiment([e.name for e in running])),
        "exposure_variant": pl.when(exposed).then(variant),
        "exposure_salt": pl.when(exposed).then(of_experiment([e.salt for e in running])),
    }
