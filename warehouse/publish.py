"""Write, audit, publish: marts that passed all their checks become a read-only snapshot, switched in one step.

Readers never wait for a writer and never see half a build: a snapshot is written whole into a folder of its own, put on
disk, and then the symlink `current` is replaced. Content that is published already is not published again.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.clock import Clock, SystemClock
from matinee.lake import Lake
from matinee.settings import Settings
from warehouse import build_file, snapshot
from warehouse.anomalies.record import look
from warehouse.errors import WarehouseError
from warehouse.failures import failures
from warehouse.files import sync, sync_tree
from warehouse.snapshot import MadeOf, PublishedTable, Snapshot

if TYPE_CHECKING:
    import duckdb

KEPT = 3
_WARNING = "warn"  # a warning tells people something and stops nothing


class AuditError(WarehouseError):
    """The build file holds marts that failed a check, or that no check has seen."""


class AnomalyError(AuditError):
    """The last days look unlike the days before, and nobody has said that they may."""


def publish(
    settings: Settings,
    extra: "Mapping[str, Path] | Callable[[duckdb.DuckDBPyConnection], Mapping[str, Path]] | None" = None,
    *,
    clock: Clock | None = None,
) -> Snapshot:
    """Publish the marts of the build file together with extra tables (name -> Parquet file).

    Where `extra` is asked for, it is once nobody else can publish: what the current snapshot holds then is the newest.
    Returns the current snapshot; `changed` is false where it holds the same content already.

    Raises:
        AuditError: the last results of dbt's models and tests are not all good.
        AnomalyError: the last days look unlike the days before; `matinee anomalies` shows and accepts them.
    """
    moment = (clock or SystemClock()).now()
    with build_file.writing(settings) as warehouse:
        audit(warehouse)
        audit_days(warehouse, moment)
        sources = _sources(warehouse, extra(warehouse) if callable(extra) else extra or {})
        tables = {name: measure(warehouse, source) for name, source in sources.items()}
        data_hash = hash_of(tables)
        if settings.lake.current.exists() and snapshot.current(settings.lake).data_hash == data_hash:
            return snapshot.current(settings.lake)
        name = f"{moment:%Y%m%dT%H%M%S%fZ}-{data_hash[:8]}"
        made = Snapshot(
            name, settings.lake.published / name, moment, data_hash, tables, _made_of(warehouse), changed=True
        )
        _write(warehouse, sources, made)
        switch(settings.lake, made)
        clear(settings.lake)
    return made


def audit(warehouse: "duckdb.DuckDBPyConnection") -> None:
    """Every mart and every test has a good last result.

    Raises:
        AuditError: one has not; the message names the first few.
    """
    if warehouse.execute("SELECT count(*) FROM audit.node_result").fetchone() == (0,):
        raise AuditError("nothing was built yet: run `matinee build`")
    bad = [str(failure) for failure in failures(warehouse) if failure.status != _WARNING]
    if bad:
        raise AuditError(
            f"not published, as the audit failed: {_first(bad)}; mend the cause and run `matinee build` "
            "(the rows: `matinee failures`)"
        )


def audit_days(warehouse: "duckdb.DuckDBPyConnection", moment: datetime) -> None:
    """The last days look like the days before, or a person has accepted that they do not.

    Raises:
        AnomalyError: they do not; the message names the first few numbers.
    """
    bad = [str(known.finding) for one in look(warehouse, moment) for known in one.found if known.blocks]
    if bad:
        raise AnomalyError(
            f"not published, as these days are not like those before: {_first(bad)}; mend the cause and run `matinee "
            'build`, or say that it is right: `matinee anomalies accept DAY --why "..."`'
        )


def _first(names: list[str]) -> str:
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def clear(lake: Lake, *, keep: int = KEPT) -> list[Path]:
    """Remove snapshots but for the newest ones, the current, pinned and used ones; returns what was removed."""
    pinned = snapshot.pinned(lake)
    finished = sorted(path.parent for path in lake.published.glob("*Z-*/manifest.json"))
    current = lake.current.resolve()
    gone = [
        path for path in finished[:-keep] if path != current and path.name not in pinned and not snapshot.is_held(path)
    ]
    for path in gone:
        # First the manifest: without it a half-removed folder is no snapshot.
        (path / "manifest.json").unlink()
        shutil.rmtree(path)
    return gone


def _sources(warehouse: "duckdb.DuckDBPyConnection", extra: Mapping[str, Path]) -> dict[str, str]:
    """Table name -> what to select from. A table whose model has left the project stays behind: nobody checks it."""
    marts = warehouse.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts' AND table_type = 'BASE TABLE' "
        "AND table_name IN (SELECT split_part(node_id, '.', 3) FROM audit.node_result WHERE resource_type = 'model')"
    ).fetchall()
    sources = {name: f'marts."{name}"' for (name,) in sorted(marts)}
    for name, path in sorted(extra.items()):
        if name in sources or not name.isidentifier():
            raise WarehouseError(f"an extra table cannot be called {name!r}: choose a name that no mart has")
        sources[name] = f"read_parquet('{_literal(path)}')"
    return sources


def measure(warehouse: "duckdb.DuckDBPyConnection", source: str) -> PublishedTable:
    """The number of rows, and a sum over their hashes, so that their order does not matter."""
    columns = warehouse.execute(f"DESCRIBE FROM {source}").fetchall()
    query = f"SELECT count(*), sum(CAST(hash(t) AS HUGEINT)), bit_xor(hash(t)) FROM (FROM {source}) t"  # noqa: S608 - our own table names
    rows, total, mixed = warehouse.execute(query).fetchone() or (0, 0, 0)
    shape = [(name, kind) for name, kind, *_ in columns]
    return PublishedTable(rows, hashlib.sha256(repr((shape, rows, total, mixed)).encode()).hexdigest())


def _made_of(warehouse: "duckdb.DuckDBPyConnection") -> MadeOf:
    files = warehouse.execute("SELECT path, rows FROM raw.loaded_file ORDER BY path").fetchall()
    exports = dict(warehouse.execute("SELECT name, path FROM raw.loaded_table ORDER BY name").fetchall())
    last = "SELECT max_by(invocation_id, finished_at) FROM audit.node_result WHERE resource_type = 'model'"
    (invocation,) = warehouse.execute(last).fetchall()[0]
    names = hashlib.sha256("\n".join(path for path, _ in files).encode()).hexdigest()
    return MadeOf(len(files), sum(rows for _, rows in files), names, exports, invocation or "")


def hash_of(tables: Mapping[str, PublishedTable]) -> str:
    return hashlib.sha256(repr(sorted((n, t.rows, t.sha256) for n, t in tables.items())).encode()).hexdigest()


def _write(warehouse: "duckdb.DuckDBPyConnection", sources: Mapping[str, str], made: Snapshot) -> None:
    """Fill the new snapshot's folder; whatever a crash left there before had no manifest and is written over."""
    shutil.rmtree(made.path, ignore_errors=True)
    (made.path / "marts").mkdir(parents=True)
    warehouse.execute(f"ATTACH '{_literal(made.marts)}' AS snapshot")
    try:
        for name, source in sources.items():
            warehouse.execute(f'CREATE TABLE snapshot.main."{name}" AS FROM {source}')
            target = _literal(made.parquet(name))
            warehouse.execute(f"COPY (FROM snapshot.main.\"{name}\") TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    finally:
        warehouse.execute("DETACH snapshot")
    files = "SELECT path, rows, loaded_at FROM raw.loaded_file ORDER BY path"
    warehouse.execute(f"COPY ({files}) TO '{_literal(made.files)}' (FORMAT parquet, COMPRESSION zstd)")
    _check_copy(made)
    sync_tree(made.path)
    draft = made.path / ".manifest.json"
    draft.write_text(made.manifest())
    sync(draft)
    os.replace(draft, made.path / "manifest.json")
    sync(made.path)
    sync(made.path.parent)


def _check_copy(made: Snapshot) -> None:
    """Look at what was written, not at what was meant."""
    import duckdb

    with duckdb.connect(str(made.marts), read_only=True) as connection:
        for name, table in made.tables.items():
            for source in (f'"{name}"', f"read_parquet('{_literal(made.parquet(name))}')"):
                written = measure(connection, source)
                if written != table:
                    raise WarehouseError(
                        f"{made.path}: {name} was not written as built; check the disk and publish again"
                    )


def switch(lake: Lake, made: Snapshot) -> None:
    draft = lake.published / f".current.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(made.path.name)
    os.replace(draft, lake.current)
    sync(lake.published)


def _literal(path: Path) -> str:
    return str(path).replace("'", "''")
