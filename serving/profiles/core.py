"""The rules of profiles: who looks at the catalogue, which profiles a sign-in may use, what may be changed by whom.

`doors` says which profile is open to a sign-in. Which one it is in is kept by its session in PostgreSQL, so nothing
that a client sends or leaves out leads out of a child's profile.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.db.viewers import add_profile
from matinee.pseudonyms import Salt
from serving.db import Row, execute, row, rows
from serving.problems import Problem
from serving.profiles.doors import KIDS_LIMIT, Door, Pins, check_pin, pin_required
from serving.profiles.types import NewProfile
from serving.rights.entitlements import NOTHING, Entitlements, parse

QUERIES = load(Path(__file__).parent)
MAX_PROFILES = 7
# So long the PIN of a locked profile is not asked for again, while the sign-in stays in it.
PROOF_LIFE = timedelta(hours=12)
# What whoever uses a profile may change of it; the rest is for the grown-ups of the account.
OWN = frozenset({"language", "colour", "audio_language", "subtitle_language", "autoplay"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at the catalogue. `region` is the account's country, or where a
    trusted gateway says that the request comes from; `profile_key` names the profile in the lake.

    `age`: full years of the account's holder, where told; `entitlements`: what the account may watch by.
    """

    account_id: str | None
    profile_id: str | None
    maturity: int
    language: str
    region: str | None
    profile_key: str | None = None
    kids: bool = False
    entitlements: Entitlements = NOTHING
    age: int | None = None

    @property
    def limit(self) -> int:
        """The maturity up to which anything is shown."""
        return self.maturity if self.age is None else min(self.maturity, self.age)


# Who has not signed in sees what is fit for twelve, and plays nothing.
ANONYMOUS = Viewer(None, None, maturity=12, language="en", region=None)


async def viewer(
    connection: AsyncConnection,
    account_id: str | None,
    profile_id: str | None,
    *,
    session_id: str | None,
    now: datetime,
) -> Viewer:
    """The viewer behind a request of a sign-in, in one query: the profile that is named, else the one that the sign-in
    has entered, else the account's first; without an account, anonymous. Where a request comes from is `rights.region`.

    Raises:
        Problem: 401, a profile is named without signing in; 404, the account has no such profile; 403 `pin_required`.
    """
    if account_id is None:
        if profile_id is not None:
            raise Problem(401, "unauthenticated", "sign in to use a profile")
        return ANONYMOUS
    found = await _find(connection, account_id, profile_id, session_id, now)
    if not Door.of(found).is_open(now):
        raise pin_required()
    salt = found["salt"]
    return Viewer(
        account_id,
        found["profile_id"],
        found["maturity"],
        found["language"],
        found["country"],
        Salt(bytes(salt)).key(found["profile_id"]) if salt else None,
        found["kids"],
        parse(found["entitlements"]),
        None if found["born"] is None else _years(found["born"], now.date()),
    )


