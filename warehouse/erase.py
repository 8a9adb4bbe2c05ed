"""The warehouse's part in forgetting people: the build file, the published snapshots, exports and held batches.

Figures over many people follow from the facts with the next build; until then they count the erased, whom nothing in
them names.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.types.json import Jsonb

from matinee.clock import Clock, SystemClock
from matinee.db.queries import load as load_queries
from matinee.erasing import Finder
from matinee.lake import Lake
from matinee.settings import Settings
from warehouse import build_file, publish, snapshot
from warehouse.files import clone, sync, sync_tree, write_whole
from warehouse.forgotten import (
    KINDS,
    Keys,
    among,
    delete,
    draft_without,
    gone,
    holding,
    literal,
    naming,
    one,
    parquet,
    readable,
    rows_of,
    tables,
)
from warehouse.snapshot import PublishedTable, Snapshot

if TYPE_CHECKING:
    import duckdb

_SQL = load_queries(Path(__file__).parent)
_DRAFT = re.compile(r"\..+\.\d+(\.wal)?")  # a file's name and the number of the process that was writing it
_PATIENCE_S = 10.0  # for who reads an older snapshot's files at this moment


# -- the build file ----------------------------------------------------------------------------------------------------


def known_as(settings: Settings, warehouse: "duckdb.DuckDBPyConnection", account_keys: Iterable[str]) -> dict[str, set]:
    """What these accounts are called in the lake: column -> values, from the warehouse and from files not loaded yet.

    The build file is claimed by the caller.
    """
    found: dict[str, set] = {kind: set() for kind in KINDS}
    found["account_key"] = set(account_keys)
    with naming(warehouse, found):
        for source in ("raw.events", *_not_loaded(settings, warehouse)):
            for kind, values in _read_names(warehouse, source).items():
                found[kind] |= values
    return found


def _read_names(warehouse: "duckdb.DuckDBPyConnection", source: str) -> dict[str, set]:
    kinds = dict(row[:2] for row in warehouse.execute(f"DESCRIBE FROM {source}").fetchall())
    mine = among("account_key", kinds["account_key"])
    asked = ", ".join(f"CAST({kind} AS VARCHAR)" for kind in KINDS[1:])
    rows = warehouse.execute(f"SELECT DISTINCT {asked} FROM {source} WHERE {mine}").fetchall()  # noqa: S608 - our own names
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return {kind: set(values) - {None} for kind, values in zip(KINDS[1:], columns, strict=True)}


def _not_loaded(settings: Settings, warehouse: "duckdb.DuckDBPyConnection") -> list[str]:
    from matinee.db.connect import connect

    loaded = {path for (path,) in warehouse.execute("SELECT path FROM raw.loaded_file").fetchall()}
    with connect(settings) as ledger:
        landed = [path for (path,) in ledger.execute(_SQL["landed_events"]).fetchall()]
    files = [settings.lake.root / path for path in landed if path not in loaded]
    return [parquet([file]) for file in files if readable(file)]


def forget_rows(warehouse: "duckdb.DuckDBPyConnection", keys: Keys) -> dict[str, int]:
    """Delete the rows of these people from every table of the build file; table -> how many they were.

    The caller decides about the transaction.
    """
    database = one(warehouse.execute("SELECT current_database()"))
    removed: dict[str, int] = {}
    with naming(warehouse, keys):
        for table, columns in tables(warehouse, database).items():
            if count := delete(warehouse, table, columns):
                removed[table.partition(".")[2].replace('"', "")] = count
    return removed


def forget_quotes(warehouse: "duckdb.DuckDBPyConnection", finder: Finder) -> int:
    """Delete what checks have quoted of these people's rows (schema `audit`); returns how many rows that were."""
    database = one(warehouse.execute("SELECT current_database()"))
    removed = 0
    for table, columns in tables(warehouse, database).items():
        texts = [name for name, kind in columns.items() if kind in ("VARCHAR", "JSON")]
        if not table.startswith(f'"{database}"."audit".') or not texts:
            continue
        line = " || ' ' || ".join(f"coalesce(CAST(\"{name}\" AS VARCHAR), '')" for name in texts)
        for row, text in warehouse.execute(f"SELECT rowid, {line} FROM {table}").fetchall():  # noqa: S608 - our own names
            if finder.found(text.encode()):
                warehouse.execute(f"DELETE FROM {table} WHERE rowid = $row", {"row": row})  # noqa: S608 - our own names
                removed += 1
    return removed


