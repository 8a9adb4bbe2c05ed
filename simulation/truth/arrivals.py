"""What arrived: the ledger of everything that did not simply arrive once, and the intake by received day."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from simulation.truth.recorded import MS_PER_HOUR, date_of, is_bot, recorded

_SKEW_MS = 60_000
_COLUMNS = ["event_id", "type", "at", "received", "fate", "code", "is_late"]


def ledger(deliveries: pl.DataFrame, lost: pl.DataFrame) -> pl.DataFrame:
    """Everything that did not simply arrive once: what happened to it, and the code that it must be refused with."""
    late = (pl.col("received") - pl.col("at") > MS_PER_HOUR).alias("is_late")
    gone = lost.with_columns(late, fate=pl.lit("lost"), code=pl.lit(None, pl.String), received=pl.lit(None, pl.Int64))
    dirty = deliveries.with_columns(late).filter((pl.col("fate") != "first") | pl.col("is_late"))
    return pl.concat([gone.select(_COLUMNS), dirty.select(_COLUMNS)]).sort("at", "event_id", "fate", "received")


def intake_day(deliveries: pl.DataFrame) -> pl.DataFrame:
    """Received day: accepted receipts, those of them that are new, the same again, other under a known id; late, by
    bots, from clocks that are more than a minute off. A copy carries the times of the first."""
    first, received = pl.col("fate") == "first", pl.col("received")
    # The device says that it sent at `at + skew + delay`.
    off = (received - pl.col("at") - pl.col("skew") - pl.col("delay")).abs() > _SKEW_MS
    flags = {
        "events": first,
        "repeats": pl.col("fate") == "duplicate",
        "conflicts": pl.col("fate") == "altered",
        "late": first & (received - pl.col("at") > MS_PER_HOUR),
        "bots": is_bot(),
        "skewed": off,
    }
    return (
        deliveries.filter(pl.col("code").is_null())
        .group_by(date_of(received).alias("received_date"))
        .agg(
            pl.len().cast(pl.Int64).alias("receipts"),
            *(flag.sum().cast(pl.Int64).alias(name) for name, flag in flags.items()),
        )
    )


def counts(deliveries: pl.DataFrame, lost: int, played: pl.DataFrame) -> dict[str, Any]:
    """Sums over a group: what was sent, what must be accepted, what must be refused and why, what was watched."""
    events = recorded(deliveries)
    refused = deliveries.filter(pl.col("code").is_not_null())
    people = played.filter(~is_bot())
    return {
        "sent": deliveries.height,
        "accepted": deliveries.height - refused.height,
        "distinct_events": events.height,
        "events_by_type": _counts(events, "type"),
        "dead_letters": _counts(refused, "code"),
        "fates": _counts(deliveries, "fate") | {"lost": lost},
        "late": deliveries.filter(
            (pl.col("fate") == "first") & (pl.col("received") - pl.col("at") > MS_PER_HOUR)
        ).height,
        "skewed": deliveries.filter(pl.col("skew") != 0).height,
        "bots": events.filter(is_bot()).height,
        "plays": people.height,
        "played_ms": people["played_ms"].sum(),
        "completions": int(people["is_completed"].sum()),
        "failures": int(people["is_failed"].sum()),
        "viewers": people["viewer"].n_unique(),
    }


def added(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums of sums, level by level."""
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = (
                added([total.get(name, {}), value]) if isinstance(value, Mapping) else total.get(name, 0) + value
            )
    return dict(sorted(total.items()))


def _counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(sorted(frame.group_by(column).len().iter_rows()))
