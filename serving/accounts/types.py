"""What clients send and hear about accounts."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from serving.accounts.passwords import LONGEST, SHORTEST, normal

# Enough to catch a slip; whether the address works only a letter can tell.
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f]+$",
    ),
]


def _chosen(password: str) -> str:
    if not len(normal(password)) >= SHORTEST:
        raise ValueError(f"String should have at least {SHORTEST} characters")
    return password


# A password that is chosen, and one that is claimed: of the latter nobody says what was wrong with it.
Password = Annotated[str, Field(min_length=SHORTEST, max_length=LONGEST), AfterValidator(_chosen)]
Claimed = Annotated[str, Field(max_length=LONGEST)]
# PostgreSQL keeps no NUL in a text.
Line = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^\x00-\x1f\x7f]*$")]
Code = Annotated[str, StringConstraints(min_length=6, max_length=40, pattern=r"^[0-9A-Za-z -]+$")]
Token = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[0-9A-Za-z._-]+$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
# Of the account's holder. Who is younger than a title's maturity does not see it.
Born = Annotated[date, Field(ge=date(1900, 1, 1))]
Role = Literal["viewer", "moderator", "admin"]


class Body(BaseModel):
    """What a client sends. What is not named here is refused, not dropped: nobody thinks that they have set a role."""

    model_config = ConfigDict(extra="forbid")


class Registration(Body):
    email: Email
    password: Password
    country: Country | None = None
    language: Language = "en"
    born: Born | None = None


class Login(Body):
    """`code`: of the second factor, where the account has one; or answer the challenge afterwards."""

    email: Line
    password: Claimed
    code: Code | None = None


class LoginCode(Body):
    challenge: Token
    code: Code


class Refresh(Body):
    """The refresh token, where the client keeps it itself; the page has it in a cookie."""

    refresh_token: Annotated[str, Field(max_length=256)] | None = None


class Proof(Body):
    """The password; a code of the second factor instead, where the account has one."""

    password: Claimed | None = None
    code: Code | None = None


class Access(BaseModel):
    """`access_token` is a bearer token for `expires_in` seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme, not a secret
    expires_in: int


class Session(Access):
    """`refresh_token` buys the next tokens, once."""

    account_id: str
    role: Role
    refresh_token: str


class OpenSession(BaseModel):
    """A sign-in that is open; `device` is what its User-Agent said. `current`: the one that asks."""

    session_id: str
    kind: Literal["password", "tv", "command"]
    device: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


class OpenSessions(BaseModel):
    items: list[OpenSession]


class Account(BaseModel):
    account_id: str
    email: str | None
    email_confirmed: bool
    role: Role
    country: str | None
    language: str
    created_at: datetime
    second_factor: bool


class ByToken(Body):
    """What stands in a letter's link."""

    token: Token


class Recover(Body):
    email: Line


class Reset(ByToken):
    password: Password


class NewPassword(Body):
    password: Claimed
    new_password: Password


class NewEmail(Body):
    email: Email


class SecondFactor(BaseModel):
    enabled: bool
    recovery_codes_left: int


class Enrolment(BaseModel):
    """For an authenticator app: `secret` to type, `uri` to open, `qr` (SVG) to point a camera at."""

    secret: str
    uri: str
    qr: str


class OneCode(Body):
    code: Code


class RecoveryCodes(BaseModel):
    """Each signs in once instead of a code of the app. They are shown this once."""

    recovery_codes: list[str]


class DeviceCodes(BaseModel):
    """RFC 8628, 3.2: show `user_code` and `verification_uri` or `qr` (SVG); ask by `device_code` each `interval` s."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    qr: str
    expires_in: int
    interval: int


class DeviceToken(Body):
    device_code: Token


class WaitingDevice(BaseModel):
    user_code: str
    device: str
    created_at: datetime
    expires_at: datetime


class Approval(Body):
    """`approve` false turns the device away."""

    user_code: Annotated[str, StringConstraints(min_length=8, max_length=20, pattern=r"^[A-Za-z -]+$")]
    approve: bool = True


class PersonalData(BaseModel):
    """All that PostgreSQL has about an account: table -> rows. Keys, seeds and hashes of secrets are left out."""

    account_id: str
    exported_at: datetime
    tables: dict[str, list[dict[str, Any]]]
    audit: list[dict[str, Any]]