def set_loaded(warehouse: "duckdb.DuckDBPyConnection", path: str, rows: int) -> None:
    """A landed file that was loaded has so many rows from now on."""
    warehouse.execute("UPDATE raw.loaded_file SET rows = $rows WHERE path = $path", {"rows": rows, "path": path})


def rewrite(path: Path) -> int:
    """Write the claimed build file anew, so that deleted bytes are gone; returns its size."""
    import duckdb

    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with build_file.opened(path) as warehouse:
        warehouse.execute("CHECKPOINT")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{build_file.MEMORY}'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"ATTACH '{literal(path)}' AS \"{path.stem}\" (READ_ONLY)")
        connection.execute(f"ATTACH '{literal(fresh)}' AS fresh")
        connection.execute(f'COPY FROM DATABASE "{path.stem}" TO fresh')
        connection.execute("DETACH fresh")
    sync(fresh)
    os.replace(fresh, path)
    sync(path.parent)
    return path.stat().st_size


def clear_drafts(lake: Lake) -> int:
    """Remove files and snapshots that killed runs were writing; returns how many that were.

    The caller has claimed the build file: whoever writes these has claimed it too, so nobody is at work on one.
    """
    folders = (lake.build_file.parent, lake.published, lake.landing_tables, lake.root / "archive")
    found = [path for folder in folders for path in folder.rglob(".*") if _DRAFT.fullmatch(path.name)]
    drafts = [path for path in found if path.is_file() and not path.is_symlink()]
    for path in drafts:
        path.unlink()
    halves = [path for path in lake.published.glob("*Z-*") if not (path / "manifest.json").exists()]
    for path in halves:
        shutil.rmtree(path)
    return len(drafts) + len(halves)


def clear_spark(lake: Lake) -> int:
    """Remove what Spark built, which is made anew at will; returns how many marts that were."""
    built = len(list((lake.spark / "marts.db").glob("*/")))
    shutil.rmtree(lake.spark, ignore_errors=True)
    return built


# -- snapshots ---------------------------------------------------------------------------------------------------------


def forget_published(
    settings: Settings, keys: Keys, *, fresh: bool = False, clock: Clock | None = None
) -> dict[str, int]:
    """Publish the current snapshot without these people's rows, and remove all older ones; table -> rows left out.

    Parquet files that held such rows are not there until `complete_published` writes them again: what is quick makes
    everything unreadable, what is slow comes after. `fresh`: every table is written anew, so that no deleted byte is
    left; else deletion is enough. The caller has claimed the build file. Whoever reads files of an older snapshot has
    ten seconds to end.
    """
    lake = settings.lake
    for left in lake.published.glob(".erase.*"):  # of a run that was killed
        shutil.rmtree(left)
    removed: dict[str, int] = {}
    if lake.current.exists():
        old = snapshot.current(lake)
        draft = replace(old, path=lake.published / f".erase.{os.getpid()}", created_at=(clock or SystemClock()).now())
        (draft.path / "marts").mkdir(parents=True)
        removed = (_copied if fresh else _deleted)(old, draft, keys)
        if removed or fresh:
            _settle(lake, _without(old, draft, removed))
        else:
            shutil.rmtree(draft.path)
    _remove_older(lake)
    return removed


def complete_published(settings: Settings) -> int:
    """Write the Parquet files that the current snapshot lacks, and measure their tables; returns how many they were."""
    import duckdb

    if not settings.lake.current.exists():
        return 0
    made = snapshot.current(settings.lake)
    missing = [name for name in made.tables if not made.parquet(name).exists()]
    if not missing:
        return 0
    measures = dict(made.tables)
    with duckdb.connect(str(made.marts), read_only=True) as marts:
        for name in sorted(missing, key=lambda name: made.tables[name].rows):
            copy = f"COPY (FROM \"{name}\") TO '{{}}' (FORMAT parquet, COMPRESSION zstd)"
            write_whole(made.parquet(name), lambda draft, copy=copy: marts.execute(copy.format(literal(draft))))
            measures[name] = publish.measure(marts, f'"{name}"')
    whole = replace(made, tables=measures, data_hash=publish.hash_of(measures))
    write_whole(made.path / "manifest.json", lambda draft: draft.write_text(whole.manifest()))
    return len(missing)


def _deleted(old: Snapshot, draft: Snapshot, keys: Keys) -> dict[str, int]:
    """A copy with rows deleted. What is published stays as it is until the next is switched in, so that a run that was
    killed finds there what it had found, and nobody who reads it is in the way.
    """
    import duckdb

    clone(old.marts, draft.marts)
    with duckdb.connect(str(draft.marts)) as marts:
        return forget_rows(marts, keys)


