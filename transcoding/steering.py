"""Which title gets which treatment: pure functions from demand to decisions.

The value of a treatment is the data that viewers need not load in the next four weeks, per CPU second of encoding.
Demand is taken to go on as it was. A package that was made is paid for, so nothing that plays is ever made worse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

TREATMENTS = ("fast", "standard", "premium")
WINDOW_DAYS = 28
COOLING_DAYS = 14
# Less than this saved for an hour of CPU does not pay: about what both cost to rent (0.03 EUR an hour, 0.01 to 0.02 EUR
# a GB). A decision that waits is withdrawn only at half of it, so that nothing goes to and fro.
MIN_GB_PER_CPU_H = 2.0
_WITHDRAWN_BELOW = 0.5
# A viewer who waits gains more from fewer bits: up to twice the worth, at a tenth of the time spent waiting.
_STALL_WORTH = 10.0
_MOST_STALLED = 0.1

# Share of the bits of a fixed H.264 ladder that the same sessions load. Stated, from measurements on clips: a ladder
# from probes with its top at VMAF 95 takes 40 % less, at 97 37 %, AV1 another 20 %. The fast lane's fixed CRF is taken
# to save nothing.
STATED_SHARES: Mapping[str, float] = {"fast": 1.0, "standard": 0.60, "premium": 0.63 * 0.80}
_PRIOR_HOURS = 500.0  # of viewing: with as much of its own, half of a share is measured and half is stated

# CPU seconds for a million pixels, measured on one core: x264 veryfast 26 ms, medium 59 ms, SVT-AV1 preset 5 176 ms
# (1.6 times what 6 takes, for 7 % fewer bits) for a frame of 1080 lines. A ladder has 1.75 times the pixels of its top;
# AV1 twins are made of the upper rungs only.
_MPIXEL_S = {"fast": 0.0125 * 1.75, "standard": 0.0285 * 1.75, "premium": 0.0285 * 1.75 + 0.085 * 1.44}
# Probes: 12 pieces of 4 s, 15 short encodes and VMAF, about 480 CPU s at 1080 lines; AV1 is probed as well.
_PROBED_S = 48.0
_PROBE_MPIXEL_S = {"fast": 0.0, "standard": 0.193, "premium": 0.503}

TITLES = pl.Schema(
    {
        "title_id": pl.String,
        "duration_s": pl.Float64,
        "frame_rate": pl.Float64,
        "width": pl.Int64,
        "height": pl.Int64,
        "hours": pl.Float64,  # watched in the window
        "delivered_gb": pl.Float64,  # loaded in the window
        "stall_ratio": pl.Float64,  # share of the time spent waiting
        "treatment": pl.String,  # of the package that plays; null: none does
        "decided": pl.String,  # the last decision; null: none
        "decided_days": pl.Float64,  # its age
        "failed": pl.Boolean,  # it was tried, and the master cannot be done this way
        "known_days": pl.Float64,  # since the title is in the catalogue
    }
)
DECISIONS = pl.Schema(
    {"title_id": pl.String, "treatment": pl.String, "reason": pl.String, "saved_gb": pl.Float64, "cpu_s": pl.Float64}
)


@dataclass(frozen=True)
class _Step:
    """From one treatment up to another: `worth` in GB, stalls counted in; `extra_cpu_s` on top of the step below."""

    row: Mapping[str, Any]
    treatment: str
    saved_gb: float
    cpu_s: float
    extra_worth: float
    extra_cpu_s: float

    @property
    def density(self) -> float:
        """GB for an hour of CPU."""
        return self.extra_worth / self.extra_cpu_s * 3600


def cpu_s(treatment: str, row: Mapping[str, Any], calibration: Mapping[str, float] | None = None) -> float:
    """Expected CPU seconds of encoding: length x pixels x treatment, times what was measured here (`calibration`)."""
    mpixels_s = row["frame_rate"] * row["width"] * row["height"] / 1e6
    encoding = row["duration_s"] * mpixels_s * _MPIXEL_S[treatment]
    probing = min(row["duration_s"], _PROBED_S) * mpixels_s * _PROBE_MPIXEL_S[treatment]
    return max(1.0, (encoding + probing) * (calibration or {}).get(treatment, 1.0))


def bit_shares(measured: pl.DataFrame) -> dict[str, float]:
    """Each treatment's share of the fixed ladder's bits: what is stated, moved by what sessions showed.

    `measured`: `treatment`, `hours`, `delivered_gb`, `fixed_gb` (any number of rows each).
    """
    shares = dict(STATED_SHARES)
    totals = measured.group_by("treatment").agg(pl.col("hours", "delivered_gb", "fixed_gb").sum())
    for row in totals.filter(pl.col("fixed_gb") > 0).iter_rows(named=True):
        name, hours = row["treatment"], row["hours"]
        if name in shares:
            seen = row["delivered_gb"] / row["fixed_gb"]
            shares[name] = (shares[name] * _PRIOR_HOURS + seen * hours) / (_PRIOR_HOURS + hours)
    return shares


def propose(
    titles: pl.DataFrame,
    budget_cpu_s: float,
    *,
    shares: Mapping[str, float] = STATED_SHARES,
    calibration: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Decide what changes: one row a title whose treatment is another than was decided before (`DECISIONS`).

    `titles` is as `TITLES` says. Upgrades are taken by saved data per CPU second until the budget is spent; what was
    decided before and is not made yet is paid from it first. A title decided on in the last two weeks is left alone,
    and so is one whose decision failed for good, which costs nothing any more, until it can be tried again.
    Never proposed: less than what plays now. A waiting upgrade is withdrawn where demand went away, and a title that
    nobody watched in its first weeks and that has no package (any more) gets the fast lane.
    """
    rows = titles.sort("title_id").to_dicts()
    decisions, steps, left = [], [], budget_cpu_s
    for row in rows:
        upward = _steps(row, shares, calibration)
        now, decided = row["treatment"], row["decided"]
        settled = row["decided_days"] is None or row["decided_days"] >= COOLING_DAYS
        if now is not None and _rank(decided) > _rank(now) and row["failed"]:
            continue
        if now is not None and _rank(decided) > _rank(now):
            cost = cpu_s(decided, row, calibration)
            if settled and _worth(row, decided, shares) / cost * 3600 < MIN_GB_PER_CPU_H * _WITHDRAWN_BELOW:
                decisions.append(_decision(row, now, "watched too little by now", 0.0, 0.0))
            else:
                left -= cost
        elif settled and _unwatched(row):
            decisions.append(_decision(row, "fast", f"not watched in {WINDOW_DAYS} days", 0.0, 0.0))
        elif settled:
            steps += upward
    decisions += [_upgrade(step) for step in _take(steps, left)]
    return pl.DataFrame(decisions, schema=DECISIONS).sort("title_id")


