"""The app on real PostgreSQL and Redis, a small catalogue brought in by its feed, and a real two-rung package."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from ingest.catalog import ingest_feed
from matinee.clock import Clock
from matinee.settings import Settings
from serving.app import create_app
from tests.serving import packages

PASSWORD = "correct horse"
FREE = [{"kind": "free"}]
SUBSCRIPTION = [{"kind": "subscription", "plans": ["basic"]}]


def line(title_id: str, kind: str = "film", parent: str | None = None, **more: Any) -> dict[str, Any]:
    """One title of a feed, open to everybody from six unless told otherwise."""
    names = {"en": title_id.replace("-", " ").title(), "ru": f"Фильм {title_id}"}
    return {
        "id": title_id, "kind": kind, "parent": parent, "titles": names, "synopsis": {"en": f"About {title_id}."},
        "maturity": 6, "offers": FREE if parent is None else [], **more,
    }  # fmt: skip


CATALOGUE = [
    line("otters", year=2021, genres=["nature", "family"], titles={"en": "Otters", "ru": "Ёжики и выдры"},
         people=[{"name": "Ada Vale", "role": "director"}], extra={"festival": "Lumen"}),
    line("harbour", year=2020, genres=["drama"], maturity=16, offers=SUBSCRIPTION),
    line("midnight", year=2019, genres=["drama"], maturity=18),
    line("abroad", year=2018, genres=["drama"], offers=[{"kind": "free", "regions": ["FR"]}]),
    line("later", year=2030, genres=["drama"], offers=[{"kind": "free", "from": "2090-01-01T00:00:00Z"}]),
    line("unsold", year=2017, genres=["nature"], offers=[]),
    line("unfilmed", year=2016, genres=["nature"]),
    line("beacon", "series", year=2022, genres=["drama", "family"], offers=SUBSCRIPTION),
    line("beacon-s1", "season", "beacon", extra={"number": 1}),
    line("beacon-e1", "episode", "beacon-s1", extra={"number": 1}),
    line("beacon-e2", "episode", "beacon-s1", extra={"number": 2}),
]  # fmt: skip
PACKAGED = ("otters", "harbour", "midnight", "abroad", "later", "unsold", "beacon-e1", "beacon-e2")


@pytest.fixture
def publish(settings: Settings, package: Path) -> Callable[..., str]:
    """Give a title the package, as transcoding does; returns the package's id."""

    def add(title_id: str) -> str:
        with psycopg.connect(settings.database()) as connection:
            return packages.publish(connection, settings, package, title_id)

    return add


@pytest.fixture
def catalogue(settings: Settings, tmp_path: Path, publish: Callable[..., str]) -> Settings:
    """The settings of a home with `CATALOGUE` in it, and films for those of `PACKAGED`."""
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(json.dumps(title) for title in CATALOGUE))
    with psycopg.connect(settings.database()) as connection:
        summary = ingest_feed(connection, feed)
    assert not summary.rejected
    for title_id in PACKAGED:
        publish(title_id)
    return settings


@pytest.fixture
def export_system(settings: Settings) -> Callable[..., Any]:
    """Fit a system to these histories (lists of titles, the oldest first) and let it serve; returns it.

    `genres`: title -> its genres, the whole catalogue of the system.
    """

    def make(genres: dict[str, list[str]], histories: list[list[str]], *, version: str = "7", personal: bool = True):
        from dataclasses import replace

        import numpy as np

        from models.interactions import Interactions
        from models.recommenders.assemble import recent
        from models.recommenders.blend import Blend
        from models.recommenders.ease import Ease
        from models.recommenders.export import export
        from models.recommenders.knn import TransitionKnn
        from models.recommenders.similar import neighbours
        from models.recommenders.system import About, Asked, System, golden_of

        items = sorted(genres)
        number = {title: place for place, title in enumerate(items)}
        taken = [(user, number[title]) for user, history in enumerate(histories) for title in history]
        users, chosen = (np.array(column, dtype=np.int64) for column in zip(*taken, strict=True))
        data = Interactions.sorted(users, chosen, np.arange(len(taken)) * 60.0, len(histories), len(items))
        parts = {"ease_decay": Ease(penalty=1.0).fit(data), "knn": TransitionKnn().fit(data)}
        titles = [tuple(genres[title]) for title in items]
        made = System(
            about=About("matinee-recommender" if personal else "popularity", version, "s1", "hash", "blend"),
            items=items,
            titles=titles,
            created=np.zeros(len(items)),
            model=Blend(parts, {"ease_decay": 1.0, "knn": 1.0}) if personal else None,
            recent=recent(data, 14),
            neighbours=neighbours(data, titles),
        )
        asked = [Asked(tuple(history), now=1.0) for history in histories[:3]]
        system = replace(made, golden=golden_of(made, asked))
        export(system, settings.home)
        return system

    return make


