"""How fast viewers' connections are, from what they loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import psycopg

from matinee.db import queries
from transcoding.plan import DEFAULT_AUDIENCE

if TYPE_CHECKING:
    import polars as pl

_SQL = queries.load(Path(__file__).parent)
LEVELS = tuple((2 * number + 1) / 20 for number in range(10))  # 5 %, 15 %, ..., 95 %
MIN_HOURS = 20.0
# A player takes the best rung within three quarters of what it measures, and rungs lie a factor of 1.75 apart: a rung
# below the best one tells the bandwidth up to that factor, of which the middle is taken.
_USED = 0.75
_SPACING = 1.75


@dataclass(frozen=True)
class Audience:
    """`kbps` at `LEVELS` of the hours watched; `censored`: the share of `hours` that played the best rung there was."""

    kbps: tuple[float, ...]
    hours: float
    censored: float


def latest_audience(connection: psycopg.Connection) -> tuple[float, ...]:
    """What ladders are spaced for: the quantiles measured last, or the usual ones where nobody measured yet."""
    row = connection.execute(_SQL["audience"]).fetchone()
    return tuple(row[0]) if row else DEFAULT_AUDIENCE


def audience(sessions: "pl.DataFrame") -> Audience | None:
    """Quantiles of viewers' bandwidth in kbit/s, weighted by time watched; None where too little was watched.

    `sessions`: `bits` loaded, `played_ms`, and `at_top`, whether the session ended on the best rung of its title.

    What a player loads says little of a fast connection: at the top rung it loads no more however fast the connection
    is. Those sessions are right-censored, and counted by the product-limit estimator (Kaplan and Meier, 1958). Where it
    ends, because the fastest hours are all censored, a log-normal distribution fitted through its steps goes on: those
    upper quantiles are an extrapolation. No correction is made for rungs that differ between titles.
    """
    import polars as pl

    used = sessions.filter((pl.col("played_ms") > 0) & (pl.col("bits") > 0))
    hours = float(used["played_ms"].sum()) / 3_600_000
    if hours < MIN_HOURS:
        return None
    used = used.with_columns(kbps=pl.col("bits") / pl.col("played_ms") / _USED, weight=pl.col("played_ms") / 3_600_000)
    seen = used.with_columns(
        kbps=pl.when("at_top").then("kbps").otherwise(pl.col("kbps") * sqrt(_SPACING)),
    )
    steps = product_limit(seen)
    kbps = quantiles(steps)
    censored = float(used.filter("at_top")["weight"].sum()) / hours
    return Audience(kbps, hours, censored) if kbps else None


def product_limit(seen: "pl.DataFrame") -> list[tuple[float, float]]:
    """`(kbps, share at or below)` at each observed rate; of equal rates the observed come before the censored ones."""
    import polars as pl

    at_risk, surviving, steps = float(seen["weight"].sum()), 1.0, []
    grouped = seen.group_by("kbps", "at_top").agg(pl.col("weight").sum()).sort("kbps", "at_top")
    for kbps, at_top, weight in grouped.select("kbps", "at_top", "weight").iter_rows():
        if not at_top:
            surviving *= max(0.0, 1 - weight / at_risk)
            steps.append((kbps, 1 - surviving))
        at_risk = max(1e-12, at_risk - weight)
    return steps


def quantiles(steps: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Rates at `LEVELS`: by the steps as far as they go, then by the log-normal through them; empty without a fit."""
    reached = steps[-1][1] if steps else 0.0
    tail = _log_normal(steps) if reached < LEVELS[-1] else None
    if reached < LEVELS[-1] and tail is None:
        return ()
    found: list[float] = []
    for level in LEVELS:
        known = next((kbps for kbps, share in steps if share >= level), None)
        if known is None and tail is not None:
            known = exp(tail[0] + tail[1] * NormalDist().inv_cdf(level))
        found.append(max(known or 0.0, found[-1] if found else 0.0))
    return tuple(found)


def _log_normal(steps: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Mean and deviation of the logarithm: least squares of it on the normal scores of the middles of the steps."""
    points, before = [], 0.0
    for kbps, share in steps:
        middle = (before + share) / 2
        if 0 < middle < 1 and share > before:
            points.append((NormalDist().inv_cdf(middle), log(kbps), share - before))
        before = share
    weight = sum(w for *_, w in points)
    if not weight:
        return None
    x, y = sum(w * z for z, _, w in points) / weight, sum(w * v for _, v, w in points) / weight
    spread = sum(w * (z - x) ** 2 for z, _, w in points)
    if spread < 1e-9:
        return None
    slope = max(0.0, sum(w * (z - x) * (v - y) for z, v, w in points) / spread)
    return y - slope * x, slope
