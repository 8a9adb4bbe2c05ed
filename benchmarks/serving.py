"""The recommendations endpoint against bare Starlette with one Redis GET of the same bytes; the intake of events.

Both servers are uvicorn processes on loopback with the same options and get the same requests, from `wrk` where the
system has it, else from a small client in a process of its own. Rounds alternate between the two; medians count. Every
request carries a token; 1,200 viewers take turns. Beside every round a thread changes what Redis knows of a viewer for
each twentieth request, as the worker does, so that the page of that viewer has to be composed anew: in the API's own
process, which shares its core with nothing else (beside the bare server's rounds as much is written, but to keys of
nobody). The hard rules are checked on a page of every viewer before and after the timed rounds, and on the pages of the
viewers that are watched during them for how soon a change is in the page.

    matinee bench serving [--json]   (or python -m benchmarks.serving)
"""

import argparse
import asyncio
import itertools
import json as json_module
import socket
import statistics
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.servers import Server, api, fetch, home, uvicorn
from benchmarks.serving_fresh import Watcher, picks, waits_row
from benchmarks.serving_load import ROUND_S, pace
from benchmarks.serving_world import TITLES, World, is_child, prepare
from matinee.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

EVENTS_A_REQUEST = 20
WAITS = 300
FETCHES = 500
WRITES = 0.05  # of requests
LIVE_S, READY_S, MEMORY_MB = 1.5, 10.0, 600
_LEFT_S = 1.0  # until what a client at full load has asked for, and left without an answer, is done
_HOT = "recommendations, whole request with token"


def run(json: bool = False, seconds: float = 60.0) -> list[dict[str, Any]]:
    """Measure in a home of its own for about `seconds`; returns the rows, and prints them as JSON if asked."""
    # Twenty accounts send what the machine bears, which is more than a client may.
    with home(events_per_minute=10**9, events_burst=10**9) as settings:
        rows = _measure(settings, seconds)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def _measure(settings: Settings, seconds: float) -> list[dict[str, Any]]:
    world = prepare(settings)
    requests = [_get(viewer, token) for viewer, token in world.tokens.items()]
    file = settings.home_path / "requests.bin"
    file.write_bytes(b"\0".join(requests))
    rounds = max(2, int(seconds / 6 / ROUND_S))
    with api(settings) as ours, uvicorn(settings, "benchmarks.serving:bare") as bare:
        pages = _checked(ours.port, world)
        length = int(statistics.median(map(len, pages.values())))
        _copy(settings, pages)
        checked = len(pages)
        quiet, still = ours.anew(), bare.anew()
        for server in itertools.islice(itertools.cycle((still, quiet)), 2 * rounds):
            server.round(file)
        page = partial(_page, ours.port, world)
        with _Writer(settings, world) as writer, Watcher(settings, world, page) as watcher:
            before, stayed = _composed(ours.port), _stayed(ours.port)
            for server in itertools.islice(itertools.cycle((bare, ours)), 2 * rounds):
                # What a page that has to be composed costs is seen in the first round of the own server. Beside the
                # bare one as much is written, but of nobody: else every page would be an old one a round later.
                writer.elsewhere = server is bare
                rates = server.rates or (still.rates if server is bare else [statistics.median(quiet.rates) / 4])
                writer.rate = WRITES * rates[-1]
                server.round(file)
            asked = sum(rate * ROUND_S for rate in ours.rates)
            hits, late = (1 - (_composed(ours.port) - before) / asked, (_stayed(ours.port) - stayed) / asked)
        with api(settings, "benchmarks.serving:live") as patient:
            _checked(patient.port, world)
            live, times = _live(settings, patient, world, file, requests, seconds / 6)
        checked += len(_checked(ours.port, world))
        rows = _page_rows((ours, bare), (quiet, still), length, hits)
        rows.append(_row("of these shown again while the next one was made", late * 100, "%", None, None))
        for share in (0.5, 0.95, 0.99):
            rows.append(waits_row("from a changed history to another page, during these rounds", watcher.waits, share))
        picked = picks(settings, world, page, ours.port)
        rows += [waits_row("from the 202 of a pick to another page, by the worker", picked, s) for s in (0.5, 0.95)]
        rows += [*_live_rows(live, times), *_rest_rows(settings, ours, world, checked)]
        rows += _event_rows(settings, ours, world, rounds)
    return rows


