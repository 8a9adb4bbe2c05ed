"""Names of people in texts that nobody's room owns: logs, reports, the records of Dagster and MLflow."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from matinee.erasing import Finder, blot_file
from matinee.settings import Settings
from matinee.stack.postgres import NEIGHBOURS

# Compressed or structured: their owners write these anew. Nothing of people is ever in a film.
_BINARY = frozenset({".parquet", ".duckdb", ".wal", ".npz", ".png", ".gz", ".zst", ".zip", ".pkl", ".db"})
# Text columns of tables that have rows at all.
_TEXTS = """
    SELECT t.relname, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r'
      AND a.atttypid IN ('text'::regtype, 'varchar'::regtype) AND pg_relation_size(t.oid) > 0
    GROUP BY t.relname ORDER BY t.relname
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
            for table, columns in connection.execute(_TEXTS).fetchall():
                found += _blot_table(connection, table, columns, finder)
    return found


def _blot_table(connection: psycopg.Connection, table: str, columns: Sequence[str], finder: Finder) -> int:
    changed: list[tuple[str, dict[str, str]]] = []
    query = sql.SQL("SELECT ctid::text, {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)
    )
    with connection.cursor(name="texts") as cursor:
        cursor.itersize = 500
        for row, *texts in cursor.execute(query):
            blotted = {
                column: finder.blot(text.encode())[0].decode()
                for column, text in zip(columns, texts, strict=True)
                if text and finder.found(text.encode())
            }
            if blotted:
                changed.append((row, blotted))
    for row, blotted in changed:
        values = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in blotted)
        update = sql.SQL("UPDATE {} SET {} WHERE ctid = %s::tid").format(sql.Identifier(table), values)
        connection.execute(update, (*blotted.values(), row))
    return sum(len(blotted) for _, blotted in changed)
