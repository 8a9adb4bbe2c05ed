"""Traces by OpenTelemetry, where the settings name a collector; without one nothing of it is imported or called.

A span a request (named by its route, never by its path), one a statement of SQL, one a Redis command. Of statements the
text with its placeholders is told, never a value. Sampling is set by OpenTelemetry's own variables
(`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`), as is the name (`OTEL_SERVICE_NAME`).
"""

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any

from psycopg import AsyncCursor
from redis.asyncio import Redis
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matinee.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_CLOSE_S = 3
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*\n)*(\w+)")  # after comments


class Tracing:
    """Sends spans in the background; a collector that does not answer costs no request anything."""

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "matinee-api")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_CLOSE_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("matinee")
        self.cursor_factory = _cursor(self.tracer)
        self.redis_class = _redis(self.tracer)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        return Traced(app, self.tracer)

    async def close(self) -> None:
        """Send what waits."""
        await asyncio.to_thread(self._provider.shutdown)


def tracing(settings: Settings) -> Tracing | None:
    """The tracing that the settings, or OpenTelemetry's own variable, ask for."""
    endpoint = settings.otlp_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return Tracing(endpoint) if endpoint else None


class Traced:
    """A span a request, in the trace that the caller names (W3C Trace Context)."""

    def __init__(self, app: ASGIApp, tracer: "Tracer") -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        propagator = TraceContextTextMapPropagator()
        names = (b"traceparent", b"tracestate")
        given = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in names}
        method = scope["method"]
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
        with self._tracer.start_as_current_span(
            method, propagator.extract(given), SpanKind.SERVER, attributes=attributes
        ) as span:
            # So that the log tells the trace, whoever began it.
            told: dict[str, str] = {}
            propagator.inject(told)
            headers = [pair for pair in scope["headers"] if pair[0] not in names]
            headers += [(name.encode(), value.encode()) for name, value in told.items()]
            inner = {**scope, "headers": headers}

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(inner, receive, answer)
            finally:
                if route := getattr(inner.get("route"), "path", None):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)


def _cursor(tracer: "Tracer") -> type[AsyncCursor[Any]]:
    from opentelemetry.trace import SpanKind, get_current_span

    class TracedCursor(AsyncCursor[Any]):
        async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            if not get_current_span().is_recording():  # what runs in the background has no trace
                return await super().execute(query, params, **options)
            # A composed statement may hold values.
            text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else ""
            word = _FIRST_WORD.match(text)
            operation = word[1].upper() if word else "SQL"
            attributes = {"db.system.name": "postgresql", "db.operation.name": operation, "db.query.text": text}
            with tracer.start_as_current_span(operation, kind=SpanKind.CLIENT, attributes=attributes):
                return await super().execute(query, params, **options)  # pyright: ignore[reportArgumentType] - any query

    return TracedCursor


def _redis(tracer: "Tracer") -> type[Redis]:
    from opentelemetry.trace import SpanKind, get_current_span

    class TracedRedis(Redis):
        async def execute_command(self, *args: Any, **options: Any) -> Any:
            if not get_current_span().is_recording():
                return await super().execute_command(*args, **options)
            attributes = {"db.system.name": "redis", "db.operation.name": str(args[0])}
            with tracer.start_as_current_span(str(args[0]), kind=SpanKind.CLIENT, attributes=attributes):
                return await super().execute_command(*args, **options)

    return TracedRedis
