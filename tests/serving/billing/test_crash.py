"""Money survives kill -9: of the API, of a worker, of PostgreSQL, while people pay at a provider that fails.

People order with one Idempotency-Key, pay on the provider's page and look until they hear how it ended; whatever fails
on the way they send again. Beside them a worker renews subscriptions, sweeps, and gives some payments back. The
provider's books are in a schema of their own, written in transactions of its own: that is the truth which ours are
held against.
"""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from benchmarks.billing_renewals import world
from matinee.ports import claim_port
from matinee.settings import Settings
from matinee.stack import postgres
from matinee.stack.service import Service
from matinee.stack.session import prepare_database
from serving.billing.payments.desk import desk
from serving.billing.payments.sweep import sweep
from serving.billing.reconcile.core import reconcile
from serving.billing.reconcile.verify import verify
from serving.billing.renewals.core import renew

FAULTS = "declines=0.1 before=0.1 after=0.15 error=0.05 delay=0.01 lost=0.3 twice=0.2"
PEOPLE = 6  # at once
ORDERS = 5  # acknowledged before each kill
PATIENCE_S = 60.0
# A dead process holds a key for the length of a lease: here a second, for people not to wait half a minute.
_API = (
    "import sys; from datetime import timedelta; from serving.billing import idempotency; "
    "idempotency.LEASE = timedelta(seconds=1); from serving.run import main; main()"
)
_WORKER = """
import asyncio
from datetime import timedelta
from matinee.settings import Settings
from serving.billing.payments.desk import desk
from serving.billing.payments.refunds import refund
from serving.billing.payments.sweep import sweep
from serving.billing.renewals.core import renew
from serving.db import rows

FEW = "SELECT payment_id FROM payment WHERE state = 'succeeded' AND refunded_minor = 0 AND payment_id LIKE '%%{digit}'"

async def work():
    async with desk(Settings.load()) as office:
        while True:
            await renew(office, office.clock.now(), batch=5)
            swept = await sweep(office, office.clock.now(), after=timedelta(seconds=1))
            if swept.payments:
                print("payments that the sweep settled:", swept.payments, flush=True)
            async with office.transaction() as connection:
                few = await rows(connection, FEW.format(digit="a"))
            for payment in few:
                await refund(office, payment["payment_id"], None, "asked for", office.clock.now(), asked_by="staff")
            await asyncio.sleep(0.05)

asyncio.run(work())
"""


