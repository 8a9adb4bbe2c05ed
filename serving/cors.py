"""Cross-origin requests (CORS, Fetch standard 3.2): none unless the settings list origins.

A page of a listed origin may send cookies too; they are `SameSite=Strict`, so that needs a page of the same site
(films.example and api.films.example). With `*` any page may call, with a bearer token alone.
"""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from serving.problems import Problem

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SENT = ("authorization", "content-type", "idempotency-key", "range", "traceparent", "x-request-id")
_READ = ("etag", "location", "retry-after", "x-request-id")
_REMEMBERED_S = 600


def listed(origins: str) -> frozenset[str]:
    """The origins of the setting, without `*`."""
    return frozenset(origin.strip().rstrip("/") for origin in origins.split(",")) - {"", "*"}


class Cors(CORSMiddleware):
    """Starlette's, whose refusals are problem documents."""

    def __init__(self, app: ASGIApp, origins: str) -> None:
        everybody = "*" in (origin.strip() for origin in origins.split(","))
        super().__init__(
            app,
            allow_origins=["*"] if everybody else sorted(listed(origins)),
            allow_methods=_METHODS,
            allow_headers=_SENT,
            expose_headers=_READ,
            allow_credentials=not everybody,
            max_age=_REMEMBERED_S,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        return Problem(403, "cors_refused", bytes(answer.body).decode(), headers={"Vary": "Origin"}).response()
