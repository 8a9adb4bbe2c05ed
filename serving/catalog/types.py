"""What clients hear about titles. Texts come in every language that the catalogue has: `{"en": …, "ru": …}`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from matinee.contracts.feed import Kind

Reason = Literal[
    "unauthenticated",
    "unpublished",
    "maturity",
    "age",
    "region",
    "no_offer",
    "not_playable",
    "plan",
    "rental",
    "streams",
]


class Card(BaseModel):
    """A title in a list. `poster` is an address below this server, null where there is none."""

    title_id: str
    kind: Kind
    titles: dict[str, str]
    year: int | None
    runtime_s: int | None
    maturity: int
    genres: list[str]
    playable: bool
    poster: str | None


class Listed(Card):
    """`refusal` says why it would not play for this viewer, null where it would."""

    refusal: Reason | None


class Page(BaseModel):
    """`next_cursor` is null on the last page."""

    items: list[Listed]
    next_cursor: str | None


class Person(BaseModel):
    name: str
    role: str


class Credit(Person):
    """Who has the same name has the same `person_id`."""

    person_id: str


class Role(BaseModel):
    role: str
    titles: list[Listed]


class PersonPage(BaseModel):
    person_id: str
    name: str
    roles: list[Role]


class Facet(BaseModel):
    value: str
    titles: int


class Facets(BaseModel):
    """How many titles of the list have each value, the largest first; people are not counted."""

    kind: list[Facet] = []
    genre: list[Facet] = []
    tag: list[Facet] = []
    country: list[Facet] = []
    language: list[Facet] = []
    offer: list[Facet] = []
    maturity: list[Facet] = []
    playable: list[Facet] = []


class Offer(BaseModel):
    """`price` is in major units of `currency`, as a decimal string."""

    kind: Literal["subscription", "rent", "buy", "free"]
    plans: list[str]
    price: str | None
    currency: str | None
    regions: list[str]
    from_: datetime | None = Field(alias="from")
    until: datetime | None


class Child(Card):
    """A season or an episode; `position_ms` is where the viewer's profile stopped."""

    number: int | None
    season: int | None
    synopsis: dict[str, str]
    position_ms: int | None
    duration_ms: int | None
    children: list["Child"]


class Title(Card):
    """A title's page. `refusal` says why it would not play for this viewer, null where it would."""

    parent_id: str | None
    root_id: str
    number: int | None
    season: int | None
    synopsis: dict[str, str]
    people: list[Credit]
    tags: list[str]
    countries: list[str]
    images: dict[str, str]
    extra: dict[str, Any]
    offers: list[Offer]
    children: list[Child]
    next: str | None
    position_ms: int | None
    duration_ms: int | None
    refusal: Reason | None


class SimilarItem(Card):
    source: str
    reason: dict[str, Any]


class Similar(BaseModel):
    """`degraded`: no model knows this title (or none answers), so these share its genres."""

    items: list[SimilarItem]
    degraded: bool
