"""The OpenAPI document; `python -m serving.openapi` rewrites the committed one."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.catalog.filters import FACETS
from serving.catalog.types import Facets, Page
from serving.events.types import EventBatch, Intake, Reports
from serving.playback.types import Position, Renewal, Watch, WatchRequest
from serving.problems import ProblemDocument
from serving.recommendations.types import Home
from serving.search.types import Found

COMMITTED = Path(__file__).parent / "openapi.json"
_REF = "#/components/schemas/{model}"

_FILTERS = (
    *FACETS, "added_since", "extra", "kind", "maturity_to", "playable", "profile_id", "q", "year_from", "year_to",
)  # fmt: skip
# The plain Starlette routes, which FastAPI cannot see: path -> method, summary, tag, body, status, answer, query.
_HOT: dict[str, tuple[str, str, str, type[BaseModel] | None, int, type[BaseModel], tuple[str, ...]]] = {
    "/api/recommendations": (
        "get", "Rows of the home page", "recommendations", None, 200, Home, ("profile_id", "surface")),
    "/api/media": (
        "get", "Films and series, or what the filters narrow them to", "catalogue", None, 200, Page,
        (*_FILTERS, "as_of", "cursor", "limit", "sort")),
    "/api/media/facets": (
        "get", "How many titles of a list have each facet", "catalogue_facets", None, 200, Facets, _FILTERS),
    "/api/search": ("get", "Titles and people by words", "search", None, 200, Found, ("limit", "profile_id", "q")),
    "/api/events": ("post", "Take viewer events; 202 means on disk", "events", EventBatch, 202, Intake, ()),
    "/api/watch/{playback_id}/heartbeat": (
        "post", "Remember the position, renew the address", "playback", Position, 200, Renewal, ()),
    "/api/watch/{title_id}": ("post", "Ask to watch", "playback", WatchRequest, 200, Watch, ()),
}  # fmt: skip

_KEYS = "/api/watch/keys/{key_id}"
_CMCD = "/api/cmcd"


def describe(app: FastAPI) -> None:
    """Make the app's document whole: the plain routes, and the problem document as every error."""
    generate = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            models = {
                EventBatch,
                Intake,
                Reports,
                Position,
                Renewal,
                Watch,
                WatchRequest,
                Home,
                ProblemDocument,
                Page,
                Facets,
                Found,
            }
            _, definitions = models_json_schema(
                [(model, "serialization") for model in sorted(models, key=lambda m: m.__name__)], ref_template=_REF
            )
            schemas = document["components"]["schemas"]
            for name, schema in definitions["$defs"].items():
                if schemas.setdefault(name, schema).get("properties", {}).keys() != schema.get("properties", {}).keys():
                    raise ValueError(f"two models are called {name}: rename one, or one document describes the other")
            document["paths"] |= {path: _operation(path) for path in _HOT} | {
                _KEYS: _key_operation(),
                _CMCD: _cmcd_operation(),
            }
            _problems(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = whole


def _operation(path: str) -> dict[str, Any]:
    method, summary, tag, body, status, answer, query = _HOT[path]
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    parameters += [{"name": n, "in": "query", "required": False, "schema": {"type": "string"}} for n in query]
    operation: dict[str, Any] = {
        "tags": [tag],
        "summary": summary,
        "operationId": f"{tag}_{method}",
        "parameters": parameters,
        "responses": {str(status): {"description": "Done", "content": _content(answer.__name__)}},
    }
    if body:
        operation["requestBody"] = {"required": True, "content": _content(body.__name__)}
    return {method: operation}


def _key_operation() -> dict[str, Any]:
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 16}}}
    return {
        "get": {
            "tags": ["playback"],
            "summary": "The 16 bytes of a content key, for the browser that plays the title",
            "operationId": "playback_key",
            "parameters": [{"name": "key_id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "Done", "content": binary}},
        }
    }


def _cmcd_operation() -> dict[str, Any]:
    lines = {"schema": {"type": "string"}, "example": 'cid="otters",e=ps,sid="0193…",sn=1,sta=p,ts=1774540800000,v=2'}
    wanted = {"in": "query", "required": False, "schema": {"type": "string"}}
    return {
        "post": {
            "tags": ["events"],
            "summary": "Take reports of CMCD 2 in event mode, one a line, as viewer events; 200 means on disk",
            "operationId": "cmcd_post",
            "parameters": [{"name": "profile_id", **wanted}, {"name": "device", **wanted}],
            "requestBody": {"required": True, "content": {"application/cmcd": lines}},
            "responses": {"200": {"description": "Done", "content": _content(Reports.__name__)}},
        }
    }


def _content(model: str, media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REF.format(model=model)}}}


def _problems(document: dict[str, Any]) -> None:
    """Name the problems that each operation may answer with: by what it takes, and what its route says besides."""
    document["components"]["responses"] = {
        "Problem": {
            "description": "A problem document (RFC 9457)",
            "content": _content(ProblemDocument.__name__, "application/problem+json"),
        }
    }
    for operations in document["paths"].values():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            for status in sorted(_refusals(method, operation)):
                operation["responses"][str(status)] = {"$ref": "#/components/responses/Problem"}
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)


def _refusals(method: str, operation: dict[str, Any]) -> set[int]:
    """A token may be bad, a client too fast, PostgreSQL away, whatever is asked for; the rest hangs on the parts."""
    found = {401, 403, 429, 503}
    parameters = operation.get("parameters", ())
    if any(parameter["in"] == "path" or parameter["name"] == "profile_id" for parameter in parameters):
        found.add(404)
    if parameters:
        found.add(422)
    if any(parameter["in"] in ("path", "query") for parameter in parameters):
        found.add(414)
    if any(parameter["name"] == "cursor" for parameter in parameters):
        found.add(400)
    if any(parameter["name"].lower() == "if-match" for parameter in parameters):
        found |= {412, 428}
    if any(parameter["name"].lower() == "idempotency-key" for parameter in parameters):
        found |= {400, 422, 502}  # no key; a key of another request; the payment provider refuses
    if any(parameter["name"] == "provider" for parameter in parameters):
        found.add(400)  # a notice that the provider did not send
    if method != "get":
        found |= {404, 409}
    if "requestBody" in operation:
        found |= {400, 413, 415, 422}
    return found


def text(app: FastAPI) -> str:
    """The document as it is committed."""
    return json.dumps(app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def documented_app() -> FastAPI:
    """An app that connects to nothing: enough to describe itself."""
    import tempfile

    from matinee.settings import Settings
    from serving.app import create_app

    with tempfile.TemporaryDirectory() as folder:
        urls = {"database_url": "postgresql://nowhere/matinee", "redis_url": "redis://nowhere"}
        return create_app(Settings.model_validate({"MATINEE_HOME": folder, **urls}))


if __name__ == "__main__":
    COMMITTED.write_text(text(documented_app()))
