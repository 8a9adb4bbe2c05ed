"""The data-quality gate between the landing zone and the warehouse: Great Expectations over a batch of landed files.

A batch passes whole or is held back whole. Before any value is looked at, each file must be there, readable, of the
landing contract's schema and as long as the ledger says.

Every expectation is about the single values of one column, so that a batch meets the suite exactly if its distinct
texts, its smallest and largest numbers and its nulls do. Great Expectations gets these, of all waiting batches in one
frame of a few rows, since its time goes by rows and by frames. Where the frame fails, each batch is asked for on its
own, and of a batch that fails every row is looked at, so that counts and samples are those of the whole.
"""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
_MOMENTS = ("received_at", "event_ts")
_LATENESS = "lateness_s"
_OF_NUMBERS = {"min": "min", "max": "max", "count": "known"}


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
    return check_batches(lake, [(batch, files)], reports)[0]


def check_batches(
    lake: Path, batches: Sequence[tuple[str, Sequence[LandedFile]]], reports: Path | None = None
) -> list[GateResult]:
    """Check several batches, each by itself, in the time of one; results come in their order.

    The validation in the report of a batch that passed is that of all batches that were validated with it; the report
    says so in `shows`.
    """
    of_files = [_check_files(lake, files) for _, files in batches]
    readable = [n for n, checks in enumerate(of_files) if all(c.success for c in checks)]
    found = _judge([[lake / file.path for file in batches[n][1]] for n in readable])
    raws = dict(zip(readable, found, strict=True))
    results = []
    for n, (batch, files) in enumerate(batches):
        raw, shows = raws.get(n, ({}, ""))
        checks = (*of_files[n], *(_read(result) for result in raw.get("results", ())))
        result = GateResult(batch, tuple(file.path for file in files), sum(file.rows for file in files), checks)
        results.append(result if reports is None else replace(result, report=_write(reports, result, raw, shows)))
    return results


def _judge(batches: Sequence[Sequence[Path]]) -> list[tuple[dict[str, Any], str]]:
    """What Great Expectations says of each batch, and of which rows it says so."""
    if not batches:
        return []
    found = _extremes([path for paths in batches for path in paths])
    source = found.pop("filename")
    together = _validate(found)
    if together["success"]:
        others = f" and of {len(batches) - 1} more that passed with it" if len(batches) > 1 else ""
        return [(together, f"the smallest and largest values in the files of this batch{others}")] * len(batches)
    named = [source.isin([str(path) for path in paths]) for paths in batches]
    alone = [_validate(found.loc[rows]) for rows in named] if len(batches) > 1 else [together]
    return [
        (raw, "the smallest and largest values in the files of this batch")
        if raw["success"]
        else (_validate(_frame(paths)), "all rows of this batch")
        for raw, paths in zip(alone, batches, strict=True)
    ]


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
    return _read_frame(paths, "SELECT * EXCLUDE (filename) FROM looked_at")


def _extremes(paths: Sequence[Path]) -> "pd.DataFrame":
    """What decides whether these files meet the suite: a few rows of the frame's columns and the `filename`.

    Of each combination of texts in a file a row of smallest and one of largest numbers, and one with a null wherever
    there is one. One well-formed id stands for all of them.
    """
    texts = [f'"{name}"' for name in TEXTS if name != "event_id"]
    numbers = [*_MOMENTS, *COUNTERS, _LATENESS]
    states = {
        "smallest": [f"min_{name} AS {name}" for name in numbers],
        "largest": [f"max_{name} AS {name}" for name in numbers],
        "unknown": [f"CASE WHEN known_{name} = rows THEN min_{name} END AS {name}" for name in numbers],
    }
    measured = ", ".join(f"{of}({n}) AS {name}_{n}" for n in numbers for of, name in _OF_NUMBERS.items())
    keys = f"filename, {', '.join(texts)}"
    well_formed = f"coalesce(regexp_full_match(event_id, '{_UUID}'), false)"
    found = f"""
        SELECT any_value(event_id) AS event_id, {keys}, count(*) AS rows, {measured}
        FROM looked_at
        GROUP BY {well_formed}, CASE WHEN NOT {well_formed} THEN event_id END, {keys}
    """  # noqa: S608 - the names are constants of this module
    rows = [f"SELECT event_id, {keys}, {', '.join(columns)} FROM found" for columns in states.values()]  # noqa: S608 - likewise
    return _read_frame(paths, f", found AS ({found}) {' UNION ALL '.join(rows)}")


def _read_frame(paths: Sequence[Path], query: str) -> "pd.DataFrame":
    import duckdb

    columns = ", ".join((*(f'"{name}"' for name in TEXTS), *_MOMENTS, *COUNTERS))
    source = f"""
        WITH looked_at AS (
            SELECT filename, {columns},
                CASE WHEN origin <> 'import' THEN epoch(received_at - event_ts) END AS {_LATENESS}
            FROM read_parquet($paths, filename = true, hive_partitioning = false, union_by_name = true)
        )
    """  # noqa: S608 - the column names are constants of this module
    with duckdb.connect() as connection:
        return connection.execute(f"{source} {query}", {"paths": [str(path) for path in paths]}).df()


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


def _write(reports: Path, result: GateResult, raw: dict[str, Any], shows: str) -> Path:
    """The last passing result of a batch replaces the one before; every failing one is kept."""
    folder = reports / result.batch.replace("/", "-").replace(":", "-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("passed.json" if result.success else f"held-{Path(result.files[0]).stem}.json")
    summary = {"batch": result.batch, "success": result.success, "rows": result.rows, "files": result.files}
    content = {**summary, "checks": [asdict(c) for c in result.checks], "shows": shows, "validation": raw}
    path.write_text(json.dumps(content, indent=1, default=str))
    return path
