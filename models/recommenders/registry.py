"""MLflow: where runs, versions and the aliases `champion` and `challenger` are kept."""

import csv
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.settings import Settings
from models.recommenders.card import model_card, plot
from models.recommenders.marts import Marts
from models.recommenders.stored import Stored
from models.recommenders.trial import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "recommenders"
MODEL = "matinee-recommender"
CHAMPION = "champion"
CHALLENGER = "challenger"
_REQUIREMENTS = ["numpy", "scipy"]


@dataclass(frozen=True)
class Version:
    """A registered version with its aliases and what its run measured."""

    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: dict[str, str]


@dataclass(frozen=True)
class Champion:
    version: str
    stored: Stored


def client(settings: Settings) -> "MlflowClient":
    """A client of this home's MLflow (its database directly, or the server of `MATINEE_MLFLOW_URL`)."""
    import os

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(settings.mlflow())
    mlflow.set_registry_uri(settings.mlflow())
    return MlflowClient()


def record(
    settings: Settings, stored: Stored, trial: Trial, marts: Marts, verdict: str, tags: dict[str, str]
) -> Version:
    """One run with parameters, metrics, tables, picture, card and the model, registered as a new version."""
    api = client(settings)
    import mlflow

    run = api.create_run(_experiment(api, settings), tags=tags)
    mlflow.start_run(run_id=run.info.run_id)
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            version = _fill_run(api, run.info.run_id, Path(folder), stored, trial, marts, verdict)
        for key, value in tags.items():
            api.set_model_version_tag(MODEL, version, key, value)
        status = "FINISHED"
    finally:
        mlflow.end_run(status)
    return Version(version, run.info.run_id, (), tags)


def _fill_run(
    api: "MlflowClient", run_id: str, folder: Path, stored: Stored, trial: Trial, marts: Marts, verdict: str
) -> str:
    import mlflow
    from mlflow.entities import Metric
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import log_model
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    from models.recommenders.pyfunc import HistoryRecommender

    now = api.get_run(run_id).info.start_time
    api.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in _metrics(trial)])
    mlflow.log_params(
        {"candidate": trial.tuned.candidate, "baseline": trial.baseline, "fallback": trial.tuned.fallback}
        | {f"weight_{part}": weight for part, weight in trial.tuned.weights.items()}
    )
    _write_artifacts(folder / "about", stored, trial, marts, verdict)
    mlflow.log_artifacts(str(folder / "about"))
    stored.save(folder / "model")
    logged = log_model(
        name="model",
        python_model=HistoryRecommender(),
        artifacts={"model": str(folder / "model")},
        pip_requirements=_REQUIREMENTS,
        signature=ModelSignature(inputs=Schema([ColSpec(Array(DataType.string), name="history")])),
        registered_model_name=MODEL,
    )
    return str(logged.registered_model_version)


def alias(settings: Settings, version: str, promoted: bool) -> None:
    """A promoted version is the champion; any other the challenger."""
    api = client(settings)
    api.set_registered_model_alias(MODEL, CHAMPION if promoted else CHALLENGER, version)


def champion(settings: Settings) -> Champion | None:
    """The version that serves, loaded; None while none was ever promoted."""
    api = client(settings)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        version = api.get_model_version_by_alias(MODEL, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = download_artifacts(f"models:/{MODEL}/{version.version}", dst_path=folder)
        return Champion(str(version.version), Stored.load(Path(path) / "artifacts" / "model"))


def versions(settings: Settings) -> list[Version]:
    """All registered versions, newest first."""
    api = client(settings)
    aliases: dict[str, list[str]] = {}
    for model in api.search_registered_models(f"name = '{MODEL}'"):
        for name, version in model.aliases.items():
            aliases.setdefault(str(version), []).append(name)
    made = [
        Version(str(found.version), found.run_id or "", tuple(sorted(aliases.get(str(found.version), []))), found.tags)
        for found in api.search_model_versions(f"name = '{MODEL}'")
    ]
    return sorted(made, key=lambda version: -int(version.version))


def _experiment(api: "MlflowClient", settings: Settings) -> str:
    found = api.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return found.experiment_id
    local = None if settings.mlflow_url else (settings.home.mlflow / "artifacts").as_uri()
    return api.create_experiment(EXPERIMENT, artifact_location=local)


def _metrics(trial: Trial) -> Iterator[tuple[str, float]]:
    yield from (("test_users", float(trial.users)), ("test_users_cold", float(trial.cold)))
    for row in trial.rows:
        for key, value in row.metrics.items():
            yield f"{row.model}.{key}", value
        for key, interval in (("ndcg_at_10", row.ndcg), ("against_baseline", row.against_baseline)):
            yield f"{row.model}.{key}_low", interval.low
            yield f"{row.model}.{key}_high", interval.high
    chosen = trial.row(trial.tuned.candidate)
    yield from (("ndcg_at_10", chosen.ndcg.mean), ("against_baseline", chosen.against_baseline.mean))


def _write_artifacts(folder: Path, stored: Stored, trial: Trial, marts: Marts, verdict: str) -> None:
    folder.mkdir()
    (folder / "model_card.md").write_text(model_card(trial, marts, verdict))
    (folder / "golden.json").write_text(json.dumps(golden(stored, marts), indent=1))
    (folder / "metrics.json").write_text(json.dumps(asdict(trial), indent=1))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = sorted(trial.rows[0].metrics)
        writer.writerow(["model", "low", "high", "difference", "difference_low", "difference_high", *names])
        for row in trial.rows:
            against = row.against_baseline
            bounds = (row.ndcg.low, row.ndcg.high, against.mean, against.low, against.high)
            writer.writerow([row.model, *bounds, *(row.metrics[name] for name in names)])
    plot(trial, folder / "metrics.png")


def golden(stored: Stored, marts: Marts, count: int = 5) -> list[dict[str, list[str]]]:
    """Some histories with the ten titles that this version gives for them: what a loaded copy must repeat."""
    from models.evaluation.metrics import top_items

    histories = marts.data.histories()
    longest = histories.take(histories.lengths.argsort(kind="stable")[::-1][:count]).newest(20)
    scores = stored.score(longest)
    scores[longest.rows, longest.values] = float("-inf")
    return [
        {
            "history": [stored.items[item] for item in longest[row]],
            "top": [stored.items[item] for item in best if item >= 0],
        }
        for row, best in enumerate(top_items(scores, 10))
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow draws a bar for each file that it copies, greets new versions and gives advice: not in our terminal."""
    import io
    import logging
    import os
    import warnings

    bar = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    before = os.environ.get(bar)
    # psycopg: a batch of metrics that meets a row which is there already is sent again by MLflow itself
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "psycopg")}
    os.environ[bar] = "false"
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if before is None:
            del os.environ[bar]
        else:
            os.environ[bar] = before
