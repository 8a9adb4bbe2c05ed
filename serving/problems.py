"""Errors as RFC 9457 problem details, each with a stable `code`."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import psycopg
import psycopg_pool
import redis
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from matinee.errors import MatineeError

RETRY_AFTER_S = 2
_NUL = "NUL (0x00)"  # what PostgreSQL's text cannot hold, wherever a client may write it
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


class Problem(MatineeError):  # noqa: N818 - the standard's own term (RFC 9457)
    """A refusal that the client hears: status, stable code, one sentence, and further members of the document."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        body = {
            "type": f"urn:matinee:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.members,
        }
        content = orjson.dumps(body, default=str)
        return Response(content, self.status, self.headers, media_type="application/problem+json")


class ProblemDocument(BaseModel):
    """RFC 9457, with `code` for programs; validation problems list `errors`, refused playback lists `offers`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, Any]] | None = None
    offers: list[dict[str, Any]] | None = None


def unavailable(what: str) -> Problem:
    """A backing service does not answer; the same request may succeed soon."""
    return Problem(
        503, f"{what}_unavailable", f"{what} does not answer: try again", headers={"Retry-After": str(RETRY_AFTER_S)}
    )


def problem_of(error: Exception) -> Problem | None:
    """The refusal that stands for an error; None for what nobody foresaw."""
    match error:
        case Problem():
            return error
        case HTTPException():
            code = _CODES.get(error.status_code, HTTPStatus(error.status_code).name.lower())
            return Problem(error.status_code, code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            return _invalid(error)
        case psycopg.DataError() if _NUL in str(error):
            return Problem(422, "invalid_request", "a text has a NUL character in it")
        case psycopg.OperationalError() | psycopg_pool.PoolTimeout():
            return unavailable("postgres")
        case redis.RedisError():
            return unavailable("redis")
    return None


def _invalid(error: RequestValidationError) -> Problem:
    # The values stay out: one of them may be a password.
    errors = [{"at": ".".join(map(str, e["loc"])), "reason": e["msg"], "rule": e["type"]} for e in error.errors()]
    if any(e["rule"] == "json_invalid" for e in errors):
        return Problem(400, "invalid_json", "the body is not JSON", errors=errors)
    return Problem(422, "invalid_request", "the request does not fit its schema", errors=errors)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem is None:
            raise error
        if problem.status == 405:
            problem.headers = {"Allow": ", ".join(sorted(_methods(app.routes, request.scope)))}
        return problem.response()

    foreseen = (
        Problem, HTTPException, RequestValidationError, psycopg.DataError, psycopg.OperationalError,
        psycopg_pool.PoolTimeout, redis.RedisError,
    )  # fmt: skip
    for kind in foreseen:
        app.add_exception_handler(kind, answer)


def _methods(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """Every method that some route has for the path (RFC 9110, 10.2.1): one route alone knows only its own."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches({**scope, "path_params": {}})[0] is not Match.NONE:
            found |= route.methods or set()
    return found | ({"HEAD"} if "GET" in found else set())
