"""Names of people in texts that nobody's room owns: logs, reports, the records of Dagster and MLflow."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from matinee.erasing import Finder, blot_file
from matinee.settings import Settings
from matinee.stack.postgres import NEIGHBOURS

# Compressed or structured: their owners write these anew. Nothing of people is ever in a film.
_BINARY = frozenset({".parquet", ".duckdb", ".wal", ".npz", ".png", ".gz", ".zst", ".zip", ".pkl", ".db"})
_TEXTS = """
    SELECT c.table_name, c.column_name FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type IN ('text', 'character varying')
    ORDER BY 1, 2
"""


def blot_files(settings: Settings, finder: Finder) -> int:
    """Write asterisks over names in every text below the home and the lake; mail that has one goes whole.

    Returns how many names there were.
    """
    found = 0
    for path in _texts(settings):
        try:
            count = blot_file(path, finder)
        except FileNotFoundError:  # rotated, or cleared by its owner
            continue
        if count and path.is_relative_to(settings.home.root / "mail"):
            path.unlink()
        found += count
    return found


def _texts(settings: Settings) -> Iterator[Path]:
    home = settings.home
    left_out = {home.postgres, home.redis, home.secrets, home.inbox, settings.media}
    for root in {home.root, settings.lake.root}:
        for place, folders, files in os.walk(root):
            folder = Path(place)
            folders[:] = [name for name in folders if folder / name not in left_out]
            for name in files:
                path = folder / name
                if path.suffix not in _BINARY and path.is_file() and not path.is_symlink():
                    yield path


def blot_databases(settings: Settings, finder: Finder) -> int:
    """The same in every text column of the neighbours' databases; returns how many fields there were."""
    found = 0
    for neighbour in NEIGHBOURS:
        try:
            connection = psycopg.connect(settings.database(neighbour), connect_timeout=5)
        except psycopg.OperationalError:  # nobody has used it yet
            continue
        with connection:
            for table, column in connection.execute(_TEXTS).fetchall():
                found += _blot_column(connection, table, column, finder)
    return found


def _blot_column(connection: psycopg.Connection, table: str, column: str, finder: Finder) -> int:
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
    changed = []
    with connection.cursor(name="texts") as cursor:
        cursor.itersize = 500
        query = sql.SQL("SELECT ctid::text, {column} FROM {table} WHERE length({column}) >= 12")
        for row, text in cursor.execute(query.format(**names)):
            blotted, count = finder.blot(text.encode())
            if count:
                changed.append((blotted.decode(), row))
    with connection.cursor() as cursor:
        cursor.executemany(sql.SQL("UPDATE {table} SET {column} = %s WHERE ctid = %s::tid").format(**names), changed)
    return len(changed)
