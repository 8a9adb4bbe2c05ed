"""Training: compare all models on the snapshot, record the run, promote or refuse."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from features.views import SERVICE, VIEWS
from matinee.settings import Settings
from models.errors import ModelError
from models.evaluation.checks import Bars
from models.evaluation.segments import by_segment, segments_of
from models.ranking.learn import Learned
from models.recommenders import registry
from models.recommenders.assemble import assemble, until
from models.recommenders.base import Fitted, few_threads
from models.recommenders.card import table
from models.recommenders.marts import Marts, read_marts
from models.recommenders.masks import allowed
from models.recommenders.promotion import LOOKS, Gate, Judged
from models.recommenders.ranked import learned
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.reigning import Reigning, reigning
from models.recommenders.report import Report
from models.recommenders.sequence.fit import SequenceFitted
from models.recommenders.system import About, System
from models.recommenders.trial import Plan, Trial, run_trial
from models.recommenders.two_tower import TwoTowerFitted
from models.recommenders.zoo import Zoo

RECORD = "recommenders.json"  # below the home's mlflow folder: the last training, so that nothing is fitted twice


@dataclass(frozen=True)
class TrainResult:
    """What a training ended with. `winner` is best on the test; `candidate` was chosen before on validation, or by the
    gate's folds in its place (`challenge`)."""

    run_id: str
    version: str
    winner: str
    candidate: str
    baseline: str
    promoted: bool
    verdict: str
    snapshot_id: str
    data_hash: str
    users: int
    cold: int
    markdown: str
    gate: str = ""
    skipped: bool = False

    def table(self) -> str:
        """All models with their intervals, as Markdown."""
        return self.markdown


def train(settings: Settings, *, zoo: Zoo | None = None, plan: Plan | None = None) -> TrainResult:
    """Fit every recommender to the current snapshot; what validation prefers becomes a version and asks to serve.

    It becomes the `champion` only where every check of the gate holds; else it is the `challenger`, with the reasons in
    the result, in a tag, in the model card and in `gate.md`, and what served before (at first: popularity) goes on
    serving. The same data, code and parameters as last time are not fitted again: the recorded result comes back with
    `skipped`.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    zoo, plan = zoo or Zoo(), plan or Plan()
    marts = read_marts(settings)
    mark = fingerprint(settings, marts.data_hash, zoo, plan)
    done = recorded(settings, mark)
    if done is not None:
        return done
    with few_threads():
        made = _trained(settings, marts, zoo, plan) if len(marts.data) else None
    if made is None:
        return _too_little(marts)
    report, system = made
    trial, judged = report.trial, report.judged
    version = registry.record(settings, system, report, _tags(marts, judged.text, mark))
    registry.alias(settings, version.version, promoted=judged.promoted)
    registry.pin_snapshots(settings)
    result = TrainResult(
        version.run_id,
        version.version,
        trial.winner,
        trial.tuned.candidate,
        trial.baseline,
        judged.promoted,
        judged.text,
        marts.snapshot_id,
        marts.data_hash,
        trial.users,
        trial.cold,
        table(trial),
        report.gate(),
    )
    _record(settings, mark, result)
    return result


def _trained(settings: Settings, marts: Marts, zoo: Zoo, plan: Plan) -> tuple[Report, System] | None:
    """The comparison, the gate's verdict and the fitted system; None where there is too little data."""
    fits, serves = Fits(marts.side), reigning(settings)
    trial = run_trial(marts.data, zoo, plan, fits, serves.recipe, may=partial(allowed, marts))
    if trial is None:
        return None
    gate = Gate(marts, trial.folds, fits, zoo)
    trial, judged = challenge(gate, trial, serves)
    new = marts.created >= trial.folds.starts[0]
    segments = by_segment(
        trial.scores, segments_of(trial.test, kids=marts.kids, regions=marts.regions), {"new titles": new}
    )
    ranker, verdict = learned(settings, gate, trial.tuned)
    judged = serves.without_ranker(judged, ranker.result.kind)
    system = fit_system(marts, trial.tuned, fits, ranker)
    fitted = fits.of(marts.data, trial.tuned.zoo, trial.tuned.parts)
    return Report(marts, trial, judged, segments, ranker, verdict, curves_of(fitted)), system


