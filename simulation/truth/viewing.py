"""The marts of viewing, of a group of viewers: integer sums that add up over groups. Bots are left out."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from simulation.truth.recorded import MS_PER_HOUR

WINDOWS = (7, 28)
_MS_PER_DAY = 86_400_000
_STARTED_MS = 120_000
# Upper limits of the startup time, in ms; the last bucket has none.
_STARTUP_MS = (500, 1_000, 2_000, 4_000, 8_000)


def title_day(played: pl.DataFrame) -> pl.DataFrame:
    """Day x title: plays, viewers, milliseconds, completions."""
    return played.group_by("event_date", "title_id").agg(
        pl.len().cast(pl.Int64).alias("plays"),
        # Who is not signed in is no viewer that could be told from others.
        pl.col("account_id").drop_nulls().n_unique().cast(pl.Int64).alias("viewers"),
        pl.col("played_ms").sum(),
        pl.col("is_completed").sum().cast(pl.Int64).alias("completions"),
    )


def title_engagement(played: pl.DataFrame, released: Mapping[str, int]) -> pl.DataFrame:
    """Title x window after its release: accounts that played it at all, for two minutes, to 70 % and to 90 %.

    Starter, watcher and completer after Netflix's letter to the House of Lords (2019).
    """
    known = pl.DataFrame(
        {"title_id": list(released), "released": list(released.values())},
        schema={"title_id": pl.String, "released": pl.Int64},
    )
    of_release = played.filter(pl.col("account_id").is_not_null()).join(known, on="title_id")
    return pl.concat(_window(of_release, days) for days in WINDOWS)


def _window(played: pl.DataFrame, days: int) -> pl.DataFrame:
    age = pl.col("started") - pl.col("released")
    households = (
        played.filter((age >= 0) & (age < days * _MS_PER_DAY))
        .group_by("title_id", "account_id")
        .agg(pl.col("played_ms").sum(), pl.col("position_ms").max(), pl.col("runtime_ms").first())
        .with_columns(
            starter=pl.col("played_ms")
            >= pl.min_horizontal(pl.lit(_STARTED_MS, pl.Int64), pl.col("runtime_ms") * 9 // 10)
        )
    )
    return households.group_by("title_id").agg(
        pl.lit(days, pl.Int32).alias("window_days"),
        pl.len().cast(pl.Int64).alias("households"),
        pl.col("starter").sum().cast(pl.Int64).alias("starters"),
        *(
            (pl.col("starter") & (pl.col("position_ms") * 10 >= pl.col("runtime_ms") * tenths))
            .sum()
            .cast(pl.Int64)
            .alias(name)
            for name, tenths in (("watchers", 7), ("completers", 9))
        ),
    )


def title_retention(played: pl.DataFrame) -> pl.DataFrame:
    """Title x minute from 0 to its end: valid plays that got that far."""
    last = pl.min_horizontal("position_ms", "runtime_ms") // 60_000
    return (
        played.filter(pl.col("is_valid"))
        .select("title_id", pl.int_ranges(0, last + 1, dtype=pl.Int64).alias("minute"))
        .explode("minute")
        .group_by("title_id", pl.col("minute").cast(pl.Int32))
        .agg(pl.len().cast(pl.Int64).alias("playbacks"))
    )


def qoe_hour(played: pl.DataFrame) -> pl.DataFrame:
    """Hour x device x country: how plays started and went (CTA-2066); imports have no quality."""
    startup = pl.col("startup_ms")
    started, failed = startup.is_not_null() | (pl.col("played_ms") > 0), pl.col("is_failed")
    limits = (-1, *_STARTUP_MS)
    buckets = {
        f"startup_le_{high}": (startup > low) & (startup <= high)
        for low, high in zip(limits, _STARTUP_MS, strict=False)
    }
    flags = {
        "starts": started,
        "start_failures": ~started & failed,
        "exits_before_start": ~started & ~failed,
        **buckets,
        f"startup_gt_{_STARTUP_MS[-1]}": startup > _STARTUP_MS[-1],
        "startup_unknown": started & startup.is_null(),
        "failures": failed,
    }
    wall = startup.fill_null(0) + pl.col("played_ms") + pl.col("stall_ms")
    sums = ("stall_ms", "stalls", "played_ms", "bits")
    hour = (pl.col("started") // MS_PER_HOUR * MS_PER_HOUR).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    return played.group_by(hour.alias("hour"), "device", "country").agg(
        pl.len().cast(pl.Int64).alias("attempts"),
        *(flag.sum().cast(pl.Int64).alias(name) for name, flag in flags.items()),
        startup.sum().alias("startup_ms_sum"),
        wall.sum().alias("watch_ms"),
        pl.col(*sums).sum(),
    )


def active_day(played: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Every day from the first to the last: viewers with a valid play that day, in 7 and in 28 days up to it."""
    days = (
        played.filter(pl.col("is_valid") & pl.col("account_id").is_not_null())
        .select("account_id", "event_date")
        .unique()
    )
    whole = pl.DataFrame({"event_date": pl.date_range(first, last, eager=True)})
    for name, length in (("dau", 1), ("wau", 7), ("mau", 28)):
        later = pl.date_ranges("event_date", pl.col("event_date") + pl.duration(days=length - 1))
        seen = days.select("account_id", later.alias("event_date")).explode("event_date").unique()
        counted = seen.group_by("event_date").agg(pl.len().cast(pl.Int64).alias(name))
        whole = whole.join(counted, on="event_date", how="left").with_columns(pl.col(name).fill_null(0))
    return whole


def experiment_moments(played: pl.DataFrame, exposed: pl.DataFrame) -> pl.DataFrame:
    """Experiment x variant, over the whole time: exposed accounts, plays and milliseconds since, and the squares."""
    units = (
        exposed.join(played.select("viewer", "started", "played_ms"), on="viewer", how="left")
        .with_columns(since=(pl.col("started") >= pl.col("exposed")).fill_null(value=False))
        .group_by("experiment", "variant", "viewer")
        .agg(
            pl.col("since").sum().cast(pl.Int64).alias("plays"),
            pl.col("played_ms").filter(pl.col("since")).sum().alias("ms"),
        )
    )
    wide = units.with_columns(pl.col("plays", "ms").cast(pl.Int128))
    return wide.group_by("experiment", "variant").agg(
        pl.len().cast(pl.Int64).alias("n"),
        pl.col("plays", "ms").sum(),
        (pl.col("plays") * pl.col("plays")).sum().alias("plays2"),
        (pl.col("ms") * pl.col("ms")).sum().alias("ms2"),
        (pl.col("plays") * pl.col("ms")).sum().alias("plays_ms"),
    )
