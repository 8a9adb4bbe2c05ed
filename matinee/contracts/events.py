"""The viewer event: one JSON object, version `viewer-event/1.x`.

Counters are cumulative within a `playback_id`, so a lost heartbeat costs nothing and the last one wins.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from matinee.ids import TITLE_ID_PATTERN

SCHEMA_NAME = "viewer-event"
SCHEMA_MAJOR = 1

MAX_BATCH_EVENTS = 500
MAX_BATCH_BYTES = 1_000_000
# An event may reach us this long after it happened (an offline device), and this little before (a wrong clock).
MAX_LATENESS = timedelta(days=3)
MAX_LEAD = timedelta(minutes=10)

Text = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=2**53)]
TitleId = Annotated[str, Field(pattern=TITLE_ID_PATTERN)]


class EventType(StrEnum):
    IMPRESSION = "impression"
    PLAY = "play"
    HEARTBEAT = "heartbeat"
    STOP = "stop"
    ERROR = "error"
    RATE = "rate"
    SEARCH = "search"
    FAVOURITE = "favourite"
    EXPOSURE = "exposure"


Origin = Literal["live", "import", "simulate"]
PLAYBACK_TYPES = frozenset({EventType.PLAY, EventType.HEARTBEAT, EventType.STOP})
TITLE_TYPES = PLAYBACK_TYPES | {EventType.IMPRESSION, EventType.RATE, EventType.FAVOURITE}


class Rate(BaseModel):
    value: Annotated[float, Field(ge=0.5, le=5)]


class Search(BaseModel):
    query: Text
    results: Count
    clicked: TitleId | None = None


class PlaybackError(BaseModel):
    code: Text
    fatal: bool


class Exposure(BaseModel):
    experiment: Text
    variant: Text
    salt: Text


class Favourite(BaseModel):
    on: bool


DATA_TYPES: dict[EventType, type[BaseModel]] = {
    EventType.RATE: Rate,
    EventType.SEARCH: Search,
    EventType.ERROR: PlaybackError,
    EventType.EXPOSURE: Exposure,
    EventType.FAVOURITE: Favourite,
}


class Surface(BaseModel):
    """Where on the screen the title stood, and what put it there."""

    row: Text | None = None
    position: Count | None = None
    model: Text | None = None
    version: Text | None = None
    propensity: Annotated[float, Field(ge=0, le=1)] | None = None
    source: Text | None = None
    request_id: Text | None = None


class Event(BaseModel):
    """One thing that a viewer did or was shown.

    Fields that a newer minor version adds are ignored here and stay in the raw bytes of the event log.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    event_id: UUID
    schema_: str = Field(alias="schema", pattern=r"^viewer-event/1\.\d{1,3}$")
    origin: Origin = "live"
    account_id: Text | None = None
    profile_id: Text | None = None
    session_id: Text
    playback_id: Text | None = None
    seq: Count = 0
    title_id: TitleId | None = None
    device: Text | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    ts_client: AwareDatetime
    ts_sent: AwareDatetime
    received_at: AwareDatetime | None = None
    type: EventType
    position_ms: Count | None = None
    played_ms: Count | None = None
    stall_ms: Count | None = None
    stalls: Count | None = None
    paused_ms: Count | None = None
    startup_ms: Count | None = None
    bits: Count | None = None
    rendition: Text | None = None
    surface: Surface | None = None
    experiments: dict[str, str] = Field(default_factory=dict, max_length=50)
    data: dict[str, Any] = Field(default_factory=dict)
    bot: Text | None = None  # why the sender counts as one (`user_agent`, `rate`); the server alone writes it

    @model_validator(mode="after")
    def _fits_its_type(self) -> "Event":
        if self.type in PLAYBACK_TYPES and not self.playback_id:
            raise ValueError(f"a {self.type} event needs a playback_id")
        if self.type in TITLE_TYPES and not self.title_id:
            raise ValueError(f"a {self.type} event needs a title_id")
        if shape := DATA_TYPES.get(self.type):
            shape.model_validate(self.data)
        return self

    def happened_at(self, received_at: datetime) -> datetime:
        """Event time with the client's clock error taken out: `received_at - (ts_sent - ts_client)`."""
        return received_at - (self.ts_sent - self.ts_client)