def _years(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


async def _find(
    connection: AsyncConnection, account_id: str, profile_id: str | None, session_id: str | None, now: datetime
) -> Row:
    asked = {"account_id": account_id, "profile_id": profile_id, "session_id": session_id, "now": now}
    found = await row(connection, QUERIES["viewer"], asked)
    if found is None:
        raise unknown_profile()
    return found


async def profiles(connection: AsyncConnection, account_id: str, session_id: str | None, now: datetime) -> list[Row]:
    """The account's profiles, the first one first, with `role`, `country` and `guarded` of the account, `entered` of
    the sign-in, and whether each is `open` to it.

    Raises:
        Problem: 401, the account is gone.
    """
    found = await rows(connection, QUERIES["profiles"], {"account_id": account_id, "session_id": session_id})
    if not found:
        raise Problem(401, "invalid_token", "the account of this token does not exist")
    return [{**one, "open": Door.of(one).is_open(now)} for one in found if one["profile_id"] is not None]


async def grown_up(
    connection: AsyncConnection, account_id: str, session_id: str | None, shown: float | None = None
) -> None:
    """Let pass who is not in a child's profile of an account that has a PIN.

    `shown` (Unix seconds): who proved so late who they are passes, if it was after the child's profile was entered.

    Raises:
        Problem: 403 `pin_required`.
    """
    place = await row(connection, QUERIES["sign_in_place"], {"account_id": account_id, "session_id": session_id})
    if place is None or not place["guarded"] or place["kids_limit"] is None:
        return
    if shown is None or shown <= place["entered_at"].timestamp():
        raise pin_required()


async def adult(connection: AsyncConnection, account_id: str, session_id: str | None) -> None:
    """Let pass who is not in a child's profile, for what costs money: PIN or not.

    Raises:
        Problem: 403 `pin_required`, or `childs_profile` where no PIN keeps anybody in it.
    """
    await grown_up(connection, account_id, session_id)
    place = await row(connection, QUERIES["sign_in_place"], {"account_id": account_id, "session_id": session_id})
    if place is not None and place["kids_limit"] is not None:
        raise Problem(403, "childs_profile", "money is for grown-ups: enter a profile that is not a child's first")


async def create(connection: AsyncConnection, account_id: str, session_id: str, profile: NewProfile) -> str:
    """Add a profile; returns its id.

    Raises:
        Problem: 409, the account has as many as it may; 403 `pin_required`, a child asks; 401, the account is gone.
    """
    await grown_up(connection, account_id, session_id)
    count = await _held(connection, account_id)
    if count == 0:
        raise Problem(401, "invalid_token", "the account of this token does not exist")
    if count >= MAX_PROFILES:
        raise Problem(409, "too_many_profiles", f"an account has at most {MAX_PROFILES} profiles")
    profile_id = await add_profile(
        connection, account_id, name=profile.name, maturity=profile.maturity, language=profile.language
    )
    found = await _named(connection, account_id, profile_id)
    await execute(connection, QUERIES["change_profile"], {**found, **profile.model_dump(), "account_id": account_id})
    return profile_id


async def change(
    connection: AsyncConnection,
    account_id: str,
    session_id: str,
    profile_id: str,
    changes: dict[str, Any],
    now: datetime,
) -> None:
    """Change a profile; its name and limit are for grown-ups.

    Raises:
        Problem: 404, no such profile; 403 `pin_required`, it is not open to the sign-in, or a child asks.
    """
    await execute(connection, QUERIES["hold_account"], {"account_id": account_id})
    await viewer(connection, account_id, profile_id, session_id=session_id, now=now)
    if changes.keys() - OWN:
        await grown_up(connection, account_id, session_id)
    found = await _named(connection, account_id, profile_id)
    await execute(connection, QUERIES["change_profile"], {**found, **changes, "account_id": account_id})
    if "maturity" in changes:
        await execute(connection, QUERIES["change_limits"], {"profile_id": profile_id})


async def delete(connection: AsyncConnection, account_id: str, session_id: str, profile_id: str, now: datetime) -> None:
    """Delete a profile with all that hangs on it. Sign-ins that are in a child's profile stay children's.

    Raises:
        Problem: 404, no such profile; 403 `pin_required`, as for `change`; 409, it is the account's last.
    """
    await viewer(connection, account_id, profile_id, session_id=session_id, now=now)
    await grown_up(connection, account_id, session_id)
    if await _held(connection, account_id) <= 1:
        raise Problem(409, "last_profile", "an account keeps one profile: delete the account instead")
    await execute(connection, QUERIES["drop_profile"], {"account_id": account_id, "profile_id": profile_id})


async def _held(connection: AsyncConnection, account_id: str) -> int:
    """How many profiles the account has; whoever else counts them waits for this transaction."""
    await execute(connection, QUERIES["hold_account"], {"account_id": account_id})
    found = await row(connection, QUERIES["count_profiles"], {"account_id": account_id})
    return found["profiles"] if found else 0


async def _named(connection: AsyncConnection, account_id: str, profile_id: str) -> Row:
    found = await rows(connection, QUERIES["profiles"], {"account_id": account_id, "session_id": None})
    for one in found:
        if one["profile_id"] == profile_id:
            return one
    raise unknown_profile()


def unknown_profile() -> Problem:
    return Problem(404, "unknown_profile", "this account has no such profile")


async def enter(
    connection: AsyncConnection,
    pins: Pins,
    account_id: str,
    session_id: str,
    profile_id: str,
    pin: str | None,
    now: datetime,
) -> None:
    """Let the sign-in go on in this profile.

    Raises:
        Problem: 404, no such profile; 403 `pin_required` or `wrong_pin`; 409, the token has no sign-in behind it.
    """
    await execute(connection, QUERIES["hold_account"], {"account_id": account_id})
    found = await _find(connection, account_id, profile_id, session_id, now)
    door = Door.of(found)
    proven_until = door.proven_until if door.is_open(now) else None
    if not door.is_open(now):
        if pin is None:
            raise pin_required()
        kept = await row(connection, QUERIES["pins"], {"account_id": account_id, "profile_id": profile_id})
        fits = kept is not None and (
            pins.fits(kept["own"], profile_id, pin) or pins.fits(kept["master"], account_id, pin)
        )
        if not fits:
            raise Problem(403, "wrong_pin", "the PIN is wrong")
        proven_until = now + PROOF_LIFE
    entered = await row(
        connection,
        QUERIES["enter"],
        {
            "session_id": session_id,
            "account_id": account_id,
            "profile_id": profile_id,
            "kids_limit": found["maturity"] if found["kids"] else None,
            "proven_until": proven_until,
            "now": now,
        },
    )
    if entered is None:
        raise Problem(409, "no_session", "this token has no sign-in behind it: log in to enter a profile")


async def set_pin(
    connection: AsyncConnection,
    pins: Pins,
    account_id: str,
    session_id: str,
    profile_id: str | None,
    pin: str | None,
    now: datetime,
) -> None:
    """Set (or, with None, take away) the PIN of a profile, or of the account. For who has just shown the password.

    Raises:
        Problem: 404, no such profile; 422, too easy a PIN.
    """
    if pin is not None:
        check_pin(pin)
    kept = None if pin is None else pins.hash(profile_id or account_id, pin)
    asked = {
        "account_id": account_id,
        "profile_id": profile_id,
        "pin_hash": kept,
        "now": now,
        "session_id": session_id,
        "proven_until": now + PROOF_LIFE,
    }
    await execute(connection, QUERIES["hold_account"], {"account_id": account_id})
    if profile_id is not None:
        if not await execute(connection, QUERIES["set_profile_pin"], asked):
            raise unknown_profile()
    else:
        await execute(connection, QUERIES["set_account_pin" if kept else "drop_account_pin"], asked)
    await execute(connection, QUERIES["forget_proofs"], asked)


__all__ = ["ANONYMOUS", "KIDS_LIMIT", "MAX_PROFILES", "Viewer", "viewer"]
