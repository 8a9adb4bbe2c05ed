"""The right to be forgotten, over a warehouse of synthetic events: one account, a thousand, and one with its bytes.

The accounts are real rows in PostgreSQL with salts, and the events carry their keys; everything is loaded, built with
all tests and published before. The reference is what has to be read at the least: one scan of the landed files for the
rows of one account.

    matinee bench erase [--json]
"""

import argparse
import json as json_module
import shutil
import sys
import tempfile
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from matinee.db.connect import connect
from matinee.db.viewers import Viewer, add_viewers
from matinee.pseudonyms import salts
from matinee.settings import Settings

THOUSAND = 1_000


def run(json: bool = False, events: int = 1_000_000) -> list[dict[str, Any]]:
    """Measure in a home of its own; returns the rows of the table, and prints them as JSON if asked."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    settings = Settings.load(home=root)
    try:
        with services(settings):
            landed, accounts = prepare(settings, events)
            rows = _measure(settings, landed, accounts)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def prepare(settings: Settings, events: int) -> tuple[int, list[str]]:
    """Events landed, loaded, built and published, of accounts that exist: (how many events, whose they are)."""
    from warehouse import dbt
    from warehouse.export import export_tables
    from warehouse.load import load_days
    from warehouse.publish import publish

    landed = _neighbour("warehouse").generate(settings, events)
    accounts = _people(settings)
    load_days(settings)
    export_tables(settings)
    built = dbt.build(settings)
    if not built.success:
        raise RuntimeError(f"the marts were not built: {[node.name for node in built.failed]}")
    publish(settings)
    return landed, accounts


def _people(settings: Settings) -> list[str]:
    """An account for each key of the landed events, and their own keys in its place."""
    import duckdb
    import pyarrow as pa

    files = sorted(settings.lake.landing_events.rglob("*.parquet"))
    with duckdb.connect() as scratch, connect(settings) as connection:
        scratch.execute("SET TimeZone = 'UTC'")
        found = scratch.execute(
            "SELECT DISTINCT account_key FROM read_parquet($files, hive_partitioning = false) ORDER BY 1",
            {"files": [str(file) for file in files]},
        ).fetchall()
        accounts = {key: f"bench-account-{number}" for number, (key,) in enumerate(found)}
        add_viewers(connection, [Viewer(account, account, "simulate") for account in accounts.values()])
        known = salts(connection, accounts.values())
        scratch.register(
            "people",
            pa.table({"old": list(accounts), "new": [known[account].key(account) for account in accounts.values()]}),
        )
        for file in files:
            draft = file.with_name("draft")
            scratch.execute(
                f"COPY (SELECT e.* REPLACE (p.new AS account_key, p.new AS profile_key) "
                f"FROM read_parquet('{file}', hive_partitioning = false) e JOIN people p ON p.old = e.account_key) "
                f"TO '{draft}' (FORMAT parquet, COMPRESSION zstd)"
            )
            draft.replace(file)
    return list(accounts.values())


def _measure(settings: Settings, landed: int, accounts: list[str]) -> list[dict[str, Any]]:
    from orchestration.erase import erase

    scan = _scan(settings)
    one = erase(settings, accounts[:1])
    many = erase(settings, accounts[1 : 1 + THOUSAND])
    purged = erase(settings, accounts[-1:], purge=True)
    for proof in (one, many, purged):
        slowest = sorted(proof.traces, key=lambda trace: -trace.seconds)[:4]
        steps = ", ".join(f"{t.where} {t.seconds} s" for t in slowest)
        print(f"{len(proof.accounts)} accounts: {steps}", file=sys.stderr)
    million = f"{landed / 1e6:.2f} M events"
    return [
        _row(f"one account unreadable, {million}", one.unreadable_after, scan, 2.0),
        _row(f"{THOUSAND:,} accounts unreadable, {million}", many.unreadable_after, scan, 60.0),
        _row("the same one, until the snapshot's files are written again", one.seconds, scan),
        _row(f"one account, and the bytes of all of them gone, {million}", purged.seconds, scan),
    ]


def _scan(settings: Settings) -> float:
    import duckdb

    started = time.monotonic()
    with duckdb.connect() as scratch:
        files = [str(file) for file in settings.lake.landing_events.rglob("*.parquet")]
        query = "SELECT count(*) FROM read_parquet($files) WHERE account_key = 'nobody'"
        scratch.execute(query, {"files": files}).fetchall()
    return time.monotonic() - started


def _row(name: str, value: float, reference: float, goal: float | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": "s",
        "reference": round(reference, 2),
        "ratio": round(value / reference, 1),
        "goal": goal,
        "holds": None if goal is None else value <= goal,
    }


def _neighbour(name: str) -> ModuleType:
    spec = spec_from_file_location(f"benchmarks.{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    run(json=True, events=parser.parse_args().events)
