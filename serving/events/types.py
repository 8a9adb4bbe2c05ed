"""What clients send and hear about events."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from matinee.contracts.events import MAX_BATCH_EVENTS


class EventBatch(BaseModel):
    """Viewer events (see the JSON Schema `viewer-event-1`), 500 and 1 MB at most."""

    events: Annotated[list[dict[str, Any]], Field(max_length=MAX_BATCH_EVENTS)]


class RejectedEvent(BaseModel):
    """The event at `index` was refused; sending it again unchanged does not help."""

    index: int
    code: str


class Intake(BaseModel):
    """The accepted events are on disk."""

    accepted: int
    rejected: list[RejectedEvent]


class Reports(Intake):
    """As for events; `ignored` reports tell nothing of a viewer: responses to requests, a player that is made ready."""

    ignored: int
