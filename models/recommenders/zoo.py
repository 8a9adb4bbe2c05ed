"""Every model that is compared, and how fitted ones are stored as plain arrays."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Interactions
from models.recommenders.base import Fitted
from models.recommenders.blend import Blend
from models.recommenders.content import TitleContent
from models.recommenders.ease import Ease
from models.recommenders.ials import Ials, IalsFitted
from models.recommenders.items import ItemWeights
from models.recommenders.knn import TransitionKnn
from models.recommenders.popularity import Popularity, PopularityFitted
from models.recommenders.segments import SegmentPopularityFitted
from models.recommenders.sequence.fit import SequenceFitted, SequenceModel
from models.recommenders.two_tower import TwoTower, TwoTowerFitted

RECENT = ("popularity_7d", "popularity_14d", "popularity_30d")
PERSONAL = ("ease", "ease_decay", "knn", "ials", "two_tower", "sequence", "blend")
# By the name of a part: it is of the kind whose name it begins with.
_KINDS = {
    "popularity": PopularityFitted,
    "ease": ItemWeights,
    "knn": ItemWeights,
    "ials": IalsFitted,
    "two_tower": TwoTowerFitted,
    "segments": SegmentPopularityFitted,
    "sequence": SequenceFitted,
}


@dataclass(frozen=True)
class Side:
    """What is known beside interactions: `content` [n_items], `regions` and `kids` [n_users]."""

    content: Sequence[TitleContent] = ()
    regions: Sequence[str | None] = ()
    kids: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


@dataclass(frozen=True)
class Zoo:
    """The parameters of all models. EASE is fitted once and asked twice: with the whole history, and as it fades.

    The two that Keras trains are left out unless they are given: importing TensorFlow takes 9 s.
    """

    ease: Ease = field(default_factory=lambda: Ease(decay=1.0, max_items=5000, keep=300))
    decay: float = 0.9
    knn: TransitionKnn = field(default_factory=TransitionKnn)
    ials: Ials = field(default_factory=Ials)
    two_tower: TwoTower | None = None
    sequence: SequenceModel | None = None

    @classmethod
    def whole(cls) -> "Zoo":
        """With the networks, each kept small: they are fitted several times, to folds and to everything."""
        sequence = SequenceModel(dim=32, blocks=1, heads=1, length=50, tokens=1600, epochs=15, steps=240)
        return cls(two_tower=TwoTower(examples=60_000), sequence=sequence)

    def __post_init__(self) -> None:
        for model in (self.two_tower, self.sequence):
            if model is not None and model.max_seconds is not None:
                raise ModelError(
                    f"{model.name}: a fit that seconds end cannot be repeated; bound it by epochs or steps"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """What `fit` makes; the blend is made of them once its weights are chosen."""
        networks = tuple(name for name in ("two_tower", "sequence") if getattr(self, name) is not None)
        return (*RECENT, "ease", "ease_decay", "knn", "ials", *networks)

    def fit(
        self,
        data: Interactions,
        names: Collection[str] | None = None,
        known: Mapping[str, Fitted] | None = None,
        side: Side | None = None,
    ) -> dict[str, Fitted]:
        """These models by name (default: all); `known`: those that were fitted to the same data before.

        Raises:
            ModelError: a model that reads content is asked for, and `side` has none.
        """
        wanted = self.names if names is None else tuple(name for name in self.names if name in set(names))
        made: dict[str, Fitted] = dict(known or {})
        for name in wanted:
            if name.startswith("popularity"):
                made[name] = Popularity(int(name.removeprefix("popularity_").removesuffix("d"))).fit(data)
            elif name == "two_tower":
                made[name] = self._tower(data, side or Side())
            elif name == "ease_decay":
                made[name] = replace(self._ease(made, data), decay=self.decay)
            else:
                made[name] = self._ease(made, data) if name == "ease" else getattr(self, name).fit(data)
        return {name: made[name] for name in wanted}

    def _ease(self, made: Mapping[str, Fitted], data: Interactions) -> ItemWeights:
        known = made.get("ease")
        return known if isinstance(known, ItemWeights) else self.ease.fit(data)

    def _tower(self, data: Interactions, side: Side) -> Fitted:
        if self.two_tower is None or len(side.content) != data.n_items:
            raise ModelError(f"a two-tower model reads the content of {data.n_items} titles, not {len(side.content)}")
        return self.two_tower.fit(data, side.content, side.regions, side.kids)

    def parameters(self) -> dict[str, Any]:
        """As JSON holds them."""
        return asdict(self)

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Zoo":
        """The way back from `parameters`.

        Raises:
            ModelError: there are parameters that this code does not know.
        """
        default = cls.whole()
        try:
            made = {
                own.name: _made(type(getattr(default, own.name)), value) if isinstance(value, dict) else value
                for own in fields(cls)
                if (value := parameters.get(own.name)) is not None
            }
            if unknown := sorted(set(parameters) - {own.name for own in fields(cls)}):
                raise TypeError(f"unknown: {', '.join(unknown)}")
            return cls(**made)
        except TypeError as error:
            raise ModelError(
                f"recorded parameters do not fit this code ({error}): use the code that wrote them"
            ) from None


def _made(kind: type, values: Mapping[str, Any]) -> Any:
    """Parameters as JSON gave them back: it knows no tuples."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


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
    kind = next((known for prefix, known in _KINDS.items() if name.startswith(prefix)), None)
    if kind is None:
        raise ModelError(f"stored model has a part {name!r} of no known kind: train again with `matinee build`")
    return kind.restored(arrays)
