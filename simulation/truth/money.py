"""The marts of money, of a group of viewers, from what billing recorded: integer sums that add up over groups.

The state of an account on a day is that at its end. A month is judged at the end of its last day; the one under way, at
the end of the last day that is known. Churn after Antenna (2024).
"""

from collections.abc import Iterable
from datetime import date

import polars as pl

from simulation.truth.recorded import MS_PER_DAY, date_of, month_of
from simulation.world import Contract

PAYING = ("active", "past_due")
_REMEMBERED = 12  # months after which who comes back is new business
_SERIAL_MONTHS, _SERIAL_LOSSES = 24, 3


def account_day(periods: pl.DataFrame, last: date) -> pl.DataFrame:
    """Viewer x day: the period that holds at the end of the day, up to the last day."""
    beyond = (last.toordinal() - date(1970, 1, 1).toordinal()) + 1
    first_day = pl.col("opened") // MS_PER_DAY
    # The end of a day belongs to who has not left before the next one begins.
    end_day = pl.min_horizontal(pl.col("closed").fill_null(2**62) // MS_PER_DAY, pl.lit(beyond, pl.Int64))
    return (
        periods.with_columns(day=pl.int_ranges(first_day, end_day, dtype=pl.Int64))
        .explode("day", empty_as_null=False)
        .with_columns(pl.col("day").cast(pl.Int32).cast(pl.Date))
        .select("viewer", "day", "plan", "state", "monthly_minor", "currency")
    )


def subscription_day(days: pl.DataFrame) -> pl.DataFrame:
    """Day x plan x state x currency: accounts and what they pay a month."""
    return days.group_by("day", "plan", "state", "currency").agg(
        pl.len().cast(pl.Int64).alias("accounts"), pl.col("monthly_minor").sum()
    )


def month_ends(days: pl.DataFrame, last: date) -> pl.DataFrame:
    """Viewer x month with a payment due at its end: plan, amount and currency."""
    ends = (pl.col("day") == pl.col("day").dt.month_end()) | (pl.col("day") == last)
    return days.filter(ends & pl.col("state").is_in(PAYING)).select(
        "viewer", "currency", "monthly_minor", month=month_of(pl.col("day"))
    )


def movements(ends: pl.DataFrame, last: date) -> pl.DataFrame:
    """Viewer x month: what it paid at the end of the month before and at the end of this one, where either is not zero.

    `been`: it had paid at the end of an earlier month.
    """
    now = ends.rename({"monthly_minor": "now"})
    before = ends.select(
        "viewer", "currency", pl.col("monthly_minor").alias("before"), pl.col("month").dt.offset_by("1mo")
    )
    first = ends.group_by("viewer").agg(pl.col("month").min().alias("first"))
    return (
        now.join(before, on=["viewer", "currency", "month"], how="full", coalesce=True)
        .filter(pl.col("month") <= last)
        .with_columns(pl.col("now", "before").fill_null(0))
        .join(first, on="viewer", how="left")
        .with_columns(been=pl.col("first") < pl.col("month"))
    )


def mrr_month(moved: pl.DataFrame) -> pl.DataFrame:
    """Month x currency: opening + movements = closing."""
    now, before, been = pl.col("now"), pl.col("before"), pl.col("been")
    change = now - before
    kinds = {
        "new_minor": (before == 0) & ~been,
        "expansion_minor": (before > 0) & (now > before),
        "contraction_minor": (now > 0) & (now < before),
        "churn_minor": now == 0,
        "reactivation_minor": (before == 0) & been,
    }
    return moved.group_by("month", "currency").agg(
        before.sum().alias("opening_minor"),
        *(change.filter(kind).sum().alias(name) for name, kind in kinds.items()),
        now.sum().alias("closing_minor"),
        (now > 0).sum().cast(pl.Int64).alias("subscribers"),
    )


def churn_month(moved: pl.DataFrame, last: date) -> pl.DataFrame:
    """Month: who paid when it began, who of them left, who came back within a year, who has left three times in two."""
    lost = moved.filter((pl.col("before") > 0) & (pl.col("now") == 0)).select("viewer", lost="month")
    since = (pl.col("month").dt.year() - pl.col("lost").dt.year()) * 12 + (
        pl.col("month").dt.month().cast(pl.Int32) - pl.col("lost").dt.month()
    )
    recent = (
        moved.join(lost, on="viewer")
        .filter((since > 0) & (since <= _REMEMBERED))
        .select("viewer", "month", back=True)
        .unique()
    )
    by_month = (
        moved.join(recent, on=["viewer", "month"], how="left")
        .group_by("month")
        .agg(
            (pl.col("before") > 0).sum().cast(pl.Int64).alias("subscribers_at_start"),
            ((pl.col("before") > 0) & (pl.col("now") == 0)).sum().cast(pl.Int64).alias("cancels"),
            ((pl.col("before") == 0) & pl.col("back").fill_null(value=False))
            .sum()
            .cast(pl.Int64)
            .alias("resubscribes"),
        )
    )
    later = pl.date_ranges("lost", pl.col("lost").dt.offset_by(f"{_SERIAL_MONTHS - 1}mo"), interval="1mo")
    serial = (
        lost.select("viewer", later.alias("month"))
        .explode("month")
        .filter(pl.col("month") <= last)
        .group_by("viewer", "month")
        .len()
        .filter(pl.col("len") >= _SERIAL_LOSSES)
        .group_by("month")
        .agg(pl.len().cast(pl.Int64).alias("serial_churners"))
    )
    counts = ("subscribers_at_start", "cancels", "resubscribes", "serial_churners")
    return by_month.join(serial, on="month", how="full", coalesce=True).with_columns(pl.col(counts).fill_null(0))


def cohort_retention(days: pl.DataFrame, ends: pl.DataFrame, watched: pl.DataFrame, last: date) -> pl.DataFrame:
    """Month of the first paying day x plan of that day x months since: accounts, those that pay, those that watch."""
    paying = days.filter(pl.col("state").is_in(PAYING)).sort("viewer", "day")
    cohort = paying.group_by("viewer", maintain_order=True).agg(
        month_of(pl.col("day").first()).alias("cohort_month"), pl.col("plan").first()
    )
    grid = (
        cohort.with_columns(month=pl.date_ranges("cohort_month", pl.lit(last), interval="1mo"))
        .explode("month")
        .join(ends.select("viewer", "month", pays=True).unique(), on=["viewer", "month"], how="left")
        .join(watched.with_columns(watches=True), on=["viewer", "month"], how="left")
        .with_columns(first=pl.col("month") == pl.col("cohort_month"))
    )
    number = (pl.col("month").dt.year() - pl.col("cohort_month").dt.year()) * 12 + (
        pl.col("month").dt.month().cast(pl.Int32) - pl.col("cohort_month").dt.month()
    )
    return grid.group_by("cohort_month", "plan", number.cast(pl.Int32).alias("month_n")).agg(
        pl.len().cast(pl.Int64).alias("accounts"),
        (pl.col("pays").fill_null(value=False) | pl.col("first")).sum().cast(pl.Int64).alias("paying"),
        pl.col("watches").fill_null(value=False).sum().cast(pl.Int64).alias("watching"),
    )


def funnel_day(people: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """Day of signing up x country: accounts, and how many of them took each step and all before it.

    `people`: viewer, joined (ms), country, whether it `visited` and `played` (validly).
    """
    states = periods.group_by("viewer").agg(
        (pl.col("state") == "trial").any().alias("trial"), (pl.col("state") == "active").any().alias("paid")
    )
    steps = people.join(states, on="viewer", how="left").with_columns(pl.col("trial", "paid").fill_null(value=False))
    reached = pl.lit(value=True)
    columns = []
    for step in ("visited", "trial", "paid", "played"):
        reached = reached & pl.col(step)
        columns.append(reached.sum().cast(pl.Int64).alias(step))
    return steps.group_by(date_of(pl.col("joined")).alias("day"), "country").agg(
        pl.len().cast(pl.Int64).alias("accounts"), *columns
    )


def title_month(played: pl.DataFrame) -> pl.DataFrame:
    """Title x month: milliseconds played."""
    return played.group_by("title_id", month_of(pl.col("event_date")).alias("month")).agg(pl.col("played_ms").sum())


def content_cost(contracts: Iterable[Contract], watched: pl.DataFrame, last: date) -> pl.DataFrame:
    """Title x month x currency: the month's share of its contracts, in whole units that add up to them."""
    rows: dict[tuple[str, date, str], int] = {}
    for contract in contracts:
        length, month = (contract.until - contract.first).days, contract.first.replace(day=1)
        while month < contract.until and month <= last:
            following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
            passed = [min(max((moment - contract.first).days, 0), length) for moment in (month, following)]
            cost = contract.amount_minor * passed[1] // length - contract.amount_minor * passed[0] // length
            key = contract.title_id, month, contract.currency
            rows[key] = rows.get(key, 0) + cost
            month = following
    costs = pl.DataFrame(
        [(*key, cost) for key, cost in rows.items()],
        schema={"title_id": pl.String, "month": pl.Date, "currency": pl.String, "cost_minor": pl.Int64},
        orient="row",
    )
    hours = pl.col("played_ms") / 3_600_000
    return (
        costs.join(watched, on=["title_id", "month"], how="left")
        .with_columns(pl.col("played_ms").fill_null(0))
        .with_columns(
            hours_viewed=hours,
            cost_per_thousand_hours=pl.when(pl.col("played_ms") > 0).then(pl.col("cost_minor") * 1000 / hours),
        )
        .drop("played_ms")
        .sort("title_id", "month", "currency")
    )
