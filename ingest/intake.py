"""The door for viewer events: which of them go to the event log, and which go there marked as dead letters.

Pure: no clock, no network. The API, the simulator and the replay of dead letters all come through `accept`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from matinee.contracts.events import MAX_LATENESS, MAX_LEAD, SCHEMA_MAJOR, SCHEMA_NAME, Event, Origin

# The intake's own codes. A sender with further rules of its own writes its own codes into the log beside these.
Code = Literal["invalid_json", "invalid_event", "unknown_schema", "from_the_future", "too_late", "too_large"]

MAX_EVENT_BYTES = 64 * 1024
MAX_DEPTH = 32  # levels of lists and objects; the readers of the log stop at 200
# An event is called late, and counted, when it is received so long after it happened. It is accepted all the same.
LATE = timedelta(hours=1)
# A clock that is wrong by more than this is not corrected any more: the event counts as being from the future.
MAX_CLOCK_ERROR = timedelta(days=1)

# What changes when a client sends the same event once more, or what the server writes itself.
_TRANSPORT_FIELDS = ("ts_sent", "received_at", "origin", "account_id", "fingerprint", "bot")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the event log.

    `body` is JSON: for an event what was sent, with `account_id`, `origin`, `received_at` and `fingerprint` written by
    us and ids, numbers and times as the contract writes them; for a dead letter (`code` is set) the bytes as they came,
    and `stamp` is what would have been written into it.
    """

    body: bytes
    received_at: datetime
    origin: Origin
    account_id: str | None = None
    code: Code | None = None
    reason: str = ""
    stamp: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Rejection:
    """The event at `index` of the batch was refused: sending it again unchanged does not help."""

    index: int
    code: Code


@dataclass(frozen=True)
class Batch:
    """What goes to the log: every event that came in, the refused ones marked, in their order.

    `late` of the accepted ones happened more than an hour before they were received.
    """

    entries: tuple[Entry, ...]
    rejections: tuple[Rejection, ...]
    late: int = 0

    @property
    def accepted(self) -> int:
        return len(self.entries) - len(self.rejections)


class _RefusedError(Exception):
    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code: Code = code
        self.reason = printable(reason)


def printable(text: str) -> str:
    """Text that PostgreSQL can hold: it may quote what a client sent, down to NUL and half a surrogate pair."""
    return text.encode(errors="replace").decode().replace("\0", "?")[:500]


def is_account_id(value: object) -> bool:
    """Whether this can be the id of an account: short text that PostgreSQL can hold."""
    return isinstance(value, str) and 0 < len(value) <= 256 and "\0" not in value and value.isprintable()


def accept(
    raw: Sequence[object],
    *,
    received_at: datetime,
    origin: Origin,
    account_id: str | None = None,
    stamp: Mapping[str, Any] | None = None,
    bot: str | None = None,
) -> Batch:
    """Judge a batch of events, each a parsed JSON value or the text of one (bytes or str).

    `account_id` is whose token came with the batch and overrides what the events say. Without one, live events belong
    to nobody, while simulated and imported ones keep the account that they name. `stamp` holds further fields that the
    server knows better than the client (`country`, for one). `bot` says why the sender counts as a bot, and overrides
    what the events say: None for people. Imports know no lateness.
    """
    stamped = {**(stamp or {}), "bot": bot}
    entries: list[Entry] = []
    rejections: list[Rejection] = []
    late = 0
    for index, item in enumerate(raw):
        owner = account_id
        if owner is None and origin != "live" and isinstance(item, dict) and is_account_id(item.get("account_id")):
            owner = item["account_id"]
        try:
            body, is_late = _judge(item, received_at, origin, owner, stamped)
            entries.append(Entry(body, received_at, origin, owner))
            late += is_late
        except _RefusedError as refused:
            body = as_sent(item)
            entries.append(Entry(body, received_at, origin, owner, refused.code, refused.reason, stamped))
            rejections.append(Rejection(index, refused.code))
    return Batch(tuple(entries), tuple(rejections), late)


