"""The gate before a model serves: contenders made from recipes, judged on folds that each is fitted for anew.

A recipe is judged by the lists of the system that would serve: assembled from it on each fold's past, it masks, cuts
histories and answers viewers whom it does not know as it does when it serves. A ranker on top of it is judged apart,
against the same system without it: what it refuses to the ranker, the gate does not refuse to the recipe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.evaluation import checks
from models.evaluation.checks import Bars, Check
from models.evaluation.gate import Contender, Verdict, judge, measure
from models.evaluation.splits import Rolling, Task
from models.interactions import Floats, Interactions, Ints, Ragged
from models.ranking.served import Ranking
from models.recommenders.assemble import assemble, until
from models.recommenders.base import Fitted
from models.recommenders.marts import Marts
from models.recommenders.masks import RULES, allowed
from models.recommenders.recipe import Complete, Fits, Recipe, digest
from models.recommenders.similar import tags
from models.recommenders.system import About, Asked, System
from models.recommenders.zoo import PERSONAL, RECENT, Zoo

_BASELINES = (*RECENT, "knn", "ease")
LOOKS = 1 + len(set(_BASELINES) & set(PERSONAL))  # validation's choice, or a baseline that is stronger
_LISTED = 10
Features = Mapping[int, Mapping[str, float | str | None]]  # of a viewer (row of the profiles), by `<view>__<feature>`


@dataclass(frozen=True)
class Judged:
    """The gate's verdict, and what the challenger reached on each fold, for its run to record.

    `looks`: how many challengers it is sure for; `in_place_of`: what validation chose, where the folds chose another.
    """

    verdict: Verdict
    recorded: Mapping[str, float]
    looks: int = 1
    in_place_of: str | None = None

    @property
    def promoted(self) -> bool:
        return self.verdict.promoted

    @property
    def text(self) -> str:
        return self.verdict.text

    @property
    def outdone_by(self) -> str | None:
        """The strongest of the baselines, where the challenger does not beat it and it is no mere popularity."""
        if "beats_baselines" not in self.verdict.failed:
            return None
        found = [of for of in self.verdict.measured if of.name in _BASELINES]
        best = max(found, key=lambda of: of.mean).name
        return best if best in PERSONAL else None

    def also(self, *more: Check) -> "Judged":
        """With more checks behind the gate's own."""
        return replace(self, verdict=replace(self.verdict, checks=(*self.verdict.checks, *more)))

    def standing_in(self, name: str, chosen: str) -> "Judged":
        """The verdict on the baseline `name`, which the folds put in the place of what validation has chosen."""
        told = f"validation chose {chosen}, which {name} outdoes on the folds: it stands in its place"
        check = Check("in_place", True, None, f"sure for {self.looks}", told)
        return replace(self.also(check), in_place_of=chosen)


@dataclass(frozen=True)
class Serving:
    """A system, and the model inside it for whoever asks for scores; `number`: title id -> item."""

    system: System
    model: Complete
    number: Mapping[str, int]

    def score(self, histories: Ragged) -> Floats:
        return self.model.score(histories)

    def arrays(self) -> dict[str, NDArray]:
        return self.model.arrays()


