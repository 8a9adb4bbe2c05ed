"""The catalogue feed: JSON Lines, one title a line."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from matinee.ids import TITLE_ID_PATTERN

Kind = Literal["film", "series", "season", "episode", "extra"]
Maturity = Literal[0, 6, 12, 16, 18]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
TitleId = Annotated[str, Field(pattern=TITLE_ID_PATTERN)]
Line = Annotated[str, Field(min_length=1, max_length=500)]

# What a title of this kind may hang under; None: it may stand alone.
PARENTS: dict[str, frozenset[str | None]] = {
    "film": frozenset({None}),
    "series": frozenset({None}),
    "season": frozenset({"series"}),
    "episode": frozenset({"series", "season"}),
    "extra": frozenset({None, "film", "series", "season", "episode"}),
}


class Person(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: Line
    role: Line


class Offer(BaseModel):
    """On which terms a title may be watched; without regions everywhere, without a window always.

    `from` is inclusive, `until` is exclusive. `price` is in major units of `currency` (ISO 4217).
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    kind: Literal["subscription", "rent", "buy", "free"]
    plans: tuple[Line, ...] = ()
    price: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)] | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    regions: tuple[Country, ...] = ()
    from_: AwareDatetime | None = Field(default=None, alias="from")
    until: AwareDatetime | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Offer":
        if self.kind in ("rent", "buy") and (self.price is None or self.currency is None):
            raise ValueError(f"a {self.kind} offer needs a price and a currency")
        if self.from_ and self.until and self.until <= self.from_:
            raise ValueError(f"an offer must end after it starts: {self.from_} .. {self.until}")
        if self.price is not None and self.currency is not None:
            _check_decimals(self.price, self.currency)
        return self

    def open_at(self, moment: datetime) -> bool:
        return (self.from_ is None or self.from_ <= moment) and (self.until is None or moment < self.until)


def _check_decimals(price: Decimal, currency: str) -> None:
    """What cannot be paid cannot be sold: a price has as many decimal places as its currency (CLDR)."""
    from babel.numbers import get_currency_precision, list_currencies

    if currency not in list_currencies("en"):
        raise ValueError(f"there is no currency {currency}: give a code of ISO 4217")
    places = get_currency_precision(currency)
    if price != round(price, places):
        raise ValueError(f"{price} {currency}: prices in {currency} have {places} decimal places")


class FeedTitle(BaseModel):
    """One line of the feed. `extra` takes anything; it is kept, indexed and returned."""

    model_config = ConfigDict(frozen=True)

    id: TitleId
    kind: Kind
    parent: TitleId | None = None
    titles: Annotated[dict[Language, Line], Field(min_length=1)]
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

    @model_validator(mode="after")
    def _parent_if_needed(self) -> "FeedTitle":
        if self.parent is None and None not in PARENTS[self.kind]:
            raise ValueError(f"a {self.kind} needs a parent")
        if self.parent is not None and PARENTS[self.kind] == {None}:
            raise ValueError(f"a {self.kind} has no parent, got {self.parent!r}")
        return self
