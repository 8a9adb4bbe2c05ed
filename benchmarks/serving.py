"""The recommendations endpoint against bare Starlette with one Redis GET of the same bytes; the intake of events.

Both servers are uvicorn processes on loopback with the same options and get the same requests, from `wrk` where the
system has it, else from a small client in a process of its own. Rounds alternate between the two; medians count.
Every request carries a token; 200 profiles take turns, so that no single answer is repeated.

    matinee bench serving [--json]   (or python -m benchmarks.serving)
"""

import argparse
import asyncio
import json as json_module
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psutil

from matinee.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

_REPOSITORY = Path(__file__).resolve().parent.parent
PROFILES, TITLES, LISTED = 200, 600, 100
CONNECTIONS = 32
EVENTS_A_REQUEST = 20
WAITS = 300
ROUND_S = 2.0
_HOT = "recommendations, whole request with token"


@dataclass(frozen=True)
class Server:
    """A uvicorn process and what it was measured at: requests a second, and requests a second of its CPU time."""

    process: psutil.Process
    port: int
    rates: list[float]
    cpu_rates: list[float]


def run(json: bool = False, seconds: float = 24.0) -> list[dict[str, Any]]:
    """Measure in a home of its own for about `seconds`; returns the rows, and prints them as JSON if asked."""
    from matinee.stack.session import services

    root = Path(tempfile.mkdtemp(prefix="matinee-bench-"))
    # Twenty accounts send what the machine bears, which is more than a client may.
    settings = Settings.load(home=root).model_copy(update={"events_per_minute": 10**9, "events_burst": 10**9})
    try:
        with services(settings):
            rows = _measure(settings, seconds)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def _measure(settings: Settings, seconds: float) -> list[dict[str, Any]]:
    tokens = _prepare(settings)
    requests = [
        _get(f"/api/recommendations?surface=home&profile_id={viewer}", token) for viewer, token in tokens.items()
    ]
    intake = [_post("/api/events", token, _batch()) for token in list(tokens.values())[:20]]
    with _uvicorn(settings, "serving.app:main_app") as ours, _uvicorn(settings, "benchmarks.serving:bare") as bare:
        length = _copy_pages(settings, ours.port, tokens)
        rounds = max(2, int(seconds * 0.75 / ROUND_S / 2))
        for _ in range(rounds):
            for server in (ours, bare):
                _round(settings, server, requests)
        events = Server(ours.process, ours.port, [], [])
        for _ in range(max(2, int(seconds * 0.25 / ROUND_S))):
            _round(settings, events, intake)
        waits = _waits(settings, ours.port, intake)
    return [*_rows(ours, bare, events, length), *_wait_rows(*waits)]


def _waits(settings: Settings, port: int, requests: list[bytes]) -> tuple[list[float], list[float]]:
    """Milliseconds until the 202, one request at a time with pauses, and those of one write of the same to the log."""
    import redis

    from ingest.intake import accept
    from ingest.log import append

    batch = orjson.loads(requests[0].partition(b"\r\n\r\n")[2])["events"]
    entries = accept(batch, received_at=datetime.now(UTC), origin="live").entries
    store = redis.Redis.from_url(settings.events())
    answered, written = [], []
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(WAITS):
            time.sleep(0.01)
            started = time.perf_counter()
            link.sendall(requests[number % len(requests)])
            answer = b""
            while not answer.endswith(b"}"):
                answer += link.recv(65_536)
            if not answer.startswith(b"HTTP/1.1 202"):
                raise RuntimeError(f"an event was not taken: {answer[-200:]}")
            answered.append((time.perf_counter() - started) * 1000)
            time.sleep(0.01)
            started = time.perf_counter()
            append(store, entries)
            written.append((time.perf_counter() - started) * 1000)
    store.close()
    return answered, written


def _wait_rows(answered: list[float], written: list[float]) -> list[dict[str, Any]]:
    """What the intake adds to a durable write; goal: 20 ms at most."""
    rows = []
    for share in (0.5, 0.99):
        mine, alone = (sorted(times)[int(share * len(times))] for times in (answered, written))
        rows.append({
            "name": f"events, until the 202, one at a time, p{share * 100:.0f}", "value": round(mine, 1), "unit": "ms",
            "reference": round(alone, 1), "ratio": round(mine / alone, 2), "goal": round(alone + 20, 1),
            "holds": mine <= alone + 20,
        })  # fmt: skip
    return rows