@dataclass(frozen=True)
class Gate:
    """Judges recipes on the folds of one snapshot; `fits` are shared with whoever fits the same."""

    marts: Marts
    folds: Rolling
    fits: Fits
    zoo: Zoo  # whose models set the bar
    _systems: dict[tuple[str, str], "Serving"] = field(init=False, default_factory=dict, compare=False, repr=False)

    def judge(
        self,
        challenger: Recipe,
        champion: Recipe | None,
        *,
        recorded: Mapping[str, float] | None = None,
        bars: Bars | None = None,
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
        verdict = judge(
            ours,
            reference,
            baselines,
            self.folds,
            allowed=self.allowed(),
            genres=self._genres(),
            bars=bars,
            rules=RULES,
        )
        return Judged(verdict, reached, (bars or Bars()).looks)

    def ranker(
        self, recipe: Recipe, ranking: Ranking, better: Check, features: Features, drift: Mapping[str, float]
    ) -> Verdict:
        """Whether a ranker may order the recipe's candidates: on the newest fold, of which it knows nothing.

        `better`: whether logged pages say so, where alone it is known what a viewer was shown; the lists of the whole
        catalogue may not be surely less accurate than without it, nor otherwise worse. `features`: of the fold's
        viewers, at the moment when each is asked; `drift`: population stability index of those that it reads.
        """
        plain = self.contender(recipe.candidate, recipe)
        kind = ranking.ranker.kind
        ranked = Contender(
            f"{kind} over {recipe.candidate}",
            lambda data: self._ranked(recipe, data, ranking),
            recommend=partial(self.lists, features=features),
        )
        tasks, masks, bars = self.folds.tasks[-1:], self.allowed()[-1:], Bars()
        ours, theirs = (measure(one, tasks, allowed=masks, genres=self._genres()) for one in (ranked, plain))
        users, cold = tasks[0].users, tasks[0].histories.lengths == 0
        made = (
            checks.enough_viewers(users, bars),
            better,
            checks.not_surely_worse(ours, theirs, users, bars),
            checks.coverage(ours, theirs, bars),
            checks.popularity(ours, theirs, bars),
            checks.calibration(ours, theirs, bars),
            checks.cold_viewers(ours, theirs, users, cold, bars),
            checks.hard_rules(ours, RULES),
            checks.latency(ours, bars),
            checks.drift(drift, bars),
        )
        return Verdict(ranked.name, plain.name, f"the newest of {self.folds.text}", made, (ours, theirs))

    def contender(self, name: str, recipe: Recipe) -> Contender:
        """The recipe as it would serve."""
        return Contender(name, lambda data: self._serving(recipe, data), recommend=self.lists, recipe=recipe.mark)

    def lists(self, fitted: Fitted, task: Task, may: NDArray[np.bool_], features: Features | None = None) -> Ints:
        """[rows, 10] what the system behind `fitted` answers the viewers of the task, -1 where it has no more."""
        if not isinstance(fitted, Serving):
            raise TypeError(f"lists are made by a system, not by {type(fitted).__name__}")
        system, marts, histories = fitted.system, self.marts, task.histories
        top = np.full((len(task), _LISTED), -1, dtype=np.int64)
        for row, user in enumerate(task.users):
            own = histories.part(row, row + 1)
            asked = Asked(
                tuple(marts.items[item] for item in own.values),
                () if own.times is None else tuple(own.times.tolist()),
                marts.regions[user],
                bool(marts.kids[user]),
                (features or {}).get(int(user), {}),
                now=until(task.train) if own.at is None else float(own.at[0]),
            )
            unseen = (may if may.ndim == 1 else may[row]).copy()
            unseen[own.values] = False
            picks = [fitted.number[pick.title_id] for pick in system.rank(asked, unseen, _LISTED)]
            top[row, : len(picks)] = picks
        return top

    def allowed(self) -> Sequence[NDArray[np.bool_]]:
        """For each fold, [rows, n_items] the titles that may come out."""
        return [
            allowed(self.marts, task, start) for task, start in zip(self.folds.tasks, self.folds.starts, strict=True)
        ]

    def _serving(self, recipe: Recipe, data: Interactions) -> "Serving":
        """Assembled once for each part of the data, by the function that makes what serves."""
        key = recipe.mark, digest(data)
        if key not in self._systems:
            complete = self.fits.complete(recipe, data)
            past = replace(self.marts, data=data)
            about = About("gate", "", past.snapshot_id, "", recipe.candidate, fitted_until=until(data))
            days = int(recipe.fallback.removeprefix("popularity_").removesuffix("d"))
            system = assemble(past, about, complete.model, days=days)
            self._systems[key] = Serving(system, complete, {item: row for row, item in enumerate(past.items)})
        return self._systems[key]

    def _ranked(self, recipe: Recipe, data: Interactions, ranking: Ranking) -> "Serving":
        plain = self._serving(recipe, data)
        return replace(plain, system=replace(plain.system, ranking=ranking))

    def _single(self, name: str) -> Contender:
        """One model of the zoo by itself, popularity for whom it does not know."""
        recipe = Recipe(self.zoo, name)
        return Contender(name, lambda data: self.fits.complete(recipe, data), recipe=recipe.mark)

    def measured(self, recipe: Recipe) -> dict[str, float]:
        """What the recipe reaches on each fold, by the name under which a run records it."""
        contender = self.contender(recipe.candidate, recipe)
        return measure(contender, self.folds.tasks, allowed=self.allowed(), genres=self._genres()).record()

    def _mean(self, contender: Contender) -> float:
        return measure(contender, self.folds.tasks, allowed=self.allowed()).mean

    def _genres(self) -> Floats:
        return np.asarray(tags(self.marts.genres).todense(), dtype=np.float32)
