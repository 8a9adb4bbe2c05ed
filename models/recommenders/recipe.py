"""How a model is made anew: parameters and what validation chose, without anything fitted. A run records it."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.interactions import Floats, Interactions, Ragged
from models.recommenders.base import Fitted, with_fallback
from models.recommenders.blend import Blend
from models.recommenders.zoo import Side, Zoo


@dataclass(frozen=True)
class Recipe:
    """`candidate`: the model of the zoo that is meant, or "blend" with its `weights`; `fallback`: for the unknown."""

    zoo: Zoo
    candidate: str
    weights: Mapping[str, float] = field(default_factory=dict)
    fallback: str = "popularity_14d"

    @property
    def parts(self) -> tuple[str, ...]:
        """The models that have to be fitted for it."""
        own = self.used if self.candidate == "blend" else (self.candidate,)
        return tuple(dict.fromkeys((*own, self.fallback)))

    @property
    def used(self) -> tuple[str, ...]:
        return tuple(name for name, weight in self.weights.items() if weight > 0)

    def assembled(self, fitted: Mapping[str, Fitted]) -> Fitted:
        """The model, made of its fitted parts."""
        if self.candidate != "blend":
            return fitted[self.candidate]
        return Blend({name: fitted[name] for name in self.used}, {name: self.weights[name] for name in self.used})

    def data(self) -> dict[str, Any]:
        own = {name: self.weights[name] for name in self.used}
        zoo = self.zoo.parameters()
        return {"candidate": self.candidate, "weights": own, "fallback": self.fallback, "zoo": zoo}

    def json(self) -> str:
        return json.dumps(self.data(), indent=1, sort_keys=True)

    @property
    def mark(self) -> str:
        """Equal for recipes that make the same model of the same data."""
        made_of = self.data() if self.candidate == "blend" else self.data() | {"weights": {}}
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def of(cls, text: str) -> "Recipe":
        """The way back from `json`.

        Raises:
            ModelError: it was written by code that is not this one.
        """
        try:
            data = json.loads(text)
            return cls(Zoo.of(data["zoo"]), data["candidate"], data["weights"], data["fallback"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"this is no recorded recipe of a model ({error}): train again with `matinee build`"
            ) from None


@dataclass(frozen=True)
class Complete:
    """A model that answers everybody: the fallback's scores where it knows nothing of a viewer."""

    model: Fitted
    fallback: Fitted

    def score(self, histories: Ragged) -> Floats:
        return with_fallback(self.model, self.fallback, histories)

    def arrays(self) -> dict[str, NDArray]:
        return {f"model/{name}": array for name, array in self.model.arrays().items()}


class Fits:
    """Models fitted once to each part of the data, whoever asks: trial, gate and what serves share them."""

    def __init__(self, side: Side | None = None) -> None:
        self._side = side
        self._made: dict[tuple[str, str], dict[str, Fitted]] = {}

    def of(self, data: Interactions, zoo: Zoo, names: Collection[str] | None = None) -> dict[str, Fitted]:
        """These models of the zoo (default: all), fitted to `data`."""
        wanted = zoo.names if names is None else names
        known = self._made.setdefault((digest(data), repr(zoo)), {})
        missing = [name for name in wanted if name not in known]
        known |= zoo.fit(data, missing, known, self._side) if missing else {}
        return {name: known[name] for name in wanted}

    def complete(self, recipe: Recipe, data: Interactions) -> Complete:
        """The recipe's model with its fallback, fitted to `data`."""
        fitted = self.of(data, recipe.zoo, recipe.parts)
        return Complete(recipe.assembled(fitted), fitted[recipe.fallback])

    def forget(self) -> None:
        """Let go of all of them."""
        self._made.clear()


def digest(data: Interactions) -> str:
    """Equal for equal data."""
    digest = hashlib.sha256(repr((data.n_users, data.n_items)).encode())
    for column in (data.users, data.items, data.times):
        digest.update(np.ascontiguousarray(column).view(np.uint8).data)
    return digest.hexdigest()
