"""Training: compare all models on the snapshot, record the run, promote or refuse."""

import hashlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from matinee.settings import Settings
from models.recommenders import registry
from models.recommenders.card import table
from models.recommenders.marts import Marts, read_marts
from models.recommenders.stored import About, Stored
from models.recommenders.trial import Plan, Trial, blend_of, run_trial
from models.recommenders.zoo import Zoo

RECORD = "recommenders.json"  # below the home's mlflow folder: the last training, so that nothing is fitted twice
FEATURE_SERVICE = "none"  # these models see interactions only; the ranker that follows will read ranker_v1


@dataclass(frozen=True)
class TrainResult:
    """What a training ended with. `winner` is best on the test, `candidate` was chosen before on validation."""

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
    skipped: bool = False

    def table(self) -> str:
        """All models with their intervals, as Markdown."""
        return self.markdown


def train(settings: Settings, *, zoo: Zoo | None = None, plan: Plan | None = None) -> TrainResult:
    """Fit every recommender to the current snapshot; the best personal one becomes a version of `matinee-recommender`.

    It becomes the `champion` only if its NDCG@10 beats the strongest recent popularity with the whole paired bootstrap
    interval above 0; else it is the `challenger`, with the reason in the result, in a tag and in the model card, and
    what served before (at first: popularity) goes on serving. The same data, code and parameters as last time are not
    fitted again: the recorded result comes back with `skipped`.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    from threadpoolctl import threadpool_limits

    zoo, plan = zoo or Zoo(), plan or Plan()
    marts = read_marts(settings)
    mark = fingerprint(settings, marts.data_hash, zoo, plan)
    done = _recorded(settings, mark)
    if done is not None:
        return done
    with threadpool_limits(min(2, os.cpu_count() or 1)):
        trial = run_trial(marts.data, zoo, plan) if len(marts.data) else None
        if trial is None:
            return _too_little(marts)
        promoted, verdict = decide(trial)
        stored = fit_candidate(marts, zoo, trial)
    tags = {
        "snapshot_id": marts.snapshot_id,
        "data_hash": marts.data_hash,
        "git_sha": _git_sha(),
        "feature_service": FEATURE_SERVICE,
        "verdict": verdict,
        "fingerprint": mark,
    }
    version = registry.record(settings, stored, trial, marts, verdict, tags)
    registry.alias(settings, version.version, promoted)
    result = TrainResult(
        version.run_id,
        version.version,
        trial.winner,
        trial.tuned.candidate,
        trial.baseline,
        promoted,
        verdict,
        marts.snapshot_id,
        marts.data_hash,
        trial.users,
        trial.cold,
        table(trial),
    )
    _record(settings, mark, result)
    return result


def decide(trial: Trial) -> tuple[bool, str]:
    """Whether the candidate may serve, and why (not)."""
    row = trial.row(trial.tuned.candidate)
    against, base = row.against_baseline, trial.row(trial.baseline).ndcg.mean
    measured = (
        f"{row.model} NDCG@10 {row.ndcg.mean:.4f}, {trial.baseline} {base:.4f}, "
        f"difference {against.mean:+.4f} [{against.low:+.4f}, {against.high:+.4f}] over {trial.users} profiles"
    )
    if against.low > 0:
        return True, f"promoted: {measured}"
    return False, f"refused: {measured}: the interval reaches 0 or below"


def fit_candidate(marts: Marts, zoo: Zoo, trial: Trial) -> Stored:
    """The chosen model, fitted again to everything: what will serve."""
    fitted = zoo.fit(marts.data)
    name = trial.tuned.candidate
    model = blend_of(fitted, trial.tuned.weights) if name == "blend" else fitted[name]
    about = About(name, trial.tuned.fallback, marts.snapshot_id, marts.data_hash)
    return Stored(about, marts.items, model, fitted[trial.tuned.fallback])


def fingerprint(settings: Settings, data_hash: str, zoo: Zoo, plan: Plan) -> str:
    """One hash over data, parameters and the code that fits and judges."""
    digest = hashlib.sha256(f"{data_hash}|{settings.mlflow()}|{zoo}|{plan}|{np.__version__}".encode())
    room = Path(__file__).resolve().parents[1]
    for folder in ("recommenders", "evaluation", "."):
        for file in sorted((room / folder).glob("*.py")):
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


def _recorded(settings: Settings, mark: str) -> TrainResult | None:
    path = settings.home.mlflow / RECORD
    if not path.exists():
        return None
    saved = json.loads(path.read_text())
    return replace(TrainResult(**saved["result"]), skipped=True) if saved["fingerprint"] == mark else None


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
