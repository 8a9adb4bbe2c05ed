"""What the middleware costs, a segment by X-Accel against plain NGINX, and how soon the API is live.

Both sides of a row run in one run on one core, get as many requests as they bear from the same client on the others, in
alternating rounds; medians count: for the middleware of requests a second of CPU, for segments of requests a second,
with the CPU beside them. The segment is asked of the real API behind the gateway's own configuration, spoken over HTTP
(encryption costs both sides alike and would flatter the ratio), with one worker; plain NGINX is a location of the same
server.

    matinee bench gateway [--json]   (or python -m benchmarks.gateway)
"""

import argparse
import json as json_module
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.servers import Server, alone, api, free_port, home, is_in, uvicorn
from benchmarks.serving_load import ROUND_S
from matinee.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

SEGMENT_BYTES = 1_000_000
SEGMENT = "video/216p/00001.m4s"
STARTS = 5
MIDDLEWARE, ACCEL, COLD_S = 0.10, 0.85, 1.5
_REPOSITORY = Path(__file__).resolve().parent.parent


def run(json: bool = False, seconds: float = 60.0) -> list[dict[str, Any]]:
    """Measure in a home of its own for about `seconds`; returns the rows, and prints them as JSON if asked."""
    rounds = max(3, int(seconds / 8 / ROUND_S))
    with home(limits_scale=0) as settings:
        rows = [*_middleware(settings, rounds), *_segments(settings, rounds), _start(settings)]
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def with_middleware() -> "FastAPI":
    """The API, and the cheapest answer that there is as a route of it."""
    from serving.app import create_app
    from serving.health import live

    app = create_app(Settings.load())
    app.add_api_route("/cheap", cheap)
    app.add_route("/cheapest", live)
    return app


def without() -> "FastAPI":
    """The same without the middleware."""
    app = with_middleware()
    app.user_middleware.clear()
    return app


async def cheap() -> dict[str, str]:
    """What an ordinary route does at least: FastAPI finds it, calls it and makes JSON of what it says."""
    return {"status": "live"}


def _middleware(settings: Settings, rounds: int) -> list[dict[str, Any]]:
    rows = []
    with (
        uvicorn(settings, "benchmarks.gateway:with_middleware") as ours,
        uvicorn(settings, "benchmarks.gateway:without") as other,
    ):
        for path, name, goal in (
            ("/cheap", "middleware's share of a route that does nothing", MIDDLEWARE),
            ("/cheapest", "middleware's share of a bare Starlette route that does nothing", None),
        ):
            file = _requests(settings, path, "")
            sides = [each.anew() for each in (other, ours)]
            for _ in range(rounds):
                for server in sides:
                    server.round(file)
            fast, slow = (statistics.median(server.cpu_rates) for server in sides)
            cost = 1 - slow / fast
            rows.append(_row(name, cost, "", fast, slow / fast, goal, cost <= goal if goal else None))
    return rows


def _segments(settings: Settings, rounds: int) -> list[dict[str, Any]]:
    from benchmarks.playback import _open, _world

    accounts, keys = _world(settings)
    with api(settings) as ours:
        viewer = _open(ours.port, 0, next(iter(accounts.items())), keys)
        folder = settings.media / viewer.title_id / f"p-{viewer.title_id}"
        (folder / SEGMENT).parent.mkdir(parents=True)
        (folder / SEGMENT).write_bytes(os.urandom(SEGMENT_BYTES))
        address = f"{viewer.answer['manifest']['hls'].rpartition('/')[0]}/{SEGMENT}"
        with _nginx(settings, ours.port) as (port, workers):
            signed = f"Cookie: __Host-matinee_playback={viewer.cookie}\r\n"
            direct = f"Cookie: matinee_playback={viewer.cookie}\r\n"
            plain = f"/plain/{folder.relative_to(settings.media)}/{SEGMENT}"
            sides = {
                "plain": (Server(workers, port), plain, ""),
                "accel": (Server((*workers, ours.process), port), address, signed),
                "alone": (ours.anew(), address, direct),
            }
            for _ in range(rounds):
                for server, path, headers in sides.values():
                    server.round(_requests(settings, path, headers))
    rate = {name: statistics.median(side[0].rates) for name, side in sides.items()}
    cpu = {name: statistics.median(side[0].cpu_rates) for name, side in sides.items()}
    rows = []
    for name, side, goal in (("by X-Accel", "accel", ACCEL), ("by the API alone", "alone", None)):
        ratio = rate[side] / rate["plain"]
        holds = ratio >= goal if goal else None
        rows.append(_row(f"segment of 1 MB {name}", rate[side], "requests/s", rate["plain"], ratio, goal, holds))
        share = cpu[side] / cpu["plain"]
        rows.append(_row(f"the same, by CPU {name}", cpu[side], "requests/CPU s", cpu["plain"], share, None, None))
    return rows


