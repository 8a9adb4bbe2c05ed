"""The log of the API: one JSON object a line, without what is secret or a person's.

Whatever a library, a database or a traceback says passes the same masks: tokens, cookies, passwords in URLs and
fields, e-mails, the tokens of media addresses, and every value of a query (ASVS 5.0, 16.2.5).
"""

import logging
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

# The id of the request that is being answered, and of its trace, for whatever is logged meanwhile.
REQUEST: ContextVar[tuple[str, str]] = ContextVar("REQUEST", default=("", ""))

_HIDDEN = "-"
_NAMES = r"pass(?:word|phrase|wd)?|secret|\w*token|authorization|(?:set-)?cookie|api[_-]?key"
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), masked)
    for pattern, masked in (
        (r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}", rf"\1 {_HIDDEN}"),
        (r"\beyJ[\w-]+\.[\w-]*\.[\w-]*", _HIDDEN),  # a JWT
        (r"/v/[^/\s\"'?{]+", f"/v/{_HIDDEN}"),  # a media address
        (r"(://)[^/\s@\"']+@", rf"\1{_HIDDEN}@"),  # user and password of a URL
        (r"([?&][\w.\[\]-]+=)[^&\s\"'<>)]+", rf"\1{_HIDDEN}"),
        (r"\b((?:__Host-|__Secure-)?matinee_\w+=)[^;\s\"',]+", rf"\1{_HIDDEN}"),
        (rf"(?i)([\"']?\b(?:{_NAMES})[\"']?\s*[:=]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s\"',;}}]+)", rf"\1{_HIDDEN}"),
        (r"(?i)(\b(?:code|otp|pin)[\"']?\s*[:=]\s*[\"']?)\d{4,10}\b", rf"\1{_HIDDEN}"),
        (r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}", f"{_HIDDEN}@{_HIDDEN}"),
    )
)


def masked(text: str) -> str:
    """The text without secrets and e-mails."""
    for pattern, hidden in _MASKS:
        text = pattern.sub(hidden, text)
    return text


class JsonLines(logging.Formatter):
    """`at` (RFC 3339, UTC), `level`, `logger`, `message`, the request's ids, `fields` of the caller, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        request_id, trace_id = REQUEST.get()
        entry: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
            **({"request_id": request_id} if request_id else {}),
            **({"trace_id": trace_id} if trace_id else {}),
            **{name: _field(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if record.exc_info:
            entry["exception"] = masked("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return orjson.dumps(entry, default=str).decode()


def _field(value: object) -> object:
    return masked(value) if isinstance(value, str) else value


def set_up(level: str = "INFO") -> None:
    """Send everything that is logged in this process to standard error as JSON lines."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[lines], force=True)
    # Each of these tells every single request, of the event log for instance.
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
