"""Read demand from the published marts, propose treatments, and write them down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from matinee.clock import Clock, SystemClock
from matinee.db import queries
from matinee.db.connect import connect
from matinee.lake import connect as connect_marts
from matinee.settings import Settings

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from transcoding.audience import Audience

_FOLDER = Path(__file__).parent
_SQL = queries.load(_FOLDER)
_MARTS = queries.load(_FOLDER / "marts")
_CALIBRATED_FROM = 3  # finished jobs of a treatment
_CALIBRATION = (0.2, 5.0)  # beyond that something else was measured than encoding
_USUAL_RATE = 25.0


@dataclass(frozen=True)
class Decided:
    """`changes` as `steering.DECISIONS`; `audience`: None where viewers were seen too little to say."""

    changes: "pl.DataFrame"
    titles: int
    audience: "Audience | None"


@dataclass(frozen=True)
class Decision:
    """A decision that stands; `now` is what plays, None where nothing does.

    `failed`: it was tried, and the master cannot be done this way.
    """

    title_id: str
    treatment: str
    now: str | None
    reason: str
    saved_gb: float
    cpu_s: float
    failed: bool = False


def decide(settings: Settings, *, budget_cpu_s: float | None = None, clock: Clock | None = None) -> Decided:
    """Propose treatments from the current snapshot and store what changes, with the bandwidths of viewers.

    `budget_cpu_s`: CPU seconds that all upgrades which wait may take, by default what the settings say.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    from transcoding import steering
    from transcoding.audience import audience

    now = (clock or SystemClock()).now()
    since = {"since": (now - timedelta(days=steering.WINDOW_DAYS)).date()}
    with connect_marts(settings.home.root) as marts, connect(settings) as connection:
        known = _titles(connection, now)
        calibration = _calibration(connection, now)
        heights = {row["title_id"]: row["height"] for row in known}
        demand, shares, sessions = (_frame(marts, name, since) for name in ("demand", "shares", "sessions"))
        budget = settings.transcode_budget_cpu_s if budget_cpu_s is None else budget_cpu_s
        changes = steering.propose(
            with_demand(known, demand), budget, shares=steering.bit_shares(shares), calibration=calibration
        )
        seen = audience(at_top(sessions, heights))
        _store(connection, changes, seen, now)
    return Decided(changes, len(known), seen)


def set_by_hand(connection: psycopg.Connection, titles: Sequence[str], treatment: str, now: datetime) -> None:
    """Write down what a person asked for, so that the next run does not ask for something else."""
    rows = [
        {"title_id": t, "treatment": treatment, "reason": "asked for", "now": now, "saved_gb": 0.0, "cpu_s": 0.0}
        for t in titles
    ]
    connection.cursor().executemany(_SQL["decide"], rows)


def decisions(connection: psycopg.Connection) -> list[Decision]:
    """All that stand, the largest saving first."""
    return [Decision(*row) for row in connection.execute(_SQL["decisions"]).fetchall()]


def waiting(connection: psycopg.Connection) -> list[Decision]:
    """Decisions on titles that play which no package carries out yet; not those that failed for good."""
    return [
        made
        for made in decisions(connection)
        if made.now is not None and made.now != made.treatment and not made.failed
    ]


def last_decision(connection: psycopg.Connection) -> datetime | None:
    row = connection.execute(_SQL["last_decision"]).fetchone()
    return row[0] if row else None


def _frame(marts: "duckdb.DuckDBPyConnection", name: str, since: Mapping[str, Any]) -> "pl.DataFrame":
    return marts.sql(_MARTS[name], params=dict(since)).pl()


def _titles(connection: psycopg.Connection, now: datetime) -> list[dict[str, Any]]:
    """Titles that have a master, with what `steering.TITLES` asks of them apart from demand."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["titles"], {"now": now}).fetchall()
    return [row | _picture(row.pop("plan"), row.pop("rungs")) for row in rows if row["duration_s"]]


def _picture(plan: Mapping[str, Any] | None, rungs: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Size and rate of the largest rung: as planned, or as the package says; of a title without one, a guess."""
    known = [rung for rung in (plan["rungs"] if plan else rungs or []) if rung.get("width") and rung.get("height")]
    largest = max(known, key=lambda rung: rung["width"] * rung["height"], default={"width": 1920, "height": 1080})
    rate = float(Fraction(plan["frame_rate"])) if plan else _USUAL_RATE
    return {"width": largest["width"], "height": largest["height"], "frame_rate": rate}


def with_demand(known: Sequence[Mapping[str, Any]], demand: "pl.DataFrame") -> "pl.DataFrame":
    """Titles and what was watched of them, zero where nothing was; titles that cannot be encoded drop out."""
    import polars as pl

    from transcoding.steering import TITLES

    columns = {name: kind for name, kind in TITLES.items() if name not in ("hours", "delivered_gb", "stall_ratio")}
    titles = pl.DataFrame([{name: row[name] for name in columns} for row in known], schema=columns)
    return (
        titles.join(demand, on="title_id", how="left")
        .with_columns(pl.col("hours", "delivered_gb", "stall_ratio").fill_null(0.0))
        .select(list(TITLES))
    )


def at_top(sessions: "pl.DataFrame", heights: Mapping[str, int]) -> "pl.DataFrame":
    """Whether each session ended on the largest size of its title; sessions of sizes that nobody knows drop out."""
    import polars as pl

    top = pl.DataFrame(
        {"title_id": list(heights), "top": list(heights.values())}, schema={"title_id": pl.String, "top": pl.Int64}
    )
    return (
        sessions.join(top, on="title_id")
        .filter(pl.col("height").is_not_null())
        .select("bits", "played_ms", at_top=pl.col("height") >= pl.col("top"))
    )


def _calibration(connection: psycopg.Connection, now: datetime) -> dict[str, float]:
    """Measured CPU seconds over modelled ones: the median over finished jobs of each treatment."""
    from transcoding.steering import cpu_s

    ratios: dict[str, list[float]] = {}
    since = {"since": now - timedelta(days=90)}
    for treatment, plan, spent in connection.execute(_SQL["measured_cpu"], since).fetchall():
        picture = _picture(plan, None)
        length = {"duration_s": plan["frames"] / picture["frame_rate"]}
        ratios.setdefault(treatment, []).append(spent / cpu_s(treatment, picture | length))
    low, high = _CALIBRATION
    return {name: min(high, max(low, median(r))) for name, r in ratios.items() if len(r) >= _CALIBRATED_FROM}


def _store(connection: psycopg.Connection, changes: "pl.DataFrame", seen: "Audience | None", now: datetime) -> None:
    rows = [row | {"now": now} for row in changes.iter_rows(named=True)]
    connection.cursor().executemany(_SQL["decide"], rows)
    if seen is not None:
        told = {"now": now, "kbps": list(seen.kbps), "hours": seen.hours, "censored": seen.censored}
        connection.execute(_SQL["store_audience"], told)
    connection.commit()
