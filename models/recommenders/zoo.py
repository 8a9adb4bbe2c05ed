"""Every model that is compared, and how fitted ones are stored as plain arrays."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Interactions
from models.recommenders.base import Fitted
from models.recommenders.blend import Blend
from models.recommenders.ease import Ease
from models.recommenders.ials import Ials, IalsFitted
from models.recommenders.items import ItemWeights
from models.recommenders.knn import TransitionKnn
from models.recommenders.popularity import Popularity, PopularityFitted

RECENT = ("popularity_7d", "popularity_14d", "popularity_30d")
PERSONAL = ("ease", "ease_decay", "knn", "ials", "blend")
_KINDS = {"popularity": PopularityFitted, "ease": ItemWeights, "knn": ItemWeights, "ials": IalsFitted}


@dataclass(frozen=True)
class Zoo:
    """The parameters of all models. EASE is fitted once and asked twice: with the whole history, and as it fades."""

    ease: Ease = field(default_factory=lambda: Ease(decay=1.0, max_items=5000, keep=300))
    decay: float = 0.9
    knn: TransitionKnn = field(default_factory=TransitionKnn)
    ials: Ials = field(default_factory=Ials)

    def fit(self, data: Interactions) -> dict[str, Fitted]:
        """Every model by name; the blend is made of them once its weights are chosen."""
        ease = self.ease.fit(data)
        popular = {model.name: model.fit(data) for model in (Popularity(7), Popularity(14), Popularity(30))}
        return {
            **popular,
            "ease": ease,
            "ease_decay": replace(ease, decay=self.decay),
            "knn": self.knn.fit(data),
            "ials": self.ials.fit(data),
        }


def pack(model: Fitted, name: str) -> dict[str, NDArray]:
    """The arrays of a fitted model, for `numpy.savez`."""
    if isinstance(model, Blend):
        weights = {f"weight/{part}": np.array([weight]) for part, weight in model.weights.items()}
        return weights | {
            f"{part}/{key}": array for part in model.parts for key, array in model.parts[part].arrays().items()
        }
    return {f"{name}/{key}": array for key, array in model.arrays().items()}


def unpack(arrays: dict[str, NDArray]) -> Fitted:
    """The way back from `pack`.

    Raises:
        ModelError: the arrays belong to a kind of model that is not known here.
    """
    groups: dict[str, dict[str, NDArray]] = {}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = array
    weights = groups.pop("weight", {})
    parts: dict[str, Fitted] = {name: _restored(name, group) for name, group in groups.items()}
    if weights:
        return Blend(parts, {name: float(weight[0]) for name, weight in weights.items()})
    return next(iter(parts.values()))


def _restored(name: str, arrays: dict[str, NDArray]) -> Fitted:
    kind = _KINDS.get(name.partition("_")[0])
    if kind is None:
        raise ModelError(f"stored model has a part {name!r} of no known kind: train again with `matinee build`")
    return kind.restored(arrays)