def challenge(gate: Gate, trial: Trial, serves: Reigning) -> tuple[Trial, Judged]:
    """The gate's verdict on what validation chose or, where one of the gate's own baselines is better than that, on
    this baseline in its place; the trial, with what is judged.

    Validation is one short part of time, whose viewers may well prefer what is no better. The second challenger is
    known by the folds themselves, so it must be sure for as many as could have been judged. The first, which they did
    not choose, is held to the plain level: both looks together err more often than either, at most 1 in 12 times.
    """

    def judged(recipe: Recipe, bars: Bars | None = None) -> Judged:
        return serves.settled(gate.judge(recipe, serves.recipe, bars=bars), recipe, gate.marts.data_hash)

    first = judged(trial.tuned)
    if (name := first.outdone_by) is None:
        return trial, first
    recipe = Recipe(gate.zoo, name, {}, trial.tuned.fallback)
    second = judged(recipe, Bars(looks=LOOKS))
    if not second.promoted:
        return trial, first
    return replace(trial, tuned=recipe), second.standing_in(name, trial.tuned.candidate)


def curves_of(fitted: Mapping[str, Fitted]) -> dict[str, list[float]]:
    """The losses of the networks, by epoch or over the course of training."""
    made = {}
    for name, model in fitted.items():
        if isinstance(model, TwoTowerFitted):
            made[f"{name}.loss"] = list(model.curve)
        elif isinstance(model, SequenceFitted):
            made[f"{name}.loss"] = model.history.get("loss", [])
    return {name: values for name, values in made.items() if values}


def fit_system(marts: Marts, recipe: Recipe, fits: Fits | None = None, ranker: Learned | None = None) -> System:
    """The recipe fitted to everything: what will serve, once a version is registered."""
    complete = (fits or Fits(marts.side)).complete(recipe, marts.data)
    about = About(
        name=registry.MODEL,
        version="",
        snapshot_id=marts.snapshot_id,
        data_hash=marts.data_hash,
        kind=recipe.candidate,
        feature_views=view_versions(),
        fitted_until=until(marts.data),
        ranker=ranker.ranking.ranker.kind if ranker and ranker.ranking else None,
    )
    days = int(recipe.fallback.removeprefix("popularity_").removesuffix("d"))
    if ranker is None:
        return assemble(marts, about, complete.model, days=days)
    return assemble(marts, about, complete.model, days=days, rows=ranker.rows, ranking=ranker.ranking)


def view_versions() -> dict[str, str]:
    """A hash of the definition of each feature view: what a ranker was trained to read."""
    return {view.name: hashlib.sha256(repr(view).encode()).hexdigest()[:12] for view in VIEWS}


def _tags(marts: Marts, verdict: str, mark: str) -> dict[str, str]:
    return {
        "snapshot_id": marts.snapshot_id,
        "data_hash": marts.data_hash,
        "git_sha": _git_sha(),
        "feature_service": SERVICE,
        "feature_views": json.dumps(view_versions()),
        "verdict": verdict,
        "fingerprint": mark,
    }


def fingerprint(settings: Settings, data_hash: str, zoo: Zoo, plan: Plan) -> str:
    """One hash over data, parameters and the code that fits and judges."""
    digest = hashlib.sha256(f"{data_hash}|{settings.mlflow()}|{zoo}|{plan}|{np.__version__}".encode())
    room = Path(__file__).resolve().parents[1]
    for file in sorted(path for path in room.rglob("*.py") if "experiments" not in path.parts):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _too_little(marts: Marts) -> TrainResult:
    verdict = (
        f"refused: {len(marts.data)} positive interactions of {len(marts.profiles)} profiles are too little for "
        "training, validation and test; popularity serves"
    )
    return TrainResult(
        "", "", "popularity", "", "popularity", False, verdict, marts.snapshot_id, marts.data_hash, 0, 0, verdict
    )


def recorded(settings: Settings, mark: str) -> TrainResult | None:
    """What the last training ended with, if it was this one and its version is still there."""
    path = settings.home.mlflow / RECORD
    if not path.exists():
        return None
    saved = json.loads(path.read_text())
    if saved["fingerprint"] != mark:
        return None
    result = TrainResult(**saved["result"])
    try:
        known = registry.by_version(settings, result.version).run_id == result.run_id
    except ModelError:
        known = False
    return replace(result, skipped=True) if known else None  # the registry was made anew, or the version deleted


def _record(settings: Settings, mark: str, result: TrainResult) -> None:
    path = settings.home.mlflow / RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(".tmp")
    made.write_text(json.dumps({"fingerprint": mark, "result": asdict(result)}))
    os.replace(made, path)


def _git_sha() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else "unknown"
