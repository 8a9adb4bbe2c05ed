"""PostgreSQL's tables into the lake: a new file where the content changed, and `raw.<name>` in the build file.

All tables are read as of one moment: nothing comes without its account, no posting without its transaction's others.
"""

import filecmp
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee import pseudonyms
from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.db.queries import load as load_queries
from matinee.lake import Lake
from matinee.settings import Settings
from warehouse import build_file, snapshot
from warehouse.files import write_whole
from warehouse.tables import TABLES, Exported, Keys

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CHUNK = 20_000  # rows in memory at a time
KEPT = 3  # exports of a table whose content changed
PEOPLE = {"account": 0, "profile": 1, "subscription": 1}  # tables with people's ids: the column of the account's
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
        for name, rows in _read(settings).items():
            folder = settings.lake.landing_tables / name
            newest, draft = _newest(folder), _draft(settings.lake, name)
            changed = newest is None or not filecmp.cmp(draft, newest, shallow=False)
            path = folder / f"as_of={stamp}" / "part.parquet" if changed or newest is None else newest
            if changed:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, draft.replace)
            draft.unlink(missing_ok=True)
            exported.append(ExportedTable(name, path, rows, changed))
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


def _draft(lake: Lake, name: str) -> Path:
    return lake.landing_tables / f".{name}.{os.getpid()}"


def _read(settings: Settings) -> dict[str, int]:
    """Write each table's content to its draft, the same content the same file; returns how many rows.

    What has people's ids is read before it gets keys; the rest, among it all the books, goes by in chunks.
    """
    import pyarrow.parquet as pq

    counted = {}
    settings.lake.landing_tables.mkdir(parents=True, exist_ok=True)
    with connect(settings) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        people = {name: connection.execute(_SQL[TABLES[name].query]).fetchall() for name in PEOPLE}
        for name in TABLES.keys() - PEOPLE.keys():
            table, counted[name] = TABLES[name], 0
            with (
                connection.cursor(name="exported") as cursor,
                pq.ParquetWriter(_draft(settings.lake, name), table.schema, compression="zstd") as writer,
            ):
                cursor.execute(_SQL[table.query])
                while rows := cursor.fetchmany(CHUNK):
                    writer.write_table(_arrow(table, rows, {}))
                    counted[name] += len(rows)
    with connect(settings) as connection:
        keys = pseudonyms.salts(connection, [row[0] for row in people["account"]])
    for name, column in PEOPLE.items():
        # An account that is being erased has no salt any more, and takes what is its own along.
        made = _arrow(TABLES[name], [row for row in people[name] if row[column] in keys], keys)
        order: list[tuple[str, str]] = [(field, "ascending") for field in made.column_names]
        pq.write_table(made.sort_by(order), _draft(settings.lake, name), compression="zstd")
        counted[name] = made.num_rows
    return {name: counted[name] for name in TABLES}


def _arrow(table: Exported, rows: Sequence[Sequence[Any]], keys: Keys) -> "pa.Table":
    import pyarrow as pa

    columns = list(zip(*(table.row(row, keys) for row in rows), strict=True)) or [()] * len(table.schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, table.schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _newest(folder: Path) -> Path | None:
    return max(folder.glob("as_of=*/part.parquet"), default=None)


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