def _rows(ours: Server, bare: Server, events: Server, length: int) -> list[dict[str, Any]]:
    def compare(name: str, unit: str, value: list[float], reference: list[float]) -> dict[str, Any]:
        mine, theirs = statistics.median(value), statistics.median(reference)
        ratio = mine / theirs
        return {
            "name": name, "value": round(mine), "unit": unit, "reference": round(theirs), "ratio": round(ratio, 3),
            "goal": 1.0, "holds": ratio >= 1.0,
        }  # fmt: skip

    taken = statistics.median(events.rates) * EVENTS_A_REQUEST
    return [
        compare(f"{_HOT} ({length:,} bytes)", "requests/s", ours.rates, bare.rates),
        compare(f"{_HOT}, by server CPU", "requests/CPU-s", ours.cpu_rates, bare.cpu_rates),
        {
            "name": f"events on disk before 202, {EVENTS_A_REQUEST} a request", "value": round(taken),
            "unit": "events/s", "reference": None, "ratio": None, "goal": 5_000, "holds": taken >= 5_000,
        },
    ]  # fmt: skip


def _prepare(settings: Settings) -> dict[str, str]:
    """A catalogue, viewers and a list for each in Redis; returns a token for each viewer."""
    import redis

    from ingest.catalog import upsert_titles
    from matinee.contracts.feed import FeedTitle
    from matinee.db.connect import connect
    from matinee.db.viewers import Viewer, add_viewers
    from matinee.pseudonyms import salts
    from serving.commands import issue_token

    genres = ("drama", "comedy", "nature", "crime", "family")
    titles = [
        FeedTitle(
            id=f"title-{n}",
            kind="film",
            titles={"en": f"The film of number {n}", "ru": f"Фильм под номером {n}"},
            year=1960 + n % 66,
            genres=(genres[n % 5], genres[n % 3]),
            maturity=12,
        )
        for n in range(TITLES)
    ]
    viewers = [f"viewer-{n}" for n in range(PROFILES)]
    store = redis.Redis.from_url(settings.redis())
    with connect(settings) as connection:
        upsert_titles(connection, titles)
        add_viewers(connection, [Viewer(viewer, viewer, "simulate") for viewer in viewers])
        keys = {viewer: salt.key(viewer) for viewer, salt in salts(connection, viewers).items()}
    store.set("recs:popular", _list("popularity", range(LISTED)))
    for number, viewer in enumerate(viewers):
        places = range(number, number + 5 * LISTED, 5)
        store.set(f"recs:profile:{keys[viewer]}", _list("matinee-recommender", [n % TITLES for n in places]))
    store.close()
    return {viewer: issue_token(settings, viewer, "viewer", timedelta(hours=1)) for viewer in viewers}


def _list(model: str, numbers: Sequence[int]) -> bytes:
    reason = {"code": "because_you_watched", "params": {"title_id": "title-1"}}
    items = [{"title_id": f"title-{n}", "score": 1.0, "source": model, "reason": reason} for n in numbers]
    return orjson.dumps({"model": {"name": model, "version": "1", "snapshot_id": "bench"}, "items": items})


def _batch() -> bytes:
    from matinee.ids import uuid7

    now = datetime.now(UTC).isoformat()
    events = [
        {
            "event_id": uuid7(), "schema": "viewer-event/1.0", "session_id": "bench", "playback_id": "bench",
            "type": "heartbeat", "title_id": "title-1", "seq": n, "position_ms": 30_000 * n, "played_ms": 30_000 * n,
            "ts_client": now, "ts_sent": now,
        }
        for n in range(EVENTS_A_REQUEST)
    ]  # fmt: skip
    return orjson.dumps({"events": events})


