"""Which profiles a sign-in may use: the rule, and the PINs.

A profile with a PIN of its own is entered with it, or with the account's. From a child's profile (a limit of twelve or
less) whatever shows more is entered with the account's PIN, where the account has one. Everything else is open. PINs
are kept as HMAC-SHA256 under a secret of the home: of ten thousand PINs a slow hash would hide none from whoever took
the database alone.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from matinee.home import Home
from matinee.secrets import secret
from serving.db import Row
from serving.problems import Problem

KIDS_LIMIT = 12  # the generated column profile.kids says the same
_EASY = "01234567890"


@dataclass(frozen=True, slots=True)
class Door:
    """A profile as a sign-in finds it. `guarded`: the account has a PIN; `entered`: the profile that it is in now.

    `kids_limit`: the limit of the child's profile that the sign-in is in, None where it is in none.
    """

    profile_id: str
    maturity: int
    locked: bool
    guarded: bool
    entered: str | None
    kids_limit: int | None
    proven_until: datetime | None

    @classmethod
    def of(cls, row: Row) -> "Door":
        return cls(**{name: row[name] for name in cls.__slots__})

    def is_open(self, now: datetime) -> bool:
        """Whether the sign-in may use the profile without a PIN."""
        is_inside = self.entered == self.profile_id
        if self.locked:
            return is_inside and self.proven_until is not None and now < self.proven_until
        return is_inside or not self.guarded or self.kids_limit is None or self.maturity <= self.kids_limit


class Pins:
    """Hashes of PINs in one home."""

    def __init__(self, home: Home) -> None:
        self._key = secret(home, "pin")

    def hash(self, owner_id: str, pin: str) -> bytes:
        """32 bytes; `owner_id`: the account or the profile whose PIN it is."""
        return hmac.new(self._key, f"{owner_id}\0{pin}".encode(), hashlib.sha256).digest()

    def fits(self, kept: bytes | None, owner_id: str, pin: str) -> bool:
        return kept is not None and hmac.compare_digest(bytes(kept), self.hash(owner_id, pin))


def check_pin(pin: str) -> None:
    """Refuse the PINs that a child tries first.

    Raises:
        Problem: 422, one digit again and again, or digits in their order.
    """
    if len(set(pin)) == 1 or pin in _EASY or pin in _EASY[::-1]:
        raise Problem(422, "weak_pin", "this PIN is too easy to guess: take other digits than a row of them")


def pin_required() -> Problem:
    return Problem(403, "pin_required", "enter this profile with its PIN first (POST /api/profile/{id}/enter)")