def _copied(old: Snapshot, draft: Snapshot, keys: Keys) -> dict[str, int]:
    """A new file, with the rows that stay."""
    import duckdb

    removed: dict[str, int] = {}
    with duckdb.connect() as marts:
        marts.execute(f"SET memory_limit = '{build_file.MEMORY}'")
        marts.execute(f"ATTACH '{literal(old.marts)}' AS old (READ_ONLY)")
        marts.execute(f"ATTACH '{literal(draft.marts)}' AS new")
        with naming(marts, keys):
            for table, columns in tables(marts, "old").items():
                target = table.replace('"old"', '"new"', 1)
                marts.execute(f"CREATE TABLE {target} AS FROM {table} WHERE NOT ({gone(columns)})")
                before, after = (_count(marts, name) for name in (table, target))
                if after < before:
                    removed[table.partition(".")[2].replace('"', "")] = before - after
        marts.execute("DETACH new")
    return removed


def _without(old: Snapshot, draft: Snapshot, removed: dict[str, int]) -> Snapshot:
    """The draft with the files that do not change, and what can be said of its tables without reading them."""
    for path in old.path.glob("*.parquet"):  # what it says besides of what it was made from
        os.link(path, draft.path / path.name)
    fewer = {name.rpartition(".")[2]: count for name, count in removed.items()}
    tables = dict(old.tables)
    for name, table in old.tables.items():
        if name not in fewer and old.parquet(name).exists():
            os.link(old.parquet(name), draft.parquet(name))
        elif name in fewer:
            mark = hashlib.sha256(f"{table.sha256} without {fewer[name]} rows".encode()).hexdigest()
            tables[name] = PublishedTable(table.rows - fewer[name], mark)
    return replace(draft, tables=tables, data_hash=publish.hash_of(tables), changed=True)


def _settle(lake: Lake, draft: Snapshot) -> None:
    """Give the draft its name and make it the current snapshot."""
    name = f"{draft.created_at:%Y%m%dT%H%M%S%fZ}-{draft.data_hash[:8]}"
    made = replace(draft, snapshot_id=name, path=lake.published / name)
    (draft.path / "manifest.json").write_text(made.manifest())
    sync_tree(draft.path)
    draft.path.rename(made.path)
    sync(lake.published)
    publish.switch(lake, made)


def _remove_older(lake: Lake) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    waiting = [path for path in _finished(lake) if path != lake.current.resolve()]
    while waiting:
        free = waiting if time.monotonic() > deadline else [path for path in waiting if not snapshot.is_held(path)]
        for path in free:
            (path / "manifest.json").unlink()
            shutil.rmtree(path)
        waiting = [path for path in waiting if path not in free]
        if waiting:
            time.sleep(0.1)


def _finished(lake: Lake) -> list[Path]:
    return sorted(path.parent for path in lake.published.glob("*Z-*/manifest.json"))


# -- what lies about ---------------------------------------------------------------------------------------------------


def purge_exports(settings: Settings, keys: Keys) -> int:
    """Write the exported tables in the lake anew without these people's rows; returns how many rows that were.

    The caller has claimed the build file.
    """
    removed = 0
    for folder in sorted(settings.lake.landing_tables.glob("*")):
        for path in holding(sorted(folder.rglob("*.parquet")), keys):
            leaving = rows_of(path, keys)
            os.replace(draft_without(path, leaving), path)
            sync(path.parent)
            removed += len(leaving)
    return removed


def forget_held(connection: psycopg.Connection, finder: Finder) -> int:
    """Blot what the gate quoted of these people in the record of held batches; returns in how many files' reasons."""
    changed = 0
    for path, reasons in connection.execute(_SQL["held_reasons"]).fetchall():
        text, count = finder.blot(json.dumps(reasons, ensure_ascii=False).encode())
        if count:
            connection.execute(_SQL["set_held_reasons"], {"path": path, "reasons": Jsonb(json.loads(text))})
            changed += 1
    return changed


def _count(connection: "duckdb.DuckDBPyConnection", source: str) -> int:
    return one(connection.execute(f"SELECT count(*) FROM {source}"))  # noqa: S608 - our own names


def first_heard(warehouse: "duckdb.DuckDBPyConnection", keys: Keys) -> datetime | None:
    """When the warehouse first received anything of these accounts; none where it never did."""
    kinds = dict(row[:2] for row in warehouse.execute("DESCRIBE FROM raw.events").fetchall())
    with naming(warehouse, keys):
        query = f"SELECT min(received_at) FROM raw.events WHERE {among('account_key', kinds['account_key'])}"  # noqa: S608 - our own names
        return one(warehouse.execute(query))
