"""New files in the inbox start the part of the graph that depends on them."""

import hashlib
from pathlib import Path

import dagster as dg

from orchestration.resources import MatineeResource

FEED_JOB = dg.define_asset_job(
    "catalogue_changed",
    dg.AssetSelection.assets(["ingest", "catalogue"]),
    description="Take in the feeds of the inbox.",
)
MASTER_JOB = dg.define_asset_job(
    "masters_changed",
    dg.AssetSelection.assets(["ingest", "masters"], ["transcoding", "packages"]),
    description="Take in the films of the inbox and make them playable.",
)


def fingerprint(folder: Path) -> str | None:
    """A digest of names, sizes and change times of the folder's files; None where it has none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        return None
    stats = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def _watch(context: dg.SensorEvaluationContext, folder: Path) -> dg.RunRequest | dg.SkipReason:
    state = fingerprint(folder)
    if state is None or state == context.cursor:
        return dg.SkipReason(f"nothing new in {folder}")
    context.update_cursor(state)
    return dg.RunRequest(run_key=state)


@dg.sensor(job=FEED_JOB, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def feeds(context: dg.SensorEvaluationContext, matinee: MatineeResource) -> dg.RunRequest | dg.SkipReason:
    """A feed file was added or changed in the inbox."""
    return _watch(context, matinee.settings().home.inbox / "feeds")


@dg.sensor(job=MASTER_JOB, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def films(context: dg.SensorEvaluationContext, matinee: MatineeResource) -> dg.RunRequest | dg.SkipReason:
    """A film was added or changed in the inbox."""
    return _watch(context, matinee.settings().home.inbox / "masters")
