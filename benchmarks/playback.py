"""Playing: heartbeats and keys against bare Starlette with one Redis GET, the play decision against one select.

Both sides are uvicorn processes on loopback with the same options, get as many requests as they bear from the same
client, in alternating rounds, and answer with the same bytes; medians count. 2,000 viewers play: each has an account,
a sign-in, a playback cookie and a living session that `POST /api/watch` opened. In the timed rounds all of them send
heartbeats, ask for keys, ask to watch anew (which ends their own stream before: every request opens and ends a session)
and fetch playlists, in turns. What is asked and answered is checked once for every viewer before.
The right to each key is judged by what the process knows of the viewer, confirmed with PostgreSQL within half a second;
what a film needs is known likewise, and what a viewer may watch by is confirmed for every request to watch.

    matinee bench playback [--json]   (or python -m benchmarks.playback)
"""

import argparse
import contextlib
import itertools
import json as json_module
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import psutil

from benchmarks.servers import Server, api, compared, home, uvicorn
from benchmarks.serving_load import ROUND_S, pace
from matinee.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

VIEWERS, TITLES = 2_000, 20
HEARTBEAT_S = 30
SLOWEST_MS = 50.0  # of the heartbeats of all viewers, at their own pace, 99 of 100
MASTER = "\n".join(
    ["#EXTM3U", "#EXT-X-VERSION:7"]
    + [
        f"#EXT-X-STREAM-INF:BANDWIDTH={height * 3000},RESOLUTION={height * 16 // 9}x{height}\nvideo/{height}p/main.m3u8"
        for height in (1080, 720, 540, 360, 216)
    ]
    + [""]
)


@dataclass(frozen=True)
class Viewer:
    """Who plays what: `answer` is that of `POST /api/watch`."""

    token: str
    cookie: str
    title_id: str
    key_id: str
    answer: dict[str, Any]

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
            f"Cookie: matinee_playback={self.cookie}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def run(json: bool = False, seconds: float = 60.0) -> list[dict[str, Any]]:
    """Measure in a home of its own for about `seconds`; returns the rows, and prints them as JSON if asked."""
    with home(limits_scale=0) as settings:
        rows = _measure(settings, seconds)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def _measure(settings: Settings, seconds: float) -> list[dict[str, Any]]:
    accounts, keys = _world(settings)
    rounds = max(2, int(seconds / 8 / ROUND_S))
    with (
        api(settings) as ours,
        uvicorn(settings, "benchmarks.playback:bare") as bare,
    ):
        with ThreadPoolExecutor(8) as pool:
            viewers = list(pool.map(lambda one: _open(ours.port, one[0], one[1], keys), enumerate(accounts.items())))
        beats = [_beat(viewer, 1_000 * n) for n, viewer in enumerate(viewers)]
        _copy(settings, ours.port, viewers)
        gets = [_get(f"/redis/beat-{n}") for n in range(VIEWERS)]
        asked = {
            "heartbeat, those of one turn in one command, its address remembered": (beats, gets),
            "key, its rights judged each time": (
                [v.request("GET", f"/api/watch/keys/{v.key_id}") for v in viewers],
                [_get(f"/redis/key-{n}") for n in range(VIEWERS)],
            ),
            "playlist of a film": (
                [v.request("GET", v.answer["manifest"]["hls"]) for v in viewers],
                [_get(f"/select/playlist-{n}") for n in range(VIEWERS)],
            ),
            "play decision, with its address": (
                [v.request("POST", f"/api/watch/{v.title_id}", b"{}") for v in viewers],
                [_get(f"/select/watch-{n}") for n in range(VIEWERS)],
            ),
        }
        # The pace of the viewers first: later their sessions are replaced.
        rows = [_paced(ours.port, beats, min(seconds / 4, 15.0))]
        for name, (mine, theirs) in asked.items():
            goal = 0.4 if name.startswith("play") else 0.9
            reference = "one select" if name.startswith("play") else "one Redis GET"
            rows += _compared(settings, f"{name}, against {reference}", goal, (ours, mine), (bare, theirs), rounds)
    return rows


