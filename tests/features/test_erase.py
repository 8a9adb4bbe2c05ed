"""The names under which Feast keeps what is to be forgotten."""

from features.keys import online_key
from features.views import PROFILE, PROJECT


def test_the_online_key_is_the_one_that_feast_makes() -> None:
    from feast.infra.online_stores.helpers import _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    for key in ("a" * 64, "profile", "\u0451"):
        entity = EntityKey(join_keys=[PROFILE.join_key], entity_values=[Value(string_val=key)])
        assert online_key(key) == _redis_key(PROJECT, entity, 3)
