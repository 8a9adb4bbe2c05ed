"""The features as data: which view has which columns, about whom, and for how long a value holds.

Both joins are made from this one list: Feast's definitions and our own ASOF join.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Kind = Literal["string", "int32", "int64", "double"]

DEFINITIONS = 2  # one more with each change of a column's name, kind or meaning
PROJECT = "matinee"
SERVICE = "ranker_v1"
PUSH_SOURCE = "profile_events"
EVENT_TIMESTAMP = "event_timestamp"


@dataclass(frozen=True)
class Entity:
    name: str
    join_key: str


@dataclass(frozen=True)
class View:
    """One mart `feat_<name>`: one row per entity and day; `ttl`: how long the newest is believed (None: for ever)."""

    name: str
    entity: Entity
    columns: tuple[tuple[str, Kind], ...]
    ttl: timedelta | None
    about: str

    @property
    def mart(self) -> str:
        return f"feat_{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.columns)


PROFILE = Entity("profile", "profile_key")
TITLE = Entity("title", "title_id")

VIEWS: tuple[View, ...] = (
    View(
        "profile_activity",
        PROFILE,
        (("plays_7d", "int64"), ("plays_30d", "int64"), ("hours_30d", "double"), ("completion_30d", "double")),
        timedelta(days=30),
        "How much a profile watches.",
    ),
    View(
        "profile_taste",
        PROFILE,
        (("top_genre", "string"), ("top_genre_share", "double"), ("genres_watched", "int64")),
        timedelta(days=90),
        "What a profile likes, of the last 90 days.",
    ),
    View(
        "title_popularity",
        TITLE,
        (
            ("plays_7d", "int64"),
            ("plays_14d", "int64"),
            ("plays_30d", "int64"),
            ("viewers_30d", "int64"),
            ("completion_30d", "double"),
        ),
        timedelta(days=30),
        "How much a title is watched.",
    ),
    View(
        "title_content",
        TITLE,
        (
            ("kind", "string"),
            ("year", "int32"),
            ("runtime_s", "int32"),
            ("maturity", "int32"),
            ("main_genre", "string"),
            ("kbps_vmaf_95", "double"),
        ),
        None,
        "What a title is.",
    ),
)


def full_name(view: View, column: str) -> str:
    """The name of a feature in a frame: two views may have columns of the same name."""
    return f"{view.name}__{column}"


def pushed() -> tuple[View, ...]:
    """The views that events feed as well as builds: the push source `profile_events`."""
    return tuple(view for view in VIEWS if view.entity == PROFILE)
