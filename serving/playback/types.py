"""What clients send and hear about playing."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


class WatchRequest(BaseModel):
    """Without a profile the account's first one watches."""

    profile_id: Annotated[str, Field(max_length=256)] | None = None


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
    """A playback session. A series answers with the episode to go on with: `title_id` says which."""

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


class Position(BaseModel):
    position_ms: Annotated[int, Field(ge=0, le=2**53)]


class Renewal(BaseModel):
    """A fresh address of the same package; the old one stays good until it expires."""

    manifest: Manifest
    expires_at: datetime
