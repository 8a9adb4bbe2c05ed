"""What the API tells those who run it: log lines, traces; and how it goes."""

import asyncio
import gzip
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from matinee.ports import claim_port
from serving.logs import JsonLines, masked
from serving.run import trusted

ROOT = Path(__file__).parents[2]

SECRETS = {
    "GET /v/aGVsbG8.1767225600.018f/otters/p/1.m4s": "aGVsbG8",
    "authorization: Bearer abcdefgh12345": "abcdefgh12345",
    "the token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl is wrong": "eyJ",
    "connection to postgresql://matinee:hunter2@db/matinee failed": "hunter2",
    "redis://:hunter2@127.0.0.1:6379/0": "hunter2",
    "https://films.example/#/reset?token=hunter2&x=1": "hunter2",
    "cookie __Host-matinee_playback=hunter2; other": "hunter2",
    '{"password": "correct horse", "a": 1}': "horse",
    "refresh_token='hunter2'": "hunter2",
    "code: 123456": "123456",
    "no account ada.lovelace+films@mail.example.org": "ada",
}


@pytest.mark.parametrize("line", SECRETS)
def test_secrets_are_masked_wherever_they_stand(line):
    assert SECRETS[line] not in masked(line)


def test_what_is_no_secret_stays():
    for line in (
        "status code: 500",
        "title otters, 3 of 4",
        "took 12.5 ms at 2026-01-01T10:00:00Z",
        "KeyError: 'tokens'",
    ):
        assert masked(line) == line


async def test_a_request_is_a_line_of_json_without_secrets(client, caplog):
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonLines())
    logging.getLogger("matinee").addHandler(handler)
    trace = "0af7651916cd43dd8448eb211c80319c"
    try:
        with caplog.at_level(logging.INFO, "matinee"):
            await client.sign_up()
            watched = (await client.post("/api/watch/otters", json={"profile_id": client.profile_id})).json()
            address = watched["manifest"]["hls"]
            await client.get(f"{address}x?token=hunter2", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
            logging.getLogger("matinee.test").error("for %s", "ada@example.org", exc_info=ValueError(f"at {address}"))
    finally:
        logging.getLogger("matinee").removeHandler(handler)
    text = lines.getvalue()
    entries = [json.loads(line) for line in text.splitlines()]
    found = next(e for e in entries if e.get("route") == "/v/{token}/{title_id}/{package_id}/{name:path}")
    assert (found["status"], found["trace_id"], found["level"]) == (404, trace, "info")
    assert len(found["request_id"]) == 36
    cookies = [cookie.value for cookie in client.cookies.jar]
    secrets = (address.split("/")[2], "hunter2", "correct horse", "ada@", client.session["access_token"], *cookies)
    for secret in secrets:
        assert secret not in text


class Collector:
    """A small OTLP/HTTP receiver (POST /v1/traces, protobuf, gzip or plain) that keeps the spans."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        spans = self.spans = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                fits = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
                if fits:
                    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                        for scope in resource.scope_spans:
                            spans.extend(scope.spans)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if fits else 404)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


async def test_traces_go_to_the_collector_that_the_settings_name(catalogue, running, browser):
    collector = Collector()
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    settings = catalogue.model_copy(update={"otlp_endpoint": collector.url})
    async with running(settings) as app, browser(app) as client:
        answer = await client.get("/api/media/otters?q=hunter2", headers={"traceparent": f"00-{trace}-{parent}-01"})
        assert answer.status_code == 200
        await client.post("/api/auth/login", json={"email": "ada@example.org", "password": "hunter2"})
        await client.get("/api/recommendations")
    collector.close()
    by_name = {span.name: span for span in collector.spans}
    request = by_name["GET /api/media/{title_id}"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (trace, parent)
    told = {a.key: a.value.string_value or a.value.int_value for a in request.attributes}
    assert (told["http.route"], told["http.response.status_code"]) == ("/api/media/{title_id}", 200)
    statements = [span for span in collector.spans if span.parent_span_id == request.span_id]
    assert any(span.name == "SELECT" for span in statements)
    assert "POST /api/auth/login" in by_name
    assert "GET /api/recommendations" in by_name, "express routes too"
    assert b"hunter2" not in b"".join(span.SerializeToString() for span in collector.spans)
    assert b"ada@" not in b"".join(span.SerializeToString() for span in collector.spans)


async def test_it_drains_before_it_goes_and_finishes_what_it_began(catalogue):
    """SIGTERM: readiness says so while all is served; a request under way is answered; the process ends in time."""
    settings = catalogue.model_copy(update={"drain_s": 0.6})
    port = claim_port(settings.home, "api")
    process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        [sys.executable, "-m", "serving.run", "--port", str(port)],
        cwd=ROOT, env={**os.environ, **settings.environment()}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await _until(lambda: _status(client, "/health/ready"), 200)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = json.dumps({"email": "nobody@example.org", "password": "wrong horse"}).encode()
            head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(b"POST /api/auth/login HTTP/1.1\r\n" + head.encode() + body[:10])
            await writer.drain()
            await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            await _until(lambda: _status(client, "/health/ready"), 503)
            assert (await client.get("/health/ready")).json()["code"] == "draining"
            assert (await client.get("/api/media")).status_code == 200, "new requests are served meanwhile"
            await _until(lambda: _status(client, "/health/live"), None)
        writer.write(body[10:])
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 401")
        writer.close()
        began = time.monotonic()
        process.wait(10)
        assert time.monotonic() - began < 6
    finally:
        process.kill()
        _, told = process.communicate()
    assert all(json.loads(line) for line in told.splitlines()), "every line is JSON, uvicorn's too"


async def _status(client: httpx.AsyncClient, path: str) -> int | None:
    try:
        return (await client.get(path)).status_code
    except httpx.TransportError:
        return None


async def _until(ask, wanted: int | None) -> None:
    deadline = time.monotonic() + 20
    while await ask() != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_the_gateway_is_believed_where_there_is_one(settings):
    assert trusted(settings.model_copy(update={"trusted_proxies": "10.0.0.1"})) == "10.0.0.1,127.0.0.1"
    assert trusted(settings.model_copy(update={"trusted_proxies": "10.0.0.1", "gateway": False})) == "10.0.0.1"
    assert trusted(settings) == "127.0.0.1"
