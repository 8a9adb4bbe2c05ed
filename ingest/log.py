"""The event log: one Redis stream. An entry that Redis acknowledged is on disk there (`appendfsync always`)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

import orjson
import redis

from ingest.errors import IngestError, LogUnavailableError
from ingest.intake import Code, Entry, is_account_id, printable
from matinee.contracts.events import Origin

if TYPE_CHECKING:
    import redis.asyncio

STREAM = "events"
_PIPELINE = 1_000

Fields = Mapping[bytes, bytes]
Raw = tuple[bytes, list[bytes]]  # log id; names and values in turn


def append(client: redis.Redis, entries: Sequence[Entry]) -> list[str]:
    """Write entries and wait until they are on disk; returns their log ids.

    Raises:
        LogUnavailableError: Redis did not acknowledge all; those that it took may come once more, with the same ids.
    """
    ids: list[bytes] = []
    try:
        for start in range(0, len(entries), _PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for entry in entries[start : start + _PIPELINE]:
                pipeline.xadd(STREAM, {**fields(entry)})
            ids += pipeline.execute()
    except redis.RedisError as error:
        raise _unavailable(error) from error
    return [_text(log_id) for log_id in ids]


async def append_async(client: "redis.asyncio.Redis", entries: Sequence[Entry]) -> list[str]:
    """As `append`, for the API's event loop: it returns only after Redis acknowledged every entry."""
    ids: list[bytes] = []
    try:
        for start in range(0, len(entries), _PIPELINE):
            async with client.pipeline(transaction=False) as pipeline:
                for entry in entries[start : start + _PIPELINE]:
                    pipeline.xadd(STREAM, {**fields(entry)})
                ids += await pipeline.execute()
    except redis.RedisError as error:
        raise _unavailable(error) from error
    return [_text(log_id) for log_id in ids]


def fields(entry: Entry) -> dict[str, bytes | str]:
    """The fields of the stream entry: `event` for an event; a dead letter carries what is known about it besides."""
    if entry.code is None:
        return {"event": entry.body}
    known: dict[str, bytes | str] = {
        "event": entry.body,
        "code": entry.code,
        "reason": entry.reason,
        "origin": entry.origin,
        "received_at": entry.received_at.isoformat(),
    }
    if entry.account_id:
        known["account_id"] = entry.account_id
    if stamp := {name: value for name, value in (entry.stamp or {}).items() if value is not None}:
        known["stamp"] = orjson.dumps(stamp)
    return known


def dead_entry(found: Fields) -> Entry | None:
    """The dead letter that these fields hold; None where they hold an event.

    Raises:
        ValueError: the fields are not ours.
    """
    if b"event" not in found:
        raise ValueError(f"no field `event` among {sorted(found)[:5]}")
    if b"code" not in found:
        return None
    account = found.get(b"account_id", b"").decode()
    received_at = datetime.fromisoformat(found.get(b"received_at", b"").decode())
    if received_at.tzinfo is None or (account and not is_account_id(account)):
        raise ValueError("a dead letter without a time zone, or of no possible account")
    return Entry(
        body=found[b"event"],
        received_at=received_at,
        origin=cast(Origin, found.get(b"origin", b"live").decode()),
        account_id=account or None,
        code=cast(Code, printable(found[b"code"].decode())),
        reason=printable(found.get(b"reason", b"").decode(errors="replace")),
        stamp=orjson.loads(found.get(b"stamp", b"{}")),
    )


def position(log_id: str) -> tuple[int, int]:
    """A log id as numbers that sort: milliseconds and sequence.

    Raises:
        IngestError: it is not a log id.
    """
    milliseconds, _, sequence = log_id.partition("-")
    try:
        return int(milliseconds), int(sequence or 0)
    except ValueError:
        raise IngestError(f"{log_id!r} is not an id of the event log (like 1700000000000-0)") from None


def after(log_id: str) -> str:
    """The smallest id that comes after this one."""
    milliseconds, sequence = position(log_id)
    return f"{milliseconds}-{sequence + 1}"


def end(client: redis.Redis) -> str:
    """The id of the last entry ever written, also when it has been trimmed since; `0-0` for a log that is new."""
    try:
        return _text(cast(dict[str, bytes], client.xinfo_stream(STREAM))["last-generated-id"])
    except redis.ResponseError:
        if client.exists(STREAM):
            raise
        return "0-0"


def read(client: redis.Redis, last_id: str, count: int, block_ms: int | None = None) -> list[Raw]:
    """Up to `count` entries after `last_id`, oldest first; waits up to `block_ms` for the first one.

    `client` comes from `connect`: it hands over what Redis answers as it is, since making a dictionary of every entry
    takes as long as reading it.
    """
    block = () if block_ms is None else ("BLOCK", block_ms)
    answer = client.execute_command("XREAD", "COUNT", count, *block, "STREAMS", STREAM, last_id)
    return cast("list[tuple[bytes, list[Raw]]]", answer)[0][1] if answer else []


def fields_of(values: Sequence[bytes]) -> Fields:
    """The fields of an entry as read."""
    return dict(zip(values[::2], values[1::2], strict=True))


def length(client: redis.Redis) -> int:
    """How many entries wait."""
    return cast(int, client.xlen(STREAM))


def has(client: redis.Redis, log_id: str) -> bool:
    """Whether the log still holds this entry."""
    return bool(client.xrange(STREAM, min=log_id, max=log_id, count=1))


def trim(client: redis.Redis, last_id: str) -> None:
    """Drop the entries up to and including `last_id`: they are in the lake."""
    client.xtrim(STREAM, minid=after(last_id), approximate=False)


def connect(url: str) -> redis.Redis:
    """A client of the event log; it answers in bytes."""
    client = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5, protocol=2)
    client.set_response_callback("XREAD", lambda answer, **_: answer)
    return client


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _unavailable(error: redis.RedisError) -> LogUnavailableError:
    return LogUnavailableError(
        f"the event log does not take entries ({error}): start it with `matinee up` and send again"
    )
