"""What holds for every route: problems, headers, health, metrics, the committed document, who may call."""

import asyncio
import logging
import re
import subprocess
import sys
from pathlib import Path

import psycopg
from starlette.routing import Route

from matinee.settings import Settings
from serving.app import plain_routes
from serving.openapi import COMMITTED, documented_app, text

ROOT = Path(__file__).parents[2]

# Everything else asks for a signed-in account.
PUBLIC = {
    ("post", "/api/auth/register"),
    ("post", "/api/auth/login"),
    ("post", "/api/auth/refresh"),
    ("post", "/api/auth/logout"),
    ("post", "/api/events"),
    ("post", "/api/cmcd"),
    ("get", "/api/media"),
    ("get", "/api/media/facets"),
    ("get", "/api/media/genres"),
    ("get", "/api/media/{title_id}"),
    ("get", "/api/media/{title_id}/similar"),
    ("get", "/api/people/{person_id}"),
    ("get", "/api/search"),
}
# These ask for the cookie of a playback instead.
BY_PLAYBACK = {("get", "/api/watch/keys/{key_id}"): (403, "key_refused")}
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


async def test_every_route_asks_who_calls_unless_it_is_public(client, problem):
    found = operations()
    assert set(found) >= PUBLIC
    for method, path in found:
        url = re.sub(r"\{\w+\}", "otters", path)
        answer = await client.request(method, url, json={} if method == "post" else None)
        if (method, path) in PUBLIC:
            assert answer.headers.get("www-authenticate") != "Bearer", path
        else:
            assert problem(answer) == BY_PLAYBACK.get((method, path), (401, "unauthenticated")), path


async def test_viewers_do_not_see_what_is_for_staff(ada, problem):
    assert problem(await ada.get("/api/analytics/titles")) == (403, "forbidden")


ERRORS = {
    ("GET", "/nothing"): (404, "not_found"),
    ("GET", "/api/nothing"): (404, "not_found"),
    ("GET", "/static/nothing.js"): (404, "not_found"),
    ("GET", "/static/../app.py"): (404, "not_found"),
    ("DELETE", "/api/media"): (405, "method_not_allowed"),
    ("GET", "/api/events"): (405, "method_not_allowed"),
    ("TRACE", "/api/media"): (405, "method_not_allowed"),
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


async def test_log_lines_hold_no_secrets(client, caplog):
    with caplog.at_level(logging.INFO, "matinee.api"):
        await client.sign_up()
        watched = (await client.post("/api/watch/otters")).json()
        await client.get(watched["manifest"]["hls"] + "x")
    lines = [record.getMessage() for record in caplog.records]
    assert any('"route":"/v/{token}/{title_id}/{package_id}/{name:path}"' in line for line in lines)
    token = watched["manifest"]["hls"].split("/")[2]
    for secret in (token, "correct horse", client.session["access_token"], client.session["refresh_token"]):
        assert not any(secret in line for line in lines)


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
    assert ready.json() == {"status": "ready", "checks": {"postgres": True, "redis": True, "model": True}}
    values = {
        "MATINEE_HOME": settings.home_path,
        "database_url": settings.database_url,
        "redis_url": settings.redis_url,
    }
    for broken, url in (
        ("redis", "redis://127.0.0.1:9/0"),
        ("postgres", "postgresql://127.0.0.1:9/x?connect_timeout=1"),
    ):
        key = {"redis": "redis_url", "postgres": "database_url"}[broken]
        async with running(Settings.model_validate({**values, key: url})) as app, browser(app) as other:
            assert (await other.get("/health/live")).status_code == 200
            answer = await other.get("/health/ready")
            assert problem(answer) == (503, "not_ready")
            expected = {"postgres": broken != "postgres", "redis": broken != "redis", "model": True}
            assert answer.json()["checks"] == expected


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
    script = "import sys, serving.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"tensorflow", "mlflow", "feast", "duckdb", "polars", "pandas", "numpy", "dagster", "scipy"}
    assert not heavy & set(loaded.split())
