"""A system as files: `model.npz` (arrays), `model.json` (what they mean), `golden.json`. No pickle, no framework."""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.errors import ModelError
from models.ranking.served import Ranking
from models.recommenders.segments import SegmentPopularityFitted
from models.recommenders.similar import Neighbours, tags
from models.recommenders.system import About, Golden, Popular, System, asked_of, golden_json
from models.recommenders.zoo import pack, unpack

FORMAT = 1
FILES = ("model.npz", "model.json", "golden.json")


def save(system: System, folder: Path) -> None:
    """Write the files; a folder that is there already is written over."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray] = {"created": system.created}
    if system.model is not None:
        arrays |= {f"model/{key}": array for key, array in pack(system.model, system.about.kind).items()}
    arrays |= {f"popular/{days}": counts for days, counts in system.recent.counts.items()}
    together = system.neighbours.together
    arrays |= {"together/data": together.data, "together/indices": together.indices, "together/indptr": together.indptr}
    if system.segments is not None:
        arrays |= {f"segments/{key}": array for key, array in system.segments.arrays().items()}
    if system.ranking is not None:
        arrays |= {f"ranking/{key}": array for key, array in system.ranking.arrays().items()}
    np.savez(folder / "model.npz", allow_pickle=False, **arrays)
    meta = {
        "format": FORMAT,
        "about": asdict(system.about),
        "items": system.items,
        "genres": system.titles,
        "popular_days": system.recent.days,
        "rows": dict(system.rows),
        "ranker": system.ranking.ranker.kind if system.ranking else None,
    }
    (folder / "model.json").write_text(json.dumps(meta))
    (folder / "golden.json").write_text(json.dumps(golden_json(system.golden), indent=1))


def load(folder: Path) -> System:
    """The way back from `save`.

    Raises:
        ModelError: a file is missing, cut off, or not of this format; the message names it.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}: it is no exported model; `matinee build` exports one")
    try:
        meta = json.loads((folder / "model.json").read_text())
        golden = json.loads((folder / "golden.json").read_text())
        with np.load(folder / "model.npz", allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        if meta["format"] != FORMAT:
            raise ModelError(f"{folder} has format {meta['format']}, this code reads {FORMAT}: export it again")
        return _checked(_system(meta, golden, arrays))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{folder} is damaged ({type(error).__name__}: {error}): export the model again") from error


def _system(meta: dict[str, Any], golden: list[dict[str, Any]], arrays: dict[str, NDArray]) -> System:
    def group(prefix: str) -> dict[str, NDArray]:
        return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}

    items, genres, parts, near = (
        meta["items"],
        [tuple(row) for row in meta["genres"]],
        group("model/"),
        group("together/"),
    )
    segments, ranking = group("segments/"), group("ranking/")
    shape = (len(items), len(items))
    return System(
        about=About(**meta["about"]),
        items=items,
        titles=genres,
        created=arrays["created"],
        model=unpack(parts) if parts else None,
        recent=Popular({int(days): counts for days, counts in group("popular/").items()}, meta["popular_days"]),
        neighbours=Neighbours(sp.csr_matrix((near["data"], near["indices"], near["indptr"]), shape), tags(genres)),
        rows=meta["rows"],
        segments=SegmentPopularityFitted.restored(segments) if segments else None,
        ranking=Ranking.restored(meta["ranker"], ranking, genres) if ranking else None,
        golden=tuple(_golden(one) for one in golden),
    )


def _golden(one: dict[str, Any]) -> Golden:
    lists = (tuple((title, score) for title, score in one.get(name, ())) for name in ("top", "popular", "similar"))
    return Golden(asked_of(one["asked"]), *lists)


def _checked(system: System) -> System:
    """Raises ValueError: an array has another length than there are items."""
    count = len(system.items)
    sizes = {"genres": len(system.titles), "created": len(system.created)}
    sizes |= {f"popular/{days}": len(counts) for days, counts in system.recent.counts.items()}
    if system.segments is not None:
        sizes["segments"] = system.segments.shares.shape[1]
    if system.ranking is not None:
        sizes["ranking/titles"] = len(system.ranking.titles.numbers)
    if wrong := [f"{name} has {size}" for name, size in sizes.items() if size != count]:
        raise ValueError(f"{count} items, but {', '.join(wrong)}")
    return system
