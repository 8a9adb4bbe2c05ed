"""The names under which Feast keeps what is to be forgotten, and builds that would bring it back."""

import psycopg
import pytest
import redis

from features import store
from features.erase import forget_online
from features.keys import PLAYS, online_key, profile_of
from features.turns import alone, building, turn
from features.views import PROFILE, PROJECT, VIEWS, View
from matinee import pseudonyms
from matinee.db.connect import connect
from matinee.settings import Settings


def test_the_online_key_is_the_one_that_feast_makes() -> None:
    from feast.infra.online_stores.helpers import _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    for key in ("a" * 64, "profile", "\u0451"):
        entity = EntityKey(join_keys=[PROFILE.join_key], entity_values=[Value(string_val=key)])
        assert online_key(key) == _redis_key(PROJECT, entity, 3)
        assert [profile_of(name) for name in (online_key(key), f"{PLAYS}{key}".encode())] == [key, key]


def test_who_is_erased_while_features_come_online_is_not_there_in_the_end(
    settings: Settings, lay, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay.publish(settings, lay.sample())
    client, materialise, seen = redis.Redis.from_url(settings.redis()), store._materialise, []

    def and_meanwhile(feast, view: View, newest) -> None:
        if not seen:  # Feast is about to write what the snapshot said when it began
            with connect(settings) as connection:
                pseudonyms.destroy(connection, ["someone"], {"profile_key": ["a"]})
            forget_online(client, ["a"])
        materialise(feast, view, newest)
        seen.append(client.exists(online_key("a")))
        if len(seen) == len(VIEWS):
            raise InterruptedError

    monkeypatch.setattr(store, "_materialise", and_meanwhile)
    with pytest.raises(InterruptedError):
        store.apply_and_materialise(settings)
    assert (any(seen), client.exists(online_key("a")), client.exists(online_key("b"))) == (True, 0, 1)
    store.apply_and_materialise(settings)
    assert (client.exists(online_key("a")), client.exists(online_key("b"))) == (0, 1)
    client.close()


def test_keys_are_forgotten_when_no_build_is_half_way_and_the_worker_goes_on(settings: Settings) -> None:
    with connect(settings, autocommit=True) as build, connect(settings, autocommit=True) as other:
        other.execute("SET lock_timeout = '50ms'")
        with building(build):
            with pytest.raises(psycopg.errors.LockNotAvailable), alone(other):
                pass
            with turn(other), connect(settings, autocommit=True) as second, building(second):
                pass
        with alone(other):
            build.execute("SET lock_timeout = '50ms'")
            for block in (building, turn):
                with pytest.raises(psycopg.errors.LockNotAvailable), block(build):
                    pass
