"""One running API a module, with the catalogue, real films, and people of every role to ask it as."""

import asyncio
import json
import shutil
import socket
import ssl
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ingest.catalog import ingest_feed
from matinee.settings import Settings
from serving.app import create_app

PIN = "4711"
FREE = [{"kind": "free"}]
# What may lie in the folder of a package beside what players ask for; package.json does already.
NOT_FOR_VIEWERS = (
    "variants/a/video/360p/00001.m4s", "report/frame.jpg", "report/index.html", ".hidden.m4s", "video/360p/.00001.m4s",
)  # fmt: skip
FILMED = ("otters", "harbour", "brook", "unseen")
# harbour is for grown-ups with a plan; unseen was not published.
TITLES = [
    {"id": "otters", "maturity": 6, "offers": FREE},
    {"id": "brook", "maturity": 6, "offers": FREE},
    {"id": "harbour", "maturity": 16, "offers": [{"kind": "subscription", "plans": ["basic"]}]},
    {"id": "unseen", "maturity": 6, "offers": FREE},
]


@dataclass
class Person:
    """Somebody who has signed in: an account, its first profile, the session that the tokens are of."""

    role: str
    account_id: str
    profile_id: str
    session_id: str
    access: str
    refresh: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.access}"}


@dataclass
class World:
    """The API at `url`, and people made at once, without a password's hash."""

    settings: Settings
    app: Any
    url: str
    verify: str | bool = False
    nobody: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        # Made once: reading certificates costs more than a request.
        self._trust = ssl.create_default_context(cafile=self.verify) if isinstance(self.verify, str) else False
        self.nobody = self.browser()

    @property
    def context(self) -> Any:
        return self.app.state.context

    def browser(self, **options: Any) -> httpx.Client:
        """A browser without a past, at the page's origin."""
        headers = {"origin": self.url, **options.pop("headers", {})}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, verify=self._trust, **options)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A connection of the test's own: the app's pool belongs to the app's loop."""
        async with await psycopg.AsyncConnection.connect(self.settings.database()) as connection:
            yield connection

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def person(self, role: str = "viewer", *, account_id: str | None = None, plan: str | None = "premium") -> Person:
        """A new person, or one more sign-in of an account; `kid` is a viewer in a child's profile, behind a PIN."""
        return asyncio.run(_person(self, role, account_id, plan))

    def profile(self, of: Person, name: str = "More") -> str:
        """One more profile of an account; returns its id."""
        return asyncio.run(_profile(self, of, name))

    def sandbox_payment(self) -> str:
        """The name of a payment that waits on the sandbox's page."""
        return asyncio.run(_sandbox_payment(self))

    def watch(self, of: Person, title_id: str = "otters") -> tuple[dict[str, Any], httpx.Client]:
        """Open a playback: what the API answered, and the browser that may play it."""
        browser = self.browser(headers=of.headers)
        body = {"profile_id": of.profile_id}
        answer = browser.post(f"/api/watch/{title_id}", json=body)
        if answer.status_code == 403 and answer.json()["code"] == "streams":
            oldest = answer.json()["sessions"][0]["playback_id"]
            answer = browser.post(f"/api/watch/{title_id}", json={**body, "take_over": oldest})
        assert answer.status_code == 200, answer.text
        return answer.json(), browser


async def _person(world: World, role: str, account_id: str | None, plan: str | None) -> Person:
    from matinee.db.viewers import add_account, add_profile
    from serving.accounts import sessions
    from serving.profiles import core as profiles

    stored = "viewer" if role == "kid" else role
    context = world.context
    now = context.clock.now()
    async with world.transaction() as connection:
        if account_id is None:
            account_id = await add_account(
                connection,
                email=f"person-{uuid.uuid4().hex}@example.org",
                password_hash="none",
                role=stored,
                country="FR",
            )
            assert account_id is not None
            if plan:
                await _subscribe(connection, account_id, plan, now)
        profile_id = await add_profile(connection, account_id, name="First", maturity=18, language="en")
        entry = await sessions.open_session(connection, context.refresh_key, account_id, now)
        if role == "kid":
            pinned = (context.pins, account_id, entry.session_id)
            await profiles.set_pin(connection, *pinned, None, PIN, now)
            profile_id = await add_profile(connection, account_id, name="Kid", maturity=6, language="en")
            await profiles.enter(connection, *pinned, profile_id, None, now)
    access = context.tokens.issue(account_id, entry.session_id, stored, auth_time=now)
    return Person(role, account_id, profile_id, entry.session_id, access, entry.refresh_token)


