"""Published snapshots: what they are, which is current, and how a reader keeps one from being cleared away."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from matinee.lake import Lake, NoSnapshotError

_PINS = "pins.json"


@dataclass(frozen=True)
class PublishedTable:
    """`sha256` is over the set of rows and the column types: equal content has an equal sum in whatever order."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class MadeOf:
    """What a snapshot's marts were built from.

    `files` and `rows`: landed files of events and their rows, each named in the snapshot's `files.parquet`, whose names
    in order have the hash `files_sha256`. `exports`: table -> exported file. Paths are below the lake's root.
    `invocation_id`: dbt's last invocation.
    """

    files: int
    rows: int
    files_sha256: str
    exports: Mapping[str, str]
    invocation_id: str


@dataclass(frozen=True)
class Snapshot:
    """A folder with `marts.duckdb` (all tables in schema `main`), `marts/<name>.parquet` and `manifest.json`.

    `made_of`: none where the snapshot is older than this record.
    `changed`: the call that returned it wrote it; false where the content was published before.
    """

    snapshot_id: str
    path: Path
    created_at: datetime
    data_hash: str
    tables: Mapping[str, PublishedTable]
    made_of: MadeOf | None = None
    changed: bool = False

    @property
    def marts(self) -> Path:
        return self.path / "marts.duckdb"

    def parquet(self, table: str) -> Path:
        return self.path / "marts" / f"{table}.parquet"

    @property
    def files(self) -> Path:
        """The landed files that the marts were built from: `path`, `rows`, `loaded_at`."""
        return self.path / "files.parquet"

    def manifest(self) -> str:
        tables = {name: asdict(table) for name, table in self.tables.items()}
        head = {"snapshot_id": self.snapshot_id, "created_at": self.created_at.isoformat(), "data_hash": self.data_hash}
        made_of = {"made_of": asdict(self.made_of)} if self.made_of else {}
        return json.dumps({**head, **made_of, "tables": tables}, indent=1)


def read(path: Path) -> Snapshot:
    """The snapshot in this folder."""
    manifest = json.loads((path / "manifest.json").read_text())
    return Snapshot(
        snapshot_id=manifest["snapshot_id"],
        path=path,
        created_at=datetime.fromisoformat(manifest["created_at"]),
        data_hash=manifest["data_hash"],
        tables={name: PublishedTable(**table) for name, table in manifest["tables"].items()},
        made_of=MadeOf(**manifest["made_of"]) if "made_of" in manifest else None,
    )


def kept(lake: Lake) -> list[Snapshot]:
    """All snapshots that are still there, oldest first."""
    return [read(manifest.parent) for manifest in sorted(lake.published.glob("*Z-*/manifest.json"))]


def named(lake: Lake, snapshot_id: str) -> Snapshot:
    """The snapshot of this id.

    Raises:
        NoSnapshotError: there is none, or it was cleared away since.
    """
    path = lake.published / snapshot_id
    if not snapshot_id or not (path / "manifest.json").exists():
        there = ", ".join(made.snapshot_id for made in kept(lake)) or "none"
        raise NoSnapshotError(f"no snapshot {snapshot_id!r} in {lake.published} (there are: {there})")
    return read(path)


def pin(lake: Lake, pins: Mapping[str, str]) -> None:
    """Keep these snapshots (who needs one -> its id) from being cleared away; replaces all pins that there were.

    Erasing people ignores pins: their rows go from every snapshot.
    """
    draft = lake.published / f".{_PINS}.{os.getpid()}"
    draft.write_text(json.dumps(dict(pins), indent=1))
    os.replace(draft, lake.published / _PINS)


def pinned(lake: Lake) -> frozenset[str]:
    """The ids that are to be kept."""
    path = lake.published / _PINS
    return frozenset(json.loads(path.read_text()).values()) if path.exists() else frozenset()


def current(lake: Lake) -> Snapshot:
    """The snapshot that `published/current` points at.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    if not lake.current.exists():
        raise NoSnapshotError(f"no published snapshot in {lake.published}: run `matinee build` first")
    return read(lake.current.resolve())


@contextmanager
def hold(lake: Lake) -> Iterator[Snapshot]:
    """The current snapshot, which stays on disk for the length of the block however often others are published.

    For readers that open files one by one (Parquet scans, Feast). An open DuckDB connection needs no such care: it
    reads on through its open file even when the folder is gone.
    """
    while True:
        snapshot = current(lake)
        with (snapshot.path / "manifest.json").open() as manifest:
            fcntl.flock(manifest, fcntl.LOCK_SH)
            # Cleared away between reading the link and locking: there is a newer one.
            if (snapshot.path / "manifest.json").exists():
                yield snapshot
                return


def is_held(path: Path) -> bool:
    """Whether somebody holds the snapshot in this folder."""
    with (path / "manifest.json").open() as manifest:
        try:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
