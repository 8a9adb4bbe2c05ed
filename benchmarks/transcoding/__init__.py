"""The figures of the transcoding room: each module measures one of them against its reference, in one run."""

import importlib
import inspect
from pathlib import Path

# In the order of the table; what is not written yet is not in it.
_PARTS = ("ladder", "scale", "bits", "probes", "watermark")


def run(json: bool = False, retrain: bool = False) -> list[dict]:
    """Rows of every part that is here. What takes long is read from benchmarks/results unless `retrain`."""
    here = {path.stem for path in Path(__file__).parent.glob("*.py")}
    rows: list[dict] = []
    for part in _PARTS:
        if part in here:
            measure = importlib.import_module(f"{__name__}.{part}").run
            long = "retrain" in inspect.signature(measure).parameters
            rows += measure(json, retrain=retrain) if long else measure(json)
    return rows
