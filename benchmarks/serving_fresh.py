"""How long an event waits until it is in the page: under load, from the state in Redis on; and from a pick on."""

import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.serving_world import TITLES, World
from matinee.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PICKS = 30
PATIENCE_S = 5.0
STAYED, MAY_STAY = float("inf"), 0.05
_LOOK_S, _PAUSE_S = 0.01, 0.1

Page = Callable[[str], bytes]  # of a viewer, held against the hard rules


def waits_row(name: str, waits: list[float], share: float, goal: float | None = 1_000) -> dict[str, Any]:
    """A row of the table: a quantile of waits in seconds; infinite ones are pages that stayed as they were.

    Those changed nothing on their page, or were never noticed: it holds only where they are few.
    """
    ended = sorted(wait for wait in waits if wait != STAYED)
    value = ended[min(len(ended) - 1, int(share * len(ended)))] * 1000 if ended else None
    stayed = len(waits) - len(ended)
    is_quick = value is not None and goal is not None and value < goal and stayed <= MAY_STAY * len(waits)
    return {
        "name": f"{name}, p{share * 100:.0f} of {len(waits)}, {stayed} pages stayed",
        "value": None if value is None else round(value), "unit": "ms", "reference": None,
        "ratio": None, "goal": goal, "holds": None if goal is None else is_quick,
    }  # fmt: skip


class Watcher(threading.Thread):
    """Beside a load: changes the history of one viewer after another, and asks for the page until it is another one."""

    def __init__(self, settings: Settings, world: World, page: Page) -> None:
        super().__init__(daemon=True)
        self.waits: list[float] = []
        self._settings, self._keys, self._page = settings, world.keys, page
        self._over = threading.Event()

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        import redis

        from features.keys import HISTORY, VERSION

        drawn, viewers = random.Random(7), sorted(self._keys)
        with redis.Redis.from_url(self._settings.redis()) as store:
            while not self._over.wait(_PAUSE_S):
                viewer = drawn.choice(viewers)
                before, key = rows_of(self._page(viewer)), self._keys[viewer]
                pipeline = store.pipeline()
                pipeline.zadd(HISTORY + key, {f"title-{drawn.randrange(TITLES)}": time.time()})
                pipeline.incr(VERSION + key)
                pipeline.execute()
                self.waits.append(_until_other(self._page, viewer, before))


def picks(settings: Settings, world: World, page: Page, port: int) -> list[float]:
    """Seconds from the 202 of a pick (as the onboarding page tells it) to another home page, through the worker."""
    drawn, waits = random.Random(8), []
    with _worker(settings):
        for viewer in drawn.sample(sorted(world.tokens), PICKS):
            before = rows_of(page(viewer))
            _tell(port, viewer, world.tokens[viewer], f"title-{drawn.randrange(TITLES)}")
            waits.append(_until_other(page, viewer, before))
    return waits


def rows_of(page: bytes) -> list[Any]:
    return orjson.loads(page)["rows"]


def _until_other(page: Page, viewer: str, before: list[Any]) -> float:
    """Seconds; `STAYED` where it is the same page when patience ends."""
    begun = time.monotonic()
    while time.monotonic() < begun + PATIENCE_S:
        if rows_of(page(viewer)) != before:
            return time.monotonic() - begun
        time.sleep(_LOOK_S)
    return STAYED


def _tell(port: int, viewer: str, token: str, title: str) -> None:
    from matinee.ids import uuid7

    now = datetime.now(UTC).isoformat()
    event = {
        "event_id": uuid7(), "schema": "viewer-event/1.0", "session_id": "bench", "type": "favourite",
        "title_id": title, "profile_id": viewer, "ts_client": now, "ts_sent": now, "data": {"on": True},
    }  # fmt: skip
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    }
    body = orjson.dumps({"events": [event]})
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/events", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        if orjson.loads(answer.read())["accepted"] != 1:
            raise RuntimeError(f"the pick of {viewer} was not taken")


@contextmanager
def _worker(settings: Settings) -> "Iterator[None]":
    """`matinee worker recommendations`, caught up."""
    from serving.recommendations.worker import is_caught_up

    argv = [Path(sys.executable).with_name("matinee"), "worker", "recommendations"]
    process = subprocess.Popen(argv, env={**os.environ, **settings.environment()}, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not is_caught_up(settings):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the worker did not start: exit code {process.poll()}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)
