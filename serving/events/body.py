"""Bodies of events: their content type and encoding, and the events in them, however broken single ones are."""

import json
import zlib
from collections.abc import Collection

import orjson
from starlette.requests import Request

from matinee.contracts.events import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from serving.problems import Problem

# What pages send when they close (`navigator.sendBeacon` with text) has the second type.
JSON_TYPES = ("application/json", "text/plain")
CMCD_TYPES = ("application/cmcd", "text/cmcd", "text/plain")
_GZIP = 16 + zlib.MAX_WBITS


async def read(request: Request, types: Collection[str]) -> bytes:
    """The body, unpacked where it is gzip; a body without a content type passes.

    Raises:
        Problem: 415, another type or encoding; 413, more than a megabyte once unpacked; 400, not what it says it is.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given and given not in types:
        raise Problem(415, "unsupported_media_type", f"the body must be {' or '.join(types)}, not {given[:100]}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return await request.body()
    if encoding not in ("gzip", "x-gzip"):
        raise Problem(
            415,
            "unsupported_encoding",
            f"the body may be plain or gzip, not {encoding[:100]}",
            headers={"Accept-Encoding": "gzip"},
        )
    return _unpacked(await request.body())


def _unpacked(body: bytes) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(body, MAX_BATCH_BYTES + 1)
    except zlib.error as error:
        raise Problem(400, "invalid_encoding", f"the body is not gzip: {error}") from None
    if len(plain) > MAX_BATCH_BYTES:
        raise Problem(413, "too_large", f"a request body may have {MAX_BATCH_BYTES:,} bytes at most, unpacked as well")
    if not stream.eof:
        raise Problem(400, "invalid_encoding", "the gzip body ends too early")
    return plain


def batch(body: bytes) -> list[object]:
    """The events of `{"events": […]}`: parsed, or as text where one alone is not proper JSON (NaN, half a surrogate).

    Raises:
        Problem: 400, not JSON at all; 422, not this shape; 413, more than 500 events.
    """
    try:
        found, strict = orjson.loads(body), True
    except orjson.JSONDecodeError as error:
        found, strict = _lenient(body, error), False
    events = found.get("events") if isinstance(found, dict) else None
    if not isinstance(events, list):
        raise Problem(422, "invalid_request", 'the body must be {"events": […]}')
    if len(events) > MAX_BATCH_EVENTS:
        raise Problem(413, "too_many_events", f"at most {MAX_BATCH_EVENTS} events a batch, not {len(events):,}")
    # Text in the place of an event is no event, also when it holds the JSON of one.
    judged = events if strict else [_strict_or_text(event) for event in events]
    return [orjson.dumps(event) if isinstance(event, str) else event for event in judged]


def lines(body: bytes) -> list[str]:
    """The lines of a report; empty ones are left out.

    Raises:
        Problem: 400, not UTF-8; 413, more than 500 lines.
    """
    try:
        found = [line for line in body.decode().split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_encoding", f"the body is not UTF-8: {error}") from None
    if len(found) > MAX_BATCH_EVENTS:
        raise Problem(413, "too_many_events", f"at most {MAX_BATCH_EVENTS} reports a body, not {len(found):,}")
    return found


def _lenient(body: bytes, error: Exception) -> object:
    """What Python's own parser makes of it, which takes what single events may have got wrong."""
    try:
        return json.loads(body)
    except RecursionError:
        raise Problem(400, "invalid_json", "the body is nested too deeply") from None
    except ValueError:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from None


def _strict_or_text(event: object) -> object:
    text = json.dumps(event).encode()
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
