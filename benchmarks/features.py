"""Features: from an event to what serving reads, one viewer's row, and a training set; beside Feast's own ways.

Marts of made-up viewers and impressions are published in a home of its own and brought online; the worker runs as the
supervisor runs it. An event is readable when `Online.viewer` shows its title; its features are written before that.

    matinee bench features [--json]
"""

import asyncio
import json as json_module
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from matinee.settings import Settings

PROFILES, TITLES, DAYS = 5_000, 500, 30
ROWS, FEAST_ROWS = 200_000, 20_000
EVENTS, COMPANY = 200, 10  # measured events, and how many others come along with each
FETCHES, FEAST_FETCHES = 2_000, 200

_KINDS = {"string": pl.String, "int32": pl.Int32, "int64": pl.Int64, "double": pl.Float64}


def run(json: bool = False) -> list[dict[str, Any]]:
    """Measure in a home of its own; returns the rows of the table, and prints them as JSON if asked."""
    from matinee.stack.session import services

    warnings.simplefilter("ignore")
    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    settings = Settings.load(home=root)
    try:
        with services(settings):
            _publish(settings)
            rows = [*_freshness(settings), *asyncio.run(_fetch(settings)), *_training(settings)]
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def _publish(settings: Settings) -> None:
    """Marts as the warehouse would leave them, a catalogue, and all of it online."""
    from features.store import apply_and_materialise
    from features.views import VIEWS
    from matinee.db.connect import connect

    rng, today = np.random.default_rng(0), datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    folder = settings.lake.published / "bench"
    (folder / "marts").mkdir(parents=True)
    for view in VIEWS:
        names = [f"{view.entity.name}-{n}" for n in range(PROFILES if view.entity.name == "profile" else TITLES)]
        days = [today - timedelta(days=day) for day in range(DAYS)]
        frame = pl.DataFrame({view.entity.join_key: names}).join(pl.DataFrame({"event_timestamp": days}), how="cross")
        numbers = rng.integers(1, 100, (len(frame), len(view.columns)))
        for place, (name, kind) in enumerate(view.columns):
            frame = frame.with_columns(pl.Series(name, numbers[:, place]).cast(_KINDS[kind]))
        frame.cast({"event_timestamp": pl.Datetime("us", "UTC")}).write_parquet(
            folder / "marts" / f"{view.mart}.parquet"
        )
    _impressions(rng, today).write_parquet(folder / "marts" / "fct_impression.parquet")
    head = {"snapshot_id": "bench", "created_at": today.isoformat(), "data_hash": "bench", "tables": {}}
    (folder / "manifest.json").write_text(json_module.dumps(head))
    settings.lake.current.symlink_to("bench")
    with connect(settings) as connection:
        columns = "(title_id, kind, genres, feed_hash, state, maturity)"
        values = "(%s, 'film', '{drama}', 'x', 'published', 0)"
        with connection.cursor() as cursor:
            titles = [(f"title-{n}",) for n in range(TITLES)]
            cursor.executemany(f"INSERT INTO title {columns} VALUES {values}".encode(), titles)
        connection.commit()
    apply_and_materialise(settings)


def _impressions(rng: np.random.Generator, today: datetime) -> pl.DataFrame:
    seconds = np.sort(rng.integers(0, (DAYS - 2) * 86_400, ROWS))
    texts = ("session_id", "request_id", "row_id", "model", "version", "source", "experiments", "origin")
    return pl.DataFrame(
        {
            "event_id": np.arange(ROWS).astype(str),
            "profile_key": [f"profile-{n}" for n in rng.integers(0, PROFILES, ROWS)],
            "title_id": [f"title-{n}" for n in rng.integers(0, TITLES, ROWS)],
            "shown_at": (today - timedelta(days=DAYS - 1)) + pl.Series(seconds * 1_000_000).cast(pl.Duration("us")),
            "seq": np.arange(ROWS),
            "position": rng.integers(0, 20, ROWS),
            "propensity": rng.random(ROWS),
            "is_bot": np.zeros(ROWS, dtype=bool),
            "is_played": rng.random(ROWS) < 0.1,
        }
    ).with_columns(item_id="title_id", **{name: pl.lit("") for name in texts})


