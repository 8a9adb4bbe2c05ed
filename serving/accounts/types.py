"""What clients send and hear about accounts."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

# Enough to catch a slip; whether the address works only a letter can tell.
Email = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=254, pattern=r"^[^@\s]{1,64}@[^@\s]+\.[^@\s]+$")
]
Password = Annotated[str, Field(min_length=8, max_length=256)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
# Of the account's holder. Who is younger than a title's maturity does not see it.
Born = Annotated[date, Field(ge=date(1900, 1, 1))]
Role = Literal["viewer", "moderator", "admin"]


class Registration(BaseModel):
    email: Email
    password: Password
    country: Country | None = None
    language: Language = "en"
    born: Born | None = None


class Login(BaseModel):
    email: Annotated[str, Field(max_length=254)]
    password: Annotated[str, Field(max_length=256)]


class Refresh(BaseModel):
    """The refresh token, where the client keeps it itself; the page has it in a cookie."""

    refresh_token: Annotated[str, Field(max_length=128)] | None = None


class Session(BaseModel):
    """`access_token` is a bearer token for `expires_in` seconds; `refresh_token` buys the next one, once."""

    account_id: str
    role: Role
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme, not a secret
    expires_in: int
    refresh_token: str
