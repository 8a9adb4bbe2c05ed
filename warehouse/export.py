"""PostgreSQL's tables into the lake: a new file where the content changed, and `raw.<name>` in the build file.

All tables are read as of one moment: nothing comes without its account, no posting without its transaction's others.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matinee import pseudonyms
from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.db.queries import load as load_queries
from matinee.lake import Lake
from matinee.settings import Settings
from warehouse import build_file, snapshot
from warehouse.files import write_whole
from warehouse.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

KEPT = 3  # exports of a table whose content changed
_SQL = load_queries(Path(__file__).parent)


@dataclass(frozen=True)
class ExportedTable:
    """`path` holds the current content; `changed` says whether this export wrote it."""

    name: str
    path: Path
    rows: int
    changed: bool


def export_tables(settings: Settings, *, clock: Clock | None = None) -> list[ExportedTable]:
    """Export what `TABLES` names, with keys in place of ids, and load its current state; old exports are removed."""
    stamp = (clock or SystemClock()).now().strftime("%Y%m%dT%H%M%S%fZ")
    exported = []
    # All of it with the build file claimed: nobody is erased between reading the tables and loading them.
    with build_file.writing(settings) as warehouse:
        for name, table in _read(settings).items():
            folder = settings.lake.landing_tables / name
            newest = _newest(folder)
            changed = newest is None or not _holds(newest, table)
            path = folder / f"as_of={stamp}" / "part.parquet" if changed or newest is None else newest
            if changed:
                _write(path, table)
            exported.append(ExportedTable(name, path, table.num_rows, changed))
        _load(warehouse, settings.lake.root, exported)
        prune(settings.lake)
    return exported


def prune(lake: Lake, *, keep: int = KEPT) -> list[Path]:
    """Remove exports but for the newest of each table and those that a kept snapshot was made of; returns what went."""
    needed = {path for made in snapshot.kept(lake) if made.made_of for path in made.made_of.exports.values()}
    gone = []
    for folder in lake.landing_tables.glob("*/"):
        older = sorted(folder.glob("as_of=*/part.parquet"))[:-keep]
        gone += [path for path in older if str(path.relative_to(lake.root)) not in needed]
    for path in gone:
        path.unlink()
        path.parent.rmdir()
    return gone


def _read(settings: Settings) -> "dict[str, pa.Table]":
    import pyarrow as pa

    with connect(settings) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        rows = {name: connection.execute(_SQL[table.query]).fetchall() for name, table in TABLES.items()}
    with connect(settings) as connection:
        keys = pseudonyms.salts(connection, [row[0] for row in rows["account"]])
    # An account that is being erased has no salt any more, and takes what is its own along.
    for name, column in (("account", 0), ("profile", 1), ("subscription", 1)):
        rows[name] = [row for row in rows[name] if row[column] in keys]
    tables = {}
    for name, table in TABLES.items():
        made = [table.row(row, keys) for row in rows[name]]
        columns = list(zip(*made, strict=True)) or [()] * len(table.schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, table.schema, strict=True)]
        tables[name] = pa.Table.from_arrays(arrays, schema=table.schema).sort_by(_order(table.schema))
    return tables


def _order(schema: "pa.Schema") -> list[tuple[str, str]]:
    """By every plain column, so that the same rows give the same file."""
    from pyarrow.types import is_nested

    return [(field.name, "ascending") for field in schema if not is_nested(field.type)]


def _newest(folder: Path) -> Path | None:
    return max(folder.glob("as_of=*/part.parquet"), default=None)


def _holds(path: Path, table: "pa.Table") -> bool:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read().equals(table)


def _write(path: Path, table: "pa.Table") -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda draft: pq.write_table(table, draft, compression="zstd"))


def _load(warehouse: "duckdb.DuckDBPyConnection", lake: Path, exported: list[ExportedTable]) -> None:
    """Point `raw.<name>` at the newest content; what is there already is not read again."""
    present = dict(warehouse.execute("SELECT name, path FROM raw.loaded_table").fetchall())
    for table in exported:
        path = str(table.path.relative_to(lake))
        if present.get(table.name) == path:
            continue
        # The table names are those of `TABLES`, not anybody's input.
        with build_file.transaction(warehouse):
            warehouse.execute(f"DELETE FROM raw.{table.name}")  # noqa: S608 - see above
            insert = f"INSERT INTO raw.{table.name} BY NAME FROM read_parquet($path, hive_partitioning = false)"
            warehouse.execute(insert, {"path": str(table.path)})
            warehouse.execute("DELETE FROM raw.loaded_table WHERE name = $name", {"name": table.name})
            warehouse.execute("INSERT INTO raw.loaded_table VALUES ($name, $path)", {"name": table.name, "path": path})
