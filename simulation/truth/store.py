"""Truth on disk: a frame grows by a row group for each group of viewers; a run's folder appears whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from simulation.errors import SimulationError
from simulation.parameters import Plan
from simulation.world import World


class Kept:
    """Frames in memory, a part for each group."""

    def __init__(self) -> None:
        self._parts: dict[str, list[pl.DataFrame]] = {}

    def add(self, name: str, part: pl.DataFrame) -> None:
        self._parts.setdefault(name, []).append(part)

    def parts(self, name: str) -> Iterator[pl.DataFrame]:
        yield from self._parts.get(name, ())

    def drop(self, name: str) -> None:
        self._parts.pop(name, None)


class Spooled:
    """The same as Parquet files of a folder, a row group for each part: for runs that do not fit into memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, name: str, part: pl.DataFrame) -> None:
        table = part.to_arrow()
        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(self._path(name), table.schema, compression="zstd")
        # An empty group must be there too: parts of different names belong together by their number.
        self._writers[name].write_table(table.cast(self._writers[name].schema), row_group_size=max(table.num_rows, 1))

    def parts(self, name: str) -> Iterator[pl.DataFrame]:
        self.close()
        with pq.ParquetFile(self._path(name)) as file:
            for number in range(file.num_row_groups):
                yield pl.DataFrame(file.read_row_group(number))

    def drop(self, name: str) -> None:
        self.close()
        self._path(name).unlink(missing_ok=True)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.parquet"


Store = Kept | Spooled


def draft_of(folder: Path) -> Path:
    """A new, empty folder in which the truth of a run grows."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def publish(
    draft: Path,
    folder: Path,
    plan: Plan,
    world: World,
    frames: Mapping[str, pl.DataFrame],
    documents: Mapping[str, Any],
    events_sha256: str,
) -> dict[str, Any]:
    """Write what is not in the draft yet and put it in its place, whole or not at all; returns the manifest.

    Raises:
        SimulationError: another simulation of that name is there.
    """
    check_free(folder, plan, world)
    for name, frame in frames.items():
        frame.write_parquet(draft / f"{name}.parquet", compression="zstd")
    for name, document in documents.items():
        (draft / f"{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    manifest = {
        "run": folder.name,
        "digest": plan.digest(world.fingerprint),
        "parameters": asdict(plan) | {"end": plan.end.isoformat()},
        "titles": len(world.titles),
        "events_sha256": events_sha256,
        "files": {path.name: _sha256(path) for path in sorted(draft.iterdir())},
    }
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return manifest


def check_free(folder: Path, plan: Plan, world: World) -> None:
    """
    Raises:
        SimulationError: the folder holds the truth of a simulation with other parameters or titles.
    """
    path = folder / "manifest.json"
    if path.exists() and json.loads(path.read_text())["digest"] != plan.digest(world.fingerprint):
        raise SimulationError(
            f"run {folder.name!r} exists in {folder.parent} with other parameters or titles: give another --run name"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
