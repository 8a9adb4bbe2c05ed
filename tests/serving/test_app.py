"""What holds for every route: problems, headers, health, metrics, the committed document, who may call."""

import asyncio
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from matinee.settings import Settings
from serving.app import plain_routes
from serving.headers import SECURITY, TRANSPORT
from serving.middleware import Edge
from serving.openapi import COMMITTED, documented_app, text

ROOT = Path(__file__).parents[2]

UNDOCUMENTED = {"/api/docs", "/api/openapi.json"}


def operations():
    paths = documented_app().openapi()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def test_the_committed_document_is_the_apps():
    assert COMMITTED.read_text() == text(documented_app()), "run `python -m serving.openapi`"


def test_every_plain_route_under_api_is_documented():
    documented = {path for _, path in operations()}
    plain = {route.path for route in plain_routes() if route.path.startswith("/api/")}
    assert plain - UNDOCUMENTED <= documented


async def test_every_answer_has_the_security_headers_once(app, browser):
    """Of every documented and plain route, whatever it answers to somebody unknown, over HTTPS."""
    async with browser(app) as client:
        client.base_url = "https://matinee.test"
        routes = {*operations(), *(("get", route.path) for route in plain_routes())}
        for method, path in sorted(routes):
            answer = await client.request(method, re.sub(r"\{[\w:]+\}", "otters", path))
            assert answer.status_code < 500, path
            for name, value in (*SECURITY, TRANSPORT):
                assert answer.headers.get_list(name) == [value], (method, path, name)
            assert len(answer.headers.get_list("cache-control")) == 1, path
            assert "server" not in answer.headers


def test_there_is_no_middleware_that_buffers(app):
    """One `BaseHTTPMiddleware` costs 41-47 % of an endpoint."""
    layer, found = app.build_middleware_stack(), []
    while layer is not None:
        found.append(type(layer))
        layer = getattr(layer, "app", None) or getattr(layer, "_app", None)
    assert Edge in found
    assert not any(issubclass(kind, BaseHTTPMiddleware) for kind in found)


ERRORS = {
    ("GET", "/nothing"): (404, "not_found"),
    ("GET", "/api/nothing"): (404, "not_found"),
    ("GET", "/static/nothing.js"): (404, "not_found"),
    ("GET", "/static/../app.py"): (404, "not_found"),
    ("DELETE", "/api/media"): (405, "method_not_allowed"),
    ("GET", "/api/events"): (405, "method_not_allowed"),
    ("TRACE", "/api/media"): (405, "method_not_allowed"),
    ("OPTIONS", "/api/media"): (405, "method_not_allowed"),
    ("GET", "/api/" + "a" * 9_000): (414, "uri_too_long"),
    ("GET", "/api/media?q=" + "a" * 9_000): (414, "uri_too_long"),
    ("GET", "/api/media?limit=1000"): (422, "invalid_request"),
    ("GET", "/api/media?kind=song"): (422, "invalid_request"),
    ("GET", "/api/recommendations"): (401, "unauthenticated"),
}


async def test_errors_are_problem_documents_with_the_headers_of_every_answer(client, problem):
    for (method, url), expected in ERRORS.items():
        answer = await client.request(method, url)
        assert problem(answer) == expected, url
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers["x-request-id"]) == 36
    assert problem(await client.get("/api/media", headers={"x": "a" * 33_000})) == (431, "headers_too_large")


async def test_every_get_may_be_asked_as_head_and_405_names_every_method(client, problem):
    for path in ("/api/media/otters", "/api/media", "/health/live", "/"):
        asked, got = await client.head(path), await client.get(path)
        assert (asked.status_code, asked.content) == (got.status_code, b""), path
        assert asked.headers["content-length"] == got.headers["content-length"]
    answer = await client.put("/api/profile", json={})
    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_other_origins_may_call_where_the_settings_list_them(client, catalogue, running, browser, problem):
    """None by default; the listed ones with cookies; with `*` all, without."""
    page, other = "https://films.example", "https://evil.example"
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = await client.get("/api/media", headers={"origin": page})
    assert not any(name.startswith("access-control") for name in answer.headers)
    for origins, credentials in ((f"{page}, https://b.example", "true"), ("*", None)):
        settings = catalogue.model_copy(update={"cors_origins": origins})
        async with running(settings) as app, browser(app) as client:
            answer = await client.get("/api/media", headers={"origin": page})
            assert answer.headers["access-control-allow-origin"] in (page, "*")
            assert answer.headers.get("access-control-allow-credentials") == credentials
            asked = await client.options("/api/recommendations", headers={"origin": page, **preflight})
            assert asked.status_code == 200
            assert "POST" in asked.headers["access-control-allow-methods"]
            login = await client.post("/api/auth/login", json={}, headers={"origin": page})
            assert problem(login) == (422, "invalid_request")
            assert login.headers["access-control-allow-origin"] in (page, "*"), "refusals can be read too"
            if credentials:
                refused = await client.get("/api/media", headers={"origin": other})
                assert "access-control-allow-origin" not in refused.headers
                asked = await client.options("/api/media", headers={"origin": other, **preflight})
                assert problem(asked) == (403, "cors_refused")
                assert "access-control-allow-origin" not in asked.headers


