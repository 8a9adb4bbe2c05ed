"""The registered model as files: `model.npz` (arrays) and `model.json` (what they mean). No pickle, no framework."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.interactions import Floats, Ragged
from models.recommenders.base import Fitted, with_fallback
from models.recommenders.zoo import pack, unpack


@dataclass(frozen=True)
class About:
    """`name` of the model, `fallback` for viewers it knows nothing of, the snapshot it was fitted to."""

    name: str
    fallback: str
    snapshot_id: str
    data_hash: str


@dataclass(frozen=True)
class Stored:
    """A fitted model with its items (title ids, in the order of its columns)."""

    about: About
    items: list[str]
    model: Fitted
    fallback: Fitted

    def score(self, histories: Ragged) -> Floats:
        """[len(histories), len(items)]"""
        return with_fallback(self.model, self.fallback, histories)

    def histories(self, titles: list[list[str]]) -> Ragged:
        """Title ids, oldest first, as rows of item numbers; titles that the model does not know are left out."""
        number = {title: row for row, title in enumerate(self.items)}
        return Ragged.of([[number[title] for title in row if title in number] for row in titles])

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"model/{key}": array for key, array in pack(self.model, self.about.name).items()}
        arrays |= {f"fallback/{key}": array for key, array in pack(self.fallback, self.about.fallback).items()}
        np.savez_compressed(folder / "model.npz", allow_pickle=False, **arrays)
        (folder / "model.json").write_text(json.dumps({"about": asdict(self.about), "items": self.items}))

    @classmethod
    def load(cls, folder: Path) -> "Stored":
        meta = json.loads((folder / "model.json").read_text())
        with np.load(folder / "model.npz", allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}

        def part(prefix: str) -> Fitted:
            return unpack({key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)})

        return cls(About(**meta["about"]), meta["items"], part("model/"), part("fallback/"))