def _event_rows(settings: Settings, ours: Server, world: World, rounds: int) -> list[dict[str, Any]]:
    intake = [_post("/api/events", token, _batch()) for token in list(world.tokens.values())[:20]]
    file = settings.home_path / "intake.bin"
    file.write_bytes(b"\0".join(intake))
    events = ours.anew()
    for _ in range(rounds):
        events.round(file)
    taken = statistics.median(events.rates) * EVENTS_A_REQUEST
    row = {
        "name": f"events on disk before 202, {EVENTS_A_REQUEST} a request", "value": round(taken), "unit": "events/s",
        "reference": None, "ratio": None, "goal": 5_000, "holds": taken >= 5_000,
    }  # fmt: skip
    return [row, *_wait_rows(*_waits(settings, ours.port, intake))]


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


def _page_rows(
    mixed: tuple[Server, Server], quiet: tuple[Server, Server], length: int, hits: float
) -> list[dict[str, Any]]:
    def compare(name: str, unit: str, value: list[float], reference: list[float]) -> dict[str, Any]:
        mine, theirs = statistics.median(value), statistics.median(reference)
        ratio = mine / theirs
        return {
            "name": name, "value": round(mine), "unit": unit, "reference": round(theirs), "ratio": round(ratio, 3),
            "goal": 1.0, "holds": ratio >= 1.0,
        }  # fmt: skip

    written, nothing = f"{_HOT}, {WRITES:.0%} writes, {hits:.1%} of the pages kept", f"{_HOT}, nothing written"
    return [
        compare(f"{written} ({length:,} bytes)", "requests/s", mixed[0].rates, mixed[1].rates),
        compare(f"{written}, by server CPU", "requests/CPU-s", mixed[0].cpu_rates, mixed[1].cpu_rates),
        compare(nothing, "requests/s", quiet[0].rates, quiet[1].rates),
        compare(f"{nothing}, by server CPU", "requests/CPU-s", quiet[0].cpu_rates, quiet[1].cpu_rates),
    ]


def _live_rows(live: Server, times: list[float]) -> list[dict[str, Any]]:
    rate = statistics.median(live.rates)
    middle, slow = (times[int(share * len(times))] for share in (0.5, 0.99))
    half = f"at half of that load ({rate / 2:.0f} requests/s)"
    return [
        _row("recommendations, every page composed when asked", rate, "requests/s", None, None),
        _row(f"recommendations, every page composed, {half}, p50", middle, "ms", None, None),
        _row(f"recommendations, every page composed, {half}, p99", slow, "ms", 25, slow <= 25),
    ]


def _rest_rows(settings: Settings, ours: Server, world: World, checked: int) -> list[dict[str, Any]]:
    fetch = asyncio.run(_fetches(settings, world))
    memory = ours.process.memory_info().rss / 2**20
    live, ready = ours.seconds["live"], ours.seconds["ready"]
    return [
        _row(f"hard rules broken on {checked:,} pages, checked outside the timed part", 0, "pages", 0, True),
        _row("what is known of one viewer, p50 of a fetch", fetch, "ms", 0.5, fetch <= 0.5),
        _row(f"memory of the API with {TITLES:,} titles", memory, "MB", MEMORY_MB, memory < MEMORY_MB),
        _row("API live after", live, "s", LIVE_S, live <= LIVE_S),
        _row("API ready after", ready, "s", READY_S, ready <= READY_S),
    ]


def _row(name: str, value: float, unit: str, goal: float | None, holds: bool | None) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 3 if value < 10 else 0), "unit": unit, "reference": None, "ratio": None,
        "goal": goal, "holds": holds,
    }  # fmt: skip


async def _fetches(settings: Settings, world: World) -> float:
    """Milliseconds of one read of all that is known of a viewer; each another one."""
    from redis.asyncio import Redis

    from features.online import Online

    async with Redis.from_url(settings.redis()) as client:
        online, times = Online(client), []
        for key in itertools.islice(itertools.cycle(world.keys.values()), FETCHES):
            begun = time.perf_counter()
            known = await online.viewer(key)
            times.append((time.perf_counter() - begun) * 1000)
            assert known.titles
    return statistics.median(times)


