"""What people decide about versions: judge one again, let it serve, go back, fit it again from its record."""

from dataclasses import dataclass

from matinee.lake import NoSnapshotError
from matinee.settings import Settings
from models.errors import ModelError
from models.evaluation.checks import Bars
from models.evaluation.splits import rolling
from models.recommenders import ranked, registry
from models.recommenders.base import few_threads
from models.recommenders.follow import Serving, bring
from models.recommenders.marts import Marts, read_marts
from models.recommenders.promotion import Gate, Judged
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.registry import Version
from models.recommenders.reigning import reigning
from models.recommenders.report import fold_metrics
from models.recommenders.trial import MIN_USERS, Plan

WITHIN = 0.002  # what two fits of the same recipe to the same data may differ by


@dataclass(frozen=True)
class Rebuilt:
    """Metrics of the gate's folds: name -> (recorded, fitted again from the record)."""

    version: str
    snapshot_id: str
    metrics: dict[str, tuple[float, float]]

    @property
    def furthest(self) -> float:
        return max(abs(before - now) for before, now in self.metrics.values())


def gate(settings: Settings, name: str, *, plan: Plan | None = None) -> Judged:
    """Judge a version (its number or alias) on the snapshot that it was trained on, everything fitted anew.

    Raises:
        ModelError: there is no such version, or its snapshot is gone or holds other data.
    """
    version = registry.by_version(settings, name)
    serves = reigning(settings, but=version.version)
    recipe, marts = registry.recipe_of(settings, version), _marts(settings, version)
    recorded, ranker = registry.recorded(settings, version), registry.ranker_of(settings, version)
    looks, chosen = registry.stands_in(settings, version)
    with few_threads():
        judging = _gate(marts, plan or Plan(), recipe)
        judged = judging.judge(recipe, serves.recipe, recorded=recorded, bars=Bars(looks=looks))
        if ranker is not None:
            judged = judged.also(ranked.check(*ranked.learned(settings, judging, recipe)))
    judged = serves.without_ranker(serves.settled(judged, recipe, marts.data_hash), ranker)
    return judged if chosen is None else judged.standing_in(recipe.candidate, chosen)


def promote(settings: Settings, name: str, *, force: bool = False, reason: str = "") -> tuple[Version, Serving]:
    """Let a version serve: where the gate lets it, or by force, whose reason is kept with the version.

    Raises:
        ModelError: the gate refuses it, or force has no reason.
    """
    version = registry.by_version(settings, name)
    if force and not reason.strip():
        raise ModelError("promoting past the gate needs a reason that others can read later: --reason '…'")
    if not force:
        judged = gate(settings, name)
        if not judged.promoted:
            raise ModelError(f"{judged.text}; what serves stays (`matinee models gate {name}` shows everything)")
        reason = judged.text
    return version, _serve(settings, version, ("forced: " if force else "") + reason)


def rollback(settings: Settings) -> tuple[Version, Serving]:
    """The champion that served before the one that serves now serves again; what was left this way does not come back
    by a rollback, only by being promoted.

    Raises:
        ModelError: there was none before.
    """
    now = registry.by_alias(settings, registry.CHAMPION)
    before = [
        version
        for version in registry.versions(settings)
        if registry.RETIRED in version.tags
        and registry.REJECTED not in version.tags
        and (now is None or version.version != now.version)
    ]
    if not before:
        raise ModelError("no champion served before: there is nothing to go back to")
    last = max(before, key=lambda version: int(version.tags[registry.RETIRED]))
    why = f"rolled back from {now.version}" if now else "rolled back"
    serving = _serve(settings, last, why)
    if now is not None:
        registry.client(settings).set_model_version_tag(registry.MODEL, now.version, registry.REJECTED, why)
    return last, serving


def rebuild(settings: Settings, name: str, *, plan: Plan | None = None) -> Rebuilt:
    """Fit a version again from its record: the same snapshot, the same parameters.

    Raises:
        ModelError: the snapshot or the record is gone, or the metrics differ by more than WITHIN.
    """
    version = registry.by_version(settings, name)
    recipe, marts = registry.recipe_of(settings, version), _marts(settings, version)
    before = fold_metrics(registry.recorded(settings, version))
    with few_threads():
        now = _gate(marts, plan or Plan(), recipe).measured(recipe)
    if not before or set(before) != set(now):
        raise ModelError(f"the run of version {version.version} has other folds than its snapshot: {sorted(before)}")
    made = Rebuilt(version.version, marts.snapshot_id, {key: (before[key], now[key]) for key in sorted(now)})
    if made.furthest > WITHIN:
        told = ", ".join(f"{key} {was:.4f} then, {found:.4f} now" for key, (was, found) in made.metrics.items())
        raise ModelError(f"version {version.version} cannot be rebuilt within {WITHIN}: {told}")
    return made


def _serve(settings: Settings, version: Version, why: str) -> Serving:
    registry.alias(settings, version.version, promoted=True)
    api = registry.client(settings)
    api.set_model_version_tag(registry.MODEL, version.version, "promotion", why)
    if registry.REJECTED in version.tags:
        api.delete_model_version_tag(registry.MODEL, version.version, registry.REJECTED)
    registry.pin_snapshots(settings)
    return bring(settings)


def _gate(marts: Marts, plan: Plan, recipe: Recipe) -> Gate:
    folds = rolling(marts.data, folds=plan.folds, days=plan.fold_days, min_users=MIN_USERS)
    return Gate(marts, folds, Fits(marts.side), recipe.zoo)


def _marts(settings: Settings, version: Version) -> Marts:
    wanted = version.tags.get("snapshot_id", "")
    try:
        marts = read_marts(settings, wanted)
    except NoSnapshotError as error:
        raise ModelError(f"version {version.version} was trained on a snapshot that is gone: {error}") from None
    if marts.data_hash != version.tags.get("data_hash"):
        raise ModelError(
            f"snapshot {wanted} holds other data than version {version.version} was trained on (somebody was erased "
            "since, or it was made anew): train again with `matinee build`"
        )
    return marts