def _get(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def _post(path: str, token: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _copy_pages(settings: Settings, port: int, tokens: dict[str, str]) -> int:
    """Store our own answers for the bare server to read; returns the length of one in bytes."""
    import urllib.request

    import redis

    store = redis.Redis.from_url(settings.redis())
    length = 0
    for viewer, token in tokens.items():
        url = f"http://127.0.0.1:{port}/api/recommendations?surface=home&profile_id={viewer}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            page = answer.read()
        if json_module.loads(page)["degraded"]:
            raise RuntimeError(f"the page of {viewer} is degraded: its list was not found")
        store.set(f"page:{viewer}", page)
        length = len(page)
    store.close()
    return length


def bare() -> "Starlette":
    """The reference: Starlette, one route, one GET, the bytes as they are."""
    from redis.asyncio import Redis
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    client = Redis.from_url(Settings.load().redis())

    async def page(request: Request) -> Response:
        body = await client.get(f"page:{request.query_params['profile_id']}")
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/api/recommendations", page)])


@contextmanager
def _uvicorn(settings: Settings, factory: str) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [
        sys.executable, "-m", "uvicorn", "--factory", factory, "--host", "127.0.0.1", "--port", str(port),
        "--no-access-log", "--log-level", "warning", "--app-dir", str(_REPOSITORY),
    ]  # fmt: skip
    process = subprocess.Popen(argv, env={**os.environ, **settings.environment()}, cwd=_REPOSITORY)
    try:
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(process.pid, {0})  # the client gets the others
        deadline = time.monotonic() + 30
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{factory} did not start: exit code {process.poll()}")
            time.sleep(0.05)
        yield Server(psutil.Process(process.pid), port, [], [])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _round(settings: Settings, server: Server, requests: list[bytes]) -> None:
    def spent() -> float:
        times = server.process.cpu_times()
        return times.user + times.system

    file = settings.home_path / "requests.bin"
    file.write_bytes(b"\0".join(requests))
    before = spent()
    rate, done = _wrk(server.port, file) if shutil.which("wrk") else _own_client(server.port, file)
    server.rates.append(rate)
    server.cpu_rates.append(done / max(1e-6, spent() - before))


_LUA = """
local requests, i = {}, 0
function init(args)
  local file = io.open(os.getenv("BENCH_REQUESTS"), "rb")
  for request in (file:read("*a") .. "\\0"):gmatch("(.-)%z") do requests[#requests + 1] = request end
end
function request() i = i % #requests + 1; return requests[i] end
function done(summary, latency, _)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('RESULT {"done": %d, "us": %d, "failed": %d}', summary.requests, summary.duration, failed))
end
"""


def _wrk(port: int, file: Path) -> tuple[float, int]:
    script = file.with_name("bench.lua")
    script.write_text(_LUA)
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{ROUND_S:.0f}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    done = subprocess.run(
        argv, env={**os.environ, "BENCH_REQUESTS": str(file)}, capture_output=True, text=True, check=True
    )
    return _checked(json_module.loads(done.stdout.rsplit("RESULT ", 1)[1]))


def _own_client(port: int, file: Path) -> tuple[float, int]:
    argv = [sys.executable, "-m", "benchmarks.serving", "--client", str(port), str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=_REPOSITORY)
    return _checked(json_module.loads(done.stdout))


def _checked(result: dict[str, int]) -> tuple[float, int]:
    if result["failed"] or not result["done"]:
        raise RuntimeError(f"{result['failed']} of {result['done']} requests failed")
    return result["done"] / result["us"] * 1e6, result["done"]


async def _client(port: int, requests: list[bytes]) -> dict[str, int]:
    """Keep-alive connections that send one request after the other for a round."""
    end = time.monotonic() + ROUND_S
    counts = [0, 0]

    async def one(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = first
        while time.monotonic() < end:
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            counts[0] += 1
            counts[1] += head[9:10] != b"2"
            number += CONNECTIONS
        writer.close()

    start = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return {"done": counts[0], "us": int((time.monotonic() - start) * 1e6), "failed": counts[1]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--client", nargs=2, metavar=("PORT", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        print(
            json_module.dumps(
                asyncio.run(_client(int(given.client[0]), Path(given.client[1]).read_bytes().split(b"\0")))
            )
        )
    else:
        found = run(json=given.json, seconds=given.seconds)
        if not given.json:
            for row in found:
                print(row)
