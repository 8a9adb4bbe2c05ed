"""Which rows belong to people that are to be forgotten, and Parquet files without them.

Rows are found by the names of their columns, so a new mart needs nothing here: a row belongs to whom its `account_key`
names, else its `profile_key`, else its visitor, visit or playback.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.files import sync

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Keys = Mapping[str, Iterable[str]]
KINDS = ("account_key", "profile_key", "session_id", "playback_id")
_OWNERS = ("account_key", "profile_key")
DRAFT = ".erase."  # and the number of the process: no name that a landed file could have
_VISITS = ("visitor_key", "session_id", "playback_id")


def predicates(columns: Mapping[str, str]) -> list[str]:
    """What is true of the rows to forget in a table of these columns (name -> type), a condition for each pass.

    They read the table `forgotten` (see `naming`). Empty where the table names nobody.
    """
    owner = next((name for name in _OWNERS if name in columns), None)
    found = [among(owner, columns[owner])] if owner else []
    visits = " OR ".join(among(name, columns[name]) for name in _VISITS if name in columns)
    if visits:
        found.append(f"{owner} IS NULL AND ({visits})" if owner else visits)
    return found


def among(column: str, kind: str) -> str:
    text = column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"
    return f"{text} IN (SELECT key FROM forgotten WHERE kind = '{column}')"  # noqa: S608 - constants of this module


def named(keys: Keys) -> "pa.Table":
    """The rows of the table `forgotten`: a column's name and a value that stands for one of these people in it."""
    import pyarrow as pa

    rows = [(kind, key) for kind in KINDS for key in keys.get(kind, ())]
    rows += [("visitor_key", key) for key in keys.get("profile_key", ())]
    rows += [("visitor_key", f"visit:{key}") for key in keys.get("session_id", ())]
    columns = {"kind": [kind for kind, _ in rows], "key": [key for _, key in rows]}
    return pa.table(columns, pa.schema([("kind", pa.string()), ("key", pa.string())]))


@contextlib.contextmanager
def naming(connection: "duckdb.DuckDBPyConnection", keys: Keys) -> Iterator[None]:
    """The table `forgotten` of this connection, with the keys in it, for the length of the block."""
    connection.register("forgotten_rows", named(keys))
    connection.execute("CREATE OR REPLACE TEMP TABLE forgotten AS FROM forgotten_rows")
    connection.unregister("forgotten_rows")
    try:
        yield
    finally:
        connection.execute("DROP TABLE forgotten")


def tables(connection: "duckdb.DuckDBPyConnection", database: str) -> dict[str, dict[str, str]]:
    """Every base table of an attached database, as it is written in SQL, with the types of its columns."""
    rows = connection.execute(
        "SELECT c.schema_name, c.table_name, c.column_name, c.data_type FROM duckdb_columns() c "
        "JOIN duckdb_tables() t USING (database_name, schema_name, table_name) "
        "WHERE c.database_name = $database AND NOT t.temporary ORDER BY ALL",
        {"database": database},
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in rows:
        found.setdefault(f'"{database}"."{schema}"."{table}"', {})[column] = kind
    return found


def delete(connection: "duckdb.DuckDBPyConnection", table: str, columns: Mapping[str, str]) -> int:
    """Delete the rows to forget from a table; returns how many they were. The names of tables are our own."""
    removed = 0
    for predicate in predicates(columns):
        removed += one(connection.execute(f"DELETE FROM {table} WHERE {predicate}"))  # noqa: S608 - see above
    return removed


def delete_rows(connection: "duckdb.DuckDBPyConnection", table: str, keys: Keys) -> int:
    """Delete these people's rows from one table; returns how many they were."""
    columns = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {table}").fetchall()}
    with naming(connection, keys):
        return delete(connection, table, columns)


def one(answer: "duckdb.DuckDBPyConnection") -> Any:
    """The one value that was asked for. All rows are fetched: DuckDB takes no other work before."""
    return answer.fetchall()[0][0]


def gone(columns: Mapping[str, str]) -> str:
    """One condition that is true of the rows to forget, and false of all others."""
    return " OR ".join(f"coalesce({predicate}, false)" for predicate in predicates(columns)) or "false"


def parquet(paths: Sequence[Path], options: str = "") -> str:
    """Parquet files as a source of rows, in SQL."""
    listed = ", ".join(f"'{literal(path)}'" for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false, union_by_name = true{options})"


def literal(path: Path) -> str:
    return str(path).replace("'", "''")


def readable(path: Path) -> bool:
    """Whether this is a Parquet file that is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def holding(paths: Sequence[Path], keys: Keys) -> dict[Path, int]:
    """Those of these Parquet files of one kind that hold rows to forget, and how many."""
    import duckdb

    paths = [path for path in paths if readable(path)]
    if not paths:
        return {}
    with duckdb.connect() as connection, naming(connection, keys):
        source = parquet(paths, ", filename = true")
        columns = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
        query = f"SELECT filename, count(*) FROM {source} WHERE {gone(columns)} GROUP BY filename ORDER BY filename"  # noqa: S608 - our own names
        return {Path(path): rows for path, rows in connection.execute(query).fetchall()}


def rows_of(path: Path, keys: Keys) -> set[int]:
    """The numbers of the rows to forget in a Parquet file, from 0."""
    import duckdb

    with duckdb.connect() as connection, naming(connection, keys):
        source = parquet([path], ", file_row_number = true")
        columns = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
        query = f"SELECT file_row_number FROM {source} WHERE {gone(columns)}"  # noqa: S608 - our own names
        return {row for (row,) in connection.execute(query).fetchall()}


def draft_without(path: Path, leaving: set[int]) -> Path:
    """The file without these rows, beside it and on disk, in the same order and schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draft = path.with_name(f"{DRAFT}{os.getpid()}")
    with pq.ParquetFile(path) as whole, pq.ParquetWriter(draft, whole.schema_arrow, compression="zstd") as sink:
        start = 0
        for number in range(whole.num_row_groups):
            group = whole.read_row_group(number)
            stays = pa.array([start + row not in leaving for row in range(group.num_rows)], pa.bool_())
            start += group.num_rows
            sink.write_table(group.filter(stays))
    sync(draft)
    return draft
