"""The gate before a model serves: contenders made from recipes, judged on folds that each is fitted for anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.evaluation.gate import Contender, Verdict, judge, measure
from models.evaluation.splits import Rolling
from models.interactions import Floats
from models.recommenders.marts import Marts
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.similar import tags
from models.recommenders.zoo import RECENT, Zoo

_BASELINES = (*RECENT, "knn", "ease")


@dataclass(frozen=True)
class Judged:
    """The gate's verdict, and what the challenger reached on each fold, for its run to record."""

    verdict: Verdict
    recorded: Mapping[str, float]

    @property
    def promoted(self) -> bool:
        return self.verdict.promoted

    @property
    def text(self) -> str:
        return self.verdict.text


@dataclass(frozen=True)
class Gate:
    """Judges recipes on the folds of one snapshot; `fits` are shared with whoever fits the same."""

    marts: Marts
    folds: Rolling
    fits: Fits
    zoo: Zoo  # whose models set the bar

    def judge(
        self, challenger: Recipe, champion: Recipe | None, *, recorded: Mapping[str, float] | None = None
    ) -> Judged:
        """Whether the challenger may serve in the champion's place.

        Where nothing was promoted yet, the strongest recent popularity stands in the champion's place: it is what
        serves. `recorded`: what the challenger's run has logged; None: measured here, by the run itself.

        Raises:
            ModelError: the folds have no viewers to judge on.
        """
        if not self.folds.tasks:
            raise ModelError(f"snapshot {self.marts.snapshot_id} has too little data for the folds of the gate")
        ours = self.contender(f"{challenger.candidate} {challenger.mark}", challenger)
        reached = self.measured(challenger) if recorded is None else recorded
        ours = replace(ours, recorded=reached)
        baselines = [self._single(name) for name in _BASELINES if name != challenger.candidate]
        if champion is None:
            reference = max((self._single(name) for name in RECENT), key=self._mean)
        else:
            reference = self.contender(f"champion {champion.candidate} {champion.mark}", champion)
        verdict = judge(ours, reference, baselines, self.folds, allowed=self.allowed(), genres=self._genres())
        return Judged(verdict, reached)

    def contender(self, name: str, recipe: Recipe) -> Contender:
        return Contender(name, lambda data: self.fits.complete(recipe, data), recipe=recipe.mark)

    def allowed(self) -> Sequence[NDArray[np.bool_]]:
        """For each fold, the titles that were known when it began: made, or taken by anybody, before."""
        first = np.full(len(self.marts.items), np.inf)
        np.minimum.at(first, self.marts.data.items, self.marts.data.times)
        known = np.minimum(first, self.marts.created)
        return [known < start for start in self.folds.starts]

    def _single(self, name: str) -> Contender:
        """One model of the zoo by itself, popularity for whom it does not know."""
        return self.contender(name, Recipe(self.zoo, name))

    def measured(self, recipe: Recipe) -> dict[str, float]:
        """What the recipe reaches on each fold, by the name under which a run records it."""
        contender = self.contender(recipe.candidate, recipe)
        return measure(contender, self.folds.tasks, allowed=self.allowed(), genres=self._genres()).record()

    def _mean(self, contender: Contender) -> float:
        return measure(contender, self.folds.tasks, allowed=self.allowed()).mean

    def _genres(self) -> Floats:
        return np.asarray(tags(self.marts.genres).todense(), dtype=np.float32)
