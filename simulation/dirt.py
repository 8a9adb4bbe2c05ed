"""What goes wrong between a device and the log; every delivery knows what it is and what must become of it."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from matinee.contracts.events import MAX_LATENESS
from simulation.parameters import Plan
from simulation.population import Population
from simulation.streams import stream

TICK_MS = 60_000  # a client sends what it has once a minute
_HOUR_MS = 3_600_000
_LIMIT_MS = int(MAX_LATENESS.total_seconds() * 1000)

# How an extra, broken event is made: the code with which it must be refused, and its share. Few are large.
BROKEN = {
    "not_json": ("invalid_json", 0.24),
    "missing_field": ("invalid_event", 0.24),
    "wrong_type": ("invalid_event", 0.12),
    "other_schema": ("unknown_schema", 0.24),
    "future": ("from_the_future", 0.14),
    "large": ("too_large", 0.02),
}


@dataclass(frozen=True)
class Delivered:
    """`deliveries`: what reaches the server, with `received`, `delay` and `skew` (ms), its `fate` and, where it must
    be refused, the `code`. `lost`: what never does."""

    deliveries: pl.DataFrame
    lost: pl.DataFrame

    def of_visits(self, kept: np.ndarray) -> "Delivered":
        """Only what belongs to these visits; `kept`: by number of the visit."""
        return Delivered(*(f.filter(pl.Series(kept[f["visit"].to_numpy()])) for f in (self.deliveries, self.lost)))

    def and_also(self, other: "Delivered") -> "Delivered":
        return Delivered(pl.concat([self.deliveries, other.deliveries]), pl.concat([self.lost, other.lost]))


def deliver(plan: Plan, people: Population, clean: pl.DataFrame, block: int, component: str = "dirt") -> Delivered:
    """Send the events of a block. Fates: `first`, `duplicate`, `altered`, `too_late`, and the kinds of `BROKEN`.

    Bots (viewers below zero) have clocks that are right.
    """
    random = stream(plan.seed, component, block)
    viewer = clean["viewer"].to_numpy()
    skew = np.where(viewer < 0, 0, people.skew_ms[np.maximum(viewer - people.number[0], 0)])
    lost, received = _lost(plan, clean, random), _received(plan, clean, random)
    # Exposures are written by the server itself: its clock is right.
    skew = np.where(clean["type"] == "exposure", 0, skew)
    delay = received - clean["at"].to_numpy()
    sent = clean.with_columns(
        received=pl.Series(received),
        delay=pl.Series(delay),
        skew=pl.Series(skew),
    )
    too_late = pl.col("delay") > _LIMIT_MS
    sent = sent.with_columns(
        fate=pl.when(too_late).then(pl.lit("too_late")).otherwise(pl.lit("first")),
        code=pl.when(too_late).then(pl.lit("too_late")),
    )
    arrived = sent.filter(pl.Series(~lost))
    good = arrived.filter(pl.col("fate") == "first")
    deliveries = pl.concat(
        [
            arrived,
            _again(plan, good, "duplicate", plan.dirt.duplicates, random),
            _again(plan, good.filter(pl.col("type") != "exposure"), "altered", plan.dirt.altered, random),
            _broken(plan, good.filter(pl.col("type") != "exposure"), random),
        ]
    )
    jitter = np.where(
        random.random(deliveries.height) < plan.dirt.shuffled, random.integers(-60_000, 60_000, deliveries.height), 0
    )
    deliveries = deliveries.with_columns(order=pl.col("at") + pl.Series(jitter))
    return Delivered(deliveries, sent.filter(pl.Series(lost)))


def _lost(plan: Plan, clean: pl.DataFrame, random: np.random.Generator) -> np.ndarray:
    kind, draw = clean["type"].to_numpy(), random.random(clean.height)
    # A failed play always ends with a stop: whether it failed must not depend on luck.
    failed = clean["is_failed"].fill_null(value=False).to_numpy()
    stops = (kind == "stop") & ~failed & (draw < plan.dirt.lost_stops)
    return stops | ((kind == "heartbeat") & (draw < plan.dirt.lost_heartbeats))


def _received(plan: Plan, clean: pl.DataFrame, random: np.random.Generator) -> np.ndarray:
    """When the server gets each event, to the minute; before the end of the simulated time."""
    at, visit = clean["at"].to_numpy(), clean["visit"].to_numpy()
    prompt = _tick(at + np.minimum(300 + random.exponential(2_500, len(at)), 30_000).astype(np.int64))
    held = np.where(random.random(len(at)) < plan.dirt.late, random.pareto(1.2, len(at)) * 2 * _HOUR_MS, 0)
    received = _tick(prompt + np.minimum(held, 60 * _HOUR_MS).astype(np.int64))

    visits = int(visit.max()) + 1 if len(visit) else 0
    back = np.zeros(visits, dtype=np.int64)
    np.maximum.at(back, visit, prompt)
    draw, wait = random.random(visits), random.random(visits)
    offline = draw < plan.dirt.offline_visits
    too_late = (draw > 1 - plan.dirt.too_late_visits) & ~offline
    # Around the limit, so that some visits are cut in two by it.
    back = back + np.where(too_late, _LIMIT_MS - _HOUR_MS + wait * 24 * _HOUR_MS, (2 + 58 * wait) * _HOUR_MS).astype(
        np.int64
    )
    received = np.where((offline | too_late)[visit], _tick(back[visit]), received)
    in_time = (received < plan.end_ms) & (clean["type"].to_numpy() != "exposure")
    return np.where(in_time, received, prompt)


def _tick(moment: np.ndarray) -> np.ndarray:
    return -(-moment // TICK_MS) * TICK_MS


def _again(plan: Plan, good: pl.DataFrame, fate: str, rate: float, random: np.random.Generator) -> pl.DataFrame:
    """Copies of some events that come later, half of them within the hour, half one or two days after."""
    chosen = random.random(good.height) < rate
    soon = random.integers(1, 60, good.height)
    gap = np.where(random.random(good.height) < 0.5, soon, soon + random.integers(24, 47, good.height) * 60)
    copies = good.with_columns(received=pl.col("received") + pl.Series(gap * TICK_MS), fate=pl.lit(fate))
    return copies.filter(pl.Series(chosen) & (pl.col("received") < plan.end_ms))


def _broken(plan: Plan, good: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    """Events that never happened and cannot be accepted, made after the pattern of real ones, with ids of their own."""
    chosen = np.flatnonzero(random.random(good.height) < plan.dirt.broken)
    kinds, (codes, shares) = list(BROKEN), zip(*BROKEN.values(), strict=True)
    kind = random.choice(len(kinds), len(chosen), p=shares)
    return good[chosen].with_columns(
        fate=pl.Series([kinds[k] for k in kind], dtype=pl.String),
        code=pl.Series([codes[k] for k in kind], dtype=pl.String),
        # The same time in front, another tail.
        event_id=pl.col("event_id").str.head(24)
        + pl.Series([f"{n:012x}" for n in random.integers(0, 1 << 48, len(chosen))], dtype=pl.String),
    )
