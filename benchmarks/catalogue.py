"""The catalogue page against bare Starlette with one PostgreSQL select of the same bytes; searching as one types.

Both servers are uvicorn processes on loopback with the same options over one catalogue of 20,000 films, and get the
same requests. Rounds alternate between the two; medians count. Every request carries a token; 200 viewers of 40
audiences (maturity limits and countries) take turns, each asks for the first page, a page of a genre, and one ordered
by name. Pages are kept by audience for as long as PostgreSQL says that nothing in the catalogue changed; every request
asks it, those of one moment together, in one select that began after they came. Rows beside it are of one audience, and
of a catalogue in which a title changes every second, so that every audience's page is read anew as often.

    matinee bench catalogue [--json]   (or python -m benchmarks.catalogue)
"""

import argparse
import itertools
import json as json_module
import random
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.catalogue_world import AUDIENCES, TITLES, prepare, words
from benchmarks.servers import api, compared, fetch, home, uvicorn
from benchmarks.serving_load import ROUND_S
from matinee.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

GOAL, SEARCH_MS = 0.60, 5.0
LISTS = ("/api/media", "/api/media?genre=drama", "/api/media?sort=title")
SEARCHES = 400
_CHANGING = ", a title changed every second"


def run(json: bool = False, seconds: float = 40.0) -> list[dict[str, Any]]:
    """Measure in a home of its own for about `seconds`; returns the rows, and prints them as JSON if asked."""
    # One account types more than a person can.
    with home(limits_scale=0.0) as settings:
        rows = _measure(settings, seconds)
    if json:
        print(json_module.dumps(rows, indent=1))
    return rows


def _measure(settings: Settings, seconds: float) -> list[dict[str, Any]]:
    tokens = list(prepare(settings).values())
    loads = [(path, tokens, "") for path in LISTS]
    loads += [(LISTS[0], tokens[::AUDIENCES], ", one audience"), (LISTS[0], tokens, _CHANGING)]
    rounds = max(2, int(seconds / 2 / len(loads) / ROUND_S))
    rows = []
    with api(settings) as ours, uvicorn(settings, "benchmarks.catalogue:bare") as bare:
        pages = {path: _median([fetch(ours.port, path, token) for token in tokens[:AUDIENCES]]) for path in LISTS}
        _keep(settings, pages)
        for path, askers, told in loads:
            file = settings.home_path / "requests.bin"
            file.write_bytes(b"\0".join(_get(path, token) for token in askers))
            one, other = ours.anew(), bare.anew()
            with _changed(settings) if told == _CHANGING else nullcontext():
                for server in itertools.islice(itertools.cycle((other, one)), 2 * rounds):
                    server.round(file)
            goal = GOAL if (path, told) == (LISTS[0], "") else None  # the others are told beside the catalogue page
            rows += compared(
                f"{path}{told}, {TITLES:,} titles ({len(pages[path]):,} bytes)", goal, one, other, by_cpu=""
            )
        rows += _searches(ours.port, tokens[0])
    return rows


@contextmanager
def _changed(settings: Settings) -> Iterator[None]:
    """Meanwhile somebody changes a title every second."""
    over = threading.Event()

    def change() -> None:
        with psycopg.connect(settings.database(), autocommit=True) as connection:
            while not over.wait(1.0):
                connection.execute("UPDATE title SET runtime_s = runtime_s % 9000 + 1 WHERE title_id = 'film-00001'")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _median(pages: list[bytes]) -> bytes:
    """The page of median length, which stands for all."""
    return sorted(pages, key=len)[len(pages) // 2]


def _searches(port: int, token: str) -> list[dict[str, Any]]:
    """Milliseconds of whole searches, one at a time: beginnings of words of both languages, one letter and more."""
    chance = random.Random(1)
    times = []
    for number in range(SEARCHES):
        typed = " ".join(words(chance, ("en", "ru")[number % 2], chance.randint(1, 2)))
        query = urllib.parse.quote(typed[: chance.randint(1, len(typed))].strip())
        begun = time.perf_counter()
        fetch(port, f"/api/search?q={query}", token)
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    rows = []
    for share, goal in ((0.5, None), (0.95, SEARCH_MS)):
        value = times[int(share * len(times))]
        rows.append({
            "name": f"search as one types, {TITLES:,} titles, one at a time, p{share * 100:.0f}",
            "value": round(value, 2), "unit": "ms", "reference": None, "ratio": None, "goal": goal,
            "holds": None if goal is None else value <= goal,
        })  # fmt: skip
    return rows


def _get(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def _keep(settings: Settings, pages: dict[str, bytes]) -> None:
    """Store our own answers for the bare server to select."""
    with psycopg.connect(settings.database()) as connection:
        connection.execute("CREATE TABLE bench_page (path text PRIMARY KEY, body text NOT NULL)")
        for path, body in pages.items():
            connection.execute("INSERT INTO bench_page VALUES (%s, %s)", (path, body.decode()))


def bare() -> "Starlette":
    """The reference: Starlette, one route, one select on a pooled connection, the bytes as they are."""
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    from psycopg_pool import AsyncConnectionPool
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    pool = AsyncConnectionPool(
        Settings.load().database(), min_size=1, max_size=8, open=False, kwargs={"autocommit": True}
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with pool:
            yield

    async def page(request: Request) -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        async with pool.connection() as connection:
            cursor = await connection.execute("SELECT body FROM bench_page WHERE path = %s", (path,), prepare=True)
            found = await cursor.fetchone()
        return Response(found[0] if found else b"", media_type="application/json")

    return Starlette(routes=[Route("/api/media", page)], lifespan=lifespan)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=40.0)
    given = parser.parse_args()
    found = run(json=given.json, seconds=given.seconds)
    if not given.json:
        for row in found:
            print(row)
