"""A home of its own, servers in it as processes on one core, and rounds of load whose requests and CPU are counted."""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving_load import saturate
from matinee.settings import Settings

_REPOSITORY = Path(__file__).resolve().parent.parent


@contextmanager
def home(**changed: Any) -> Iterator[Settings]:
    """The settings of a new home whose services run, with these changed; gone afterwards."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    settings = Settings.load(home=root).model_copy(update=changed)
    try:
        with services(settings):
            yield settings
    finally:
        shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True)
class Server:
    """The processes behind a port, and what they were measured at: requests a second, and requests a second of CPU."""

    processes: tuple[psutil.Process, ...]
    port: int
    seconds: dict[str, float] = field(default_factory=dict)  # until it was live and ready
    rates: list[float] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)

    @property
    def process(self) -> psutil.Process:
        return self.processes[0]

    def anew(self) -> "Server":
        """The same, not measured yet."""
        return Server(self.processes, self.port)

    def round(self, file: Path) -> int:
        """Load it with the requests of a file; returns how many it answered."""
        before = self._spent()
        rate, done = saturate(self.port, file)
        self.rates.append(rate)
        self.cpu_rates.append(done / max(1e-6, self._spent() - before))
        return done

    def _spent(self) -> float:
        times = [process.cpu_times() for process in self.processes]
        return sum(time.user + time.system for time in times)


def api(settings: Settings, factory: str = "serving.app:main_app") -> AbstractContextManager[Server]:
    """The API as it is served, `uvicorn` otherwise."""
    return _served(settings, factory, ["serving.run", "--factory", factory])


def uvicorn(settings: Settings, factory: str) -> AbstractContextManager[Server]:
    """A server of the app that a factory makes, once it is ready, on a core that the client leaves alone.

    Raises:
        RuntimeError: it does not start within 30 s.
    """
    options = ["--no-access-log", "--log-level", "warning", "--app-dir", str(_REPOSITORY)]
    return _served(settings, factory, ["uvicorn", "--factory", factory, "--host", "127.0.0.1", *options])


@contextmanager
def _served(settings: Settings, name: str, module: list[str]) -> Iterator[Server]:
    port = free_port()
    argv = [sys.executable, "-m", *module, "--port", str(port)]
    begun = time.monotonic()
    process = subprocess.Popen(argv, env={**os.environ, **settings.environment()}, cwd=_REPOSITORY)
    try:
        alone(process.pid)
        server = Server((psutil.Process(process.pid),), port)
        for state in ("live", "ready"):
            while not is_in(state, port):
                if process.poll() is not None or time.monotonic() > begun + 30:
                    raise RuntimeError(f"{name} did not start: exit code {process.poll()}")
                time.sleep(0.1)
            server.seconds[state] = time.monotonic() - begun
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def alone(pid: int) -> None:
    """Keep a process on one core; the client gets the others."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {0})


def is_in(state: str, port: int) -> bool:
    """Whether the server is `live` or `ready`; one without such routes is both once it answers."""
    try:
        return bool(fetch(port, f"/health/{state}"))
    except urllib.error.HTTPError as error:
        return error.code == 404
    except OSError:
        return False


def fetch(port: int, path: str, token: str = "") -> bytes:
    """The body of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request if token else request.full_url, timeout=30) as answer:
        return answer.read()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def compared(
    name: str, goal: float | None, ours: Server, other: Server, by_cpu: str = ", by server CPU"
) -> list[dict[str, Any]]:
    """Rows by time and by CPU of the servers; medians of their rounds."""
    rows = []
    for suffix, unit, mine, theirs in (
        ("", "requests/s", ours.rates, other.rates),
        (by_cpu, "requests/CPU-s", ours.cpu_rates, other.cpu_rates),
    ):
        value, reference = statistics.median(mine), statistics.median(theirs)
        rows.append({
            "name": f"{name}{suffix}", "value": round(value), "unit": unit,
            "reference": round(reference), "ratio": round(value / reference, 3), "goal": goal,
            "holds": None if goal is None else value / reference >= goal,
        })  # fmt: skip
    return rows
