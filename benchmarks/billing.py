"""Money: how fast the ledger takes facts, and whether it adds up; then a life of subscribers, and a month's renewals.

The ledger lies in a home of its own, in PostgreSQL as people run it (fsync on). Eight processes, each with a connection
to it, write one fact a database transaction (a charge, then its payment, then the fee, of customers in turn) through
the code that the service uses. The reference is what the disk and PostgreSQL allow: the same rows by as many processes
into tables without keys, checks and triggers, one commit each, in turns with the ledger.

    matinee bench billing [--json]   (or python -m benchmarks.billing --ledger, for the ledger alone)
"""

import argparse
import asyncio
import json as json_module
import multiprocessing
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg

from matinee.db.connect import connect
from matinee.settings import Settings

WORKERS, ROUNDS, SECONDS = 8, 3, 8.0
GOAL = 300
_CUSTOMERS = 1_000
_PLAIN = (
    "CREATE TABLE bare_transaction (kind text, source text, occurred_at timestamptz)",
    "CREATE TABLE bare_posting (source text, ledger text, party text, currency text, amount_minor bigint)",
)
_BARE = """
    WITH fact AS (INSERT INTO bare_transaction VALUES (%s, %s, %s))
    INSERT INTO bare_posting SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])"""


def run(json: bool = False) -> list[dict[str, Any]]:
    """Measure each part in a home of its own; returns the rows, and prints them as JSON if asked."""
    from benchmarks import billing_life, billing_renewals

    rows = [*ledger(), *billing_life.rows(), *billing_renewals.rows()]
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def ledger(seconds: float = SECONDS) -> list[dict[str, Any]]:
    """The rows of the ledger; each measurement lasts so long."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    settings = Settings.load(home=root)
    try:
        with services(settings):
            return _measure(settings, seconds)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _measure(settings: Settings, seconds: float) -> list[dict[str, Any]]:
    with connect(settings) as connection:
        fsync = connection.execute("SHOW fsync").fetchone()
        if fsync != ("on",):
            raise RuntimeError(f"PostgreSQL runs with fsync {fsync}: a figure without it says nothing")
        connection.execute(
            "INSERT INTO customer (customer_id, created_at) SELECT 'c' || n, now() FROM generate_series(0, %s) n",
            (_CUSTOMERS - 1,),
        )
        for statement in _PLAIN:
            connection.execute(statement.encode())
    rates: dict[str, list[float]] = {"ledger": [], "bare": [], "alone": []}
    for turn in range(ROUNDS):
        rates["ledger"].append(_rate(settings, "ledger", WORKERS, f"l{turn}", seconds))
        rates["bare"].append(_rate(settings, "bare", WORKERS, f"b{turn}", seconds))
        rates["alone"].append(_rate(settings, "ledger", 1, f"a{turn}", seconds / 2))
    facts, drift, findings = asyncio.run(_checked(settings))
    middle = {name: statistics.median(each) for name, each in rates.items()}
    return [
        _row(f"ledger transactions, {WORKERS} workers, fsync on", middle["ledger"], "1/s", middle["bare"], GOAL),
        _row("the same, 1 worker", middle["alone"], "1/s", None, None),
        _row("the limit: bare rows, as many workers", middle["bare"], "1/s", None, None),
        _row(f"balance drift after {facts:,} facts", drift, "minor units", None, 0),
        _row("what `billing verify` finds", findings, "findings", None, 0),
    ]


def _rate(settings: Settings, table: str, workers: int, name: str, seconds: float) -> float:
    """Committed transactions a second of so many processes, from the moment that all are ready."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=_work, args=(settings.database(), table, f"{name}-{n}", seconds, ready, done))
        for n in range(workers)
    ]
    for each in processes:
        each.start()
    counts = [done.get(timeout=seconds + 120) for _ in processes]
    for each in processes:
        each.join()
    return sum(count / lasted for count, lasted in counts)


def _work(url: str, table: str, name: str, seconds: float, ready: Barrier, done: Any) -> None:
    done.put(asyncio.run(_write(url, table, name, seconds, ready)))


async def _write(url: str, table: str, name: str, seconds: float, ready: Barrier) -> tuple[int, float]:
    from serving.billing.ledger import core
    from serving.billing.ledger.core import Transaction

    async def bare(connection: psycopg.AsyncConnection, fact: Transaction) -> None:
        lines = zip(*((p.ledger, p.party, p.currency, p.amount_minor) for p in fact.postings), strict=True)
        await connection.execute(_BARE, (fact.kind, fact.source, fact.occurred_at, fact.source, *map(list, lines)))

    async def kept(connection: psycopg.AsyncConnection, fact: Transaction) -> None:
        await core.post(connection, [fact])

    write, count = bare if table == "bare" else kept, 0
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT 1")
        await connection.rollback()
        ready.wait(60)
        started = time.monotonic()
        while (lasted := time.monotonic() - started) < seconds:
            await write(connection, _fact(name, count))
            await connection.commit()
            count += 1
    return count, lasted


def _fact(name: str, number: int) -> Any:
    """The facts of one purchase after another: charge, payment, fee."""
    from serving.billing.ledger import facts
    from serving.billing.ledger.core import Posting, Transaction
    from serving.billing.ledger.money import Money, tax_included

    purchase, step = divmod(number, 3)
    customer, source, at = f"c{purchase % _CUSTOMERS}", f"{name}-{purchase}", datetime.now(UTC)
    if step == 1:
        return facts.payment(source, customer, "sandbox", Money(999, "EUR"), at)
    if step == 2:
        return facts.fee(source, "sandbox", Money(29, "EUR"), at)
    tax = tax_included(999, 1900)
    amounts = (("receivable", customer, 999), ("tax", "DE", -tax), ("subscription", "", tax - 999))
    return Transaction("charge", source, at, tuple(Posting(name, of, "EUR", minor) for name, of, minor in amounts))


async def _checked(settings: Settings) -> tuple[int, int, int]:
    """How many facts there are, what all postings add up to (apart by currency), and what is wrong in itself."""
    from serving.billing.reconcile.verify import verify

    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        found = await verify(connection)
    # There are no invoices and payments here: what only they tell is not looked at.
    wrong = [each for each in found.findings if each.check in {"guards", "unbalanced", "empty"}]
    return found.facts, sum(map(abs, found.sums.values())), len(wrong)


def _row(name: str, value: float, unit: str, reference: float | None, goal: float | None) -> dict[str, Any]:
    holds = None if goal is None else value <= goal if goal == 0 else value >= goal
    ratio = None if reference is None else round(value / reference, 2)
    return {
        "name": name, "value": round(value, 1), "unit": unit, "reference": reference and round(reference, 1),
        "ratio": ratio, "goal": goal, "holds": holds,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ledger", action="store_true", help="the ledger alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement of the ledger")
    given = parser.parse_args()
    if given.ledger:
        print(json_module.dumps(ledger(given.seconds), indent=1))
    else:
        made = run(given.json)
        for row in [] if given.json else made:
            print(row)
