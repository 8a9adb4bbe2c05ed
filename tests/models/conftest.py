"""A published snapshot as the warehouse would leave it, small, and a database for MLflow."""

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import polars as pl
import psycopg
import pytest
from psycopg import sql
from threadpoolctl import threadpool_limits

from matinee.settings import Settings

START = datetime(2026, 9, 1, tzinfo=UTC)

TITLE_SCHEMA = {
    "title_id": pl.String, "kind": pl.String, "parent_id": pl.String, "item_id": pl.String, "title": pl.String,
    "title_en": pl.String, "title_ru": pl.String, "year": pl.Int32, "runtime_s": pl.Int32, "maturity": pl.Int32,
    "genres": pl.List(pl.String), "is_playable": pl.Boolean, "packaged_at": pl.Datetime("us", "UTC"),
    "created_at": pl.Datetime("us", "UTC"),
}  # fmt: skip
INTERACTION_SCHEMA = {
    "interaction_id": pl.String, "account_key": pl.String, "profile_key": pl.String, "item_id": pl.String,
    "title_id": pl.String, "kind": pl.String, "happened_at": pl.Datetime("us", "UTC"), "event_date": pl.Date,
    "value": pl.Float64, "is_positive": pl.Boolean, "origin": pl.String,
}  # fmt: skip

# What the marts hold besides, of these: titles without people and texts, grown-ups' profiles of nowhere.
DERIVED = {
    "dim_title_content": """
        SELECT item_id, kind, year, maturity, genres, title_en, title_ru, CAST([] AS VARCHAR[]) AS tags,
               CAST([] AS VARCHAR[]) AS countries, CAST([] AS VARCHAR[]) AS people, CAST([] AS VARCHAR[]) AS roles,
               CAST(NULL AS VARCHAR) AS synopsis_en, CAST(NULL AS VARCHAR) AS synopsis_ru
        FROM dim_title WHERE title_id = item_id AND kind <> 'extra'
    """,
    "dim_profile": """
        SELECT DISTINCT profile_key, account_key, 18 AS maturity, 'en' AS language, CAST(NULL AS VARCHAR) AS country
        FROM fct_interaction WHERE profile_key IS NOT NULL
    """,
}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def mlflow_database(base: Settings) -> str:
    """MLflow's schema, made once by MLflow's own migrations; tests get copies."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    admin = psycopg.conninfo.make_conninfo(base.database(), dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_mlflow")
    url = base.database().replace("/matinee?", "/template_mlflow?").replace("postgresql://", "postgresql+psycopg://")
    store = SqlAlchemyStore(url, str(base.home.mlflow))
    store.engine.dispose()
    return "template_mlflow"


@pytest.fixture
def tracked(settings: Settings, base: Settings, mlflow_database: str) -> Iterator[Settings]:
    """Settings whose MLflow database exists and is empty."""
    with copied(base, mlflow_database, settings.database("mlflow")):
        yield settings


@contextmanager
def copied(base: Settings, template: str, url: str) -> Iterator[None]:
    """A copy of the database `template`, called as `url` says, for the length of the block."""
    name = url.partition("?")[0].rpartition("/")[2]
    admin = psycopg.conninfo.make_conninfo(base.database(), dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    yield
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def two_versions(
    base: Settings, mlflow_database: str, make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A home with two trained versions, of a snapshot each: 1 was refused, 2 was promoted.

    Tests share it: each begins by giving the aliases that it needs.
    """
    from models.recommenders.train import train
    from models.recommenders.trial import Plan

    url = base.database().replace("/matinee?", f"/test_{uuid.uuid4().hex}?")
    values = {"MATINEE_HOME": tmp_path_factory.mktemp("versions") / "home", "database_url": url}
    settings = Settings.model_validate({**values, "redis_url": base.redis()})
    settings.home.create()
    own, tracking = settings.database(), settings.database("mlflow")
    with copied(base, "template_matinee", own), copied(base, mlflow_database, tracking):
        for number, taken in ((1, make.scattered(60, 40)), (2, make.chains(120, 40))):
            make.publish(settings, make.ring(40), taken, f"s{number}")
            made = train(settings, plan=Plan(resamples=200))
            assert (made.version, made.promoted) == (str(number), number == 2), made.verdict
        yield settings


