"""The right to be forgotten, judged by a search for every name of a busy account in every byte of its home."""

import asyncio
import gzip
import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import duckdb
import httpx
import psycopg
import pyarrow.parquet as pq
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo

from features.keys import online_key
from features.turns import BUILDING, building
from ingest import collector, log
from ingest.catalog import ingest_feed
from ingest.intake import accept
from matinee.clock import SystemClock
from matinee.db.connect import connect
from matinee.db.viewers import Viewer, add_viewers
from matinee.ids import uuid7
from matinee.pseudonyms import salts
from matinee.settings import Settings
from matinee.stack.session import services
from serving.app import create_app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a home of its own, built whole
EMAIL = "adalovelace77@example.org"
PASSWORD = "correct horse"
TITLES = ("otters", "harbour", "midnight")
BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "origin": "http://matinee.test"}


@dataclass
class Busy:
    """A home in which somebody has used everything, and all that she is called there."""

    settings: Settings
    account_id: str
    words: dict[str, str]  # word -> what it is
    other: str  # an account that stays
    token: str


# -- the judge ---------------------------------------------------------------------------------------------------------


def traces(settings: Settings, words: dict[str, str]) -> set[str]:
    """Where any of the words stands: in a file's bytes, a Parquet or DuckDB column, a PostgreSQL table, a Redis key."""
    found = {f"{place}: {words[word]}" for place, text in _texts(settings) for word in words if word.encode() in text}
    return {line for line in found if ".lock" not in line}


