"""MLflow: where runs, versions and the aliases `champion` and `challenger` are kept."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.settings import Settings
from models.errors import ModelError
from models.recommenders.recipe import Recipe
from models.recommenders.report import NONE, Report, curves, metrics, tables, write_artifacts
from models.recommenders.system import System

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "recommenders"
MODEL = "matinee-recommender"
CHAMPION = "champion"
CHALLENGER = "challenger"
REJECTED = "rejected"  # a tag of a champion that was rolled back from: why
RETIRED = "retired"  # a tag of the champions before the one that serves: when each was replaced
_REQUIREMENTS = ["numpy", "scipy"]
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # its pages open on training, not on language models
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Version:
    """A registered version with its aliases and what its run measured."""

    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: dict[str, str]


def client(settings: Settings) -> "MlflowClient":
    """A client of this home's MLflow (its database directly, or the server of `MATINEE_MLFLOW_URL`)."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(settings.mlflow())
    mlflow.set_registry_uri(settings.mlflow())
    return MlflowClient()


def record(settings: Settings, system: System, report: Report, tags: Mapping[str, str]) -> Version:
    """One run with parameters, metrics, curves, tables, pictures, card, gate and the model, as a new version."""
    api = client(settings)
    import mlflow

    name = f"{report.trial.tuned.candidate} on {report.marts.snapshot_id}"
    run = api.create_run(_experiment(api, settings), tags=dict(tags), run_name=name)
    mlflow.start_run(run_id=run.info.run_id)
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            version = _fill_run(api, run.info.run_id, Path(folder), system, report)
        for key, value in tags.items():
            api.set_model_version_tag(MODEL, version, key, value)
        status = "FINISHED"
    finally:
        mlflow.end_run(status)
    return Version(version, run.info.run_id, (), dict(tags))


def _fill_run(api: "MlflowClient", run_id: str, folder: Path, system: System, report: Report) -> str:
    import mlflow
    from mlflow.entities import Metric
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import log_model
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    from models.recommenders.pyfunc import HistoryRecommender

    now = api.get_run(run_id).info.start_time
    points = [Metric(key, value, now, 0) for key, value in metrics(report)]
    points += [Metric(key, value, now + step, step) for key, step, value in curves(report)]
    for start in range(0, len(points), 1000):
        api.log_batch(run_id, metrics=points[start : start + 1000])
    mlflow.log_params(report.parameters())
    for name, table in tables(report).items():
        mlflow.log_table(table.to_pandas(), f"tables/{name}.json", run_id=run_id)
    write_artifacts(folder / "about", system, report)
    mlflow.log_artifacts(str(folder / "about"))
    system.save(folder / "model")
    logged = log_model(
        name="model",
        python_model=HistoryRecommender(),
        artifacts={"model": str(folder / "model")},
        pip_requirements=_REQUIREMENTS,
        signature=ModelSignature(inputs=Schema([ColSpec(Array(DataType.string), name="history")])),
        registered_model_name=MODEL,
    )
    return str(logged.registered_model_version)


def alias(settings: Settings, version: str, *, promoted: bool) -> None:
    """A promoted version is the champion; any other the challenger. The champion before is told by a tag."""
    api = client(settings)
    if promoted:
        before = by_alias(settings, CHAMPION)
        if before is not None and before.version != version:
            number = max((int(v.tags.get(RETIRED, 0)) for v in versions(settings)), default=0) + 1
            api.set_model_version_tag(MODEL, before.version, RETIRED, str(number))
        challenger = by_alias(settings, CHALLENGER)
        if challenger is not None and challenger.version == version:
            api.delete_registered_model_alias(MODEL, CHALLENGER)
    api.set_registered_model_alias(MODEL, CHAMPION if promoted else CHALLENGER, version)


def by_alias(settings: Settings, name: str) -> Version | None:
    """The version of this alias; None where no version has it."""
    api = client(settings)
    from mlflow.exceptions import MlflowException

    try:
        found = api.get_model_version_by_alias(MODEL, name)
    except MlflowException as error:
        if error.error_code in _MISSING:
            return None
        raise
    return Version(str(found.version), found.run_id or "", (name,), dict(found.tags))


def pin_snapshots(settings: Settings) -> None:
    """Keep the snapshots of champion and challenger, so that both can be fitted again."""
    from warehouse.snapshot import pin

    found = {name: version for name in (CHAMPION, CHALLENGER) if (version := by_alias(settings, name))}
    pin(settings.lake, {name: version.tags.get("snapshot_id", "") for name, version in found.items()})


def by_version(settings: Settings, version: str) -> Version:
    """The version of this number or alias.

    Raises:
        ModelError: there is none.
    """
    every = versions(settings)
    for found in every:
        if version in (found.version, *found.aliases):
            return found
    there = ", ".join(found.version for found in every) or "none: `matinee build` trains"
    raise ModelError(f"{MODEL} has no version {version!r} (there are: {there})")


def system_of(settings: Settings, version: Version) -> System:
    """The fitted system of a version, with the version's number in it.

    Raises:
        ModelError: its files are gone or damaged.
    """
    client(settings)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            path = download_artifacts(f"models:/{MODEL}/{version.version}", dst_path=folder)
        except (MlflowException, OSError) as error:
            raise ModelError(
                f"the files of {MODEL} {version.version} cannot be fetched ({error}): `matinee models rebuild "
                f"{version.version}`, or promote another version"
            ) from error
        system = System.load(Path(path) / "artifacts" / "model")
    return replace(system, about=replace(system.about, version=version.version))


def recipe_of(settings: Settings, version: Version) -> Recipe:
    """How the version was made.

    Raises:
        ModelError: its run holds no recipe that this code understands.
    """
    return Recipe.of(artifact(settings, version, "recipe.json"))


def artifact(settings: Settings, version: Version, name: str) -> str:
    """The text of a file of the version's run.

    Raises:
        ModelError: the run has no such file.
    """
    api = client(settings)
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            return Path(api.download_artifacts(version.run_id, name, folder)).read_text()
        except (MlflowException, OSError) as error:
            raise ModelError(f"the run of {MODEL} {version.version} has no {name}: train again") from error


def recorded(settings: Settings, version: Version) -> dict[str, float]:
    """The metrics that the version's run has logged."""
    return dict(client(settings).get_run(version.run_id).data.metrics)


def ranker_of(settings: Settings, version: Version) -> str | None:
    """The kind of the version's ranker; None where its recipe ranks by itself."""
    return _parameter(settings, version, "ranker")


def stands_in(settings: Settings, version: Version) -> tuple[int, str | None]:
    """For how many challengers the gate was sure of the version; in whose place its folds put it, if in any's."""
    return int(_parameter(settings, version, "looks") or 1), _parameter(settings, version, "in_place_of")


def _parameter(settings: Settings, version: Version, name: str) -> str | None:
    found = client(settings).get_run(version.run_id).data.params.get(name, NONE)
    return None if found == NONE else found


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
    return api.create_experiment(EXPERIMENT, artifact_location=local, tags=_KIND)


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow draws a bar for each file that it copies, greets new versions and gives advice: not in our terminal."""
    import io
    import logging
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
