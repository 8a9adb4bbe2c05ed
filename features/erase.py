"""The feature store's part in forgetting people: their rows and their live state in Redis.

Offline values are the published marts, which the warehouse forgets. The registry names views, nobody's values.
"""

from collections.abc import Iterable

import psycopg
import redis

from features.keys import OF_A_PROFILE, online_key
from matinee import pseudonyms

_ONCE = 1_000


def forget_online(client: redis.Redis, profile_keys: Iterable[str]) -> int:
    """Delete what is online of these profiles: values, history, playbacks; returns how many keys there were."""
    names = [name for key in sorted(profile_keys) for name in (online_key(key), *(f"{of}{key}" for of in OF_A_PROFILE))]
    return sum(int(client.delete(*names[at : at + _ONCE])) for at in range(0, len(names), _ONCE))  # pyright: ignore[reportArgumentType] - a number, not awaited


def forget_erased(connection: psycopg.Connection, client: redis.Redis) -> int:
    """`forget_online` of all whom some file may still name. To be asked after something read long ago was written."""
    return forget_online(client, pseudonyms.erased_keys(connection).get("profile_key", ()))
