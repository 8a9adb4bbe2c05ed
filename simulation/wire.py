"""Deliveries as what a client sends: parsed JSON objects, or bytes where even that is broken."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import polars as pl

from models.experiments.assignment import Experiment
from simulation.choice import ROWS
from simulation.watching import RENDITIONS

SCHEMA = "viewer-event/1.0"
BOT = "user_agent"
ERROR_CODE = "network.segment"
SURFACE_MODEL = {"model": "simulated", "version": "1"}
ROW_NAMES = (*ROWS, "browse")
_COUNTERS = ("position_ms", "played_ms", "stall_ms", "stalls", "paused_ms", "startup_ms", "bits")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a client sends again under an id that it used before is not quite the same: these grow.
ALTERED_RENDITION = "144p"
GROWS = {"position_ms": 45_000, "played_ms": 45_000, "bits": 9_000_000}
_LARGE = "x" * 70_000


def batches(
    deliveries: pl.DataFrame, running: tuple[Experiment, ...]
) -> Iterator[tuple[datetime, str | None, list[Any]]]:
    """(received at, why the sender is a bot or None, the objects received then), in order of time.

    `deliveries` are sorted by `received` and `order`.
    """
    current, batch = (-1, False), []
    for start in range(0, deliveries.height, 20_000):
        part = deliveries.slice(start, 20_000)
        senders = zip(part["received"].to_list(), (part["viewer"] < 0).to_list(), strict=True)
        for sender, raw in zip(senders, _objects(part, running), strict=True):
            if sender != current and batch:
                yield _batch(*current, batch)
                batch = []
            current = sender
            batch.append(raw)
    if batch:
        yield _batch(*current, batch)


def _batch(received: int, is_bot: bool, objects: list[Any]) -> tuple[datetime, str | None, list[Any]]:
    return _EPOCH + timedelta(milliseconds=received), BOT if is_bot else None, objects


def _objects(part: pl.DataFrame, running: tuple[Experiment, ...]) -> Iterator[Any]:
    # Client time is off by the device's clock; sending follows after the delay. A copy carries the stamps of the first.
    client = part["at"].to_numpy() + part["skew"].to_numpy()
    part = part.with_columns(
        ts_client=pl.Series(_iso(client), dtype=pl.String),
        ts_sent=pl.Series(_iso(client + part["delay"].to_numpy()), dtype=pl.String),
    )
    for row in part.iter_rows(named=True):
        made = _object(row, running)
        yield made if row["fate"] in ("first", "duplicate", "too_late") else _damage(made, row)


def _iso(moments: np.ndarray) -> list[str]:
    return [text + "Z" for text in np.datetime_as_string(moments.astype("datetime64[ms]"), unit="ms").tolist()]


def _object(row: dict[str, Any], running: tuple[Experiment, ...]) -> dict[str, Any]:
    account, kind = row["account_id"], row["type"]
    made = {
        "event_id": row["event_id"],
        "schema": SCHEMA,
        **({"account_id": account, "profile_id": account} if account else {}),
        "session_id": row["session_id"],
        "seq": row["seq"],
        "device": row["device"],
        "country": row["country"],
        "ts_client": row["ts_client"],
        "ts_sent": row["ts_sent"],
        "type": kind,
    }
    for name in ("playback_id", "title_id", *_COUNTERS):
        if (value := row[name]) is not None:
            made[name] = value
    if row["rendition"] is not None:
        made["rendition"] = RENDITIONS[row["rendition"]]
    if row["row"] is not None:
        made["surface"] = _surface(row)
    if kind in ("play", "impression") and row["viewer"] >= 0:
        made["experiments"] = {e.name: row[e.name] for e in running}
    if data := _data(kind, row, running):
        made["data"] = data
    return made


def _surface(row: dict[str, Any]) -> dict[str, Any]:
    if row["place"] < 0:
        return {"row": ROW_NAMES[row["row"]]}
    return {"row": ROW_NAMES[row["row"]], "position": row["place"], "propensity": row["propensity"], **SURFACE_MODEL}


def _data(kind: str, row: dict[str, Any], running: tuple[Experiment, ...]) -> dict[str, Any] | None:
    match kind:
        case "rate":
            return {"value": row["value"]}
        case "favourite":
            return {"on": bool(row["value"])}
        case "search":
            words = row["title_id"].replace("-", " ").split()
            return {"query": words[-1][:12], "results": int(row["value"]), "clicked": row["title_id"]}
        case "error":
            return {"code": ERROR_CODE, "fatal": True}
        case "exposure":
            experiment = running[row["experiment"]]
            return {"experiment": experiment.name, "variant": row[experiment.name], "salt": experiment.salt}
    return None


def _damage(made: dict[str, Any], row: dict[str, Any]) -> object:
    match row["fate"]:
        case "altered":
            return _alter(made)
        case "not_json":
            return orjson.dumps(made)[:-7]
        case "missing_field":
            return {name: value for name, value in made.items() if name != "session_id"}
        case "wrong_type":
            return made | {"seq": "seven"}
        case "other_schema":
            return made | {"schema": "viewer-event/2.0"}
        case "future":
            client = _EPOCH + timedelta(milliseconds=row["at"] + row["skew"] + row["delay"], hours=2)
            return made | {"ts_client": client.isoformat()}
        case "large":
            return made | {"data": {**made.get("data", {}), "note": _LARGE}}
    raise ValueError(f"unknown fate {row['fate']!r}")


def _alter(made: dict[str, Any]) -> dict[str, Any]:
    grown = {name: made[name] + step for name, step in GROWS.items() if name in made}
    if made["type"] == "rate":
        grown["data"] = {"value": 0.5 if made["data"]["value"] > 2 else 5.0}
    return made | grown | {"rendition": ALTERED_RENDITION}