@pytest.fixture
def known_as(settings: Settings) -> Iterator[Callable[..., None]]:
    """Tell Redis what is known of a profile (of its account), as the worker does."""
    import redis

    from features.keys import DONE, HISTORY, VERSION
    from matinee.pseudonyms import salts

    store = redis.Redis.from_url(settings.redis())

    def tell(account_id: str, profile_id: str, history: list[str], done: list[str] | None = None) -> None:
        with psycopg.connect(settings.database()) as connection:
            key = salts(connection, [account_id])[account_id].key(profile_id)
        store.delete(HISTORY + key, DONE + key)
        if history:
            store.zadd(HISTORY + key, {title: float(place) for place, title in enumerate(history, 1)})
        if done:
            store.sadd(DONE + key, *done)
        store.incr(VERSION + key)

    yield tell
    store.close()


class Browser(httpx.AsyncClient):
    """A browser of its own: its cookies, and its origin on every request. Asks the app without a network."""

    session: dict[str, Any]
    profile_id: str

    def __init__(self, app: FastAPI) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        super().__init__(transport=transport, base_url="http://matinee.test", headers={"origin": "http://matinee.test"})

    async def sign_up(self, email: str = "ada@example.org", **more: Any) -> "Browser":
        answer = await self.post("/api/auth/register", json={"email": email, "password": PASSWORD, **more})
        assert answer.status_code == 201, answer.text
        self.session = answer.json()
        self.profile_id = (await self.get("/api/profile")).json()["profiles"][0]["profile_id"]
        return self

    async def kid(self, maturity: int = 6) -> str:
        """A further profile with a limit; returns its id."""
        answer = await self.post("/api/profile", json={"name": "Kid", "maturity": maturity})
        return answer.json()["profile_id"]


@pytest.fixture
def running() -> Callable[..., AbstractAsyncContextManager[FastAPI]]:
    """Build an app and run it for a block: `async with running(settings, clock) as app`."""

    @asynccontextmanager
    async def run(settings: Settings, clock: Clock | None = None) -> AsyncIterator[FastAPI]:
        app = create_app(settings, clock)
        async with app.router.lifespan_context(app):
            yield app

    return run


@pytest.fixture
def browser() -> type[Browser]:
    return Browser


@pytest.fixture
def blocked() -> Callable[[Settings, asyncio.Task[httpx.Response]], Awaitable[None]]:
    """Wait until a request waits for a lock in PostgreSQL, which the test holds."""

    async def wait(settings: Settings, asked: asyncio.Task[httpx.Response]) -> None:
        query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with await psycopg.AsyncConnection.connect(settings.database(), autocommit=True) as outside:
            while not (await outside.execute(query)).rowcount:
                assert not asked.done(), f"it did not wait: {asked.result().text}"
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def problem() -> Callable[[httpx.Response], tuple[int, str]]:
    """Status and code of an answer that must be a problem document."""

    def read(answer: httpx.Response) -> tuple[int, str]:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        body = answer.json()
        assert body["status"] == answer.status_code
        assert body["type"].endswith(body["code"])
        assert body["detail"]
        return answer.status_code, body["code"]

    return read


@pytest.fixture
async def app(
    catalogue: Settings, running: Callable[..., AbstractAsyncContextManager[FastAPI]]
) -> AsyncIterator[FastAPI]:
    async with running(catalogue) as app:
        yield app


@pytest.fixture
def gateway(catalogue: Settings, behind_gateway: Callable[..., Any]) -> Iterator[Any]:
    """The catalogue's API behind the real NGINX: see `Gateway` in tests/conftest.py."""
    with behind_gateway(catalogue) as made:
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[Browser]:
    """Nobody yet."""
    async with Browser(app) as client:
        yield client


@pytest.fixture
async def ada(app: FastAPI) -> AsyncIterator[Browser]:
    """A signed-in adult without a region."""
    async with Browser(app) as client:
        yield await client.sign_up()