async def _subscribe(connection: Any, account_id: str, plan: str, now: Any) -> None:
    await connection.execute(
        "INSERT INTO subscription_period (period_id, subscription_id, account_id, plan, state, monthly_minor, "
        "currency, opened) VALUES (%(id)s, %(id)s, %(id)s, %(plan)s, 'active', 0, 'EUR', %(now)s - interval '1 day')",
        {"id": account_id, "plan": plan, "now": now},
    )


async def _sandbox_payment(world: World) -> str:
    from matinee.ids import uuid7
    from serving.billing.ledger.money import Money
    from serving.billing.providers.base import Order
    from serving.billing.providers.sandbox.core import Sandbox

    sandbox = Sandbox(world.settings)
    order = Order(uuid7(), Money(100, "EUR"), "Basic", "1", "nobody", None, "en", world.url)
    opened = await sandbox.open(order)
    await sandbox.aclose()
    return opened.ref


async def _profile(world: World, of: Person, name: str) -> str:
    from matinee.db.viewers import add_profile

    async with world.transaction() as connection:
        return await add_profile(connection, of.account_id, name=name, maturity=18, language="en")


@pytest.fixture(scope="module")
def stage(base: Settings, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with the titles in it. Rate limits are off: what is tried here is tried often."""
    with _Home(base, tmp_path_factory.mktemp("world")) as settings:
        _fill(settings, package)
        yield settings


@pytest.fixture(scope="module")
def world(stage: Settings) -> Iterator[World]:
    """The API on that stage, without a gateway."""
    with _Serving(stage) as world:
        yield world
        world.nobody.close()


@pytest.fixture(scope="module")
def gated(stage: Settings, behind_gateway: Callable[..., Any]) -> Iterator[tuple[World, World]]:
    """The API on that stage behind the real NGINX: asked directly, and through it."""
    with behind_gateway(stage) as gateway:
        through = World(stage, gateway.app, gateway.url, verify=str(gateway.certificate))
        yield World(stage, gateway.app, gateway.api), through


class _Home:
    def __init__(self, base: Settings, folder: Path) -> None:
        self._base, self._folder, self._name = base, folder, f"world_{uuid.uuid4().hex}"

    def _admin(self, statement: str) -> None:
        admin = make_conninfo(self._base.database(), dbname="postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self._name)))  # pyright: ignore[reportArgumentType] - written here

    def __enter__(self) -> Settings:
        self._admin("CREATE DATABASE {} TEMPLATE template_matinee STRATEGY wal_log")
        settings = Settings.model_validate(
            {
                "MATINEE_HOME": self._folder / "home",
                "database_url": self._base.database().replace("/matinee?", f"/{self._name}?"),
                "redis_url": self._base.redis(),
                "limits_scale": 0,
            }
        )
        settings.home.create()
        return settings

    def __exit__(self, *_: object) -> None:
        self._admin("DROP DATABASE {} WITH (FORCE)")


def _fill(settings: Settings, package: Path) -> None:
    feed = settings.home_path / "feed.jsonl"
    named = ({"kind": "film", "titles": {"en": t["id"]}, "year": 2020, "genres": ["nature"], **t} for t in TITLES)
    feed.write_text("\n".join(json.dumps(title) for title in named))
    with psycopg.connect(settings.database()) as connection:
        assert not ingest_feed(connection, feed).rejected
        for title_id in FILMED:
            package_id, master_id = f"package-of-{title_id}", f"master-of-{title_id}"
            shutil.copytree(
                package, settings.media / title_id / package_id, copy_function=lambda s, t: Path(t).hardlink_to(s)
            )
            for name in NOT_FOR_VIEWERS:
                inner = settings.media / title_id / package_id / name
                inner.parent.mkdir(parents=True, exist_ok=True)
                inner.write_bytes(b"for nobody")
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, 'film.mp4', 'x', 1, 'accepted')", (master_id, title_id),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO package (package_id, title_id, master_id, state, duration_ms, rungs) "
                "VALUES (%s, %s, %s, 'published', 20000, %s)",
                (package_id, title_id, master_id, json.dumps([{"name": "360p", "height": 360}])),
            )
        connection.execute("UPDATE title SET state = 'draft' WHERE title_id = 'unseen'")


class _Serving:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> World:
        import time

        app = create_app(self._settings)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the API did not start"
            time.sleep(0.005)
        return World(self._settings, app, f"http://127.0.0.1:{self._listener.getsockname()[1]}")

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        self._listener.close()
