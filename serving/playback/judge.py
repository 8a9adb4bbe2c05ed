"""Whether streams that run still may: rights, limits and sign-ins end while a film plays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from serving.db import Row, rows
from serving.playback.sessions import QUERIES
from serving.profiles.core import Viewer
from serving.rights import Device, decide
from serving.rights.core import Terms, right, terms_of
from serving.rights.entitlements import parse

SIGNED_OUT = "signed_out"


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides about a session: `streams` and `max_height` are what it was granted.

    `older`: how many older streams of the account held a slot when this was read.
    """

    account_id: str
    viewer: Viewer
    terms: Terms
    device: Device
    streams: int
    max_height: int | None
    signed_out: bool
    older: int


async def facts(connection: AsyncConnection, playback_ids: Sequence[str], now: datetime) -> dict[str, Facts]:
    """What decides about each of the sessions that lives. Others are left out."""
    found = await rows(connection, QUERIES["judged"], {"playback_ids": list(playback_ids), "now": now})
    return {one["playback_id"]: _facts(one) for one in found}


def _facts(found: Row) -> Facts:
    viewer = Viewer(
        found["account_id"],
        found["profile_id"],
        found["maturity"],
        found["language"],
        found["region"],
        entitlements=parse(found["entitlements"]),
        age=found["age"],
    )
    terms = terms_of({**found, "maturity": found["title_maturity"]})
    return Facts(
        viewer.account_id or "",
        viewer,
        terms,
        Device(found["device_kind"]),
        found["streams"],
        found["max_height"],
        found["signed_out"],
        found["older"],
    )


def verdict(given: Facts, now: datetime) -> str | None:
    """The code of what refuses a session now, or None."""
    if given.signed_out:
        return SIGNED_OUT
    viewer, device = given.viewer, given.device
    # Where the plan allows less than it did, the newest streams go, and those with rungs that it does not open.
    older = given.older if is_shrunk(given, now) else 0
    refusal = decide(given.terms, viewer, device, now, to_play=True, others=older)
    if refusal is not None:
        return refusal.code
    by = right(given.terms, viewer, device, now)
    limit = by.max_height if by else None
    return "plan" if limit is not None and (given.max_height is None or given.max_height > limit) else None


def is_shrunk(given: Facts, now: datetime) -> bool:
    """Whether the account's plan allows fewer streams than when the session began."""
    return given.viewer.entitlements.streams(now) < given.streams
