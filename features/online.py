"""What a model knows of a viewer at this moment, in one round trip to Redis and without importing Feast.

Feast keeps a profile's values in one hash: field = murmur3 of `<view>:<feature>`, value = a `Value` message of Protocol
Buffers, and when they were true under `_ts:<view>`. That is read here; a test holds it to Feast's own answer. What is
not there, or is of another kind than `features.views` says (a registry older or newer than this code), is unknown.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import mmh3

from features.keys import DONE, HISTORY, SEEDED, VERSION, online_key
from features.views import PROFILE, VIEWS, Kind, View, full_name
from matinee.clock import Clock, SystemClock

if TYPE_CHECKING:
    import redis.asyncio

NEWEST = 200
Feature = float | str | None

_VIEWS = tuple(view for view in VIEWS if view.entity == PROFILE)
_DAY_S = 86_400
# Of Feast's message `Value`: number of the field -> the kinds of ours that may stand there.
_TEXT, _INT32, _INT64, _DOUBLE, _FLOAT = 2, 3, 4, 5, 6
_KINDS: Mapping[Kind, tuple[int, ...]] = {
    "string": (_TEXT,),
    "int32": (_INT32, _INT64),
    "int64": (_INT32, _INT64),
    "double": (_DOUBLE, _FLOAT),
}


@dataclass(frozen=True, slots=True)
class Known:
    """A viewer now: items liked, oldest first, the newest 200, each with the moment (epoch seconds) when it first was;
    what is finished or rated; features by `<view>__<feature>`, None where unknown or too old to be believed."""

    titles: tuple[str, ...]
    times: tuple[float, ...]
    done: frozenset[str]
    features: Mapping[str, Feature]


class Online:
    """Reads of the API. Every method raises `redis.RedisError` where Redis does not answer."""

    def __init__(self, client: "redis.asyncio.Redis", clock: Clock | None = None) -> None:
        """`client` answers in bytes."""
        self._client, self._clock = client, clock or SystemClock()

    async def versions(self, profile_keys: Sequence[str]) -> list[bytes | None]:
        """For each profile what every change of what is known of it changes: a counter that events raise, and the
        content of the build that was last brought online; None: nothing came live, and no build was."""
        if not profile_keys:
            return []
        *counters, build = await self._client.mget([*(VERSION + key for key in profile_keys), SEEDED])
        return counters if build is None else [b"%b of %b" % (counter or b"0", build) for counter in counters]

    async def done(self, profile_keys: Sequence[str]) -> list[frozenset[str]]:
        """For each profile what is finished or rated."""
        pipeline = self._client.pipeline(transaction=False)
        for key in profile_keys:
            pipeline.smembers(DONE + key)
        return [frozenset(item.decode() for item in found) for found in await pipeline.execute()]

    async def viewer(self, profile_key: str) -> Known:
        """All that is known of one viewer; of an unknown one, nothing."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zrevrange(HISTORY + profile_key, 0, NEWEST - 1, withscores=True)
        pipeline.smembers(DONE + profile_key)
        pipeline.execute_command("HMGET", online_key(profile_key), *FIELDS)
        liked, done, values = await pipeline.execute()
        liked.reverse()
        return Known(
            tuple(item.decode() for item, _ in liked),
            tuple(moment for _, moment in liked),
            frozenset(item.decode() for item in done),
            decoded(values, self._clock.now()),
        )


def decoded(values: Sequence[bytes | None], now: datetime) -> dict[str, Feature]:
    """The features that the values of `FIELDS`, in that order, say at this moment."""
    features: dict[str, Feature] = {}
    answers = iter(values)
    for view in _VIEWS:
        live = _believed(view, next(answers), now)
        for name, kind in view.columns:
            value = next(answers)
            features[full_name(view, name)] = _value(value, kind) if live and value else None
    return features


def _field(view: View, name: str) -> bytes:
    return struct.pack("<I", mmh3.hash(f"{view.name}:{name}", signed=False))


def fields_of(view: View) -> tuple[bytes, ...]:
    """The fields of a view in the hash of its entity: the moment, then each column."""
    return (f"_ts:{view.name}".encode(), *(_field(view, name) for name in view.names))


FIELDS: tuple[bytes, ...] = tuple(field for view in _VIEWS for field in fields_of(view))


def _believed(view: View, stamp: bytes | None, now: datetime) -> bool:
    """Whether values of this moment still count. A live row counts as long as that of its whole day will."""
    if stamp is None:
        return False
    try:
        seconds = _numbers(stamp).get(1, 0)
    except (IndexError, ValueError):
        return False
    end_of_day = -(-seconds // _DAY_S) * _DAY_S
    return view.ttl is None or end_of_day + view.ttl.total_seconds() >= now.timestamp()


def _value(message: bytes, kind: Kind) -> Feature:
    """What a `Value` holds; None for another kind than the one that is asked for, and for what is no `Value`."""
    number, wire = message[0] >> 3, message[0] & 7
    if number not in _KINDS[kind]:
        return None
    try:
        if wire == 0:
            value, _ = _varint(message, 1)
            return value - 2**64 if value >= 2**63 else value
        if wire == 2:
            size, start = _varint(message, 1)
            return message[start : start + size].decode()
        return struct.unpack_from("<d" if wire == 1 else "<f", message, 1)[0]
    except (IndexError, ValueError, struct.error):
        return None


def _numbers(message: bytes) -> dict[int, int]:
    """The whole numbers of a message that has nothing else (`Timestamp`), by the number of their field."""
    found, at = {}, 0
    while at < len(message):
        if message[at] & 7:
            raise ValueError(f"field {message[at] >> 3} is no whole number")
        number = message[at] >> 3
        found[number], at = _varint(message, at + 1)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in sevens of bits, lowest first, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def moment_of(stamp: bytes | None) -> datetime | None:
    """The moment under `_ts:<view>`, to the microsecond."""
    if stamp is None:
        return None
    found = _numbers(stamp)
    return datetime.fromtimestamp(found.get(1, 0), UTC) + timedelta(microseconds=found.get(2, 0) // 1_000)
