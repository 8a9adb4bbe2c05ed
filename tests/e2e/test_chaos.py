"""Nothing acknowledged is lost and nothing is counted twice, whatever is killed while events come in."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import psutil
import pytest

from matinee.db.connect import connect
from matinee.db.viewers import Viewer, add_viewers
from matinee.ids import uuid7
from matinee.settings import Settings
from warehouse import dbt
from warehouse.load import load_days

VICTIMS = ("api", "collector", "postgres", "redis", "stack")
SENDERS = 8
BATCH = 40
IN_FLIGHT = 100
PATIENCE_S = 90.0


def matinee(settings: Settings, *words: str) -> str:
    """A command as a person types it."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "matinee"), *words],
        env={**os.environ, **settings.environment()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"matinee {' '.join(words)}: {done.stderr}\n{logs(settings)}"
    return done.stdout


def logs(settings: Settings) -> str:
    """The last lines of every service: what one wants to see when this fails."""
    tails = [f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in settings.home.logs.glob("*.log")]
    return "\n".join(tails)


@dataclass
class Clients:
    """Senders that repeat every batch, with the same ids, until they hear 202."""

    address: str
    token: str
    acknowledged: set[str] = field(default_factory=set)
    in_flight: int = 0
    repeats: int = 0
    refused: list[object] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    enough: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self.threads = [threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    def finish(self) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a client still waits for its acknowledgement"

    def _send(self, number: int) -> None:
        while not self.enough.is_set():
            events = [plays(number) for _ in range(BATCH)]
            body = json.dumps({"events": events})
            with self.lock:
                self.in_flight += BATCH
            while (answer := self._post(body, number)) is None:
                with self.lock:
                    self.repeats += 1
                time.sleep(0.1)
            with self.lock:
                self.in_flight -= BATCH
                self.acknowledged |= {str(event["event_id"]) for event in events}
                self.refused += answer["rejected"]
            time.sleep(0.05)  # the machine is for those who receive

    def _post(self, body: str, number: int) -> dict[str, list[object]] | None:
        """The answer to an accepted batch, None for everything that is no 202."""
        where = urlsplit(self.address)
        # Half of the clients are signed in, half are nobody.
        headers = {"content-type": "application/json"} | (
            {"authorization": f"Bearer {self.token}"} if number % 2 else {}
        )
        link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
        try:
            link.request("POST", "/api/events", body, headers)
            response = link.getresponse()
            text = response.read()
            return json.loads(text) if response.status == 202 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            link.close()


def plays(sender: int) -> dict[str, object]:
    """A play of its own: one event, one playback in the marts."""
    now = datetime.now(UTC).isoformat()
    return {
        "event_id": uuid7(), "schema": "viewer-event/1.0", "session_id": f"sender-{sender}", "playback_id": uuid7(),
        "title_id": "film-in-the-storm", "type": "play", "ts_client": now, "ts_sent": now, "played_ms": 0,
    }  # fmt: skip


def processes(settings: Settings) -> dict[str, tuple[str, int]]:
    """Service -> (state, pid); `stack` is the supervisor itself."""
    stack = json.loads((settings.home.run / "stack.json").read_text())
    found = {service["name"]: (service["state"], service["pid"] or 0) for service in stack["services"]}
    return found | {"stack": ("ready", stack["supervisor"]["pid"])}


def all_ready(settings: Settings) -> bool:
    return all(state == "ready" and pid and psutil.pid_exists(pid) for state, pid in processes(settings).values())


def wait_for(what: str, settings: Settings, condition: object) -> None:
    deadline = time.monotonic() + PATIENCE_S
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}\n{logs(settings)}"
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings.load(home=tmp_path / "home")
    try:
        matinee(settings, "up", "--detach", "--only", "api", "--only", "collector")
        yield settings
    finally:
        with contextlib.suppress(AssertionError):
            matinee(settings, "down")


def test_the_marts_hold_each_acknowledged_event_once_after_every_part_was_killed(home: Settings) -> None:
    seed = int(os.environ.get("MATINEE_CHAOS_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: repeat with MATINEE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    with connect(home) as connection:
        add_viewers(connection, [Viewer("storm-viewer", "Storm", "live")])
    address = f"http://127.0.0.1:{json.loads((home.home.run / 'ports.json').read_text())['api']}"
    clients = Clients(address, matinee(home, "token", "--account", "storm-viewer").strip())
    clients.start()
    for victim in luck.sample(VICTIMS, len(VICTIMS)):
        kill(home, clients, victim, luck.uniform(0.3, 2.0))
    heard = len(clients.acknowledged)
    wait_for("acknowledgements after the last kill", home, lambda: len(clients.acknowledged) > heard + 10 * BATCH)
    clients.finish()
    matinee(home, "drain")

    load_days(home)
    assert dbt.run(home, ["run", "--select", "+fct_playback_session"]).success
    with duckdb.connect(str(home.lake.build_file), read_only=True) as warehouse:
        ids = {row[0] for row in warehouse.execute("SELECT event_id FROM intermediate.int_events").fetchall()}
        landed, distinct, counted = warehouse.execute(
            "SELECT (SELECT count(*) FROM raw.events), (SELECT count(*) FROM intermediate.int_events),"
            " (SELECT count(*) FROM marts.fct_playback_session)"
        ).fetchall()[0]
    print(f"{len(ids)} events, {clients.repeats} repeated batches, {landed - distinct} receipts too many")
    assert clients.refused == []
    assert clients.repeats > 0
    assert ids == clients.acknowledged
    assert distinct == counted == len(clients.acknowledged)


def kill(settings: Settings, clients: Clients, victim: str, after_s: float) -> None:
    """`kill -9` while at least 100 events are sent and not acknowledged; then until everything is up again."""
    heard = len(clients.acknowledged)
    wait_for("acknowledgements", settings, lambda: len(clients.acknowledged) > heard + BATCH)
    time.sleep(after_s)
    pid = processes(settings)[victim][1]
    wait_for(f"{IN_FLIGHT} events in flight", settings, lambda: clients.in_flight >= IN_FLIGHT)
    in_flight, heard = clients.in_flight, len(clients.acknowledged)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    wait_for(f"the end of {victim}", settings, lambda: not psutil.pid_exists(pid) or is_zombie(pid))
    if victim == "stack":
        matinee(settings, "up", "--detach", "--only", "api", "--only", "collector")
    wait_for(f"{victim} to come back", settings, lambda: processes(settings)[victim][1] not in (0, pid))
    wait_for("the whole stack", settings, lambda: all_ready(settings))
    back = time.monotonic() - killed_at
    print(
        f"killed {victim} with {in_flight} events in flight, {heard} acknowledged before; up again after {back:.1f} s"
    )


def is_zombie(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True
