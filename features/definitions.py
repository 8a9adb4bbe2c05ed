"""The Feast objects of the views, over the published marts. Importing this module imports Feast (5 s): do it late."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.feast_object import FeastObject
from feast.types import FeastType, Float64, Int32, Int64, String

from features.views import EVENT_TIMESTAMP, PUSH_SOURCE, SERVICE, VIEWS, View, pushed

_TYPES: dict[str, FeastType] = {"string": String, "int32": Int32, "int64": Int64, "double": Float64}


def objects(marts: Path) -> list[FeastObject]:
    """Entities, views and the service `ranker_v1`; `marts` is the folder with `feat_<name>.parquet`."""
    entities = {
        entity.name: Entity(name=entity.name, join_keys=[entity.join_key], value_type=ValueType.STRING)
        for entity in dict.fromkeys(view.entity for view in VIEWS)
    }
    views = [_feature_view(view, entities[view.entity.name], marts) for view in VIEWS]
    service = FeatureService(name=SERVICE, features=[*views], description="What the ranker knows of viewer and title.")
    return [*entities.values(), *views, service]


def _feature_view(view: View, entity: Entity, marts: Path) -> FeatureView:
    mart = FileSource(name=view.mart, path=str(marts / f"{view.mart}.parquet"), timestamp_field=EVENT_TIMESTAMP)
    # One push source feeds several views, and each has a mart of its own behind it: so it is made for each anew.
    events = PushSource(name=PUSH_SOURCE, batch_source=mart, description="What a viewer's events say within a second.")
    return FeatureView(
        name=view.name,
        entities=[entity],
        ttl=view.ttl or timedelta(0),
        schema=[
            Field(name=view.entity.join_key, dtype=String),
            *(Field(name=name, dtype=_TYPES[kind]) for name, kind in view.columns),
        ],
        source=events if view in pushed() else mart,
        online=True,
        description=view.about,
    )
