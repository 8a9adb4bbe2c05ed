"""Events to marts: synthetic raw events in the landing zone, through gate, load, dbt with all tests, to a snapshot.

The reference is what a person would write by hand in DuckDB over the same files: deduplicate, make playbacks, add
them up by day and by week; no gate, no tests, no features, no experiments. Each measured part runs in a process of its
own, so its peak memory is its own.

    matinee bench warehouse [--events N] [--json]
"""

import argparse
import json as json_module
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from matinee.contracts.landing import LANDED_EVENT
from matinee.db.connect import connect
from matinee.settings import Settings

_REPOSITORY = Path(__file__).resolve().parent.parent
DAYS, FIRST = 30, date(2026, 3, 1)
TITLES = 2_000

# A playback of about nine beats, one in ten rated; one event in a hundred comes twice, up to a day later. Ids are of
# the shape that the contract gives them: UUIDv7, and keys of 64 digits. One chunk of playbacks at a time.
_GENERATE = """
CREATE OR REPLACE MACRO uuid7(moment, digits) AS
    substr(printf('%012x', epoch_ms(moment)), 1, 8) || '-' || substr(printf('%012x', epoch_ms(moment)), 9, 4)
    || '-7' || substr(digits, 1, 3) || '-8' || substr(digits, 4, 3) || '-' || substr(digits, 7, 12);
CREATE OR REPLACE TABLE playback AS
SELECT *, uuid7(started_at, md5(CAST(i AS VARCHAR))) AS playback_id, sha256('p' || number) AS profile,
       uuid7(started_at - INTERVAL 90 second, md5('v' || i)) AS session_id,
       ['tv', 'phone', 'tablet', 'web'][1 + number % 4] AS device,
       ['DE', 'FR', 'KZ', 'US'][1 + number // 7 % 4] AS country
FROM (
    SELECT i, CAST(hash(i, 1) % $profiles AS BIGINT) AS number, 1 + hash(i, 4) % 17 AS beats,
           't' || CAST(CAST(floor($titles * pow((hash(i, 2) % 1000003) / 1000003.0, 3)) AS INT) AS VARCHAR) AS title_id,
           TIMESTAMPTZ '2026-03-01 00:00:00+00' + INTERVAL 1 second * (hash(i, 3) % ($days * 86400)) AS started_at
    FROM range($first, $last) r(i)
);
CREATE OR REPLACE TABLE sent AS
SELECT *, uuid7(moment, md5(playback_id || beat)) AS event_id, received_at - INTERVAL 1 second AS ts_sent
FROM (
    SELECT *, started_at + INTERVAL 30 second * beat AS moment,
           started_at + INTERVAL 1 second * (1 + 30 * beat + hash(i, beat) % 20) AS received_at
    FROM (SELECT *, unnest(range(CAST(beats AS BIGINT))) AS beat FROM playback)
);
DELETE FROM events;
INSERT INTO events BY NAME
SELECT event_id, 'viewer-event/1.0' AS schema, 'simulate' AS origin,
       epoch_ms(received_at) || '-' || i || '-' || beat AS log_id, sha256(event_id) AS fingerprint,
       profile AS account_key, profile AS profile_key, session_id, playback_id, beat AS seq, title_id, device, country,
       moment AS ts_client, ts_sent, received_at, moment AS event_ts,
       CASE WHEN beat = 0 THEN 'play' WHEN beat = beats - 1 THEN 'stop' ELSE 'heartbeat' END AS type,
       30000 * beat AS position_ms, 30000 * beat AS played_ms, 0 AS stall_ms, 0 AS stalls, 0 AS paused_ms,
       300 + hash(i) % 900 AS startup_ms, 90000000 * beat AS bits, '1080p' AS rendition, 'popular' AS surface_row
FROM sent;
INSERT INTO events BY NAME
SELECT * REPLACE (uuid7(event_ts, md5('r' || event_id)) AS event_id, 'rate' AS type, log_id || 'r' AS log_id),
       1 + hash(playback_id) % 5 AS rate_value
FROM (SELECT * EXCLUDE (rate_value) FROM events WHERE type = 'play' AND hash(event_id) % 10 = 0);
INSERT INTO events BY NAME
SELECT * REPLACE (uuid7(event_ts, md5('x' || profile_key)) AS event_id, 'exposure' AS type, log_id || 'x' AS log_id,
                  NULL AS playback_id, NULL AS title_id),
       'home_order' AS exposure_experiment, CASE hash(profile_key) % 2 WHEN 0 THEN 'control' ELSE 'treatment' END
           AS exposure_variant, 'salt' AS exposure_salt
FROM (SELECT * EXCLUDE (exposure_experiment, exposure_variant, exposure_salt) FROM events
      WHERE type = 'play' AND $first = 0
      QUALIFY row_number() OVER (PARTITION BY profile_key ORDER BY event_ts, event_id) = 1);
INSERT INTO events BY NAME
SELECT * REPLACE (received_at + INTERVAL 1 second * (hash(event_id) % 86400) AS received_at, log_id || 'd' AS log_id)
FROM events WHERE hash(event_id, 5) % 100 = 0;
"""
_BEATS = 9.2  # events that a playback makes, on average
_CHUNK = 500_000  # playbacks

