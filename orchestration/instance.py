"""The Dagster instance of a home: its environment, and the definitions with a fresh dbt manifest."""

import os
from typing import TYPE_CHECKING

from matinee.settings import Settings
from orchestration.resources import REPOSITORY

if TYPE_CHECKING:
    import dagster as dg


def environment(settings: Settings) -> dict[str, str]:
    """What a process needs to load the code location and to reach the instance of this home."""
    from warehouse.dbt import target_path

    return {
        **settings.environment(),
        "DAGSTER_HOME": str(REPOSITORY),
        "DAGSTER_PG_URL": settings.database("dagster"),
        "MATINEE_DAGSTER_STORAGE": str(settings.home.dagster),
        "MATINEE_DBT_TARGET": str(target_path(settings)),
    }


def prepare(settings: Settings) -> None:
    """Set this process up for Dagster: environment, and the dbt manifest that definitions are made from."""
    from warehouse.dbt import parse

    os.environ.update(environment(settings))
    parse(settings)


def definitions() -> "dg.Definitions":
    """The code location, loaded in this process; `prepare` comes first."""
    from orchestration.definitions import defs

    return defs()