class Part:
    """A process that can be killed and started again."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service, self.log = service, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.service.prepare:
            self.service.prepare()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.service.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.service.cwd or "/", env={**os.environ, **self.service.env}, start_new_session=True,
                preexec_fn=self.service.in_child(),  # noqa: PLW1509 - only system calls between fork and exec
            )  # fmt: skip

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.service.ready():
            assert self.process is None or self.process.poll() is None, self.log.read_text()[-2_000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2_000:]
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@dataclass
class People:
    """Orders, each with a key of its own that is sent until it is answered; what was acknowledged is written down."""

    address: str
    tokens: Iterator[tuple[str, str]]
    lock: threading.Lock = field(default_factory=threading.Lock)
    enough: threading.Event = field(default_factory=threading.Event)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)  # account -> the payment as it was acknowledged
    stuck: list[str] = field(default_factory=list)
    repeats: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self.threads = [threading.Thread(target=self._live, daemon=True) for _ in range(PEOPLE)]
        for thread in self.threads:
            thread.start()

    def wait(self, count: int) -> None:
        """Until so many payments are acknowledged: then others are in the middle of theirs."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.ended) < count and not self.stuck:
            assert time.monotonic() < deadline, f"{len(self.ended)} of {count} payments ended"
            time.sleep(0.01)

    def finish(self) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "somebody still waits for an answer"

    def _live(self) -> None:
        while not self.enough.is_set():
            with self.lock:
                account_id, token = next(self.tokens)
            headers = {"authorization": f"Bearer {token}", "idempotency-key": f'"{account_id}"', "origin": self.address}
            with httpx.Client(base_url=self.address, headers=headers, timeout=10) as client:
                self._pay(client, account_id)

    def _pay(self, client: httpx.Client, account_id: str) -> None:
        order = self._sure(client, "POST", "/api/billing/checkout", json={"price_id": "basic-month-eur"})
        if order is None or order.status_code != 200:
            self.stuck.append(f"{account_id}: {order.text if order is not None else 'no answer'}")
            return
        payment = order.json()["payment"]
        page = payment["checkout_url"].partition("/sandbox/")[2]
        form = {"number": "4242 4242 4242 4242", "save": "on", "do": "pay"}
        self._sure(client, "POST", f"/sandbox/{page}", data=form)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            seen = self._sure(client, "GET", f"/api/billing/payments/{payment['payment_id']}")
            if seen is not None and seen.json().get("state") in ("succeeded", "failed"):
                with self.lock:
                    self.ended[account_id] = seen.json()
                return
            time.sleep(0.05)
        self.stuck.append(f"{account_id}: {payment['payment_id']} does not end")

    def _sure(self, client: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response | None:
        """An answer that is one: not of an outage, and not that somebody is at it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = client.request(method, path, **more)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code < 500 and "in_flight" not in answer.text:
                return answer
            with self.lock:
                self.repeats += 1
            time.sleep(0.05)
        return None


@dataclass
class Town:
    settings: Settings
    parts: dict[str, Part]
    people: People


@pytest.fixture
def town(base: Settings) -> Iterator[Town]:
    """A home of its own with durable PostgreSQL, an API and a worker; Redis is the session's."""
    with tempfile.TemporaryDirectory(prefix="matinee-crash-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        settings = Settings.model_validate(
            {"MATINEE_HOME": Path(folder) / "home", "redis_url": base.redis(), "trial_days": 0, "limits_scale": 0,
             "gateway": False, "sandbox_faults": FAULTS}
        )  # fmt: skip
        settings.home.create()
        port = claim_port(settings.home, "api")
        address = f"http://127.0.0.1:{port}"
        root = Path(__file__).resolve().parents[3]
        services = {
            "postgres": postgres.service(settings),
            "api": Service("api", (sys.executable, "-c", _API, "--port", str(port)), lambda: _live(address), cwd=root,
                           env=settings.environment()),
            "worker": Service("worker", (sys.executable, "-c", _WORKER), lambda: True, cwd=root,
                              env=settings.environment()),
        }  # fmt: skip
        parts = {name: Part(service, settings.home.logs / f"{name}.log") for name, service in services.items()}
        try:
            parts["postgres"].start()
            parts["postgres"].wait()
            prepare_database(settings)
            yield Town(settings, parts, People(address, _accounts(settings)))
        finally:
            for part in reversed(parts.values()):
                part.kill()


def _live(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/live", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def _accounts(settings: Settings, count: int = 3_000) -> Iterator[tuple[str, str]]:
    """Signed-in people: (account, token)."""
    from serving.commands import issue_token

    with psycopg.connect(settings.database()) as connection:
        connection.execute(
            "INSERT INTO account (account_id, email, country) SELECT 'p' || n, 'p' || n || '@example.org', 'DE' "
            "FROM generate_series(1, %s) n", (count,),
        )  # fmt: skip
        connection.execute(
            "INSERT INTO profile (profile_id, account_id, name, maturity) SELECT account_id, account_id, 'Ada', 18 "
            "FROM account"
        )
    for number in range(1, count + 1):
        yield f"p{number}", issue_token(settings, f"p{number}", "viewer", timedelta(hours=1))


@pytest.mark.parametrize("cycles", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])])
def test_no_acknowledged_payment_is_lost_and_none_is_made_twice(town: Town, cycles: int) -> None:
    seed = int(os.environ.get("MATINEE_CHAOS_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: repeat with MATINEE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    world(town.settings, 30 * cycles, datetime.now(UTC).replace(microsecond=0))
    for name in ("api", "worker"):
        town.parts[name].start()
    town.parts["api"].wait()
    town.people.start()
    for cycle in range(cycles):
        town.people.wait(len(town.people.ended) + ORDERS)
        # Every part falls in turn, often two within a moment of each other.
        victims = [("postgres", "worker"), ("api", "worker"), ("api", "postgres")][cycle % 3]
        for victim in luck.sample(victims, 2):
            town.parts[victim].kill()
            time.sleep(luck.uniform(0, 0.1))
        if "postgres" in victims:
            town.parts["worker"].kill()  # it ends without PostgreSQL, and is started with it
            town.parts["postgres"].start()
            town.parts["postgres"].wait()
        for name in ("api", "worker"):
            if town.parts[name].process is None:
                town.parts[name].start()
        town.parts["api"].wait()
    town.people.wait(len(town.people.ended) + ORDERS)
    town.people.finish()
    town.parts["worker"].kill()
    print(f"{len(town.people.ended)} payments acknowledged, {town.people.repeats} requests sent again")
    assert town.people.stuck == []
    assert town.people.repeats > 0
    if cycles >= 20:  # what died on its way was not brought to its end by those who wait for it alone
        told = re.findall(r"the sweep settled: (\d+)", town.parts["worker"].log.read_text())
        assert sum(map(int, told)) > 0
    asyncio.run(_settle(town.settings))
    asyncio.run(_check(town))


async def _settle(settings: Settings) -> None:
    """What the restarted service does by itself within a minute or an hour."""
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("INSERT INTO sandbox.switches (faults) VALUES ('')")
        connection.execute("UPDATE subscription SET due_at = now() WHERE due_at < now() + interval '90 minutes'")
    async with desk(settings) as office:
        await renew(office, office.clock.now())
        done = await sweep(office, office.clock.now(), after=timedelta(0))
        assert done.failed == 0


async def _check(town: Town) -> None:
    async with desk(town.settings) as office:
        async with office.transaction() as connection:
            assert (await verify(connection)).findings == ()
        made = await reconcile(office, "sandbox", None, booking=False)
        assert made.differences == ()
    with psycopg.connect(town.settings.database()) as connection:
        ended = town.people.ended
        assert len(ended) > ORDERS
        states = dict(connection.execute("SELECT payment_id, state FROM payment").fetchall())
        assert {each["payment_id"]: each["state"] for each in ended.values()} == {
            each["payment_id"]: states.get(each["payment_id"]) for each in ended.values()
        }
        wrong = {
            name: found for name, query in WRONG.items() if (found := connection.execute(query.encode()).fetchall())
        }
        assert wrong == {}
        print(connection.execute("SELECT state, reason, count(*) FROM refund GROUP BY state, reason").fetchall())
        sums = connection.execute("SELECT currency, sum(amount_minor) FROM posting GROUP BY currency").fetchall()
        assert sums == [("EUR", 0)]


# Each has to come back empty.
WRONG = {
    "a payment that one side alone knows, or otherwise": """
        SELECT p.payment_id, p.state, s.state FROM payment p FULL JOIN sandbox.payment s USING (payment_id)
        WHERE (p.state = 'succeeded') IS DISTINCT FROM (s.state = 'succeeded')
           OR s.state = 'succeeded' AND (p.amount_minor, p.currency) <> (s.amount_minor, s.currency)""",
    "a customer who was charged twice for a period": """
        SELECT s.customer_id, sum(s.amount_minor - s.refunded_minor) FROM sandbox.payment s
        WHERE s.state = 'succeeded' GROUP BY s.customer_id
        HAVING sum(s.amount_minor - s.refunded_minor) NOT IN (0, 599, 999)""",
    "somebody who paid and may not watch, or the other way round": """
        SELECT c.customer_id, sub.state FROM customer c JOIN subscription sub USING (customer_id)
        WHERE (jsonb_array_length(entitlements_of(c.account_id, now())->'plans') > 0) <> (
            sub.state = 'past_due' OR EXISTS (
                SELECT FROM invoice i JOIN payment p USING (invoice_id)
                WHERE i.subscription_id = sub.subscription_id AND p.state = 'succeeded' AND NOT p.surplus
                  AND p.refunded_minor = 0))
          AND NOT EXISTS (SELECT FROM subscription o WHERE o.customer_id = c.customer_id
                          AND o.subscription_id <> sub.subscription_id)""",
    "a refund that one side alone knows": """
        SELECT s.payment_id, s.refunded_minor, p.refunded_minor FROM sandbox.payment s JOIN payment p USING (payment_id)
        WHERE s.refunded_minor <> p.refunded_minor OR p.refunded_minor <> coalesce((
            SELECT sum(r.amount_minor) FROM refund r
            WHERE r.payment_id = p.payment_id AND r.state = 'succeeded'), 0)""",
    "a renewal that never was tried": """
        SELECT subscription_id FROM subscription WHERE customer_id LIKE 'c%' AND state = 'active' AND elapsed = 0""",
    "a payment that has not ended": """
        SELECT p.payment_id, p.state FROM payment p JOIN invoice i USING (invoice_id)
        WHERE p.state IN ('created', 'pending') AND (i.reason = 'renewal' OR EXISTS (
            SELECT FROM sandbox.payment s WHERE s.payment_id = p.payment_id AND s.state IN ('succeeded', 'failed')))""",
    "a receipt that was written twice": """
        SELECT key, count(*) FROM outbox WHERE payload->>'template' = 'receipt' GROUP BY key HAVING count(*) > 1""",
}