async def test_bodies_that_are_not_json_or_too_large(client, problem):
    headers = {"content-type": "application/json"}
    answer = await client.post("/api/auth/login", content=b"{", headers=headers)
    assert problem(answer) == (400, "invalid_json")
    answer = await client.post("/api/auth/login", content=b" " * 1_000_001, headers=headers)
    assert problem(answer) == (413, "too_large")

    async def unannounced():
        for _ in range(12):
            yield b" " * 100_000

    answer = await client.post("/api/auth/login", content=unannounced(), headers=headers)
    assert problem(answer) == (413, "too_large")


async def test_a_defect_answers_500_and_tells_only_the_log(app, client, problem, caplog):
    async def broken(_):
        raise RuntimeError("the secret is 42")

    app.router.routes.insert(0, Route("/broken", broken))
    with caplog.at_level(logging.ERROR, "matinee.api"):
        answer = await client.get("/broken", headers={"x-request-id": "my-request-1"})
    assert problem(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "my-request-1"
    record = next(r for r in caplog.records if r.exc_info)
    assert "my-request-1" in record.getMessage()
    assert "the secret is 42" in str(record.exc_info[1])


async def test_metrics_count_by_route_template(client, ada):
    await ada.get("/api/media/otters")
    await ada.get("/api/media/harbour")
    await client.get("/api/media/nothing")
    text = (await client.get("/metrics")).text
    assert 'matinee_http_requests_total{method="GET",route="/api/media/{title_id}",status="200"} 2.0' in text
    assert 'route="/api/media/{title_id}",status="404"} 1.0' in text
    assert "otters" not in text


async def test_health_tells_the_truth(client, settings, running, browser, problem):
    assert (await client.get("/health/live")).json() == {"status": "live"}
    ready = await client.get("/health/ready")
    whole = {"postgres": True, "migrated": True, "model": True, "redis": True}
    assert ready.json() == {"status": "ready", "checks": whole}
    with psycopg.connect(settings.database()) as connection:
        connection.execute("DELETE FROM migration WHERE name = (SELECT max(name) FROM migration)")
    answer = await client.get("/health/ready")
    assert problem(answer) == (503, "not_ready")
    assert answer.json()["checks"] == {**whole, "migrated": False}
    gone = settings.model_copy(update={"database_url": "postgresql://127.0.0.1:9/x?connect_timeout=1"})
    async with running(gone) as app, browser(app) as other:
        assert (await other.get("/health/live")).status_code == 200
        answer = await other.get("/health/ready")
        assert problem(answer) == (503, "not_ready")
        assert answer.json()["checks"] == {**whole, "postgres": False, "migrated": False}


async def test_without_redis_it_is_degraded_and_serves(catalogue, running, browser, problem):
    """The catalogue and pages go on, attempts stay limited, events are refused and may be sent again."""
    gone = catalogue.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})
    async with running(gone) as app, browser(app) as client:
        ready = await client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        assert ready.json()["checks"]["redis"] is False
        assert (await client.get("/api/media")).status_code == 200
        await client.sign_up()
        began = time.perf_counter()
        page = await client.get(f"/api/recommendations?profile_id={client.profile_id}")
        assert (page.status_code, page.json()["degraded"]) == (200, True)
        assert time.perf_counter() - began < 2
        assert (await client.post("/api/watch/otters", json={"profile_id": client.profile_id})).status_code == 200
        tries = [
            await client.post("/api/auth/login", json={"email": "a@b.example", "password": "x"}) for _ in range(12)
        ]
        assert problem(tries[-1]) == (429, "too_many_attempts")


class Proxy:
    """A TCP door to PostgreSQL's socket that can be shut and opened."""

    def __init__(self, socket: str) -> None:
        self.socket, self.tasks = socket, set()

    async def open(self, port: int = 0) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return self.server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader, writer) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(self.socket)
            try:
                await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))
            finally:
                inner_writer.close()
        finally:
            self.tasks.discard(asyncio.current_task())
            writer.close()

    async def _pump(self, reader, writer) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def test_a_lost_database_is_a_503_that_heals(catalogue, running, browser, problem):
    parts = psycopg.conninfo.conninfo_to_dict(catalogue.database_url)
    proxy = Proxy(f"{parts['host']}/.s.PGSQL.{parts.get('port') or 5432}")
    port = await proxy.open()
    url = f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}"
    values = {"MATINEE_HOME": catalogue.home_path, "database_url": url, "redis_url": catalogue.redis_url}
    async with running(Settings.model_validate(values)) as app, browser(app) as client:
        assert (await client.get("/api/media")).status_code == 200
        await proxy.shut()
        answer = await client.get("/api/media")
        assert problem(answer) == (503, "postgres_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert problem(await client.get("/health/ready")) == (503, "not_ready")
        await proxy.open(port)
        healed = [(await client.get("/api/media")).status_code for _ in range(2)]
        assert healed[-1] == 200, "at the latest once the pool has noticed"
    await proxy.shut()


def test_the_app_loads_no_heavy_imports():
    """Nor what sends traces, where no collector is named."""
    script = (
        "import sys, serving.openapi as o; o.documented_app(); "
        "from matinee.clock import SystemClock; from matinee.settings import Settings; "
        "from serving.billing.payments.desk import Desk; "
        "settings = Settings.model_validate({'payments': 'stripe', 'stripe_secret_key': 'sk_test_x'}); "
        "Desk(settings, SystemClock(), None).check(); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"tensorflow", "mlflow", "feast", "duckdb", "polars", "pandas", "numpy", "dagster", "scipy"}
    heavy |= {"stripe", "fpdf", "babel"}  # of money: imported beside the loop, or for who needs them
    assert not heavy & set(loaded.split())
    assert not any(name.startswith("opentelemetry.exporter") for name in loaded.split())