def _freshness(settings: Settings) -> list[dict[str, Any]]:
    from serving.recommendations.worker import is_caught_up

    command = [Path(sys.executable).parent / "matinee", "worker", "recommendations"]
    worker = subprocess.Popen(command, env={**os.environ, **settings.environment()})
    try:
        while not is_caught_up(settings):
            if worker.poll() is not None:
                raise RuntimeError(f"the worker ended with {worker.returncode}")
            time.sleep(0.1)
        took = np.array(asyncio.run(_watch(settings)))
    finally:
        worker.terminate()
        worker.wait(10)
    p50, p95 = np.quantile(took, [0.5, 0.95]).tolist()
    return [
        _row("event to online features, p50", p50, "s", "goal of p95", 1.0, 1.0, smaller=True),
        _row("event to online features, p95", p95, "s", "goal", 1.0, 1.0, smaller=True),
    ]


async def _watch(settings: Settings) -> list[float]:
    """Seconds from handing an event to the log until its title is read, for one event after another."""
    import redis.asyncio

    from features.online import Online
    from ingest import log
    from matinee import pseudonyms
    from matinee.db.connect import connect

    with connect(settings) as connection:
        salts = pseudonyms.salts(connection, [f"account-{n}" for n in range(EVENTS)])
        connection.commit()
    events, took = log.connect(settings.events()), []
    async with redis.asyncio.Redis.from_url(settings.redis()) as client:
        online = Online(client)
        for number in range(EVENTS):
            account, title = f"account-{number}", f"title-{number}"
            key = salts[account].key(account)
            entries = [_play(account, title), *(_play(f"other-{n}", title) for n in range(COMPANY))]
            began = time.perf_counter()
            log.append(events, [entry for batch in entries for entry in batch])
            while title not in (known := await online.viewer(key)).titles:  # noqa: ASYNC110 - what another process writes
                await asyncio.sleep(0.002)
            took.append(time.perf_counter() - began)
            if known.features["profile_activity__plays_7d"] != 1:
                raise RuntimeError(f"the features of {account} did not come along: {known.features}")
    return took


def _play(account: str, title: str) -> Any:
    from ingest.intake import accept

    now = datetime.now(UTC)
    event = {
        "event_id": str(uuid.uuid4()), "schema": "viewer-event/1.0", "session_id": "s", "profile_id": account,
        "account_id": account, "playback_id": str(uuid.uuid4()), "title_id": title, "type": "heartbeat",
        "played_ms": 600_000, "ts_client": now.isoformat(), "ts_sent": now.isoformat(),
    }  # fmt: skip
    return accept([event], received_at=now, origin="live", account_id=account).entries


async def _fetch(settings: Settings) -> list[dict[str, Any]]:
    """One viewer's features: our reader (with history and what is finished besides) and Feast's, one after another."""
    import redis.asyncio

    from features.online import Online
    from features.store import open_store
    from features.views import pushed

    store = open_store(settings)
    names = [f"{view.name}:{name}" for view in pushed() for name in view.names]
    keys = [f"profile-{n % PROFILES}" for n in range(FETCHES)]
    async with redis.asyncio.Redis.from_url(settings.redis()) as client:
        online, own, feasts = Online(client), [], []
        for place, key in enumerate(keys):
            began = time.perf_counter()
            await online.viewer(key)
            own.append(time.perf_counter() - began)
            if place % (FETCHES // FEAST_FETCHES) == 0:
                began = time.perf_counter()
                store.get_online_features(names, [{"profile_key": key}], full_feature_names=True).to_dict()
                feasts.append(time.perf_counter() - began)
    milliseconds, feast = 1e3 * float(np.median(own)), 1e3 * float(np.median(feasts))
    row = _row("one viewer's row, median", milliseconds, "ms", "Feast's get_online_features", feast, 0.5, smaller=True)
    return [row]


def _training(settings: Settings) -> list[dict[str, Any]]:
    from features import training_set
    from features.store import training_frame

    began = time.perf_counter()
    made = training_set(settings)
    own = len(made) / (time.perf_counter() - began)
    asked = made.head(FEAST_ROWS).select("profile_key", "title_id", "event_timestamp")
    began = time.perf_counter()
    training_frame(settings, asked)
    feast = len(asked) / (time.perf_counter() - began)
    return [_row(f"training set of {len(made):,} rows", own, "rows/s", "Feast's historical join", feast, feast)]


def _row(
    name: str, value: float, unit: str, reference: str, against: float, goal: float, *, smaller: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "reference": f"{reference}: {against:.4g} {unit}",
        "ratio": round(value / against, 4),
        "goal": f"{'<=' if smaller else '>='} {goal:.4g} {unit}",
        "holds": value <= goal if smaller else value >= goal,
    }


if __name__ == "__main__":
    run(json="--json" in sys.argv)
