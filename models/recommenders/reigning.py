"""What serves, as a challenger meets it: also where this code cannot make it anew, or where it is bad itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from matinee.settings import Settings
from models.errors import ModelError
from models.evaluation.checks import Check
from models.evaluation.gate import Verdict
from models.recommenders import registry
from models.recommenders.promotion import Judged
from models.recommenders.recipe import Recipe
from models.recommenders.report import fold_metrics

_LEAST = 1e-6  # what is equal differs by rounding


@dataclass(frozen=True)
class Reigning:
    """`recipe` None: nothing was promoted, or (with `why`) it cannot be fitted again. `recorded`: of its folds;
    `ranker`: the kind of its ranker, None without one."""

    recipe: Recipe | None = None
    version: str = ""
    data_hash: str = ""
    recorded: Mapping[str, float] | None = None
    why: str = ""
    ranker: str | None = None

    def settled(self, judged: Judged, challenger: Recipe, data_hash: str) -> Judged:
        """The verdict, with what the gate could not know: it compares only what it can fit, and asks for the best."""
        if self.why:
            return judged.also(self._against_record(judged, data_hash))
        if self.recipe is not None and self.recipe.mark == challenger.mark:
            checks = tuple(_refreshed(check, judged.verdict) for check in judged.verdict.checks)
            return replace(judged, verdict=replace(judged.verdict, checks=checks))
        return judged

    def without_ranker(self, judged: Judged, ranker: str | None) -> Judged:
        """Says so where the champion has a ranker and the challenger none: the gate compares recipes without one."""
        if self.ranker is None or ranker is not None:
            return judged
        note = (
            f"the champion, version {self.version}, ranks by its {self.ranker}, the challenger has no ranker, and what "
            "lists lose by that was not compared"
        )
        return replace(judged, verdict=replace(judged.verdict, note=note))

    def _against_record(self, judged: Judged, data_hash: str) -> Check:
        """A champion that cannot be fitted is compared by what it recorded on the same data, else not beaten."""
        name, told = "champion_fitted", f"the champion, version {self.version}, cannot be fitted again ({self.why})"
        theirs, ours = fold_metrics(self.recorded or {}), fold_metrics(judged.recorded)
        if self.data_hash != data_hash or not ours or set(theirs) != set(ours):
            remedy = "nor does its record say what it reaches here: `matinee models promote VERSION --force --reason …`"
            return Check(name, False, None, "fitted, or recorded on this data", f"{told}, {remedy}")
        gained = min(ours[fold] - theirs[fold] for fold in ours)
        text = f"{told}; NDCG@10 differs from what it recorded by at least {gained:+.4f} on each fold"
        return Check(name, gained > _LEAST, gained, "> 0", text)


def reigning(settings: Settings, *, but: str = "") -> Reigning:
    """The champion, unless it is the version `but`."""
    champion = registry.by_alias(settings, registry.CHAMPION)
    if champion is None or champion.version == but:
        return Reigning()
    hashed, ranker = champion.tags.get("data_hash", ""), registry.ranker_of(settings, champion)
    made = Reigning(None, champion.version, hashed, ranker=ranker)
    try:
        return replace(made, recipe=registry.recipe_of(settings, champion))
    except ModelError as error:
        return replace(made, recorded=registry.recorded(settings, champion), why=str(error))


def _refreshed(check: Check, verdict: Verdict) -> Check:
    """A champion that does not beat the baselines any more may at least learn from newer data."""
    if check.name != "beats_baselines" or check.passed:
        return check
    means = {measured.name: measured.mean for measured in verdict.measured}
    bottom = max(mean for name, mean in means.items() if name not in (verdict.challenger, verdict.reference))
    if means[verdict.reference] > bottom:
        return check
    text = f"a refresh of a champion that is below the baselines: fresher is no worse; {check.text}"
    return replace(check, passed=True, bar="a refresh", text=text)
