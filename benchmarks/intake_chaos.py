"""Acknowledged = counted in the mart, to the event, whatever is killed while events come in.

Clients send plays over HTTP and repeat every batch, with the same ids, until they hear 202. Meanwhile one part after
another is killed by SIGKILL: the API, the collector, PostgreSQL, Redis, the supervisor, a running build. In the end
what was acknowledged is compared with what the mart counts. The recovery of a service is the time from the kill until
the whole stack is ready again, that of a build the time until one has gone through.

    matinee bench intake-chaos [--json]   (or python -m benchmarks.intake_chaos --cycles 20)
"""

import argparse
import contextlib
import http.client
import itertools
import json as json_module
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from matinee.db.connect import connect
from matinee.db.viewers import Viewer, add_viewers
from matinee.errors import MatineeError
from matinee.ids import uuid7
from matinee.settings import Settings

_REPOSITORY = Path(__file__).resolve().parent.parent
VICTIMS = ("api", "collector", "postgres", "redis", "stack", "build")
SENDERS = 8
BATCH = 40
IN_FLIGHT = 100
PATIENCE_S = 90.0
_BUILD_PATIENCE_S = 300.0
_MART = "+fct_playback_session"


@dataclass(frozen=True)
class Kill:
    """What was killed, with how many events sent and not acknowledged, and how long it took to be there again."""

    victim: str
    in_flight: int
    acknowledged_before: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Events by what became of them; `surplus` counts receipts of events that were received already."""

    acknowledged: int
    lost: int
    doubled: int
    unknown: int
    dead: int
    surplus: int


def matinee(settings: Settings, *words: str) -> str:
    """A command as a person types it; returns what it printed."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "matinee"), *words],
        env={**os.environ, **settings.environment()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise MatineeError(f"matinee {' '.join(words)} failed: {done.stderr}\n{logs(settings)}")
    return done.stdout


def logs(settings: Settings) -> str:
    """The last lines of every service: what one wants to see when this fails."""
    tails = [f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in settings.home.logs.glob("*.log")]
    return "\n".join(tails)


def wait_for(what: str, settings: Settings, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise MatineeError(f"waited {patience_s:.0f} s for {what}\n{logs(settings)}")
        time.sleep(0.02)


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
        """Stop after the batches that are under way; every one of them is acknowledged then."""
        self.enough.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            if thread.is_alive():
                raise MatineeError("a client still waits for its acknowledgement")

    def _send(self, number: int) -> None:
        while not self.enough.is_set():
            events = [plays(number) for _ in range(BATCH)]
            body = json_module.dumps({"events": events})
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
        headers = {"content-type": "application/json", "user-agent": "Mozilla/5.0"}
        headers |= {"authorization": f"Bearer {self.token}"} if number % 2 else {}
        link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
        try:
            link.request("POST", "/api/events", body, headers)
            response = link.getresponse()
            text = response.read()
            return json_module.loads(text) if response.status == 202 else None
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


_BUILDER = f"""
from matinee.settings import Settings
from warehouse import dbt
from warehouse.load import load_days

settings = Settings.load()
while True:
    print("loading", flush=True)
    load_days(settings)
    print("building", flush=True)
    made = dbt.run(settings, ["run", "--select", {_MART!r}])
    assert made.success, made.failed
    print("built", flush=True)
"""


class Builder:
    """A process that loads and builds, again and again, until it is killed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self.said: list[str] = []

    def start(self) -> None:
        """Begin, unless it is at work already; whoever lost PostgreSQL under the work begins anew."""
        if self._process is not None and self._process.poll() is None:
            return
        self.said = []
        with (self._settings.home.logs / "builder.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BUILDER],
                env={**os.environ, **self._settings.environment()},
                cwd=_REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        threading.Thread(target=self._listen, args=(self._process, self.said), daemon=True).start()

    @staticmethod
    def _listen(process: "subprocess.Popen[str]", said: list[str]) -> None:
        said.extend(line.strip() for line in process.stdout or ())

    def wait_until(self, stage: str) -> None:
        def reached() -> bool:
            self.start()
            return stage in self.said

        wait_for(f"a build that says {stage!r}", self._settings, reached, _BUILD_PATIENCE_S)

    @property
    def stage(self) -> str:
        return self.said[-1] if self.said else "nothing"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def processes(settings: Settings) -> dict[str, tuple[str, int]]:
    """Service -> (state, pid); `stack` is the supervisor itself."""
    stack = json_module.loads((settings.home.run / "stack.json").read_text())
    found = {service["name"]: (service["state"], service["pid"] or 0) for service in stack["services"]}
    return found | {"stack": ("ready", stack["supervisor"]["pid"])}


def all_ready(settings: Settings) -> bool:
    return all(state == "ready" and pid and psutil.pid_exists(pid) for state, pid in processes(settings).values())


def up(settings: Settings) -> None:
    matinee(settings, "up", "--detach", "--only", "api", "--only", "collector")


def home(root: Path) -> Settings:
    """A home whose clients are not limited: all of them come from one address."""
    known = {"MATINEE_HOME": root, "events_per_minute": 0, "bot_events_per_minute": 0}
    return Settings.model_validate(known)


@contextmanager
def raging(settings: Settings) -> Iterator[tuple[Clients, Builder]]:
    """A stack with clients that send and a build that runs; at the end the clients have heard of all they sent."""
    up(settings)
    builder = Builder(settings)
    try:
        with connect(settings) as connection:
            add_viewers(connection, [Viewer("storm-viewer", "Storm", "live")])
        address = f"http://127.0.0.1:{json_module.loads((settings.home.run / 'ports.json').read_text())['api']}"
        clients = Clients(address, matinee(settings, "token", "--account", "storm-viewer").strip())
        clients.start()
        yield clients, builder
        heard = len(clients.acknowledged)
        wait_for(
            "acknowledgements after the last kill", settings, lambda: len(clients.acknowledged) > heard + 10 * BATCH
        )
        clients.finish()
    finally:
        builder.kill()


def kill(settings: Settings, clients: Clients, builder: Builder, victim: str, after_s: float) -> Kill:
    """`kill -9` while at least 100 events are sent and not acknowledged; then until everything is up again."""
    heard = len(clients.acknowledged)
    wait_for("acknowledgements", settings, lambda: len(clients.acknowledged) > heard + BATCH)
    if victim == "build":
        builder.wait_until("building")
    time.sleep(after_s)
    wait_for(f"{IN_FLIGHT} events in flight", settings, lambda: clients.in_flight >= IN_FLIGHT)
    in_flight, heard, killed_at = clients.in_flight, len(clients.acknowledged), time.monotonic()
    if victim == "build":
        builder.kill()
    else:
        _kill_service(settings, victim)
    return Kill(victim, in_flight, heard, time.monotonic() - killed_at)


def _kill_service(settings: Settings, victim: str) -> None:
    pid = processes(settings)[victim][1]
    os.kill(pid, signal.SIGKILL)
    wait_for(f"the end of {victim}", settings, lambda: not psutil.pid_exists(pid) or _is_zombie(pid))
    if victim == "stack":
        up(settings)
    wait_for(f"{victim} to come back", settings, lambda: processes(settings)[victim][1] not in (0, pid))
    wait_for("the whole stack", settings, lambda: all_ready(settings))


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def outcome(settings: Settings, clients: Clients) -> Outcome:
    """Land, load and build what is left, and compare what was acknowledged with what the mart counts."""
    import duckdb

    from warehouse import dbt
    from warehouse.load import load_days

    matinee(settings, "drain")
    load_days(settings)
    if not dbt.run(settings, ["run", "--select", _MART]).success:
        raise MatineeError("the mart does not build after the storm")
    with duckdb.connect(str(settings.lake.build_file), read_only=True) as warehouse:
        counted = dict(
            warehouse.execute(
                "SELECT event_id, count(*) FROM marts.fct_playback_session f"
                " JOIN intermediate.int_events e USING (playback_id) GROUP BY 1"
            ).fetchall()
        )
        ((landed, playbacks),) = warehouse.execute(
            "SELECT (SELECT count(*) FROM raw.events), (SELECT count(*) FROM marts.fct_playback_session)"
        ).fetchall()
    with connect(settings) as connection:
        ((dead,),) = connection.execute("SELECT count(*) FROM dead_letter").fetchall()
    ids = {str(event_id) for event_id in counted}
    return Outcome(
        acknowledged=len(clients.acknowledged),
        lost=len(clients.acknowledged - ids),
        doubled=sum(counted.values()) - len(counted) + playbacks - len(counted),
        unknown=len(ids - clients.acknowledged),
        dead=dead,
        surplus=landed - len(counted),
    )


def run(json: bool = False, cycles: int = 20, seed: int | None = None) -> list[dict[str, Any]]:
    """Kill `cycles` times in a home of its own; returns the rows of the table, and prints them as JSON if asked."""
    from matinee.console import progress
    from matinee.stack.session import services

    luck = random.Random(time.time_ns() if seed is None else seed)
    root = Path(tempfile.mkdtemp(prefix="matinee-chaos-"))
    settings = home(root)
    try:
        with raging(settings) as (clients, builder):
            builder.start()
            turns = itertools.chain.from_iterable(luck.sample(VICTIMS, len(VICTIMS)) for _ in itertools.count())
            with progress() as bar:
                order = bar.track(list(itertools.islice(turns, cycles)), description="killing")
                kills = [_cycle(settings, clients, builder, victim, luck) for victim in order]
        matinee(settings, "down")
        with services(settings):
            found = outcome(settings, clients)
    finally:
        with contextlib.suppress(MatineeError, subprocess.SubprocessError):
            matinee(settings, "down")
        shutil.rmtree(root, ignore_errors=True)
    rows = _rows(kills, clients.repeats, found)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def _cycle(settings: Settings, clients: Clients, builder: Builder, victim: str, luck: random.Random) -> Kill:
    killed = kill(settings, clients, builder, victim, luck.uniform(0.3, 2.0))
    builder.start()
    if victim != "build":
        return killed
    since = time.monotonic()
    builder.wait_until("built")
    return Kill(victim, killed.in_flight, killed.acknowledged_before, time.monotonic() - since)


def _rows(kills: Sequence[Kill], repeats: int, found: Outcome) -> list[dict[str, Any]]:
    def row(name: str, value: float, unit: str, goal: float | None = None, holds: bool | None = None) -> dict[str, Any]:
        return {
            "name": name, "value": round(value, 2), "unit": unit, "reference": None, "ratio": None, "goal": goal,
            "holds": holds,
        }  # fmt: skip

    recovered = {
        victim: seconds for victim in VICTIMS if (seconds := [kill.seconds for kill in kills if kill.victim == victim])
    }
    return [
        row("cycles of kill -9", len(kills), "cycles", 20, len(kills) >= 20),
        row("events acknowledged", found.acknowledged, "events"),
        row("batches sent again", repeats, "batches"),
        row("receipts too many, taken out in the warehouse", found.surplus, "receipts"),
        row("acknowledged and not in the mart", found.lost, "events", 0, found.lost == 0),
        row("counted more than once", found.doubled, "events", 0, found.doubled == 0),
        row("in the mart and never acknowledged", found.unknown, "events", 0, found.unknown == 0),
        row("dead letters", found.dead, "events", 0, found.dead == 0),
        *(
            row(f"recovery: {victim} ({len(seconds)} x, slowest {max(seconds):.1f} s)", statistics.median(seconds), "s")
            for victim, seconds in recovered.items()
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    run(json=True, cycles=arguments.cycles, seed=arguments.seed)
