"""Bits that viewers get, bytes that are kept and VMAF that is seen: our measured ladder against Apple's fixed one.

Viewers' bandwidths are log-normal (median 8 Mbit/s, sigma 0.8); a player takes the best rung below three quarters of
its bandwidth, or the least one; one that knows AV1 takes AV1's rungs and the H.264 ones below them. Every clip is
watched equally long: `value` and `reference` are means over the clips, VMAF lost is a difference. Goals are for clips
from 720 lines on: of a smaller source the fixed ladder has only the rungs that it keeps for slow connections, so those
clips have rows of their own. `tos_wave` has test overlays burnt in, which flatter any measured ladder: rows without it
are given too. Read from benchmarks/results unless `retrain`.
"""

import random
from collections.abc import Iterable, Sequence

from .titles import titles

MEDIAN_KBPS, SIGMA, SHARE = 8000, 0.8, 0.75
VIEWERS = 20_000
_FLATTERED = "tos_wave"
_LINES = 720


def run(json: bool = False, retrain: bool = False) -> list[dict]:  # noqa: ARG001 - the caller prints
    return rows(titles(retrain))


def rows(measured: Sequence[dict]) -> list[dict]:
    """Of recorded titles; none of none."""
    if not measured:
        return []
    large = [title for title in measured if min(title["size"]) >= _LINES]
    without = [title for title in large if not title["name"].startswith(_FLATTERED)]
    small = [title for title in measured if title not in large]
    made = _compare(large, "all clips") if large else []
    made += _compare(without, f"without {_FLATTERED}") if without and len(without) < len(large) else []
    made += [row | {"goal": None, "holds": None} for row in _compare(small, "under 720 lines")] if small else []
    return made


def _compare(measured: Sequence[dict], which: str) -> list[dict]:
    random_viewers = random.Random(8)  # the same viewers in every run
    viewers = [random_viewers.lognormvariate(0, SIGMA) * MEDIAN_KBPS * SHARE for _ in range(VIEWERS)]
    fixed = [_watch(title["fixed"], viewers) for title in measured]
    h264 = [_watch([rung for rung in title["rungs"] if rung["codec"] == "h264"], viewers) for title in measured]
    av1 = [_watch(_with_av1(title["rungs"]), viewers) for title in measured]
    bits, seen = _sum(fixed)
    ours, ours_seen = _sum(h264)
    newer, newer_seen = _sum(av1)
    kept = _kept(title["rungs"] for title in measured)
    kept_h264 = _kept([rung for rung in title["rungs"] if rung["codec"] == "h264"] for title in measured)
    kept_fixed = _kept(title["fixed"] for title in measured)
    return [
        _row(f"delivered, H.264, {which}", ours, "kbit/s", bits, 0.60),
        _row(f"stored, H.264, {which}", kept_h264, "kbit/s", kept_fixed, 0.40),
        _lost(f"VMAF lost, H.264, {which}", ours_seen, seen),
        _row(f"delivered, AV1 above, {which}", newer, "kbit/s", bits, 0.45),
        _row(f"stored, H.264 and AV1, {which}", kept, "kbit/s", kept_fixed, None),
        _lost(f"VMAF lost, AV1 above, {which}", newer_seen, seen),
    ]


def _with_av1(rungs: Sequence[dict]) -> list[dict]:
    """What a player that knows AV1 chooses from: its rungs, and those of H.264 that are smaller than all of them."""
    newer = [rung for rung in rungs if rung["codec"] == "av1"]
    least = min((rung["kbps"] for rung in newer), default=float("inf"))
    return newer + [rung for rung in rungs if rung["codec"] == "h264" and rung["kbps"] < least]


def _watch(rungs: Sequence[dict], viewers: Sequence[float]) -> tuple[float, float]:
    """Mean kbit/s and mean VMAF of the viewers."""
    ladder = sorted(rungs, key=lambda rung: rung["kbps"])
    taken = [max((rung for rung in ladder if rung["kbps"] <= kbps), key=lambda r: r["kbps"], default=ladder[0])
             for kbps in viewers]  # fmt: skip
    return sum(rung["kbps"] for rung in taken) / len(taken), sum(rung["vmaf"] for rung in taken) / len(taken)


def _sum(watched: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(kbps for kbps, _ in watched) / len(watched), sum(vmaf for _, vmaf in watched) / len(watched)


def _kept(ladders: Iterable[Sequence[dict]]) -> float:
    all_of_them = [sum(rung["kbps"] for rung in ladder) for ladder in ladders]
    return sum(all_of_them) / len(all_of_them)


def _row(name: str, value: float, unit: str, reference: float, goal: float | None) -> dict:
    ratio = value / reference
    return {
        "name": name, "value": round(value, 1), "unit": unit, "reference": round(reference, 1),
        "ratio": round(ratio, 3), "goal": goal, "holds": None if goal is None else ratio <= goal,
    }  # fmt: skip


def _lost(name: str, ours: float, fixed: float) -> dict:
    lost = fixed - ours
    return {
        "name": name, "value": round(lost, 2), "unit": "VMAF", "reference": round(fixed, 2),
        "ratio": round(ours / fixed, 4), "goal": 2.1, "holds": lost <= 2.1,
    }  # fmt: skip
