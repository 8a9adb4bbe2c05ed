"""What moderators see and say of titles, in the words of a feed."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from matinee.contracts.feed import Country, FeedTitle, Kind, Language, Line, Maturity, Offer, Person

State = Literal["draft", "review", "published", "withdrawn"]
Changeable = Literal[
    "titles", "synopsis", "year", "runtime_s", "genres", "people", "tags", "maturity", "countries", "images", "offers",
    "extra",
]  # fmt: skip


class Edit(BaseModel):
    """What is given is changed, and is the moderator's from then on; lists, texts and `extra` are given whole."""

    model_config = ConfigDict(extra="forbid")

    titles: Annotated[dict[Language, Line], Field(min_length=1)] = Field(default_factory=dict)
    synopsis: dict[Language, Annotated[str, Field(max_length=10_000)]] = Field(default_factory=dict)
    year: Annotated[int, Field(ge=1870, le=2200)] | None = None
    runtime_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    genres: tuple[Line, ...] = ()
    people: tuple[Person, ...] = ()
    tags: tuple[Line, ...] = ()
    maturity: Maturity = 18
    countries: tuple[Country, ...] = ()
    images: dict[str, str] = Field(default_factory=dict)
    offers: tuple[Offer, ...] = ()
    extra: dict[str, Any] = Field(default_factory=dict)


class Release(BaseModel):
    """Fields that the feed may write again."""

    model_config = ConfigDict(extra="forbid")

    fields: Annotated[tuple[Changeable, ...], Field(min_length=1)]


class Note(BaseModel):
    """Why a title goes back or away: whoever made it reads this."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(max_length=2_000)] | None = None


class Waiting(BaseModel):
    title_id: str
    kind: Kind
    state: State
    version: int
    titles: dict[str, str]
    note: str | None
    updated_at: datetime


class Queue(BaseModel):
    """`next_cursor` is null on the last page."""

    items: list[Waiting]
    next_cursor: str | None


class ModeratedTitle(BaseModel):
    """`version` is also the answer's ETag, and what `If-Match` has to name. `ours`: fields that no feed overwrites."""

    title: FeedTitle
    state: State
    version: int
    note: str | None
    ours: list[Changeable]
    from_feed: bool
    updated_at: datetime
