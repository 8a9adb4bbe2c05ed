"""The result table of every experiment, from dbt's moments: no viewer's row leaves the warehouse."""

import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee.settings import Settings
from models.errors import ModelError
from models.experiments.registry import known
from models.experiments.statistics import (
    CONVENTION,
    Difference,
    Moments,
    mean_difference,
    ratio_difference,
    sample_ratio_p_value,
)

if TYPE_CHECKING:
    import pyarrow as pa

RESULT_FILE = Path("build/experiment_result.parquet")  # below the lake's root
ALPHA = 0.05
RATIOS = frozenset({"hours_per_play"})

_MOMENTS = """
SELECT experiment, metric, variant, event_date, n,
       sum_y, sum_y2, coalesce(sum_x, 0), coalesce(sum_x2, 0), coalesce(sum_xy, 0)
FROM marts.mart_experiment_moments
QUALIFY event_date = max(event_date) OVER (PARTITION BY experiment)
ORDER BY experiment, metric, variant
"""


@dataclass(frozen=True)
class Result:
    """One treatment against the control, one metric, everything up to and including `event_date`."""

    experiment: str
    metric: str
    control: str
    treatment: str
    event_date: date
    method: str  # mean, ratio or cuped
    n_control: int
    n_treatment: int
    mean_control: float
    mean_treatment: float
    difference: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    p_value: float
    srm_p_value: float
    alpha: float
    convention: str


def readout(settings: Settings) -> list[Result]:
    """Write `build/experiment_result.parquet` in the lake, whole or not at all, and return its rows.

    Reads the latest day of `mart_experiment_moments` in the warehouse's build file. No experiment, no rows: the table
    is then written empty.

    Raises:
        ModelError: the build file or the mart is not there yet.
    """
    import pyarrow.parquet as pq

    results = list(analyse(_moments(settings.lake.build_file)))
    path = settings.lake.root / RESULT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(".tmp")
    pq.write_table(to_arrow(results), made, compression="zstd")
    os.replace(made, path)
    return results


def analyse(rows: list[tuple[Any, ...]]) -> Iterator[Result]:
    """Results from rows (experiment, metric, variant, event_date, n, sum_y, sum_y2, sum_x, sum_x2, sum_xy), sorted."""
    for (experiment, metric), group in groupby(rows, key=lambda row: (row[0], row[1])):
        found = list(group)
        arms = {row[2]: Moments(int(row[4]), *(float(value) for value in row[5:])) for row in found}
        control = _control(experiment, list(arms))
        balance = _sample_ratio(experiment, arms)
        for treatment, moments in arms.items():
            if treatment == control:
                continue
            for method, difference in _methods(metric, arms[control], moments):
                yield Result(
                    experiment,
                    metric,
                    control,
                    treatment,
                    found[0][3],
                    method,
                    arms[control].n,
                    moments.n,
                    **asdict(difference),
                    srm_p_value=balance,
                    alpha=ALPHA,
                    convention=CONVENTION,
                )


def to_arrow(results: list[Result]) -> "pa.Table":
    """The result table under its fixed schema; a number that the data cannot give is null."""
    import pyarrow as pa

    names = [field.name for field in schema()]
    columns = {name: [_value(getattr(result, name)) for result in results] for name in names}
    return pa.Table.from_pydict(columns, schema=schema())


def schema() -> "pa.Schema":
    import pyarrow as pa

    text, count = pa.string(), pa.int64()
    always = {
        "experiment": text, "metric": text, "control": text, "treatment": text, "event_date": pa.date32(),
        "method": text, "n_control": count, "n_treatment": count, "alpha": pa.float64(), "convention": text,
    }  # fmt: skip
    return pa.schema(
        [
            pa.field(name, always.get(name, pa.float64()), nullable=name not in always)
            for name in Result.__dataclass_fields__
        ]
    )


def _methods(metric: str, control: Moments, treatment: Moments) -> Iterator[tuple[str, Difference]]:
    if metric in RATIOS:
        yield "ratio", ratio_difference(control, treatment, ALPHA)
        return
    yield "mean", mean_difference(control, treatment, ALPHA)
    if control.has_x and treatment.has_x:
        yield "cuped", mean_difference(control, treatment, ALPHA, covariate=True)


def _control(experiment: str, variants: list[str]) -> str:
    """The variant called control; without one, the first that the registry (or the alphabet) names."""
    running = known(experiment)
    order = ["control", *(running.shares if running else {}), *sorted(variants)]
    return next(name for name in order if name in variants)


def _sample_ratio(experiment: str, arms: dict[str, Moments]) -> float:
    running = known(experiment)
    shares = running.shares if running and set(running.shares) >= set(arms) else dict.fromkeys(arms, 1 / len(arms))
    present = [name for name, share in shares.items() if share > 0]
    return sample_ratio_p_value([arms[name].n if name in arms else 0 for name in present], [shares[n] for n in present])


def _value(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _moments(build_file: Path) -> list[tuple[Any, ...]]:
    import duckdb

    if not build_file.exists():
        raise ModelError(f"no warehouse at {build_file}: run `matinee build` first")
    with duckdb.connect(str(build_file), read_only=True) as connection:
        try:
            return connection.execute(_MOMENTS).fetchall()
        except duckdb.CatalogException:
            raise ModelError(
                f"{build_file} holds no marts.mart_experiment_moments: run `matinee build` first"
            ) from None