@pytest.fixture(scope="session")
def mlflow_server(two_versions: Settings) -> Iterator[str]:
    """The address of MLflow's own server over these versions, as the stack runs it."""
    from orchestration.processes import mlflow

    (service,) = mlflow(two_versions)
    with (two_versions.home.logs / "mlflow.log").open("wb") as output:
        process = subprocess.Popen(
            service.argv, env={**os.environ, **service.env}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while not service.ready():
            assert time.monotonic() < deadline, Path(output.name).read_text()
            time.sleep(0.1)
        yield service.address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Makers of small marts, and `publish`, which switches `current` to a snapshot of them."""
    return SimpleNamespace(
        start=START, publish=write_snapshot, titles=titles_of, interactions=interactions_of, chains=chains,
        scattered=scattered, ring=ring,
    )  # fmt: skip


def write_snapshot(settings: Settings, titles: pl.DataFrame, interactions: pl.DataFrame, name: str = "s1") -> Path:
    folder = settings.lake.published / name
    (folder / "marts").mkdir(parents=True)
    tables = {"dim_title": titles, "fct_interaction": interactions}
    with duckdb.connect(str(folder / "marts.duckdb")) as connection:
        for table, frame in tables.items():
            frame.write_parquet(folder / "marts" / f"{table}.parquet")
            connection.execute(f"CREATE TABLE {table} AS FROM '{folder / 'marts' / table}.parquet'")
        for table, query in DERIVED.items():
            connection.execute(f"CREATE TABLE {table} AS {query}")
    manifest = {"snapshot_id": name, "created_at": START.isoformat(), "data_hash": f"hash-{name}", "tables": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    link = settings.lake.published / "next"
    link.symlink_to(name)
    os.replace(link, settings.lake.current)
    return folder


def titles_of(ids: list[str], *, playable: bool = True, **columns: Any) -> pl.DataFrame:
    genres = columns.get("genres", [["drama"] if row % 2 else ["comedy"] for row in range(len(ids))])
    return pl.DataFrame(
        {
            "title_id": ids, "kind": "film", "parent_id": None, "item_id": ids, "title": ids, "title_en": ids,
            "title_ru": None, "year": 2020, "runtime_s": 3600, "maturity": 12, "genres": genres,
            "is_playable": playable, "packaged_at": START, "created_at": START,
        },
        schema=TITLE_SCHEMA,
    )  # fmt: skip


def interactions_of(rows: list[dict[str, Any]], origin: str = "simulate") -> pl.DataFrame:
    """Rows {profile, item, at, and optionally kind, value, is_positive}."""
    return pl.DataFrame(
        [
            {
                "interaction_id": f"i{number:07d}", "account_key": row["profile"], "profile_key": row["profile"],
                "item_id": row["item"], "title_id": row.get("title", row["item"]), "kind": row.get("kind", "view"),
                "happened_at": row["at"], "event_date": row["at"].date(), "value": row.get("value", 0.5),
                "is_positive": row.get("is_positive", True), "origin": origin,
            }
            for number, row in enumerate(rows)
        ],
        schema=INTERACTION_SCHEMA,
    )  # fmt: skip


def chains(viewers: int, items: int, *, seed: int = 0, days: int = 60) -> pl.DataFrame:
    """Viewers who follow a ring of titles: after k comes k + 1. Easy for a personal model, hard for popularity."""
    rng = np.random.default_rng(seed)
    rows = []
    for viewer in range(viewers):
        start = int(rng.integers(items))
        moments = np.sort(rng.uniform(0, days, size=12))
        rows += [
            {
                "profile": f"p{viewer:04d}",
                "item": f"t{(start + step) % items:03d}",
                "at": START + timedelta(days=float(at)),
            }
            for step, at in enumerate(moments)
        ]
    return interactions_of(sorted(rows, key=lambda row: row["at"]))


def scattered(viewers: int, items: int, *, seed: int = 1) -> pl.DataFrame:
    """Viewers who take anything: there is nothing to learn."""
    rng = np.random.default_rng(seed)
    return interactions_of(
        [
            {"profile": f"p{viewer}", "item": f"t{item:03d}", "at": START + timedelta(days=float(at))}
            for viewer in range(viewers)
            for item, at in zip(rng.permutation(items)[:8], np.sort(rng.uniform(0, 60, 8)), strict=True)
        ]
    )


def ring(items: int) -> pl.DataFrame:
    return titles_of([f"t{item:03d}" for item in range(items)])
