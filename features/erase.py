"""The feature store's part in forgetting people: their rows in Redis.

Offline values are the published marts, which the warehouse forgets. The registry names views, nobody's values.
"""

import struct
from collections.abc import Iterable

import redis

from features.views import PROFILE, PROJECT

_STRING = 2  # Feast's ValueType.STRING
_ONCE = 1_000


def online_key(profile_key: str) -> bytes:
    """Under which name Feast keeps a profile's values: its entity key in serialization 3, then the project.

    Written out, for importing Feast takes longer than an erasure may; a test holds it to Feast's own.
    """
    words = (PROFILE.join_key.encode(), profile_key.encode())
    packed = b"".join(struct.pack("<II", _STRING, len(word)) + word for word in words)
    return struct.pack("<I", 1) + packed + PROJECT.encode()


def forget_online(client: redis.Redis, profile_keys: Iterable[str]) -> int:
    """Delete the online values of these profiles; returns of how many there were any."""
    names = [online_key(key) for key in sorted(profile_keys)]
    return sum(int(client.delete(*names[at : at + _ONCE])) for at in range(0, len(names), _ONCE))  # pyright: ignore[reportArgumentType] - a number, not awaited
