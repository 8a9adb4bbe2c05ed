"""From the event log into the lake: rows a second of one core, against what the work cannot do without.

The same entries lie in Redis for every measurement. The reference is the sum of the three things that any collector
has to do: take the entries off Redis (its protocol, read by hiredis), parse each body as JSON (orjson) and write the
rows as Parquet with zstd; nothing is checked, normalised, keyed or recorded there. All figures are by this process's
CPU time, the median of rounds that alternate; Redis and PostgreSQL work beside it.

    matinee bench intake [--json]   (or python -m benchmarks.intake)
"""

import argparse
import json as json_module
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import redis

from ingest import bodies, collector, landing, log
from ingest.intake import Entry, accept
from matinee.db.connect import connect
from matinee.ids import uuid7
from matinee.settings import Settings

ROUNDS = 3
_VISIT = 50
_CAREFUL = 5_000


def run(json: bool = False, events: int = 100_000) -> list[dict[str, Any]]:
    """Measure in a home of its own; returns the rows of the table, and prints them as JSON if asked."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    settings = Settings.load(home=root)
    try:
        with services(settings):
            rows = _measure(settings, events)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def entries(events: int) -> list[Entry]:
    """Visits of 50 events as a player sends them, some of them impressions and ratings, accepted by the intake."""
    luck, start, made = random.Random(4), datetime(2026, 3, 14, 12, tzinfo=UTC), []
    for visit in range(events // _VISIT):
        at = start + timedelta(milliseconds=40 * visit)
        batch = accept(
            [_event(luck, at, visit, number) for number in range(_VISIT)],
            received_at=at, origin="live", account_id=f"account-{visit % 4_000}",
        )  # fmt: skip
        made += batch.entries
    return made


def _event(luck: random.Random, at: datetime, visit: int, number: int) -> dict[str, Any]:
    kind = {0: "impression", 8: "rate"}.get(number % 9, "heartbeat")
    event = {
        "event_id": uuid7(), "schema": "viewer-event/1.0", "session_id": f"visit-{visit}", "seq": number,
        "profile_id": f"profile-{visit % 4_000}", "playback_id": uuid7(), "title_id": f"film-{luck.randrange(2_000)}",
        "device": "tv", "country": "DE", "ts_client": (at - timedelta(seconds=3)).isoformat(),
        "ts_sent": (at - timedelta(milliseconds=luck.randrange(900))).isoformat(), "type": kind,
        "position_ms": 30_000 * number, "played_ms": 30_000 * number, "stall_ms": 0, "stalls": 0, "paused_ms": 0,
        "startup_ms": 400, "bits": 90_000_000 * number, "rendition": "1080p", "experiments": {"home_order": "new"},
    }  # fmt: skip
    if kind == "rate":
        event["data"] = {"value": 4.5}
    if kind == "impression":
        event["surface"] = {"row": "for-you", "position": number, "propensity": 0.25, "model": "blend", "version": "3"}
    return event


def _measure(settings: Settings, events: int) -> list[dict[str, Any]]:
    made = entries(events)
    client = log.connect(settings.events())
    times: dict[str, list[float]] = {}
    ids: list[str] = []

    def timed(name: str, work: Callable[[], object]) -> None:
        since = time.process_time()
        work()
        times.setdefault(name, []).append((time.process_time() - since) / events)

    for _ in range(ROUNDS):
        ids = log.append(client, made)
        timed("read", lambda: _read(client))
        timed("parse", lambda: [None for entry in made if orjson.loads(entry.body) is None])
        timed("land", lambda: collector.drain(settings))
        with connect(settings) as connection:
            newest = connection.execute("SELECT path FROM landed_file ORDER BY last_id DESC LIMIT 1").fetchall()
        table = pq.ParquetFile(settings.lake.root / newest[0][0]).read()
        scale = events / table.num_rows
        timed("write", lambda: pq.write_table(table, settings.home.root / "again.parquet", compression="zstd"))  # noqa: B023 - called at once
        times["write"][-1] *= scale
    values = [[b"event", entry.body] for entry in made]
    timed("decode", lambda: bodies.decode(ids, values))
    timed("careful", lambda: _careful(ids, values))
    client.close()
    return _rows({name: statistics.median(each) for name, each in times.items()}, events)


def _read(client: redis.Redis) -> None:
    last_id = "0-0"
    while found := log.read(client, last_id, collector.CHUNK):
        last_id = found[-1][0].decode()


def _careful(ids: list[str], values: list[list[bytes]]) -> None:
    """Entry by entry, as what does not fit is decoded; a part of the entries, counted as all."""
    some = [landing.decode(i, log.fields_of(v)) for i, v in zip(ids[:_CAREFUL], values, strict=False)]
    landing.arrived_table(range(len(some)), [item for item in some if isinstance(item, landing.Arrived)])


def _rows(seconds: dict[str, float], events: int) -> list[dict[str, Any]]:
    limit = 1 / (seconds["read"] + seconds["parse"] + seconds["write"])

    def row(name: str, each: float, reference: float | None = None, goal: float | None = None) -> dict[str, Any]:
        value = 1 / each
        return {
            "name": name, "value": round(value), "unit": "rows/CPU-s", "reference": reference and round(reference),
            "ratio": reference and round(value / reference, 3), "goal": goal, "holds": goal and value >= goal,
        }  # fmt: skip

    return [
        row("event log into the lake, one core", seconds["land"], limit, 200_000),
        row("limit: Redis protocol alone", seconds["read"]),
        row("limit: JSON parsing alone", seconds["parse"]),
        row("limit: Parquet with zstd alone", seconds["write"]),
        row("decoding in bulk", seconds["decode"]),
        row("decoding entry by entry", seconds["careful"] * events / _CAREFUL, 1 / seconds["decode"]),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    run(json=True, events=parser.parse_args().events)
