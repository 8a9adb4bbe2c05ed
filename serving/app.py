"""The API: `create_app(settings)`, and `main_app` for `uvicorn --factory serving.app:main_app`."""

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from matinee.clock import Clock, SystemClock
from matinee.settings import Settings
from serving import health, problems
from serving.accounts.api import router as accounts
from serving.analytics.api import router as analytics
from serving.catalog.api import router as catalog
from serving.context import Context
from serving.events.api import post_events
from serving.middleware import Edge
from serving.openapi import describe
from serving.playback.api import heartbeat
from serving.playback.api import router as playback
from serving.playback.media import media, poster
from serving.recommendations.api import recommendations

WEB = Path(__file__).parent / "web"


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """The app of one home. It is live at once; PostgreSQL and Redis may come and go.

    Raises:
        StackError: the embedded Redis has no port yet, because it never started in this home.
    """
    context = Context(settings, clock or SystemClock())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await context.open()
        try:
            yield
        finally:
            await context.close()

    app = FastAPI(
        title="Matinee",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.context = context
    # Starlette tries routes in their order: the busiest first.
    app.router.routes[:0] = hot_routes()
    for router in (accounts, catalog, playback, analytics):
        app.include_router(router)
    app.router.routes.append(Mount("/static", WebFiles(directory=WEB), name="static"))
    problems.install(app)
    describe(app)
    app.add_middleware(Edge, metrics=context.metrics)
    return app


class WebFiles(StaticFiles):
    """The page's files; browsers ask each time whether they changed, for there is no build that would name versions."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["cache-control"] = "no-cache"
        return response


class PlainRoute(Route):
    """A Starlette route that leaves its template for the metrics, as FastAPI's routes do."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        await super().handle(scope, receive, send)


def hot_routes() -> list[BaseRoute]:
    """Plain Starlette routes: what is called most, and what has no JSON schema."""
    return [
        PlainRoute("/api/recommendations", recommendations),
        PlainRoute("/v/{token}/{title_id}/{package_id}/{name:path}", media),
        PlainRoute("/api/events", post_events, methods=["POST"]),
        PlainRoute("/api/watch/{playback_id}/heartbeat", heartbeat, methods=["POST"]),
        PlainRoute("/media-posters/{title_id}.jpg", poster),
        PlainRoute("/health/live", health.live),
        PlainRoute("/health/ready", health.ready),
        PlainRoute("/metrics", health.metrics),
        PlainRoute("/", page),
        PlainRoute("/api/docs", docs),
    ]


async def page(_: Request) -> FileResponse:
    return FileResponse(WEB / "index.html", headers={"cache-control": "no-cache"})


async def docs(_: Request) -> FileResponse:
    return FileResponse(WEB / "docs.html", headers={"cache-control": "no-cache"})


def main_app() -> FastAPI:
    """The app of the home in the environment, with its log on standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MATINEE_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    return create_app(Settings.load())
