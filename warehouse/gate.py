"""The data-quality gate between the landing zone and the warehouse: Great Expectations over a batch of landed files.

A batch passes whole or is held back whole. Before any value is looked at, each file must be there, readable, of the
landing contract's schema and as long as the ledger says.
"""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from matinee.contracts.events import MAX_LATENESS, MAX_LEAD, SCHEMA_MAJOR, SCHEMA_NAME, EventType, Origin
from matinee.contracts.landing import LANDED_EVENT

if TYPE_CHECKING:
    import pandas as pd

COUNTERS = ("seq", "position_ms", "played_ms", "stall_ms", "stalls", "paused_ms", "startup_ms", "bits")
TEXTS = ("event_id", "schema", "origin", "type")
_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_SAMPLE = 5


@dataclass(frozen=True)
class LandedFile:
    """A file of the landing zone as the ledger knows it; `path` is relative to the lake's root."""

    path: str
    rows: int


@dataclass(frozen=True)
class Check:
    """One expectation and how it came out; `unexpected` rows broke it, `sample` shows a few of their values."""

    check: str
    column: str | None
    success: bool
    unexpected: int = 0
    sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateResult:
    """What the gate says about a batch. `report` is the file with the whole validation result, as JSON."""

    batch: str
    files: tuple[str, ...]
    rows: int
    checks: tuple[Check, ...]
    report: Path | None = None

    @property
    def success(self) -> bool:
        return all(check.success for check in self.checks)

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """The failed checks as data, without the flag."""
        failed = [asdict(check) for check in self.checks if not check.success]
        return [{name: value for name, value in check.items() if name != "success"} for check in failed]


def check(lake: Path, batch: str, files: Sequence[LandedFile], reports: Path | None = None) -> GateResult:
    """Check the files of a batch together; writes the result below `reports` if given."""
    paths = tuple(file.path for file in files)
    rows = sum(file.rows for file in files)
    checks = _check_files(lake, files)
    raw: dict[str, Any] = {}
    if all(c.success for c in checks):
        raw = _validate(_frame([lake / path for path in paths]))
        checks += [_read(result) for result in raw["results"]]
    result = GateResult(batch, paths, rows, tuple(checks))
    if reports is None:
        return result
    return GateResult(batch, paths, rows, result.checks, _write(reports, result, raw))


def _check_files(lake: Path, files: Sequence[LandedFile]) -> list[Check]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    unreadable, foreign, other_length = [], [], []
    for file in files:
        try:
            with pq.ParquetFile(lake / file.path) as parquet:
                schema, length = parquet.schema_arrow, parquet.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            unreadable.append(f"{file.path}: {str(error).splitlines()[0]}")
            continue
        if not _fits(schema):
            foreign.append(file.path)
        if length != file.rows:
            other_length.append(f"{file.path}: {length} rows, ledger says {file.rows}")
    return [
        Check("file_is_readable", None, not unreadable, len(unreadable), tuple(unreadable[:_SAMPLE])),
        Check("schema_is_landed_event", None, not foreign, len(foreign), tuple(foreign[:_SAMPLE])),
        Check("rows_match_ledger", None, not other_length, len(other_length), tuple(other_length[:_SAMPLE])),
    ]


def _fits(schema: Any) -> bool:
    """Whether the columns of the contract are there with their types; older files lack a nullable one."""
    types = {field.name: field.type for field in schema}
    return all(types.get(field.name, field.type if field.nullable else None) == field.type for field in LANDED_EVENT)


def _frame(paths: Sequence[Path]) -> "pd.DataFrame":
    """The columns that the suite looks at, and the seconds from event to receipt (none for imports)."""
    import duckdb

    columns = ", ".join((*(f'"{name}"' for name in TEXTS), "received_at", "event_ts", *COUNTERS))
    query = f"""
        SELECT {columns}, CASE WHEN origin <> 'import' THEN epoch(received_at - event_ts) END AS lateness_s
        FROM read_parquet($paths, hive_partitioning = false)
    """  # noqa: S608 - the column names are constants of this module
    with duckdb.connect() as connection:
        return connection.execute(query, {"paths": [str(path) for path in paths]}).df()


def expectations() -> list[tuple[str, dict[str, Any]]]:
    """The suite as data: name of the expectation and its arguments."""
    version = rf"^{SCHEMA_NAME}/{SCHEMA_MAJOR}\.\d{{1,3}}$"
    bounds = {"min_value": -MAX_LEAD.total_seconds(), "max_value": MAX_LATENESS.total_seconds()}
    required = (*TEXTS, "received_at", "event_ts", "seq")
    return [
        *(("expect_column_values_to_not_be_null", {"column": column}) for column in required),
        ("expect_column_values_to_match_regex", {"column": "event_id", "regex": _UUID}),
        ("expect_column_values_to_match_regex", {"column": "schema", "regex": version}),
        ("expect_column_values_to_be_in_set", {"column": "type", "value_set": [str(kind) for kind in EventType]}),
        ("expect_column_values_to_be_in_set", {"column": "origin", "value_set": list(get_args(Origin))}),
        ("expect_column_values_to_be_between", {"column": "lateness_s", **bounds}),
        *(("expect_column_values_to_be_between", {"column": column, "min_value": 0}) for column in COUNTERS),
    ]


@cache
def _engine() -> tuple[Any, Any]:
    """The batch definition and the suite, made once a process: importing Great Expectations takes seconds."""
    # Read when the library is imported; nothing of ours is to be reported to anybody.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    # This one sets itself to INFO and tells every reader of our output where it keeps temporary files.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # pyright: ignore[reportAttributeAccessIssue] - accepts the stored form
    asset = context.data_sources.add_pandas("landing").add_dataframe_asset("events")
    definition = asset.add_batch_definition_whole_dataframe("batch")
    suite = gx.ExpectationSuite(name="landed_event")
    for kind, arguments in expectations():
        suite.add_expectation_configuration(ExpectationConfiguration(type=kind, kwargs=arguments))
    return definition, suite


def _validate(frame: "pd.DataFrame") -> dict[str, Any]:
    definition, suite = _engine()
    batch = definition.get_batch({"dataframe": frame})
    shape = {"result_format": "SUMMARY", "partial_unexpected_count": _SAMPLE}
    return batch.validate(suite, result_format=shape).to_json_dict()


def _read(result: dict[str, Any]) -> Check:
    config, found = result["expectation_config"], result["result"]
    sample = tuple(str(value) for value in found.get("partial_unexpected_list", ()))
    count = int(found.get("unexpected_count", 0))
    return Check(config["type"], config["kwargs"].get("column"), bool(result["success"]), count, sample)


def _write(reports: Path, result: GateResult, raw: dict[str, Any]) -> Path:
    """The last passing result of a batch replaces the one before; every failing one is kept."""
    folder = reports / result.batch.replace("/", "-").replace(":", "-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("passed.json" if result.success else f"held-{Path(result.files[0]).stem}.json")
    summary = {"batch": result.batch, "success": result.success, "rows": result.rows, "files": result.files}
    content = {**summary, "checks": [asdict(c) for c in result.checks], "validation": raw}
    path.write_text(json.dumps(content, indent=1, default=str))
    return path
