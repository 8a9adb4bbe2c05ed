"""Every recommender on MovieLens-1M, against the best published figures and our own baselines, in one run.

Three protocols: leave-one-out (`loo`), a global split in time (`temporal`), users that no model has seen (`strong`).
What is chosen is chosen on validation; where a test was looked at more than once, benchmarks/README.md says so. The
ratings may not be redistributed: they are read from `$MATINEE_SHARED/data/ml-1m`, and a missing folder is said. What
takes long is read from benchmarks/results unless `retrain`.
"""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from threadpoolctl import threadpool_limits

from matinee.settings import Settings

from .rows import Row


def run(json: bool = False, retrain: bool = False) -> list[Row]:  # noqa: ARG001 - the name of the option; the caller prints
    """One row a figure; those with an interval (95 %, over users) have `interval`, those read have `recorded`."""
    folder = Settings.load().shared / "data" / "ml-1m"
    if not folder.is_dir():
        missing = f"MovieLens-1M is not at {folder.absolute()}: put it there or set MATINEE_SHARED"
        return [
            {"name": missing, "value": None, "unit": "", "reference": None, "ratio": None, "goal": None, "holds": False}
        ]
    with threadpool_limits(min(2, os.cpu_count() or 1)):
        return list(_rows(folder, retrain))


def _rows(folder: Path, retrain: bool) -> Iterator[Row]:
    # heavy, and in vain where the ratings are missing; the command loads this package without its parent
    parts = ("data", "loo", "recorded", "sequence", "strong", "temporal")
    data, loo, recorded, sequence, strong, temporal = (import_module(f"{__name__}.{part}") for part in parts)
    ordered = data.sasrec_order(folder)
    yield from loo.untimed_rows(ordered)
    sequences = sequence.retrained(ordered, data.with_spread_times(folder)) if retrain else None
    yield from sequence.sequence_rows()
    yield from recorded.stack_rows(folder, sequences)
    yield from loo.anchor_rows()
    yield from temporal.temporal_rows(data.with_times(folder))
    yield from strong.strong_rows(data.liked(folder))
