"""What probing costs, and how well it foretells the finished segments.

The cost of a long film is put together from measured parts: looking for cuts costs what it costs a second of the clip
in a loop; pieces cost what they cost a second of the clip; the ladder what it costs a second of the clip. 75 minutes
are 48 sampled seconds. `value` and `reference` are CPU seconds of such a film, the ladder being H.264 at the preset of
the standard treatment. Errors are over all rungs of all clips, H.264 and AV1. Read from benchmarks/results unless
`retrain`.
"""

from collections.abc import Sequence

from .titles import titles

FILM_S, SAMPLED_S = 75 * 60, 48
SHARE, ERROR = 0.10, 1.0


def run(json: bool = False, retrain: bool = False) -> list[dict]:  # noqa: ARG001 - the caller prints
    return rows(titles(retrain))


def rows(measured: Sequence[dict]) -> list[dict]:
    """Of recorded titles; none of none."""
    if not measured:
        return []
    return [row for title in measured for row in _costs(title)] + _errors(measured)


def _costs(title: dict) -> list[dict]:
    cpu = title["cpu_s"]
    per_second = cpu["probes_h264"] / title["sampled_s"]
    ladder = cpu["ladder_h264"] / title["seconds"]
    film = SAMPLED_S * per_second + FILM_S * cpu["cuts_per_s"]
    ratio = film / (FILM_S * ladder)
    return [
        {
            "name": f"probe cost of 75 minutes, {title['name']}", "value": round(film, 1), "unit": "CPU s",
            "reference": round(FILM_S * ladder, 1), "ratio": round(ratio, 4), "goal": SHARE, "holds": ratio <= SHARE,
        },
        {
            "name": f"probe cost of a sampled second, {title['name']}", "value": round(per_second, 2), "unit": "CPU s",
            "reference": round(ladder, 3), "ratio": round(per_second / ladder, 2), "goal": None, "holds": None,
        },
    ]  # fmt: skip


def _errors(measured: Sequence[dict]) -> list[dict]:
    rungs = [rung for title in measured for rung in title["rungs"]]
    vmaf = [abs(rung["vmaf"] - rung["predicted_vmaf"]) for rung in rungs]
    rate = [abs(rung["kbps"] / rung["predicted_kbps"] - 1) * 100 for rung in rungs]
    return [
        _error("prediction error of VMAF, p50", vmaf, 0.5, "VMAF", None),
        _error("prediction error of VMAF, p90", vmaf, 0.9, "VMAF", ERROR),
        _error("prediction error of the rate, p50", rate, 0.5, "%", None),
        _error("prediction error of the rate, p90", rate, 0.9, "%", None),
    ]


def _error(name: str, errors: Sequence[float], quantile: float, unit: str, goal: float | None) -> dict:
    value = sorted(errors)[min(len(errors) - 1, int(quantile * len(errors)))]
    return {
        "name": f"{name}, {len(errors)} rungs", "value": round(value, 2), "unit": unit, "reference": None,
        "ratio": None, "goal": goal, "holds": None if goal is None else value <= goal,
    }  # fmt: skip
