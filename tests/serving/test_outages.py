"""PostgreSQL and Redis are killed and come back while viewers are there: what each of them hears meanwhile."""

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest

from matinee.settings import Settings
from matinee.stack import postgres, redis
from matinee.stack.service import Service
from matinee.stack.session import prepare_database
from transcoding.keys import content_key

pytestmark = pytest.mark.slow  # it starts servers of its own, as they are configured for people

HEALED_S = 5.0
PAUSE_S = 0.02


class Server:
    """PostgreSQL or Redis of the home, which a test may kill."""

    def __init__(self, settings: Settings, describe: Callable[[Settings], Service]) -> None:
        self._settings, self._describe = settings, describe
        self.start()

    def start(self) -> None:
        service = self._describe(self._settings)
        assert service.prepare
        service.prepare()
        with (self._settings.home.logs / f"{service.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                service.argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                preexec_fn=service.in_child(),  # noqa: PLW1509 - only system calls between fork and exec
            )
        deadline = time.monotonic() + service.ready_timeout
        while not service.ready():
            assert self._process.poll() is None, log.name
            assert time.monotonic() < deadline, log.name
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Servers:
    settings: Settings
    postgres: Server
    redis: Server


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    settings = Settings.model_validate({"MATINEE_HOME": tmp_path / "home", "limits_scale": 0})
    settings.home.create()
    started = [Server(settings, postgres.service), Server(settings, redis.service)]
    prepare_database(settings)
    yield Servers(settings, *started)
    for server in started:
        server.kill()


@pytest.fixture
def settings(servers: Servers) -> Settings:
    """In place of the home that all tests share."""
    return servers.settings


@dataclass
class Heard:
    """What one kind of request was answered since it was asked for last: how often each status, and what was wrong."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        if answer.is_success:
            return
        told = answer.headers.get("content-type"), int(answer.headers.get("retry-after", 0)) > 0
        if answer.status_code != 503 or told != ("application/problem+json", True):
            self.wrong.append(f"{answer.status_code} {answer.headers.get('retry-after')} {answer.text[:200]}")


Ask = Callable[[], Awaitable[httpx.Response]]


@asynccontextmanager
async def asking(kinds: dict[str, Ask]):
    """Each kind is asked again and again for the length of the block; yields what was heard, by kind."""
    heard = {name: Heard() for name in kinds}

    async def go_on(name: str) -> None:
        while True:
            heard[name].note(await kinds[name]())
            await asyncio.sleep(PAUSE_S)

    tasks = [asyncio.create_task(go_on(name)) for name in kinds]
    try:
        yield heard
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_all_is_well(heard: dict[str, Heard]) -> None:
    """Each kind of request succeeds again, and from then on."""
    deadline = time.monotonic() + HEALED_S
    waiting = set(heard)
    while waiting:
        for one in heard.values():
            one.statuses.clear()
        await asyncio.sleep(0.25)
        waiting = {n for n, one in heard.items() if not one.statuses or any(s >= 400 for s in one.statuses)}
        assert time.monotonic() < deadline, f"{waiting} did not heal within {HEALED_S} s"


class Writer:
    """Somebody who rates one title again and again: what was acknowledged, and what was tried after it."""

    def __init__(self, client: httpx.AsyncClient, profile_id: str) -> None:
        self._client, self._address = client, f"/api/profile/{profile_id}/ratings/otters"
        self.turn, self.possible = 0, {None}

    async def __call__(self) -> httpx.Response:
        self.turn += 1
        value = 0.5 * (1 + self.turn % 10)
        self.possible = {*self.possible, value}
        answer = await self._client.put(self._address, json={"value": value})
        if answer.is_success:
            self.possible = {value}
        return answer


async def test_whoever_watches_goes_on_while_servers_are_killed(servers, catalogue, running, browser) -> None:
    with psycopg.connect(catalogue.database()) as connection:
        key = content_key(connection, catalogue, "otters", "sd", 0).key_id
    async with running(catalogue) as app, browser(app) as client:
        await client.sign_up()
        profile = {"profile_id": client.profile_id}
        playback = (await client.post("/api/watch/otters", json=profile)).json()
        rate = Writer(client, client.profile_id)
        kinds: dict[str, Ask] = {
            "list": lambda: client.get("/api/media", params={"limit": 5, **profile}),
            "title": lambda: client.get("/api/media/otters", params=profile),
            "search": lambda: client.get("/api/search", params={"q": "ott", **profile}),
            "recommendations": lambda: client.get("/api/recommendations", params=profile),
            "watch": lambda: client.post("/api/watch/beacon-e1", json=profile),
            "heartbeat": lambda: client.post(
                f"/api/watch/{playback['playback_id']}/heartbeat", json={"position_ms": 1_000}
            ),
            "key": lambda: client.get(f"/api/watch/keys/{key}"),
            "segment": lambda: client.get(playback["manifest"]["hls"]),
            "rate": rate,
        }
        async with asking(kinds) as heard:
            await until_all_is_well(heard)
            for _ in range(2):
                servers.postgres.kill()
                await asyncio.sleep(0.7)
                away = {name: set(one.statuses) for name, one in heard.items()}
                await asyncio.to_thread(servers.postgres.start)
                await until_all_is_well(heard)
                stored = (await client.get(f"/api/profile/{client.profile_id}/titles/otters")).json()["rating"]
                assert stored in rate.possible, "what was acknowledged is there"
            assert 503 in away["rate"]

            for one in heard.values():
                one.statuses.clear()
            servers.redis.kill()
            await asyncio.sleep(0.7)
            failed = {name for name, one in heard.items() if any(status >= 400 for status in one.statuses)}
            assert not failed, "all of it goes without Redis"
            assert all(one.statuses for one in heard.values()), "and in time"
            assert (await client.get("/health/ready")).json()["status"] == "degraded"
            await asyncio.to_thread(servers.redis.start)
            await until_all_is_well(heard)
            assert (await client.get("/health/ready")).json()["status"] == "ready"
        assert {name: one.wrong for name, one in heard.items() if one.wrong} == {}
