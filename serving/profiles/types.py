"""What clients send and hear about profiles."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from matinee.contracts.feed import Kind
from serving.accounts.types import Language, Role

Maturity = Literal[0, 6, 12, 16, 18]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]
Tag = Annotated[str, Field(max_length=35, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Subtitles = Annotated[str, Field(max_length=35, pattern=r"^(off|[a-z]{2,3}(-[A-Za-z0-9]{2,8})*)$")]
Pin = Annotated[str, Field(pattern=r"^[0-9]{4,6}$")]


class NewProfile(BaseModel):
    """A limit of twelve or less makes it a child's profile."""

    name: Name
    maturity: Maturity = 18
    language: Language = "en"
    colour: Colour = "#e8a33d"
    autoplay: bool = True


class ProfileChange(BaseModel):
    """What is left out stays; null forgets a preferred language."""

    name: Name = ""
    maturity: Maturity = 18
    language: Language = "en"
    colour: Colour = "#e8a33d"
    audio_language: Tag | None = None
    subtitle_language: Subtitles | None = None
    autoplay: bool = True


class Profile(BaseModel):
    """`locked`: it has a PIN of its own. `open`: this sign-in may use it now, without a PIN.

    `audio_language` and `subtitle_language` are BCP 47, `off` means no subtitles, null that nothing was chosen yet.
    """

    profile_id: str
    name: str
    maturity: Maturity
    language: str
    kids: bool
    colour: str
    audio_language: str | None
    subtitle_language: str | None
    autoplay: bool
    locked: bool
    open: bool


class Profiles(BaseModel):
    """`pin`: the account has a PIN. `current`: the profile that this sign-in has entered, null before the first."""

    account_id: str
    role: Role
    pin: bool
    current: str | None
    profiles: list[Profile]


class Enter(BaseModel):
    """The PIN of the profile, or that of the account; needed where the profile is not `open`."""

    pin: Pin | None = None


class NewPin(BaseModel):
    """Four to six digits."""

    pin: Pin


class Kept(BaseModel):
    """A title in a list of a profile: a card, and `at` for when it was added, watched or rated.

    `root_id` and `root_titles` name the series of an episode.
    """

    title_id: str
    kind: Kind
    root_id: str
    root_titles: dict[str, str]
    number: int | None
    season: int | None
    titles: dict[str, str]
    year: int | None
    runtime_s: int | None
    maturity: int
    genres: list[str]
    playable: bool
    poster: str | None
    at: datetime
    position_ms: int | None
    duration_ms: int | None
    value: float | None


class KeptPage(BaseModel):
    """The newest first; `next_cursor` is null on the last page."""

    items: list[Kept]
    next_cursor: str | None


class Going(BaseModel):
    """Something to go on with: `title_id` plays next, from `position_ms`; `title` is the card of its film or series."""

    title_id: str
    position_ms: int
    duration_ms: int | None
    at: datetime
    title: dict[str, Any]
    episode: dict[str, Any] | None


class GoingOn(BaseModel):
    """The last touched first."""

    items: list[Going]


class Stars(BaseModel):
    """Half stars count: 0.5, 1, … 5."""

    value: Annotated[Decimal, Field(ge=Decimal("0.5"), le=5, multiple_of=0.5)]


class About(BaseModel):
    """What a profile has said of a title, and where it stopped."""

    title_id: str
    favourite: bool
    rating: float | None
    position_ms: int | None
    duration_ms: int | None
    watched_at: datetime | None
