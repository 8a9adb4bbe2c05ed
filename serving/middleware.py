"""The one middleware, plain ASGI: request id, security headers, limits of size, metrics, log line, defects."""

import itertools
import logging
import re
import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matinee.contracts.events import MAX_BATCH_BYTES
from serving.headers import SECURITY, TRANSPORT
from serving.logs import REQUEST
from serving.metrics import Metrics
from serving.problems import Problem, problem_of

MAX_BODY_BYTES = MAX_BATCH_BYTES
# What the gateway lets through, held here too for those who come without it.
MAX_HEADER_BYTES, MAX_URL_BYTES = 32 * 1024, 8 * 1024
log = logging.getLogger("matinee.api")

_REQUEST_ID = re.compile(rb"^[A-Za-z0-9-]{8,64}$")
_TRACE = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
_NO_TRACE = b"0" * 32
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY]
_HEADERS_HTTPS = [*_HEADERS, (TRANSPORT[0].encode(), TRANSPORT[1].encode())]
_NO_STORE = (b"cache-control", b"no-store")


class PlainRoute(Route):
    """A Starlette route for what is called often; it leaves its template for the metrics, as FastAPI's routes do."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        await super().handle(scope, receive, send)


class Express:
    """One plain route without the framework around it, which costs as much as the route itself."""

    def __init__(self, route: PlainRoute) -> None:
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self._route
        try:
            response = await self._route.endpoint(Request(scope, receive))
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            response = problem.response()
        await response(scope, receive, send)


class Edge:
    """Wraps the whole app; what it adds is on every answer, errors included."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        if method == "HEAD" and scope["path"].startswith("/api/"):
            # Every GET may be asked as HEAD (RFC 9110, 9.1); the server in front of us drops the body.
            scope = {**scope, "method": "GET"}
        exchange = _Exchange(scope, receive, send, head=method == "HEAD")
        self._metrics.in_flight += 1
        try:
            if exchange.refusal is not None:
                await exchange.refusal.response()(scope, receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - logged with its traceback, answered by 500
            await exchange.fail(error)
        finally:
            self._metrics.in_flight -= 1
            seconds = time.perf_counter() - exchange.started
            found = scope.get("route")
            route = getattr(found, "path", "unmatched")
            self._metrics.observe(method, route, exchange.status, seconds)
            # What goes well on a read or on a route of many calls is counted, not logged. A path may hold a media
            # token, the route never does.
            if exchange.status >= 400 or not (method in ("GET", "HEAD") or isinstance(found, PlainRoute)):
                _line(exchange, method, route, seconds)


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_begun", "_head", "_overflowed", "_receive", "_received", "_replaced", "_scope", "_send",
        "refusal", "request_id", "started", "status", "trace_id",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, head: bool = False) -> None:
        self.started = time.perf_counter()
        self.status = 499  # what stays when the client leaves before the answer
        self.refusal: Problem | None = None
        self.trace_id = ""
        self._scope, self._receive, self._send, self._head = scope, receive, send, head
        self._received = announced = size = 0
        self._begun = self._overflowed = self._replaced = False
        self.request_id = b""
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"x-request-id" and _REQUEST_ID.match(value):
                self.request_id = value
            elif name == b"content-length":
                announced = int(value) if value.isdigit() else 0
            elif name == b"traceparent" and (trace := _TRACE.match(value)) and trace[1] != _NO_TRACE:
                self.trace_id = trace[1].decode()
        self.request_id = self.request_id or _request_id()
        scope["matinee.request_id"] = name = self.request_id.decode()
        REQUEST.set((name, self.trace_id))
        if announced > MAX_BODY_BYTES:
            self.refusal = _too_large()
        elif size > MAX_HEADER_BYTES:
            self.refusal = Problem(431, "headers_too_large", f"headers may have {MAX_HEADER_BYTES:,} bytes at most")
        elif len(scope["path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            self.refusal = Problem(414, "uri_too_long", f"an address may have {MAX_URL_BYTES:,} bytes at most")

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_BODY_BYTES:
            self._overflowed = True
            raise _too_large()
        return message

    async def send(self, message: Message) -> None:
        if self._overflowed and not self._begun:
            # FastAPI makes a 400 of whatever goes wrong while it reads a body.
            self._overflowed = False
            await _too_large().response()(self._scope, self._receive, self.send)
            self._replaced = True
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            self._begun = True
            self.status = message["status"]
            message["headers"] = self._headers(list(message.get("headers", [])))
        elif self._head:
            message = {**message, "body": b""}
        await self._send(message)

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        for name, _ in headers:
            if name == b"cache-control":
                break
        else:
            headers.append(_NO_STORE)
        security = _HEADERS_HTTPS if self._scope.get("scheme") == "https" else _HEADERS
        if own := self._scope.get("matinee.headers"):  # a page that needs others, by their names
            security = [(name, own.get(name.decode(), value.decode()).encode()) for name, value in security]
        headers += security
        headers.append((b"x-request-id", self.request_id))
        return headers

    async def fail(self, error: Exception) -> None:
        """Answer 500 without telling why; the log has the traceback under the request's id."""
        log.error("request %s failed", self.request_id.decode(), exc_info=error)
        if self._begun:
            raise error
        problem = Problem(500, "internal_error", f"something broke; the log knows request {self.request_id.decode()}")
        await problem.response()(self._scope, self._receive, self.send)


_NODE = secrets.token_hex(6).encode()
_COUNT = itertools.count(secrets.randbits(26))


def _request_id() -> bytes:
    """As a UUIDv7 (RFC 9562): the time, a counter and the process instead of randomness, which costs ten times more."""
    ms, count = time.time_ns() // 1_000_000, next(_COUNT)
    return b"%08x-%04x-7%03x-%04x-%b" % (ms >> 16, ms & 0xFFFF, count & 0xFFF, 0x8000 | count >> 12 & 0x3FFF, _NODE)


def _too_large() -> Problem:
    return Problem(413, "too_large", f"a request body may have {MAX_BODY_BYTES:,} bytes at most")


def _line(exchange: _Exchange, method: str, route: str, seconds: float) -> None:
    fields: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": exchange.status,
        "ms": round(seconds * 1000, 1),
    }
    log.info("request", extra={"fields": fields})
