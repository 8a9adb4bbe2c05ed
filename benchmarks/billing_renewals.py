"""Renewals: as many subscriptions as a service of some size has, all due at once, killed in the middle and resumed.

The whole of it, in a home of its own with PostgreSQL as people run it (fsync on): periods turned, invoices, charges at
the embedded provider (its books in a schema of their own, in transactions of its own), payments and fees in the ledger,
access moved on, receipts in the outbox. One process does the run; half-way it is killed by SIGKILL, another one goes
on. Then nobody may be charged twice or not at all: the provider's own books are held against ours, and the ledger
against itself.

    matinee bench billing-renewals [--json]   (or python -m benchmarks.billing_renewals --count 5000)
"""

import argparse
import asyncio
import json as json_module
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from matinee.db.connect import connect
from matinee.errors import MatineeError
from matinee.settings import Settings

COUNT = 100_000
GOAL_S = 600.0
_REPOSITORY = Path(__file__).resolve().parent.parent
_PATIENCE_S = 3_600.0

# Subscribers of a month that ends now, as they are after a first payment by a card that was kept.
_WORLD = (
    "INSERT INTO account (account_id, email, country) SELECT 'a' || n, 'a' || n || '@example.org', 'DE' FROM {series}",
    "INSERT INTO customer SELECT 'c' || n, 'a' || n, %(since)s FROM {series}",
    "INSERT INTO sandbox.method SELECT 'token' || n, 'c' || n, 'good', %(since)s FROM {series}",
    """
    INSERT INTO payment_method
    SELECT 'm' || n, 'c' || n, 'sandbox', 'token' || n, 'Visa •••• 4242', %(since)s FROM {series}""",
    """
    INSERT INTO subscription (subscription_id, customer_id, state, price_id, country, anchor, period, paid_until,
                              worth_minor, worth_from, due_at, method_id, created_at)
    SELECT 's' || n, 'c' || n, 'active', 'standard-month-eur', 'DE', %(since)s, tstzrange(%(since)s, %(until)s),
           %(until)s, 999, %(since)s, %(until)s, 'm' || n, %(since)s FROM {series}""",
    """
    INSERT INTO subscription_period (period_id, subscription_id, account_id, plan, plan_version, state, monthly_minor,
                                     currency, opened, closed, end_reason)
    SELECT 'p' || n, 's' || n, 'a' || n, 'standard', 1, 'active', 839, 'EUR', %(since)s,
           %(until)s + interval '2 days', 'payment' FROM {series}""",
)


def run(json: bool = False, count: int = COUNT) -> list[dict[str, Any]]:
    """Measure in a home of its own; returns the rows, and prints them as JSON if asked."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    settings = Settings.load(home=root)
    try:
        with services(settings):
            rows = measure(settings, count)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def rows(count: int = COUNT) -> list[dict[str, Any]]:
    """The rows of this benchmark, for the table of billing."""
    return run(count=count)


def measure(settings: Settings, count: int) -> list[dict[str, Any]]:
    """Renew `count` subscriptions in this home, with a kill half-way.

    Raises:
        MatineeError: a charge is missing or doubled, or the books are not right.
    """
    at = datetime.now(UTC).replace(microsecond=0)
    world(settings, count, at)
    started = time.monotonic()
    runner = _runner(settings, at)
    killed_at = _killed(settings, runner, count // 2)
    resumed = time.monotonic()
    runner = _runner(settings, at)
    if runner.wait(_PATIENCE_S) != 0:
        raise MatineeError(f"the renewal run failed with {runner.returncode}")
    seconds, resuming = time.monotonic() - started, time.monotonic() - resumed
    wrong = asyncio.run(_wrong(settings, count))
    if wrong:
        raise MatineeError(f"the books are not right after {count} renewals: {wrong}")
    goal = GOAL_S * count / COUNT
    name = f"{count:,} renewals, killed after {killed_at:,}"
    return [
        _row(name, seconds, "s", goal, seconds <= goal),
        _row("renewals a second", count / seconds, "1/s", COUNT / GOAL_S, seconds <= goal),
        _row("the rest after the kill", resuming, "s", None, None),
        _row("charged twice, or not at all", 0, "customers", 0, True),
    ]


def world(settings: Settings, count: int, at: datetime) -> None:
    """As many subscribers, whose periods end at `at`."""
    values = {"since": at - timedelta(days=31), "until": at}
    with connect(settings) as connection:
        for statement in _WORLD:
            connection.execute(statement.format(series=f"generate_series(1, {count}) n").encode(), values)
    with connect(settings, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _runner(settings: Settings, at: datetime) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.billing_renewals", "--run", str(settings.home_path), at.isoformat()],
        cwd=_REPOSITORY,
    )


def _killed(settings: Settings, runner: "subprocess.Popen[bytes]", after: int) -> int:
    """Kill the run when so many are paid; returns how many were."""
    query = "SELECT count(*) FROM subscription WHERE elapsed = 1"
    with connect(settings, autocommit=True) as connection:
        while (paid := _one(connection, query)) < after:
            if runner.poll() is not None:
                raise MatineeError(f"the renewal run ended with {runner.returncode} after {paid} of {after}")
            time.sleep(0.2)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    return paid


async def _renewed(settings: Settings, at: datetime) -> None:
    from serving.billing.payments.desk import desk
    from serving.billing.payments.sweep import sweep
    from serving.billing.renewals.core import renew

    async with desk(settings) as office:
        await renew(office, at)
        await sweep(office, office.clock.now(), after=timedelta(0))


async def _wrong(settings: Settings, count: int) -> list[str]:
    """What the provider's books, ours, and what people may watch say against one charge each."""
    from serving.billing.payments.desk import desk
    from serving.billing.reconcile.verify import verify

    checks = {
        "charged at the provider": "SELECT count(*) FROM sandbox.payment WHERE state = 'succeeded'",
        "customers charged there": "SELECT count(DISTINCT customer_id) FROM sandbox.payment WHERE state = 'succeeded'",
        "payments that both know": "SELECT count(*) FROM payment p JOIN sandbox.payment s USING (payment_id)"
        " WHERE (p.state, s.state) = ('succeeded', 'succeeded') AND p.amount_minor = s.amount_minor",
        "paid invoices": "SELECT count(*) FROM invoice WHERE state = 'paid'",
        "accounts that may watch the next month": "SELECT count(DISTINCT account_id) FROM subscription_period"
        " WHERE closed > now() + interval '25 days'",
    }
    with connect(settings, autocommit=True) as connection:
        found = {name: _one(connection, query) for name, query in checks.items()}
    async with desk(settings) as office, office.transaction() as connection:
        books = await verify(connection)
    wrong = [f"{name}: {number}" for name, number in found.items() if number != count]
    return wrong + [f"{each.what} ({each.id}): {each.detail}" for each in books.findings[:5]]


def _one(connection: "psycopg.Connection[Any]", query: str) -> int:
    found = connection.execute(query.encode()).fetchone()
    return found[0] if found else 0


def _row(name: str, value: float, unit: str, goal: float | None, holds: bool | None) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 2), "unit": unit, "reference": None, "ratio": None, "goal": goal,
        "holds": holds,
    }  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=COUNT)
    arguments.add_argument("--run", nargs=2, metavar=("HOME", "AT"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.run:
        asyncio.run(_renewed(Settings.load(home=given.run[0]), datetime.fromisoformat(given.run[1])))
        return
    run(json=True, count=given.count)


if __name__ == "__main__":
    main()