_BY_HAND = """
CREATE TABLE event AS
SELECT * FROM read_parquet($paths, hive_partitioning = false)
QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY received_at, log_id) = 1;
CREATE TABLE playback AS
SELECT playback_id, any_value(profile_key) AS profile_key, any_value(title_id) AS title_id, min(event_ts) AS started_at,
       max(event_ts) AS ended_at, max(played_ms) AS played_ms, max(stall_ms) AS stall_ms, max(stalls) AS stalls,
       max(bits) AS bits, max(position_ms) AS position_ms
FROM event WHERE playback_id IS NOT NULL GROUP BY playback_id;
CREATE TABLE title_day AS
SELECT CAST(started_at AS DATE) AS day, title_id, count(*) AS plays, count(DISTINCT profile_key) AS viewers,
       sum(played_ms) / 3600000.0 AS hours
FROM playback GROUP BY ALL;
CREATE TABLE title_week AS
SELECT date_trunc('week', started_at) AS week, title_id, count(*) AS plays, count(DISTINCT profile_key) AS viewers,
       sum(played_ms) / 3600000.0 AS hours
FROM playback GROUP BY ALL;
"""


def run(json: bool = False, events: int = 1_000_000) -> list[dict[str, Any]]:
    """Measure everything in a home of its own; returns the rows of the table, and prints them as JSON if asked."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    settings = Settings.load(home=root)
    try:
        with services(settings):
            landed = generate(settings, events)
            rows = _measure(settings, landed)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def generate(settings: Settings, events: int) -> int:
    """Land the events, in files for each received day, and a catalogue; returns how many there are."""
    import duckdb

    playbacks, landed = round(events / _BEATS), 0
    known = {"profiles": max(1_000, events // 50), "titles": TITLES, "days": DAYS}
    with connect(settings) as ledger, duckdb.connect(config={"threads": 2}) as scratch:
        scratch.execute("SET TimeZone = 'UTC'")
        scratch.register("empty", LANDED_EVENT.empty_table())
        scratch.execute("CREATE TABLE events AS FROM empty")
        for first in range(0, playbacks, _CHUNK):
            values = {**known, "first": first, "last": min(first + _CHUNK, playbacks)}
            for statement in _GENERATE.split(";\n"):
                scratch.execute(statement, {name: v for name, v in values.items() if f"${name}" in statement})
            landed += _land(settings, scratch, ledger, first)
        with ledger.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO title (title_id, kind, runtime_s, maturity, genres) VALUES (%s, 'film', 480, 0, %s)",
                [(f"t{n}", [f"g{n % 7}", f"g{n % 11}"]) for n in range(TITLES)],
            )
    return landed


def _land(settings: Settings, scratch: Any, ledger: Any, chunk: int) -> int:
    """A file for each received day of what `events` holds, in the order of receipt; returns the number of rows."""
    days = scratch.execute("SELECT CAST(received_at AS DATE), count(*) FROM events GROUP BY 1 ORDER BY 1").fetchall()
    for day, rows in days:
        path = f"landing/events/date={day}/part-{chunk:012d}-{rows:012d}.parquet"
        target = settings.lake.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.execute(
            f"COPY (FROM events WHERE CAST(received_at AS DATE) = DATE '{day}' ORDER BY received_at) "
            f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
        ledger.execute(
            "INSERT INTO landed_file (path, stream, first_id, last_id, rows, landed_on) "
            "VALUES (%s, 'events', '0', '0', %s, %s)",
            (path, rows, day),
        )
    return sum(rows for _, rows in days)


def _measure(settings: Settings, landed: int) -> list[dict[str, Any]]:
    scale = landed / 10_000_000
    by_hand, _ = _alone("by_hand", settings)
    load, load_peak = _alone("load", settings)
    build, build_peak = _alone("build", settings)
    sql, sql_peak = _alone("sql", settings)
    again, _ = _alone("increment", settings)
    by_dbt = 30.0 * max(1.0, scale)  # dbt's own time does not shrink with the rows
    million = f"{landed / 1e6:.2f} M events"
    return [
        _row(f"gate and load, {million}", load["seconds"], "s"),
        _row("of it gate", load["gate"], "s"),
        _row(f"all models in SQL, {million}", sql["seconds"], "s", by_hand["seconds"], goal=max(1.5, 15 * scale)),
        _row(f"dbt build in process with {build['tests']} tests", build["first"], "s", by_hand["seconds"], goal=by_dbt),
        _row("the same again, all days touched", build["warm"], "s", by_hand["seconds"], goal=by_dbt),
        _row("one-day increment through dbt, as a worker builds it", again["seconds"], "s", goal=10.0),
        _row("of it the models, one after the other", again["models"], "s"),
        _row("the same day again, with all unit tests", again["whole"], "s", goal=10.0),
        _row("peak memory, gate and load", load_peak, "MB", goal=1000.0),
        _row("peak memory, SQL", sql_peak, "MB", goal=1000.0),
        _row("peak memory, dbt", build_peak, "MB", goal=1000.0),
    ]


def _row(
    name: str, value: float, unit: str, reference: float | None = None, goal: float | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "reference": None if reference is None else round(reference, 2),
        "ratio": None if reference is None else round(value / reference, 2),
        "goal": None if goal is None else round(goal, 2),
        "holds": None if goal is None else value <= goal,
    }


def _alone(part: str, settings: Settings) -> tuple[dict[str, float], float]:
    """What a part measures in a fresh process, and the peak resident memory of that process in MB."""
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(_REPOSITORY)}
    # -P: otherwise this file's folder comes first, and this file would be what `import warehouse` finds.
    argv = [sys.executable, "-P", __file__, "--part", part]
    done = subprocess.run(argv, env=environment, cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    measured = json_module.loads(done.stdout.splitlines()[-1])
    return measured["result"], measured["peak_mb"]


def _print_part(part: str) -> None:
    result = _PARTS[part](Settings.load())
    # Not getrusage: its peak is inherited from the parent, which has generated a million events.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(json_module.dumps({"result": result, "peak_mb": peak}))


def _files(settings: Settings) -> list[str]:
    return sorted(str(path) for path in settings.lake.landing_events.rglob("*.parquet"))


def _by_hand(settings: Settings) -> dict[str, float]:
    import duckdb

    with duckdb.connect(str(settings.home.root / "by_hand.duckdb"), config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        started = time.perf_counter()
        for statement in _BY_HAND.split(";\n"):
            parameters = {"paths": _files(settings)} if "$paths" in statement else {}
            connection.execute(statement, parameters)
        return {"seconds": time.perf_counter() - started}


def _load(settings: Settings) -> dict[str, float]:
    from warehouse import gate
    from warehouse.export import export_tables
    from warehouse.load import load_days

    at_gate = 0.0
    check = gate.check_batches

    def timed(*arguments: Any) -> list[gate.GateResult]:
        nonlocal at_gate
        before = time.perf_counter()
        result = check(*arguments)
        at_gate += time.perf_counter() - before
        return result

    gate.check_batches = timed
    started = time.perf_counter()
    summary = load_days(settings, [FIRST + timedelta(days=n) for n in range(DAYS - 1)])
    seconds = time.perf_counter() - started
    assert not summary.held, summary.held
    export_tables(settings)
    return {"seconds": seconds, "gate": at_gate}


def _build(settings: Settings) -> dict[str, float]:
    """The first build, and one that does it all again in the living process."""
    import duckdb

    from warehouse import dbt

    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        result = dbt.build(settings)
        seconds.append(time.perf_counter() - started)
        assert result.success, result.failed
        with duckdb.connect(str(settings.lake.build_file)) as connection:
            connection.execute(
                "INSERT INTO raw.touched_days SELECT DISTINCT event_date, now() FROM intermediate.int_events"
            )
    tests = sum(node.status in ("pass", "warn") for node in result.nodes)
    with duckdb.connect(str(settings.lake.build_file)) as connection:
        connection.execute("DELETE FROM raw.touched_days")
    return {"first": seconds[0], "warm": seconds[1], "tests": tests}


def _increment(settings: Settings) -> dict[str, float]:
    """An increment in a process that has built before, as a worker has, and the same day again with the unit tests."""
    import duckdb

    from warehouse import dbt
    from warehouse.load import load_days

    assert dbt.run(settings, ["test", "--select", "stg_titles"]).success
    load_days(settings)
    with duckdb.connect(str(settings.lake.build_file)) as connection:
        days = connection.execute("SELECT DISTINCT event_date, now() FROM raw.touched_days").fetchall()
    started = time.perf_counter()
    result = dbt.build(settings, unit_tests=False)
    seconds = time.perf_counter() - started
    assert result.success, result.failed
    with duckdb.connect(str(settings.lake.build_file)) as connection:
        connection.executemany("INSERT INTO raw.touched_days VALUES (?, ?)", days)
    started = time.perf_counter()
    again = dbt.build(settings)
    whole = time.perf_counter() - started
    assert again.success, again.failed
    models = sum(n.seconds for n in result.nodes if n.node_id.startswith("model."))
    return {"seconds": seconds, "models": models, "whole": whole}


def _sql_only(settings: Settings) -> dict[str, float]:
    """The models as dbt compiled them, in dependency order, from nothing, in a file of their own."""
    import duckdb

    from warehouse import build_file, dbt

    path = settings.home.root / "sql_only.duckdb"
    shutil.copyfile(settings.lake.build_file, path)
    manifest = json_module.loads(dbt.parse(settings).read_text())
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    compiled = {key: _compiled(settings, node) for key, node in models.items()}
    with duckdb.connect(str(path), config={"threads": 2, "memory_limit": build_file.MEMORY}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        for schema in ("marts", "intermediate", "staging"):
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
            connection.execute(f"CREATE SCHEMA {schema}")
        started = time.perf_counter()
        for key in _ordered(models):
            kind = "VIEW" if models[key]["config"]["materialized"] == "view" else "TABLE"
            relation = f"{models[key]['schema']}.{models[key]['name']}"
            text = compiled[key].replace('"warehouse".', "")  # the file has another name here
            connection.execute(f"CREATE {kind} {relation} AS {text}")
        return {"seconds": time.perf_counter() - started}


def _compiled(settings: Settings, node: dict[str, Any]) -> str:
    """A model as SQL; incremental models in the form that builds them from nothing."""
    from warehouse import dbt

    if node["config"]["materialized"] == "incremental":
        dbt.run(settings, ["compile", "--full-refresh", "--select", node["name"]])
    folder = dbt.home_folder(settings) / "target" / "compiled" / "matinee"
    return (folder / node["original_file_path"]).read_text().rstrip().rstrip(";")


def _ordered(models: dict[str, Any]) -> list[str]:
    from graphlib import TopologicalSorter

    order = TopologicalSorter(
        {key: [p for p in node["depends_on"]["nodes"] if p in models] for key, node in models.items()}
    )
    return list(order.static_order())


_PARTS: dict[str, Callable[[Settings], dict[str, float]]] = {
    "by_hand": _by_hand,
    "load": _load,
    "build": _build,
    "sql": _sql_only,
    "increment": _increment,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=sorted(_PARTS), required=True)
    _print_part(parser.parse_args().part)
