"""The ranker of a recipe: learned from what was shown, and let in by the gate only as a part of what would serve."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from matinee.settings import Settings
from models.evaluation.checks import Check
from models.evaluation.gate import Verdict
from models.interactions import Interactions
from models.ranking.learn import Learned, learn, viewers_at
from models.recommenders.base import Fitted
from models.recommenders.promotion import Gate
from models.recommenders.recipe import Fits, Recipe


def learned(settings: Settings, gate: Gate, recipe: Recipe) -> tuple[Learned, Verdict | None]:
    """The ranker of the recipe's candidates with the gate's verdict; None where there is none to judge.

    What the gate refuses ranks nothing, and the reason says so. The network competes where the zoo has networks anyway.
    """
    marts = gate.marts
    kids = dict(zip(marts.profiles, marts.kids.tolist(), strict=True))
    kinds = ("gbdt",) if recipe.zoo.sequence is None else ("gbdt", "mlp")
    made = learn(settings, marts, sources(gate.fits, recipe), gate.folds.starts[-1], kids=kids, kinds=kinds)
    if made.judged is None:
        return made, None
    verdict = gate.ranker(recipe, made.judged, better(made), features(settings, gate), made.drift)
    return allowed(made, verdict), verdict


def allowed(made: Learned, verdict: Verdict) -> Learned:
    """With its ranker where the verdict lets it rank."""
    if verdict.promoted:
        return made
    told = f"{made.result.reason}; but the gate: {verdict.text}: the blend ranks"
    return replace(made, ranking=None, result=replace(made.result, ranker=None, kind=None, reason=told))


def check(made: Learned, verdict: Verdict | None) -> Check:
    """Whether a version with a ranker may keep it, as a check beside those of its recipe."""
    told = made.result.reason if verdict is None else verdict.text
    return Check("ranker", verdict is not None and verdict.promoted, None, "as the gate judges it", told)


def sources(fits: Fits, recipe: Recipe) -> Callable[[Interactions], Mapping[str, Fitted]]:
    """What the ranker hears of the recipe's parts, fitted to a part of the data, by name."""

    def fitted(past: Interactions) -> dict[str, Fitted]:
        of = fits.of(past, recipe.zoo, recipe.parts)
        own = recipe.used if recipe.candidate == "blend" else (recipe.candidate,)
        return {**{name: of[name] for name in own}, "blend": recipe.assembled(of)}

    return fitted


def better(made: Learned) -> Check:
    """Whether logged pages of the judged part say that it orders better than the blend and than they were ordered."""
    own = made.result.metrics[made.result.kind or ""]
    low = min(value for name, value in own.items() if name.startswith("above_"))
    return Check("surely_better", low > 0, low, "> 0 on logged pages", made.result.reason)


def features(settings: Settings, gate: Gate) -> dict[int, dict[str, float | str | None]]:
    """Of each viewer of the newest fold, as they were when the fold asks for a list."""
    task = gate.folds.tasks[-1]
    users = task.users.tolist()
    moments = task.histories.at if task.histories.at is not None else [gate.folds.starts[-1]] * len(users)
    return dict(zip(users, viewers_at(settings, gate.marts, users, moments), strict=True))
