"""What clients send and hear about playing."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# What PostgreSQL would not take must be refused before a slot is taken.
_PRINTABLE = r"^[ -~\u00a0-\uffff]*$"


class PlayingDevice(BaseModel):
    """What plays: its kind, a name for people ("Kitchen"), and how many lines it shows."""

    model_config = ConfigDict(frozen=True)  # a default that cannot change is not copied for each request

    kind: Literal["web", "phone", "tablet", "tv", "console", "other"] = "web"
    name: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=_PRINTABLE)] | None
    ) = None
    max_height: Annotated[int, Field(ge=144, le=8640)] | None = None


class WatchRequest(BaseModel):
    """Without a profile the one that the sign-in has entered watches.

    `take_over`: a playback of the account, from the refusal `streams`, that ends for this one.
    """

    profile_id: Annotated[str, Field(max_length=256, pattern=_PRINTABLE)] | None = None
    device: PlayingDevice = PlayingDevice()
    take_over: Annotated[str, Field(max_length=64, pattern=_PRINTABLE)] | None = None


class Manifest(BaseModel):
    """Addresses below this server, good until `expires_at` and only with the playback cookie."""

    hls: str
    dash: str | None = None


class NextTitle(BaseModel):
    title_id: str
    titles: dict[str, str]


class Marker(BaseModel):
    """A stretch that a player offers to skip; `next_episode` is where it offers to go on with `next`."""

    kind: Literal["intro", "credits", "next_episode"]
    start_ms: int
    end_ms: int


class Watch(BaseModel):
    """A playback session. A series answers with the episode to go on with: `title_id` says which.

    `keys`: where players ask for content keys, with the cookie of this answer. `max_height`: the rungs above are left
    out. `plays_until`: when the rental ends.
    """

    playback_id: str
    title_id: str
    manifest: Manifest
    expires_at: datetime
    resume_ms: int
    duration_ms: int
    heartbeat_s: int
    markers: list[Marker]
    tracks: dict[str, Any]
    next: NextTitle | None
    keys: str
    max_height: int | None
    plays_until: datetime | None


class Position(BaseModel):
    """Where the film is, and how old that is: a device that was offline tells late."""

    position_ms: Annotated[int, Field(ge=0, le=2**53)]
    age_ms: Annotated[int, Field(ge=0, le=30 * 86_400_000)] = 0


class Stop(BaseModel):
    """Where the film was left, where the player knows it."""

    position_ms: Annotated[int, Field(ge=0, le=2**53)] | None = None
    age_ms: Annotated[int, Field(ge=0, le=30 * 86_400_000)] = 0


class Renewal(BaseModel):
    """The address of the same package, new at most once a minute; the one before opens for a minute more."""

    manifest: Manifest
    expires_at: datetime
