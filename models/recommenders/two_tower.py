"""A two-tower model: titles and viewers as points of one space, a title also by its content alone.

A title's vector is what its content says plus what is its own. In training the own part is left out at random
(DropoutNet, Volkovs et al. 2017), so that a title that nobody has watched has a vector that fits among the others. A
viewer's vector is a sum of linear maps of the history's fading means: a new viewer needs no fit, and what each title of
the history adds to a score is exact. Fitted by softmax over the batch's own targets, corrected for how often each is a
target (logQ, Yi et al., RecSys 2019). Training is Keras, in `towers`; what is here is numpy alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.content import ContentSpec, TitleContent, encode
from models.recommenders.opinion import Opinion


@dataclass(frozen=True)
class TwoTower:
    """`own_left_out`: share of titles known by content alone, anew in each step. `decays`: fading per step of history.

    Training ends after `examples` (or `epochs`, if that is less): the same data and seed give the same model. Not so
    with `max_seconds`, a bound for experiments: where that strikes depends on the machine.
    """

    dim: int = 64
    hidden: int = 128
    decays: tuple[float, ...] = (0.98, 0.8)
    own_left_out: float = 0.3
    epochs: int = 12
    examples: int = 800_000
    batch: int = 512
    learning_rate: float = 3e-3
    max_seconds: float | None = None
    seed: int = 0
    name: str = "two_tower"

    def fit(
        self,
        data: Interactions,
        content: Sequence[TitleContent],
        regions: Sequence[str | None] | None = None,
        kids: NDArray[np.bool_] | None = None,
        spec: ContentSpec | None = None,
    ) -> "TwoTowerFitted":
        """`content` [n_items]; `regions`, `kids` [n_users]. `spec`: learnt from `content` if not given."""
        from models.recommenders.towers import Viewers, exported, trained

        spec, viewers = spec or ContentSpec.of(content), Viewers.of(regions, kids, data.n_users)
        towers, curve = trained(self, data, encode(content, spec), viewers)
        return exported(towers, self, viewers.names, spec, curve)


@dataclass(frozen=True)
class ItemTower:
    """Two dense layers over content, the first with the tanh form of GELU."""

    hidden: Floats  # [width, hidden]
    hidden_bias: Floats
    out: Floats  # [hidden, dim]
    out_bias: Floats

    def __call__(self, encoded: Floats) -> Floats:
        return gelu(encoded @ self.hidden + self.hidden_bias) @ self.out + self.out_bias


@dataclass(frozen=True)
class ViewerTower:
    """`maps` [decays, dim, dim], `prior` [dim]; `regions` name the rows of `region_vectors`; `kids_vector` [dim]."""

    decays: tuple[float, ...]
    maps: Floats
    prior: Floats
    regions: tuple[str, ...]
    region_vectors: Floats
    kids_vector: Floats

    def beside(self, region: str | None, kids: bool) -> Floats:
        """[dim] what is known of a viewer beside the history."""
        known = self.prior + (self.kids_vector if kids else 0)
        return known + self.region_vectors[self.regions.index(region)] if region in self.regions else known


@dataclass(frozen=True)
class TwoTowerFitted:
    """`vectors` [n_items, dim]; `curve`: the loss over the course of training (not stored)."""

    vectors: Floats
    spec: ContentSpec
    items: ItemTower
    viewers: ViewerTower
    curve: tuple[float, ...] = ()

    def score(
        self,
        histories: Ragged,
        regions: Sequence[str | None] | None = None,
        kids: Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> Floats:
        """[rows, n_items]; a row without history is 0: what is popular in its region is the better answer."""
        points = np.zeros((len(histories), self.vectors.shape[1]), dtype=np.float32)
        for decay, map_ in zip(self.viewers.decays, self.viewers.maps, strict=True):
            mean = histories.matrix(len(self.vectors), fading(histories, decay)) @ self.vectors
            points += mean @ map_
        for row in range(len(histories)):
            points[row] += self.viewers.beside(regions[row] if regions else None, bool(kids is not None and kids[row]))
        points[histories.lengths == 0] = 0
        return points @ self.vectors.T

    def contributions(self, history: Ints, items: Ints) -> Floats:
        """[len(history), len(items)] what each title of the history adds; the rest of a score is the viewer's prior."""
        return self._points(history) @ self.vectors[items].T

    def opinion(self, history: Ragged, region: str | None, kids: bool, /) -> Opinion:
        taken = history.values
        if not len(taken):
            return Opinion(np.zeros(len(self.vectors), dtype=np.float32), taken, self._none_of)
        own, viewer = self.vectors[taken], self.viewers.beside(region, kids)
        for weights, map_ in zip(self._weights(len(taken)), self.viewers.maps, strict=True):
            viewer = viewer + (weights @ own) @ map_
        return Opinion(self.vectors @ viewer, taken, lambda items: self.contributions(taken, items))

    def _none_of(self, items: Ints) -> Floats:
        return np.zeros((0, len(items)), dtype=np.float32)

    def _points(self, history: Ints) -> Floats:
        """[len(history), dim] what each title of a history adds to its viewer's vector."""
        own = self.vectors[history]
        points = np.zeros_like(own)
        for weights, map_ in zip(self._weights(len(history)), self.viewers.maps, strict=True):
            points += (weights[:, None] * own) @ map_
        return points

    def _weights(self, length: int) -> list[Floats]:
        """For each decay what the titles of a history of this length weigh, oldest first."""
        age = np.arange(length)[::-1]
        faded = [np.float64(decay) ** age for decay in self.viewers.decays]
        return [(weights / max(weights.sum(), 1e-12)).astype(np.float32) for weights in faded]

    def with_titles(self, content: Sequence[TitleContent]) -> "TwoTowerFitted":
        """The same model with a column more for each of these titles, by their content alone."""
        if not content:
            return self
        new = self.items(encode(content, self.spec)).astype(np.float32)
        return replace(self, vectors=np.concatenate([self.vectors, new]))

    def arrays(self) -> dict[str, NDArray]:
        towers = {"item": self.items, "viewer": self.viewers}
        made = {
            f"{tower}_{name}": np.asarray(value) for tower, one in towers.items() for name, value in vars(one).items()
        }
        return {"vectors": self.vectors, **made, **{f"spec_{key}": value for key, value in self.spec.arrays().items()}}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray]) -> "TwoTowerFitted":
        def part(prefix: str) -> dict[str, NDArray]:
            return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}

        viewer = part("viewer_")
        viewer |= {name: tuple(viewer[name].tolist()) for name in ("decays", "regions")}
        return cls(
            arrays["vectors"],
            ContentSpec.restored(part("spec_")),
            ItemTower(**part("item_")),
            ViewerTower(**viewer),  # pyright: ignore[reportArgumentType] - two of them are tuples by now
        )


def fading(histories: Ragged, decay: float) -> Floats:
    """[values] the weight of each value of its row, 1 in all: `decay` to the power of how many come after it."""
    weights = np.float64(decay) ** histories.age
    totals = np.bincount(histories.rows, weights, minlength=len(histories))
    return (weights / np.maximum(totals, 1e-12)[histories.rows]).astype(np.float32)


def gelu(values: Floats) -> Floats:
    """The tanh form, as in Keras with `approximate=True` (Hendrycks & Gimpel 2016)."""
    return 0.5 * values * (1 + np.tanh(np.float32(0.7978845608) * (values + np.float32(0.044715) * values**3)))