def _judge(
    item: object, received_at: datetime, origin: Origin, account_id: str | None, stamp: Mapping[str, Any]
) -> tuple[bytes, bool]:
    """The body for the log, and whether the event is late; raises `_RefusedError`."""
    sent = _parse(item)
    _check_depth(sent)
    _check_schema(sent)
    fingerprint = _fingerprint(sent)
    stamped = {**sent, **stamp, "account_id": account_id, "origin": origin, "received_at": received_at.astimezone(UTC)}
    if account_id is None:
        stamped["profile_id"] = None
    try:
        event = Event.model_validate(stamped)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "event"
        raise _RefusedError("invalid_event", f"{where}: {first['msg']}") from None
    is_late = _check_time(event, received_at, historical=origin == "import")
    normal = event.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return orjson.dumps({**stamped, **normal, "fingerprint": fingerprint}), is_late


def _parse(item: object) -> dict[str, Any]:
    if isinstance(item, str):
        item = item.encode(errors="surrogatepass")
    if isinstance(item, bytes | bytearray | memoryview):
        _check_size(len(item))
        try:
            item = orjson.loads(item)
        except orjson.JSONDecodeError as error:
            raise _RefusedError("invalid_json", f"not JSON: {error}") from None
    if not isinstance(item, dict):
        raise _RefusedError("invalid_event", f"an event is a JSON object, not {type(item).__name__}")
    return item


def _check_size(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise _RefusedError("too_large", f"{size:,} bytes, the limit is {MAX_EVENT_BYTES:,}")


def _check_depth(sent: dict[str, Any]) -> None:
    level: list[object] = [sent]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _RefusedError("invalid_event", f"nested deeper than {MAX_DEPTH} levels")


def _check_schema(sent: Mapping[str, Any]) -> None:
    schema = sent.get("schema")
    if not isinstance(schema, str):
        raise _RefusedError("invalid_event", "schema: missing or not a string")
    name, _, version = schema.partition("/")
    if name != SCHEMA_NAME or version.partition(".")[0] != str(SCHEMA_MAJOR):
        raise _RefusedError("unknown_schema", f"{schema[:80]!r}: this server speaks {SCHEMA_NAME}/{SCHEMA_MAJOR}.x")


def _check_time(event: Event, received_at: datetime, *, historical: bool) -> bool:
    """Whether the event is late; raises `_RefusedError` where it is out of the time that is taken."""
    try:
        happened = event.happened_at(received_at)
        lead = event.ts_sent - received_at
    except OverflowError:
        raise _RefusedError("invalid_event", "ts_client and ts_sent lie too far apart") from None
    if historical:
        return False
    if happened > received_at + MAX_LEAD:
        raise _RefusedError("from_the_future", f"it would happen {happened - received_at} after it was received")
    if lead > MAX_CLOCK_ERROR:
        raise _RefusedError("from_the_future", f"the sender's clock is {lead} ahead")
    if happened < received_at - MAX_LATENESS:
        raise _RefusedError("too_late", f"it happened {received_at - happened} before it was received")
    return happened < received_at - LATE


def _fingerprint(sent: dict[str, Any]) -> str:
    """SHA-256 over the event as sent, without what differs from one sending to the next; checks the size on the way."""
    try:
        _check_size(len(orjson.dumps(sent)))
        content = orjson.dumps(
            {k: v for k, v in sent.items() if k not in _TRANSPORT_FIELDS}, option=orjson.OPT_SORT_KEYS
        )
    except orjson.JSONEncodeError as error:
        raise _RefusedError("invalid_event", f"cannot be written as JSON: {error}") from None
    return hashlib.sha256(content).hexdigest()


def as_sent(item: object) -> bytes:
    """The bytes of a refused event: as they came, or the JSON that stands for them."""
    if isinstance(item, str):
        return item.encode(errors="surrogatepass")
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    try:
        return orjson.dumps(item)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(item, default=repr).encode()
    except (ValueError, RecursionError):
        return b"".join(_flat(item))


def _flat(item: object) -> Iterator[bytes]:
    """The JSON of a value that is nested too deeply for the libraries, which recurse; what is no JSON as its type."""
    waiting: list[object] = [item]
    while waiting:
        match waiting.pop():
            case bytes() as written:
                yield written
            case dict() as outer:
                waiting.append(b"}")
                for place, (name, value) in reversed(list(enumerate(outer.items()))):
                    waiting += [value, (b"," if place else b"") + json.dumps(str(name)).encode() + b":"]
                yield b"{"
            case list() as outer:
                waiting.append(b"]")
                for place, value in reversed(list(enumerate(outer))):
                    waiting += [value, b"," if place else b""]
                yield b"["
            case str() | int() | float() | None as value:
                yield json.dumps(value).encode()
            case other:
                yield json.dumps(type(other).__name__).encode()
