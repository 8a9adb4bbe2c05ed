"""`matinee build`: the asset graph, materialised in this process, over the received days that are not built yet."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee.errors import MatineeError
from matinee.settings import Settings

if TYPE_CHECKING:
    import dagster as dg
    from dagster import SerializableErrorInfo

# The steps that dbt runs in and that publishes: what they find is told in full.
TRANSFORMS, SNAPSHOT = "transforms", "warehouse__snapshot"


class BuildError(MatineeError):
    """An asset failed, in the step of this name; what was published before stays."""

    def __init__(self, message: str, step: str) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class Built:
    """One materialisation: the asset's key as `room/name`, and what it said of itself."""

    asset: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class FailedCheck:
    """A check that did not pass and stopped nothing. `rows`: what it found, where it says so as data."""

    name: str
    rows: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Build:
    run_id: str
    assets: list[Built]
    failed_checks: list[FailedCheck]


def build(
    settings: Settings, selection: str = "*", *, full_refresh: bool = False, again: tuple[date, date] | None = None
) -> Build:
    """Materialise the selected assets (Dagster's selection syntax, e.g. `group:warehouse+`).

    `full_refresh` makes dbt build its incremental models from all events, as a changed model needs. `again`: the event
    days from the first to the second are made anew as well, whether anything of them changed or not.

    PostgreSQL and Redis must be running.

    Raises:
        BuildError: an asset failed; the message names it and its reason.
    """
    import dagster as dg

    from orchestration.defs.schedules import received_between
    from orchestration.instance import definitions, prepare
    from orchestration.policies import FULL_REFRESH
    from warehouse.backfill import touch_event_days

    prepare(settings)
    first, last = pending_days(settings)
    if again is not None:
        touch_event_days(settings, *again)
    known = definitions()
    job = dg.define_asset_job("build", selection=selection, executor_def=dg.in_process_executor)
    loaded = dg.Definitions.merge(known, dg.Definitions(jobs=[job]))
    with _talk_to(settings.home.logs / "build.log"), dg.DagsterInstance.get() as instance:
        result = loaded.resolve_job_def("build").execute_in_process(
            instance=instance,
            tags=received_between(first.isoformat(), last.isoformat())
            | ({FULL_REFRESH: "true"} if full_refresh else {}),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        return _summary(settings, result)


@contextmanager
def _talk_to(log: Path) -> Iterator[None]:
    """Send what libraries and dbt print to a file; the terminal is for people.

    Handlers of others are laid aside, not closed: one of them may write to a stream that is not its own.
    """
    logging.captureWarnings(True)
    root, handler = logging.getLogger(), logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    aside, level = root.handlers, root.level
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    try:
        with log.open("a") as output, redirect_stdout(output):
            yield
    finally:
        root.handlers = aside
        root.setLevel(level)
        handler.close()


def pending_days(settings: Settings) -> tuple[date, date]:
    """The range of received days that the warehouse has not loaded yet; today alone when there is none.

    What waits in the event log is landed first: until then nobody knows its days.
    """
    from ingest.collector import drain
    from warehouse.load import waiting_days

    drain(settings)
    days = [*waiting_days(settings), datetime.now(UTC).date()]
    return min(days), max(days)


def _name(event: "dg.DagsterEvent") -> str:
    return "/".join(event.asset_key.path) if event.asset_key else ""


def _summary(settings: Settings, result: "dg.ExecuteInProcessResult") -> Build:
    if failed := [event for event in result.all_events if event.is_step_failure]:
        raise _error(settings, failed[0], result.run_id)
    return Build(
        run_id=result.run_id,
        # One event a partition says the same of a whole range: the last one stands for it.
        assets=list(
            {
                _name(event): Built(_name(event), {k: v.value for k, v in event.materialization.metadata.items()})
                for event in result.get_asset_materialization_events()
            }.values()
        ),
        failed_checks=[
            FailedCheck(f"{'/'.join(check.asset_key.path)}: {check.check_name}", _rows(check.metadata))
            for check in result.get_asset_check_evaluations()
            if not check.passed
        ],
    )


def _rows(metadata: "Mapping[str, dg.MetadataValue]") -> tuple[dict[str, Any], ...]:
    told = metadata["found"].value if "found" in metadata else []
    return tuple(row for row in told if isinstance(row, dict)) if isinstance(told, list) else ()


def _error(settings: Settings, failed: "dg.DagsterEvent", run_id: str) -> BuildError:
    from warehouse.failures import last_failures

    step = failed.step_key or ""
    found = [str(failure) for failure in last_failures(settings) if failure.by_itself] if step == TRANSFORMS else []
    reason = in_short(found) or _reason(failed.step_failure_data.error)
    return BuildError(f"{step} failed: {reason} (all of it: logs/build.log, run {run_id})", step)


def in_short(names: Sequence[str], most: int = 3) -> str:
    """The first few of many, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _reason(error: "SerializableErrorInfo | None") -> str:
    """The line that a person needs: the first cause's, or the first that dbt named."""
    while error and error.cause:
        error = error.cause
    if error is None:
        return "no reason given"
    lines = [line.strip() for line in error.message.split("Errors parsed from dbt logs:")[-1].splitlines()]
    return " ".join([line for line in lines if line][:2]).split("Error: ", 1)[-1]
