"""The state of all transcoding in figures, for Dagster and for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from matinee.db import queries

_SQL = queries.load(Path(__file__).parent)


@dataclass(frozen=True)
class Failed:
    """A title whose newest job failed, and why."""

    title_id: str
    treatment: str
    reason: str


@dataclass(frozen=True)
class Overview:
    """Counts by state: jobs and packages of all time, tasks of the jobs under way."""

    jobs: Mapping[str, int]
    tasks: Mapping[str, int]
    packages: Mapping[str, int]
    failed: tuple[Failed, ...]


def overview(connection: psycopg.Connection) -> Overview:
    jobs, tasks, packages = (dict(connection.execute(_SQL[name]).fetchall()) for name in ("jobs", "tasks", "packages"))
    return Overview(jobs, tasks, packages, tuple(Failed(*row) for row in connection.execute(_SQL["failed"]).fetchall()))