def _rank(treatment: str | None) -> int:
    return -1 if treatment is None else TREATMENTS.index(treatment)


def _steps(row: Mapping[str, Any], shares: Mapping[str, float], calibration: Mapping[str, float] | None) -> list[_Step]:
    """The upgrades that a title could get, each worth less for its CPU than the one before it.

    The concave hull of the multiple-choice knapsack problem (Sinha and Zoltners, 1979): a greedy choice over such steps
    is within one step of the best.
    """
    if row["treatment"] is None or row["delivered_gb"] <= 0:
        return []
    steps: list[_Step] = []
    for name in TREATMENTS[_rank(row["treatment"]) + 1 :]:
        cost = cpu_s(name, row, calibration)
        while True:
            below = steps[-1] if steps else None
            worth = _worth(row, name, shares) - (_worth(row, below.treatment, shares) if below else 0)
            more = max(1e-6, cost - (below.cpu_s if below else 0))
            step = _Step(row, name, _saved(row, name, shares), cost, worth, more)
            if below is None or step.density < below.density:
                break
            steps.pop()
        if step.extra_worth > 0:
            steps.append(step)
    return steps


def _take(steps: list[_Step], budget: float) -> list[_Step]:
    """The steps that fit, densest first; of a title's taken steps the highest."""
    taken: dict[str, _Step] = {}
    skipped: set[str] = set()
    for step in sorted(steps, key=lambda step: (-step.density, step.row["title_id"])):
        title = step.row["title_id"]
        if step.density < MIN_GB_PER_CPU_H or title in skipped:
            continue
        if step.extra_cpu_s > budget:
            skipped.add(title)
            continue
        budget -= step.extra_cpu_s
        taken[title] = step
    return list(taken.values())


def _saved(row: Mapping[str, Any], treatment: str, shares: Mapping[str, float]) -> float:
    return row["delivered_gb"] * (1 - shares[treatment] / shares[row["treatment"]])


def _worth(row: Mapping[str, Any], treatment: str, shares: Mapping[str, float]) -> float:
    return _saved(row, treatment, shares) * (1 + _STALL_WORTH * min(row["stall_ratio"], _MOST_STALLED))


def _unwatched(row: Mapping[str, Any]) -> bool:
    return (
        row["treatment"] is None and row["decided"] != "fast" and row["hours"] <= 0 and row["known_days"] >= WINDOW_DAYS
    )


def _upgrade(step: _Step) -> dict[str, Any]:
    hours = step.row["hours"]
    reason = f"watched {hours:,.1f} h in {WINDOW_DAYS} days: saves {step.saved_gb:,.2f} GB for {step.cpu_s:,.0f} CPU s"
    if step.row["stall_ratio"] >= 0.01:
        reason += f", {step.row['stall_ratio']:.1%} of the time stalled"
    return _decision(step.row, step.treatment, reason, step.saved_gb, step.cpu_s)


def _decision(row: Mapping[str, Any], treatment: str, reason: str, saved_gb: float, cpu: float) -> dict[str, Any]:
    return {
        "title_id": row["title_id"],
        "treatment": treatment,
        "reason": reason,
        "saved_gb": saved_gb,
        "cpu_s": cpu,
    }