def _texts(settings: Settings) -> Iterator[tuple[str, bytes]]:
    for path in sorted(settings.home.root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        place = str(path.relative_to(settings.home.root))
        yield f"path {place}", place.encode()
        text = path.read_bytes()
        yield f"file {place}", text
        if path.suffix == ".gz":
            yield f"file {place}", gzip.decompress(text)
        if path.suffix == ".parquet":
            yield f"parquet {place}", _rows(f"read_parquet('{path}', hive_partitioning = false)")
        if path.suffix == ".duckdb":
            yield from ((f"duckdb {place} {table}", _rows(table, path)) for table in _tables(path))
    yield from _postgres(settings)
    yield from _redis(settings)


def _tables(path: Path) -> list[str]:
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
    return [f'"{schema}"."{table}"' for schema, table in rows]


def _rows(source: str, path: Path | None = None) -> bytes:
    with duckdb.connect(str(path) if path else ":memory:", read_only=path is not None) as connection:
        rows = connection.execute(f"SELECT CAST(t AS VARCHAR) FROM (FROM {source}) t").fetchall()
    return "\n".join(row or "" for (row,) in rows).encode()


def _postgres(settings: Settings) -> Iterator[tuple[str, bytes]]:
    with psycopg.connect(settings.database()) as connection:
        names = [name for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datallowconn")]
    for name in names:
        with psycopg.connect(make_conninfo(settings.database(), dbname=name)) as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            for schema, table in [*tables, ("pg_catalog", "pg_stats")]:
                query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
                rows = connection.execute(query).fetchall()
                yield f"postgres {name} {table}", "\n".join(row or "" for (row,) in rows).encode()


def _redis(settings: Settings) -> Iterator[tuple[str, bytes]]:
    client = redis.Redis.from_url(settings.redis())
    for name in client.scan_iter(count=1000):
        kind = cast(bytes, client.type(name))
        if kind == b"stream":
            value: object = client.xrange(name)
        elif kind == b"hash":
            value = client.hgetall(name)
        elif kind == b"string":
            value = client.get(name)
        elif kind == b"set":
            value = client.smembers(name)
        else:
            value = client.execute_command("ZRANGE" if kind == b"zset" else "LRANGE", name, 0, -1)
        yield f"redis {kind.decode()}", name + b" " + repr(value).encode()
    client.close()


# -- a busy life -------------------------------------------------------------------------------------------------------


def event(kind: str, **more: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    sent = {"event_id": uuid7(), "schema": "viewer-event/1.0", "type": kind, "ts_client": now.isoformat()}
    return {**sent, "ts_sent": now.isoformat(), "device": "web", **more}


def beats(playback_id: str, title_id: str, **more: Any) -> list[dict[str, Any]]:
    return [
        event(kind, playback_id=playback_id, title_id=title_id, seq=n, played_ms=n * 200_000, position_ms=n * 200_000,
              startup_ms=300, bits=n * 10**9, **more)
        for n, kind in enumerate(("play", "heartbeat", "heartbeat", "stop"))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with PostgreSQL and Redis of its own: the bytes on their disks are looked at too."""
    settings = Settings.model_validate(
        {"MATINEE_HOME": tmp_path_factory.mktemp("erase") / "home", "transcode_treatment": "fast"}
    )
    with services(settings):
        _stock(settings)
        yield settings


def _stock(settings: Settings) -> None:
    """Three titles that play, and thirty viewers who like them."""
    feed = settings.home.root / "feed.jsonl"
    lines = [
        {"id": title, "kind": "film", "titles": {"en": title}, "maturity": 6, "runtime_s": 900, "genres": ["drama"],
         "offers": [{"kind": "free"}]}
        for title in TITLES
    ]  # fmt: skip
    feed.write_text("\n".join(json.dumps(line) for line in lines))
    others = [f"sim-others-{n}" for n in range(30)]
    with connect(settings) as connection:
        ingest_feed(connection, feed)
        for title in TITLES:
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, 'film.mp4', 'x', 1, 'accepted')", (f"master-of-{title}", title),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO package (package_id, title_id, master_id, state, duration_ms, rungs) "
                "VALUES (%s, %s, %s, 'published', 900000, '[]')", (f"package-of-{title}", title, f"master-of-{title}"),
            )  # fmt: skip
        add_viewers(connection, [Viewer(name, name, "simulate") for name in others])
    sent = [
        {**beat, "account_id": name, "profile_id": name, "session_id": f"visit-of-{name}"}
        for n, name in enumerate(others)
        for beat in beats(str(uuid.uuid4()), TITLES[n % 3])
    ]
    _append(settings, sent, "simulate")


def _append(settings: Settings, sent: list[dict[str, Any]], origin: Any, account_id: str | None = None) -> None:
    client = log.connect(settings.events())
    log.append(client, accept(sent, received_at=datetime.now(UTC), origin=origin, account_id=account_id).entries)
    client.close()


@pytest.fixture(scope="module")
def busy(home: Settings) -> Busy:
    return asyncio.run(_live(home))


async def _live(settings: Settings) -> Busy:
    from features.seed import seed
    from features.store import apply_and_materialise
    from models.recommenders.assemble import popularity_system
    from models.recommenders.export import export
    from models.recommenders.marts import read_marts
    from warehouse import dbt
    from warehouse.export import export_tables
    from warehouse.load import load_days
    from warehouse.publish import publish
    from warehouse.report import write_report

    app = create_app(settings, SystemClock())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    words: dict[str, str] = {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://matinee.test", headers=BROWSER) as ada,
        httpx.AsyncClient(transport=transport, base_url="http://matinee.test", headers=BROWSER) as bob,
    ):
        for client, email in ((ada, EMAIL), (bob, "bobtheother88@example.org")):
            answer = await client.post("/api/auth/register", json={"email": email, "password": PASSWORD})
            assert answer.status_code == 201, answer.text
        session = (await ada.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})).json()
        other = (await bob.get("/api/profile")).json()
        kid = (await ada.post("/api/profile", json={"name": "Kid", "maturity": 18})).json()["profile_id"]
        profiles = [p["profile_id"] for p in (await ada.get("/api/profile")).json()["profiles"]]
        visit, playbacks = str(uuid.uuid4()), []
        for profile, title in zip([*profiles, kid], TITLES, strict=True):
            answer = await ada.post(f"/api/watch/{title}", params={"profile_id": profile})
            assert answer.status_code == 200, answer.text
            playback = answer.json()["playback_id"]
            playbacks.append(playback)
            await ada.post(f"/api/watch/{playback}/heartbeat", json={"position_ms": 120_000})
            sent = [
                *beats(playback, title, profile_id=profile, session_id=visit),
                event("rate", title_id=title, profile_id=profile, session_id=visit, data={"value": 5}),
                event("search", profile_id=profile, session_id=visit, data={"query": "q", "results": 1}),
                event("rate", title_id=title, profile_id=profile, session_id=visit, data={"value": 50}),
            ]
            verdict = (await ada.post("/api/events", json={"events": sent})).json()
            assert (verdict["accepted"], len(verdict["rejected"])) == (6, 1)
        before = event("impression", title_id="otters", session_id=visit, profile_id=None)
        async with httpx.AsyncClient(transport=transport, base_url="http://matinee.test") as nobody:
            nameless = {**event("rate", title_id="x", session_id="s"), "account_id": session["account_id"], "data": {}}
            answer = await nobody.post("/api/events", json={"events": [before, nameless]}, headers=BROWSER)
            assert len(answer.json()["rejected"]) == 1
        foreign = event("impression", title_id="otters", session_id="bobs-own-visit-1", profile_id=profiles[0])
        assert (await bob.post("/api/events", json={"events": [foreign]})).json()["rejected"][0][
            "code"
        ] == "profile_mismatch"
        for profile in profiles:
            assert (await ada.get("/api/recommendations", params={"profile_id": profile})).status_code == 200

        await _subscribe(app, ada)
        collector.drain(settings)
        assert load_days(settings).held == ()
        export_tables(settings)
        built = dbt.build(settings, unit_tests=False)
        assert built.success, [(node.name, node.message) for node in built.failed]
        publish(settings)
        publish(settings)
        apply_and_materialise(settings)
        assert seed(settings).changed > 0
        export(popularity_system(read_marts(settings)), settings.home)
        write_report(settings)
        # A file that is landed and not loaded, and events that nobody has fetched yet.
        later = {"profile_id": profiles[0], "session_id": visit}
        _append(settings, beats(playbacks[0], TITLES[0], **later), "live", session["account_id"])
        collector.drain(settings)
        _append(settings, beats(playbacks[1], TITLES[1], **later), "live", session["account_id"])

    (settings.home.logs / "api.log").write_text(
        f"POST /api/watch/{playbacks[0]}/heartbeat 200\nlogin of {EMAIL.upper()}\n"
    )
    with connect(settings) as connection:
        salt = salts(connection, [session["account_id"]])[session["account_id"]]
        logins = connection.execute(
            "SELECT session_id FROM auth_session WHERE account_id = %s", (session["account_id"],)
        ).fetchall()
    words |= {session["account_id"]: "account id", EMAIL: "e-mail", EMAIL.upper(): "e-mail", "adalovelace77": "name"}
    words |= dict.fromkeys(profiles, "profile id") | {login: "login session" for (login,) in logins}
    words |= {salt.key(session["account_id"]): "account key", visit: "visit"}
    words |= {salt.key(profile): "profile key" for profile in profiles} | dict.fromkeys(playbacks, "playback")
    return Busy(settings, session["account_id"], words, other["profiles"][0]["profile_id"], session["access_token"])


async def _subscribe(app: Any, client: httpx.AsyncClient) -> None:
    """Pay for a plan on the provider's page, with a card that it keeps."""
    from serving.billing.providers.sandbox.cards import BY_NAME
    from serving.context import context_of

    plans = (await client.get("/api/billing/plans")).json()
    price_id = plans["items"][0]["prices"][0]["price_id"]
    asked = {"price_id": price_id, "save_method": True}
    answer = await client.post("/api/billing/checkout", json=asked, headers={"idempotency-key": str(uuid.uuid4())})
    assert answer.status_code in {200, 201}, answer.text
    payment_id = answer.json()["payment"]["payment_id"]
    context = context_of(app)
    async with context.transaction() as connection:
        query = "SELECT provider_ref FROM payment WHERE payment_id = %s"
        (ref,) = await (await connection.execute(query, (payment_id,))).fetchone() or ("",)
    bank: Any = context.billing.provider("sandbox")
    await bank.submit(ref, BY_NAME["good"], save=True)
    assert (await client.get(f"/api/billing/payments/{payment_id}")).json()["state"] == "succeeded"


def test_what_was_erased_cannot_be_asked_for_and_does_not_come_back_from_the_files(busy: Busy, tmp_path: Path) -> None:
    from orchestration.erase import erase
    from warehouse.load import load_days

    settings, name = busy.settings, "sim-others-3"
    with connect(settings) as connection:
        key = salts(connection, [name])[name].key(name)
    words = {key: "key", name: "account id"}
    proof = erase(settings, [name])
    assert not proof.purged
    removed = {trace.where: trace.removed for trace in proof.traces}
    assert min(removed["warehouse"], removed["published snapshot"], removed["Redis: online features"]) > 0
    left = {place.rpartition(": ")[0] for place in traces(settings, words)}
    # Rows under a key that leads to nobody, in files that no command reads out; deleted bytes; the key's own mark.
    assert {place for place in left if not place.startswith("file ")} == {
        place for place in left if place.startswith("parquet lake/landing/")
    } | {"postgres matinee erased_key"}
    with connect(settings) as connection:
        assert salts(connection, [name]) == {}

    copy = settings.model_copy(update={"lake_url": str(tmp_path / "lake")})
    shutil.copytree(settings.lake.root / "landing", copy.lake.root / "landing")
    load_days(copy)  # a build file from nothing but the landed files
    with duckdb.connect(str(copy.lake.build_file), read_only=True) as connection:
        owners = {key for (key,) in connection.execute("SELECT account_key FROM raw.events").fetchall()}
    assert key not in owners
    assert len(owners) > 25


def test_after_a_purge_no_byte_of_a_busy_account_is_left_anywhere(busy: Busy) -> None:
    from orchestration.erase import erase
    from serving.erase import UnknownAccountError
    from warehouse.load import load_days

    before = traces(busy.settings, busy.words)
    kinds = {line.split()[0] for line in before}
    assert kinds == {"file", "parquet", "duckdb", "postgres", "redis"}, before
    assert {line.rpartition(": ")[2] for line in before} == set(busy.words.values())
    with ThreadPoolExecutor(1) as build:
        begun = threading.Event()
        writing = build.submit(_bring_back, busy, begun)
        assert begun.wait(60)
        proof = erase(busy.settings, [EMAIL.upper()], purge=True)
        assert writing.result(), "the purge waited for the build"
    assert traces(busy.settings, busy.words) == set()
    assert proof.path is not None
    assert all(word not in proof.path.read_text() for word in busy.words)

    for word in (busy.account_id, EMAIL):
        with pytest.raises(UnknownAccountError, match="there is no account"):
            erase(busy.settings, [word])
    _agrees_with_its_ledger(busy.settings)
    with connect(busy.settings) as connection:  # what she paid stays in the books, of somebody
        known = connection.execute(
            "SELECT count(*), sum(amount_minor) FROM posting WHERE ledger = 'clearing'"
        ).fetchone()
        assert known is not None
        assert known[0] == 2
        assert known[1] > 0
        assert connection.execute("SELECT label, removed_at IS NULL FROM payment_method").fetchall() == [("", False)]
        ended = connection.execute("SELECT due_at FROM subscription WHERE state = 'expired'").fetchall()
        assert ended == [(None,)]
    # Her player goes on sending what it has, under the token that it has, and past the API too.
    assert asyncio.run(_refused(busy)) == [401, 401]
    _append(busy.settings, beats(str(uuid.uuid4()), "otters", session_id="a-visit-after"), "live", busy.account_id)
    assert collector.drain(busy.settings).events == 0
    assert load_days(busy.settings).held == ()
    # The log's file keeps what came in late until Redis writes it anew: `--purge` has it do so.
    assert {place for place in traces(busy.settings, busy.words) if not place.startswith("file redis/")} == set()
    erase(busy.settings, [], purge=True)
    assert traces(busy.settings, busy.words) == set()


def _bring_back(busy: Busy, begun: threading.Event) -> bool:
    """As a build does that read the marts before: write online features when all others have forgotten them."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
    client = redis.Redis.from_url(busy.settings.redis())
    with connect(busy.settings, autocommit=True) as connection, building(connection):
        begun.set()
        deadline, waits = time.monotonic() + 300, False
        while not waits and time.monotonic() < deadline:
            time.sleep(0.05)
            waits = connection.execute(waiting, (BUILDING,)).fetchone() == (1,)
        for word, kind in busy.words.items():
            if kind == "profile key":
                assert not client.exists(online_key(word))
                client.hset(online_key(word), "x", "1")
    client.close()
    return waits


async def _refused(busy: Busy) -> list[int]:
    app = create_app(busy.settings, SystemClock())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {**BROWSER, "authorization": f"Bearer {busy.token}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://matinee.test", headers=headers) as ada,
    ):
        answers = [await ada.post("/api/events", json={"events": []}), await ada.get("/api/profile")]
    return [answer.status_code for answer in answers]


def _agrees_with_its_ledger(settings: Settings) -> None:
    with connect(settings) as connection, duckdb.connect(str(settings.lake.build_file), read_only=True) as lake:
        ledger = dict(connection.execute("SELECT path, rows FROM landed_file").fetchall())
        assert connection.execute("SELECT count(*) FROM landed_rewrite").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM account").fetchone() == (30,)
        loaded = dict(lake.execute("SELECT path, rows FROM raw.loaded_file").fetchall())
    assert {path: pq.read_metadata(settings.lake.root / path).num_rows for path in ledger} == ledger
    assert {path: ledger[path] for path in loaded} == loaded
    assert sum(ledger.values()) > 100
