"""The code location: everything below `defs/`, with the resources constructed once."""

import os
import sys
import warnings
from pathlib import Path

import dagster as dg

from orchestration import REPOSITORY
from orchestration.policies import FRESHNESS
from orchestration.resources import MatineeResource

# Pins are exact and a snapshot test holds the graph, so a notice of what may change some day helps nobody here.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

# dagster-dbt looks for `dbt` on PATH when definitions load; ours is the one beside this interpreter.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster knows of Matinee."""
    loaded = dg.load_from_defs_folder(path_within_project=REPOSITORY / "orchestration" / "defs")
    return dg.Definitions.merge(
        loaded.map_asset_specs(
            func=lambda spec: spec if spec.freshness_policy else spec.replace_attributes(freshness_policy=FRESHNESS)
        ),
        dg.Definitions(resources={"matinee": MatineeResource()}, executor=dg.in_process_executor),
    )