class _Writer(threading.Thread):
    """Changes what is known of viewers, `rate` of them a second, as the worker writes it; `elsewhere`: of others."""

    def __init__(self, settings: Settings, world: World) -> None:
        super().__init__(daemon=True)
        self.rate, self.elsewhere = 0.0, False
        self._settings, self._keys = settings, list(world.keys.values())
        self._over = threading.Event()

    def __enter__(self) -> "_Writer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def outdate(self) -> None:
        """Make every page that is kept an old one."""
        import redis

        from features.keys import VERSION

        with redis.Redis.from_url(self._settings.redis()) as store, store.pipeline(transaction=False) as pipeline:
            for key in self._keys:
                pipeline.incr(VERSION + key)
            pipeline.execute()

    def run(self) -> None:
        import redis

        from features.keys import HISTORY, VERSION

        store = redis.Redis.from_url(self._settings.redis())
        due, number = 0.0, 0
        while not self._over.wait(0.02):
            due = min(due + self.rate * 0.02, self.rate)
            pipeline = store.pipeline()
            while due >= 1:
                key = "nobody:" * self.elsewhere + self._keys[number * 7 % len(self._keys)]
                pipeline.zadd(HISTORY + key, {f"title-{number * 31 % TITLES}": time.time()}, lt=True)
                pipeline.incr(VERSION + key)
                due, number = due - 1, number + 1
            pipeline.execute()
        store.close()


def _live(
    settings: Settings, ours: Server, world: World, file: Path, requests: list[bytes], seconds: float
) -> tuple[Server, list[float]]:
    """Every request finds its page outdated: the rate that the server bears, and the times at half of it."""
    live = ours.anew()
    with _Writer(settings, world) as writer:
        writer.rate = len(world.keys)  # and again where a round is longer than one request of each viewer
        before, done = _composed(ours.port), 0
        for _ in range(2):
            writer.outdate()
            done += live.round(file)
        composed = _composed(ours.port) - before
        if composed < 0.9 * done:
            raise RuntimeError(f"only {composed:.0f} of {done} pages were composed: the others were kept ones")
        time.sleep(_LEFT_S)
        writer.outdate()
        times = pace(ours.port, requests, statistics.median(live.rates) / 2, seconds)
    return live, times


def _composed(port: int) -> float:
    """How many pages the API has made."""
    return _told(port, "matinee_recommendations_composing_seconds_count")


def _stayed(port: int) -> float:
    """How many pages were shown again while the next one was made."""
    return _told(port, "matinee_recommendations_stayed_total")


def _told(port: int, name: str) -> float:
    text = fetch(port, "/metrics").decode()
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def _checked(port: int, world: World) -> dict[str, bytes]:
    """A page of every viewer, each held against the hard rules."""
    return {viewer: _page(port, world, viewer) for viewer in world.tokens}


def _page(port: int, world: World, viewer: str) -> bytes:
    """The page of a viewer, held against the hard rules.

    Raises:
        RuntimeError: it shows what it may not.
    """
    page = orjson.loads(body := fetch(port, _path(viewer), world.tokens[viewer]))
    if page["degraded"]:  # Redis took too long on a busy machine: once more when it is asked again
        time.sleep(1.1)
        page = orjson.loads(body := fetch(port, _path(viewer), world.tokens[viewer]))
    shown = [item["title_id"] for row in page["rows"] for item in row["items"]]
    wrong = {title for title, count in Counter(shown).items() if count > 1}
    wrong |= world.hidden_from(viewer) & set(shown) | world.secret & page["titles"].keys()
    wrong |= world.adult & page["titles"].keys() if is_child(viewer) else set()
    if wrong or page["degraded"] or len(shown) < 50:
        raise RuntimeError(f"the page of {viewer} breaks a rule: {sorted(wrong)[:5]}, {len(shown)} titles")
    return body


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


def _path(viewer: str) -> str:
    return f"/api/recommendations?surface=home&profile_id={viewer}"


def _get(viewer: str, token: str) -> bytes:
    return f"GET {_path(viewer)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def _post(path: str, token: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _copy(settings: Settings, pages: dict[str, bytes]) -> None:
    """Store our own answers for the bare server to read."""
    import redis

    with redis.Redis.from_url(settings.redis()) as store:
        for viewer, page in pages.items():
            store.set(f"page:{viewer}", page)


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


def live() -> "Starlette":
    """The API, but no page is made before it is asked for, and none is shown for a moment more."""
    from serving.app import main_app
    from serving.recommendations import making

    making.ACTIVE_S = 0.0
    return main_app()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    found = run(json=given.json, seconds=given.seconds)
    if not given.json:
        for row in found:
            print(row)
