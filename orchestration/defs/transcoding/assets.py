"""A master becomes a package; what viewers watch decides which packages are made again, and better."""

from typing import Any

import dagster as dg
from pydantic import Field

from orchestration.markdown import table
from orchestration.observe import Reporter
from orchestration.policies import room
from orchestration.resources import MatineeResource

_REPORTS = 50  # listed of one run


class Backfill(dg.Config):
    """For a run from the launchpad: only these titles, and with this treatment, which is remembered for them."""

    titles: list[str] = Field(default=[])
    treatment: str | None = None


@dg.asset(**room("transcoding"), deps=[["ingest", "masters"]], kinds={"ffmpeg", "hls"})
def packages(context: dg.AssetExecutionContext, config: Backfill, matinee: MatineeResource) -> dg.MaterializeResult:
    """Adaptive packages in the media store, one for each accepted master; published whole or not at all.

    Whoever works on the queue, this waits until its jobs are done, and observes how far they are.
    """
    from matinee.clock import SystemClock
    from matinee.db.connect import connect
    from transcoding.build import transcode_pending
    from transcoding.overview import overview
    from transcoding.treatments import set_by_hand

    settings = matinee.settings()
    if config.treatment:
        if not config.titles:
            raise dg.Failure(f"treatment {config.treatment!r} for every title: name the titles that are worth it")
        with connect(settings) as connection:
            set_by_hand(connection, config.titles, config.treatment, SystemClock().now())
    reporter = Reporter(context)
    outcomes = transcode_pending(settings, reporter.heard, titles=config.titles or None)
    for outcome in outcomes:
        context.log.info("%s", outcome)
    with connect(settings) as connection:
        state = overview(connection)
    metadata: dict[str, Any] = {
        "published": state.packages.get("published", 0),
        "failed": len(state.failed),
        "made in this run": sum(outcome.state == "published" for outcome in outcomes),
        "jobs": dict(state.jobs),
        "tasks": dict(state.tasks),
    }
    made = [settings.media / o.title_id / o.package_id / "report.html" for o in outcomes if o.state == "published"]
    if made:
        metadata["reports"] = dg.MetadataValue.md("\n".join(f"- `{page}`" for page in made[:_REPORTS]))
    if state.failed:
        rows = [(failed.title_id, failed.treatment, failed.reason) for failed in state.failed]
        metadata["why"] = table(("title", "treatment", "reason"), rows)
    return dg.MaterializeResult(metadata=metadata)


class Budget(dg.Config):
    """CPU seconds that all upgrades which wait may take; unset: `MATINEE_TRANSCODE_BUDGET_CPU_S`."""

    budget_cpu_s: float | None = None


@dg.asset(
    **room("transcoding"),
    deps=[
        ["warehouse", "snapshot"],
        ["transforms", "mart_title_day"],
        ["transforms", "fct_playback_session"],
        ["transforms", "mart_encoding_saving"],
    ],
    kinds={"duckdb", "postgres"},
)
def treatments(config: Budget, matinee: MatineeResource) -> dg.MaterializeResult:
    """Which titles deserve more encoding, from what viewers watched; the next run of `packages` carries it out."""
    from matinee.db.connect import connect
    from transcoding.treatments import decide, waiting

    settings = matinee.settings()
    made = decide(settings, budget_cpu_s=config.budget_cpu_s)
    with connect(settings) as connection:
        left = waiting(connection)
    metadata: dict[str, Any] = {
        "titles": made.titles,
        "decided": made.changes.height,
        "waiting": len(left),
        "GB to save in four weeks": round(sum(decision.saved_gb for decision in left), 3),
        "CPU seconds": round(sum(decision.cpu_s for decision in left)),
    }
    if left:
        rows = [(w.title_id, w.now or "", w.treatment, w.reason) for w in left]
        metadata["upgrades"] = table(("title", "now", "decided", "why"), rows)
    if made.audience:
        metadata["median bandwidth, kbit/s"] = round(made.audience.kbps[len(made.audience.kbps) // 2])
        metadata["hours at the top rung"] = f"{made.audience.censored:.0%}"
    return dg.MaterializeResult(metadata=metadata)
