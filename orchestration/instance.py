"""The Dagster instance of a home: its environment, and the definitions with a fresh dbt manifest."""

import os
import shutil
from typing import TYPE_CHECKING

from matinee.settings import Settings
from orchestration import REPOSITORY

if TYPE_CHECKING:
    import dagster as dg


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs to load the code location and to reach the instance of this home."""
    from warehouse.dbt import environment as dbt

    return {
        **settings.environment(),
        **dbt(settings),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "DAGSTER_HOME": str(settings.home.dagster),
        "DAGSTER_PG_URL": settings.database("dagster"),
        "MATINEE_DAGSTER_STORAGE": str(settings.home.dagster / "storage"),
    }


def prepare(settings: Settings) -> None:
    """Set this process up for Dagster: environment, instance configuration, and the dbt manifest of the definitions."""
    from warehouse.dbt import PROJECT, home_folder, parse

    os.environ.update(environment(settings))
    settings.home.create()
    shutil.copyfile(REPOSITORY / "dagster.yaml", settings.home.dagster / "dagster.yaml")
    manifest = home_folder(settings) / "target" / "manifest.json"
    newest = max(path.stat().st_mtime for path in PROJECT.rglob("*") if path.suffix in {".sql", ".yml"})
    if not manifest.exists() or manifest.stat().st_mtime < newest:
        parse(settings)


def definitions() -> "dg.Definitions":
    """The code location, loaded in this process; `prepare` comes first."""
    from orchestration.definitions import defs

    return defs()


if __name__ == "__main__":
    prepare(Settings.load())
