"""The API: `create_app(settings)`, and `main_app` for `uvicorn --factory serving.app:main_app`."""

import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from matinee.clock import Clock, SystemClock
from matinee.settings import Settings
from serving import health, logs, problems, tasks
from serving.accounts.account_api import router as account
from serving.accounts.api import router as accounts
from serving.accounts.credentials_api import router as credentials
from serving.accounts.tv_api import router as tv
from serving.admin.accounts.api import router as admin_accounts
from serving.admin.billing.api import router as admin_billing
from serving.admin.catalogue.api import router as admin_catalogue
from serving.analytics.api import router as analytics
from serving.billing.api import router as billing
from serving.billing.documents.api import router as papers
from serving.billing.providers.sandbox import page as sandbox
from serving.catalog.api import router as catalog
from serving.catalog.routes import facets, titles
from serving.context import Context
from serving.cors import Cors
from serving.events.api import post_events
from serving.events.cmcd_api import post_cmcd
from serving.metrics import Metrics
from serving.middleware import Edge, Express, PlainRoute
from serving.openapi import describe
from serving.playback.api import heartbeat, watch
from serving.playback.api import router as playback
from serving.playback.keys import key
from serving.playback.media import media, poster
from serving.profiles.api import router as profiles
from serving.profiles.library_api import router as library
from serving.recommendations.api import recommendations
from serving.routing import Index
from serving.search.api import search

WEB = Path(__file__).parent / "web"
EXPRESS = frozenset(
    {
        "/api/recommendations",
        "/api/media",
        "/api/search",
        "/api/events",
        "/api/cmcd",
        "/api/watch/{playback_id}/heartbeat",
        "/api/watch/{title_id}",
        "/api/watch/keys/{key_id}",
        "/v/{token}/{title_id}/{package_id}/{name:path}",
    }
)


class Api(FastAPI):
    """FastAPI, but the few busiest routes are called before its machinery starts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.express: dict[tuple[str, str], ASGIApp] = {}
        self.patterns: list[tuple[str, str, re.Pattern[str], ASGIApp]] = []  # method, how paths begin, whole paths
        self.outer: ASGIApp = self.serve  # what wraps every route, express ones too

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.outer(scope, receive, send)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            express = self.express.get((scope["method"], scope["path"])) or self._by_pattern(scope)
            if express is not None:
                scope["app"] = self
                await express(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _by_pattern(self, scope: Scope) -> ASGIApp | None:
        method, path = scope["method"], scope["path"]
        for named, start, pattern, express in self.patterns:
            if path.startswith(start) and named == method and (match := pattern.match(path)):
                scope["path_params"] = match.groupdict()
                return express
        return None


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """The app of one home. It is live at once; PostgreSQL and Redis may come and go.

    Raises:
        StackError: the embedded Redis has no port yet, because it never started in this home.
    """
    context = Context(settings, clock or SystemClock())

    @asynccontextmanager
    async def lifespan(itself: FastAPI) -> AsyncIterator[None]:
        context.billing.check()  # what its settings lack is told now, not to the first buyer
        telling = sandbox.telling(itself)
        await context.open()
        try:
            yield
        finally:
            await tasks.end([telling])
            await context.close()

    app = Api(
        title="Matinee",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI's own spans know nothing of the express routes and tell whole addresses: see `serving.tracing`.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.context = context
    # Starlette tries routes in their order: the busiest first.
    plain = plain_routes()
    app.router.routes[:0] = plain
    for route in plain:
        if route.path in EXPRESS:
            add_express(app, route, context.metrics)
    for router in (
        accounts,
        credentials,
        tv,
        account,
        admin_accounts,
        admin_catalogue,
        admin_billing,
        profiles,
        library,
        catalog,
        playback,
        billing,
        papers,
        analytics,
    ):
        # As they are: FastAPI keeps included routers whole and matches each of their routes twice.
        app.router.routes += router.routes
    app.router.routes.append(Mount("/static", WebFiles(directory=WEB), name="static"))
    app.router.middleware_stack = Index(app.router)
    problems.install(app)
    describe(app)
    app.add_middleware(Edge, metrics=context.metrics)
    if settings.cors_origins:
        app.outer = Cors(app.outer, settings.cors_origins)
    if context.tracing:
        app.outer = context.tracing.wrap(app.outer)
    return app


def add_express(app: Api, route: PlainRoute, metrics: Metrics) -> None:
    express = Edge(Express(route), metrics)
    start, is_pattern, _ = route.path.partition("{")
    for method in route.methods or ():
        if is_pattern:
            app.patterns.append((method, start, route.path_regex, express))
        else:
            app.express[method, route.path] = express


class WebFiles(StaticFiles):
    """The page's files; browsers ask each time whether they changed, for there is no build that would name versions."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["cache-control"] = "no-cache"
        return response


def plain_routes() -> list[PlainRoute]:
    """Plain Starlette routes: what is called most, and what has no JSON schema."""
    return [
        PlainRoute("/api/recommendations", recommendations),
        PlainRoute("/api/media", titles),
        PlainRoute("/api/media/facets", facets),
        PlainRoute("/api/search", search),
        PlainRoute("/v/{token}/{title_id}/{package_id}/{name:path}", media),
        PlainRoute("/api/events", post_events, methods=["POST"]),
        PlainRoute("/api/cmcd", post_cmcd, methods=["POST"]),
        PlainRoute("/api/watch/keys/{key_id}", key),
        PlainRoute("/api/watch/{playback_id}/heartbeat", heartbeat, methods=["POST"]),
        PlainRoute("/api/watch/{title_id}", watch, methods=["POST"]),
        PlainRoute("/media-posters/{title_id}.jpg", poster),
        PlainRoute("/health/live", health.live),
        PlainRoute("/health/ready", health.ready),
        PlainRoute("/metrics", health.metrics),
        PlainRoute("/", page),
        PlainRoute("/api/docs", docs),
        PlainRoute(sandbox.PATH, sandbox.show_page),
        PlainRoute(sandbox.PATH, sandbox.take_form, methods=["POST"]),
    ]


async def page(_: Request) -> FileResponse:
    return FileResponse(WEB / "index.html", headers={"cache-control": "no-cache"})


async def docs(_: Request) -> FileResponse:
    return FileResponse(WEB / "docs.html", headers={"cache-control": "no-cache"})


def main_app() -> FastAPI:
    """The app of the home in the environment, with its log on standard error."""
    settings = Settings.load()
    logs.set_up(os.environ.get("MATINEE_LOG_LEVEL", "INFO"))
    if not settings.limits_scale:
        logging.getLogger("matinee.api").warning("MATINEE_LIMITS_SCALE=0: nothing limits how often what is tried")
    return create_app(settings)