@contextmanager
def _nginx(settings: Settings, api_port: int) -> Iterator[tuple[int, tuple[psutil.Process, ...]]]:
    """The gateway's configuration with one worker, without TLS, and with one more location; its port and workers."""
    from matinee.stack import nginx
    from matinee.stack.service import Service
    from serving.gateway import process
    from serving.gateway.certificate import certificate
    from serving.gateway.plan import plan
    from serving.gateway.render import render

    port, http = free_port(), free_port()
    made = plan(
        settings, api_port=api_port, https_port=port, http_port=http, workers=1,
        certificate=certificate(settings, datetime.now(UTC)), version=nginx.version(nginx.binary()),
    )  # fmt: skip
    text = render(made).replace(f":{port} ssl", f":{port}")
    plain = f'location ^~ /plain/ {{ alias "{settings.media}/"; }}\n        location = /metrics'
    file = settings.home_path / "nginx.conf"
    file.write_text(text.replace("location = /metrics", plain))
    process.folders(settings)
    service = Service(
        "gateway", (str(nginx.binary()), "-e", "stderr", "-p", str(made.folder), "-c", str(file)),
        ready=lambda: True, user=process.UNPRIVILEGED,
    )  # fmt: skip
    with (settings.home_path / "nginx.log").open("wb") as log:
        process.give(log.fileno())
        before_exec = service.in_child()
        running = subprocess.Popen(service.argv, stdout=log, stderr=log, cwd="/", preexec_fn=before_exec)  # noqa: PLW1509 - only system calls
    try:
        deadline = time.monotonic() + 10
        while not is_in("live", port):
            if running.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((settings.home_path / "nginx.log").read_text())
            time.sleep(0.02)
        workers = tuple(p for p in psutil.Process(running.pid).children() if "worker" in " ".join(p.cmdline()))
        for worker in workers:
            alone(worker.pid)
        yield port, workers
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(15)


def _start(settings: Settings) -> dict[str, Any]:
    """Seconds from the start of the process to its first answer; the first start, which compiles, does not count: its
    bytecode is kept in the home, whatever the environment says about that."""
    times = [_live(settings) for _ in range(STARTS + 1)][1:]
    taken = statistics.median(times)
    return _row("API live after its start, median of 5", taken, "s", COLD_S, None, COLD_S, taken <= COLD_S)


def _live(settings: Settings) -> float:
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(settings.home_path / "pycache")}
    port, begun = free_port(), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.run", "--port", str(port)],
        cwd=_REPOSITORY, env={**os.environ, **settings.environment(), **compiled}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not is_in("live", port):
            if process.poll() is not None or time.monotonic() > begun + 30:
                raise RuntimeError("the API did not start")
            time.sleep(0.005)
        return time.monotonic() - begun
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def _requests(settings: Settings, path: str, headers: str) -> Path:
    file = settings.home_path / "requests.bin"
    file.write_bytes(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
    return file


def _row(
    name: str, value: float, unit: str, reference: float, ratio: float | None, goal: float | None, holds: bool | None
) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 3), "unit": unit, "reference": round(reference, 1),
        "ratio": round(ratio, 3) if ratio is not None else None, "goal": goal, "holds": holds,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    for row in run(json=given.json, seconds=given.seconds):
        if not given.json:
            print(row)