def _world(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Accounts with their tokens, titles with the ids of a key; each title has a package, each account a plan."""
    from ingest.catalog import upsert_titles
    from matinee.contracts.feed import FeedTitle, Offer
    from matinee.db.connect import connect
    from matinee.db.viewers import Viewer as Person
    from matinee.db.viewers import add_viewers
    from serving.commands import issue_token
    from transcoding.keys import content_key

    titles = [f"film-{n}" for n in range(TITLES)]
    offer = Offer(kind="subscription", plans=("basic",))
    feed = [
        FeedTitle(id=title, kind="film", titles={"en": title}, year=2020, maturity=12, offers=(offer,))
        for title in titles
    ]
    people = [f"viewer-{n}" for n in range(VIEWERS)]
    with connect(settings) as connection:
        upsert_titles(connection, feed)
        connection.execute("UPDATE title SET state = 'published'")
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "SELECT 'm-' || title_id, title_id, 'f', 'x', 1, 'accepted' FROM title"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
            "SELECT 'p-' || title_id, title_id, 'm-' || title_id, 'published', 6000000 FROM title"
        )
        add_viewers(connection, [Person(person, person, "simulate") for person in people])
        connection.execute(
            "INSERT INTO entitlement (entitlement_id, account_id, kind, plan_id, opened) "
            "SELECT account_id, account_id, 'grant', 'basic', now() - interval '1 day' FROM account"
        )
        connection.execute("CREATE TABLE bench_answer (name text PRIMARY KEY, body bytea NOT NULL)")
        keys = {title: content_key(connection, settings, title, "hd", 0).key_id for title in titles}
        connection.commit()
    for title in titles:
        folder = settings.media / title / f"p-{title}"
        folder.mkdir(parents=True)
        (folder / "master.m3u8").write_text(MASTER)
    return {person: issue_token(settings, person, "viewer", timedelta(hours=2)) for person in people}, keys


def _open(port: int, number: int, account: tuple[str, str], keys: dict[str, str]) -> Viewer:
    title, token = f"film-{number % TITLES}", account[1]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/watch/{title}",
        data=b"{}",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        cookie = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
        return Viewer(token, cookie, title, keys[title], orjson.loads(answer.read()))


def _beat(viewer: Viewer, position_ms: int) -> bytes:
    body = orjson.dumps({"position_ms": position_ms})
    return viewer.request("POST", f"/api/watch/{viewer.answer['playback_id']}/heartbeat", body)


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _copy(settings: Settings, port: int, viewers: list[Viewer]) -> None:
    """Store our own answers for the bare server to read; each is asked for once, and so checked."""
    import redis

    from matinee.db.connect import connect

    with connect(settings) as connection, redis.Redis.from_url(settings.redis()) as store:
        for number, viewer in enumerate(viewers):
            answers = {
                "beat": _asked(
                    port, viewer, f"/api/watch/{viewer.answer['playback_id']}/heartbeat", b'{"position_ms":1}'
                ),
                "key": _asked(port, viewer, f"/api/watch/keys/{viewer.key_id}"),
                "playlist": _asked(port, viewer, viewer.answer["manifest"]["hls"]),
                "watch": orjson.dumps(viewer.answer),
            }
            if len(answers["key"]) != 16 or b"1080p" in answers["playlist"]:
                raise RuntimeError(f"viewer {number} was answered wrongly: {answers}")
            for name, body in answers.items():
                store.set(f"{name}-{number}", body)
                connection.execute("INSERT INTO bench_answer VALUES (%s, %s)", (f"{name}-{number}", body))
        connection.commit()


def _asked(port: int, viewer: Viewer, path: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {viewer.token}", "Cookie": f"matinee_playback={viewer.cookie}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def _paced(port: int, beats: list[bytes], seconds: float) -> dict[str, Any]:
    times = pace(port, beats, VIEWERS / HEARTBEAT_S, seconds)
    slow = times[int(0.99 * len(times))]
    return {
        "name": f"heartbeats of {VIEWERS:,} viewers in one process ({VIEWERS / HEARTBEAT_S:.0f}/s), p99",
        "value": round(slow, 1), "unit": "ms", "reference": None, "ratio": None, "goal": SLOWEST_MS,
        "holds": slow <= SLOWEST_MS,
    }  # fmt: skip


def _compared(
    settings: Settings,
    name: str,
    goal: float,
    mine: tuple[Server, list[bytes]],
    theirs: tuple[Server, list[bytes]],
    rounds: int,
) -> list[dict[str, Any]]:
    """Rows by time and by CPU of the server, and what a request takes of Redis and PostgreSQL beside it."""
    stores, spent = _stores(settings), {"theirs": [0.0] * 3, "mine": [0.0] * 3}
    sides = []
    for label, (server, requests) in (("theirs", theirs), ("mine", mine)):
        file = settings.home_path / f"{label}.bin"
        file.write_bytes(b"\0".join(requests))
        sides.append((server.anew(), file, spent[label]))
    for server, file, sums in itertools.islice(itertools.cycle(sides), 2 * rounds):
        before = [_cpu_s(process) for process in stores.values()]
        done = server.round(file)
        for n, value in enumerate([*(_cpu_s(p) - b for p, b in zip(stores.values(), before, strict=True)), done]):
            sums[n] += value
    (bare, _, _), (ours, _, _) = sides
    rows = compared(name, goal, ours, bare)
    for n, store in enumerate(stores):
        value, reference = (1e6 * sums[n] / sums[2] for sums in (spent["mine"], spent["theirs"]))
        rows.append({
            "name": f"{name}, CPU of {store}", "value": round(value, 1), "unit": "us/request",
            "reference": round(reference, 1), "ratio": None, "goal": None, "holds": None,
        })  # fmt: skip
    return rows


def _stores(settings: Settings) -> dict[str, psutil.Process]:
    """The processes of the home's services, by what their command lines name."""
    marks = {
        "Redis": settings.redis().rsplit("@", 1)[-1].split("/")[0],
        "PostgreSQL": str(settings.home_path / "postgres"),
    }
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or [""]
        for name, mark in marks.items():
            if ("redis-server" in line[0] or line[0].endswith("/postgres")) and mark in " ".join(line):
                found[name] = process
    return {name: found[name] for name in marks}


def _cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process, of its children, and of those of them that ended."""
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children():
        with contextlib.suppress(psutil.Error):
            total += _cpu_s(child)
    return total


def bare() -> "Starlette":
    """The reference: Starlette, one GET of Redis or one select, the bytes as they are."""
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    from psycopg_pool import AsyncConnectionPool
    from redis.asyncio import Redis
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    settings = Settings.load()
    client = Redis.from_url(settings.redis())
    pool = AsyncConnectionPool(settings.database(), min_size=4, max_size=10, open=False, kwargs={"autocommit": True})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with pool:
            yield

    async def by_key(request: Request) -> Response:
        return Response(await client.get(request.path_params["name"]), media_type="application/json")

    async def by_select(request: Request) -> Response:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT body FROM bench_answer WHERE name = %s", (request.path_params["name"],)
            )
            found = await cursor.fetchone()
        return Response(found[0] if found else b"", media_type="application/json")

    return Starlette(routes=[Route("/redis/{name}", by_key), Route("/select/{name}", by_select)], lifespan=lifespan)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    found = run(json=given.json, seconds=given.seconds)
    if not given.json:
        for row in found:
            print(row)
