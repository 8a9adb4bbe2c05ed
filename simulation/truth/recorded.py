"""The recorded events of a group of viewers, and what of them the marts of people need: one row a playback."""

import polars as pl

from simulation.parameters import MS_PER_DAY
from simulation.world import World

MS_PER_HOUR = 3_600_000
VALID_MS = 30_000
_IDLE_MS, _LONGEST_MS = 1_800_000, 86_400_000
_BEATS = ("play", "heartbeat", "stop")


def recorded(deliveries: pl.DataFrame) -> pl.DataFrame:
    return deliveries.filter(pl.col("fate") == "first")


def date_of(milliseconds: pl.Expr) -> pl.Expr:
    return (milliseconds // MS_PER_DAY).cast(pl.Int32).cast(pl.Date)


def month_of(day: pl.Expr) -> pl.Expr:
    return day.dt.truncate("1mo")


def is_bot() -> pl.Expr:
    return pl.col("viewer") < 0


def runtimes(world: World) -> pl.DataFrame:
    """Runtimes in whole seconds, as a catalogue states them; half a second counts as one."""
    return pl.DataFrame(
        {
            "title_id": [t.title_id for t in world.titles],
            "runtime_ms": [(t.runtime_ms + 500) // 1000 * 1000 for t in world.titles],
        },
        schema={"title_id": pl.String, "runtime_ms": pl.Int64},
    )


def playbacks(events: pl.DataFrame, world: World) -> pl.DataFrame:
    """One row a recorded playback: whose, what, when it began (ms), the largest counters, how it ended."""
    return (
        events.filter(pl.col("playback_id").is_not_null())
        .group_by("playback_id")
        .agg(
            pl.col("viewer", "account_id", "title_id", "device", "country").first(),
            pl.col("at").min().alias("started"),
            *(pl.col(name).max().fill_null(0) for name in ("played_ms", "position_ms", "stall_ms", "stalls", "bits")),
            pl.col("startup_ms").max(),
            (pl.col("type") == "error").any().alias("is_failed"),
        )
        .join(runtimes(world), on="title_id")
        .with_columns(
            event_date=date_of(pl.col("started")),
            is_completed=pl.col("position_ms") * 10 >= pl.col("runtime_ms") * 9,
            is_valid=pl.col("played_ms")
            >= pl.min_horizontal(pl.lit(VALID_MS, pl.Int64), pl.col("runtime_ms") * 9 // 10),
        )
        .sort("started", "playback_id")
    )


def event_day(events: pl.DataFrame) -> pl.DataFrame:
    """Day x type: how many distinct events happened, and the sum of the ratings given."""
    return events.group_by(date_of(pl.col("at")).alias("event_date"), pl.col("type").alias("event_type")).agg(
        pl.len().cast(pl.Int64).alias("events"),
        pl.col("value").filter(pl.col("type") == "rate").sum().alias("rating"),
    )


def session_day(events: pl.DataFrame) -> pl.DataFrame:
    """Day on which a visit begins: visits, their events, plays, and how many are a bot's.

    A visit of a viewer (of a session, where nobody is signed in) ends when nothing happens for more than half an hour,
    and after every full day since its idle group began.
    """
    who = pl.when(pl.col("account_id").is_null()).then("session_id").otherwise(pl.lit(None, pl.String))
    moved = events.select("viewer", "at", "event_id", "playback_id", who=who).sort("viewer", "who", "at", "event_id")
    over = ["viewer", "who"]
    idle = (pl.col("at") - pl.col("at").shift(1).over(over) > _IDLE_MS).fill_null(value=True)
    grouped = moved.with_columns(idle.cum_sum().alias("idle_group"))
    part = (pl.col("at") - pl.col("at").min().over("idle_group")) // _LONGEST_MS
    return (
        grouped.with_columns(part=part)
        .group_by("idle_group", "part")
        .agg(
            pl.col("viewer").first(),
            pl.col("at").min(),
            pl.len().cast(pl.Int64).alias("events"),
            pl.col("playback_id").drop_nulls().n_unique().cast(pl.Int64).alias("plays"),
        )
        .group_by(date_of(pl.col("at")).alias("event_date"))
        .agg(
            pl.len().cast(pl.Int64).alias("sessions"),
            pl.col("events", "plays").sum(),
            is_bot().sum().cast(pl.Int64).alias("bots"),
        )
    )


def title_minute(events: pl.DataFrame) -> pl.DataFrame:
    """Title x minute of it: playbacks that said they were there, and how often they did."""
    return (
        events.filter(pl.col("type").is_in(_BEATS) & pl.col("position_ms").is_not_null())
        .group_by("playback_id", "title_id", (pl.col("position_ms") // 60_000).cast(pl.Int32).alias("minute"))
        .len("beats")
        .group_by("title_id", "minute")
        .agg(pl.len().cast(pl.Int64).alias("playbacks"), pl.col("beats").sum().cast(pl.Int64))
    )


def exposures(events: pl.DataFrame, experiments: tuple[str, ...]) -> pl.DataFrame:
    """Viewer x experiment: the variant, and the moment of the first exposure."""
    seen = events.filter(pl.col("type") == "exposure")
    return pl.concat(
        seen.filter(pl.col("experiment") == number)
        .group_by("viewer")
        .agg(
            pl.lit(name).alias("experiment"), pl.col(name).first().alias("variant"), pl.col("at").min().alias("exposed")
        )
        for number, name in enumerate(experiments)
    ).sort("experiment", "viewer")
