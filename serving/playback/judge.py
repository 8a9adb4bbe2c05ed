"""Whether streams that run still may: rights, limits and sign-ins end while a film plays."""

from collections.abc import Sequence
from datetime import datetime

from psycopg import AsyncConnection

from serving.db import Row, rows
from serving.playback.sessions import QUERIES
from serving.profiles.core import Viewer
from serving.rights import Device, decide
from serving.rights.core import right, terms_of
from serving.rights.entitlements import parse

SIGNED_OUT = "signed_out"


async def verdicts(connection: AsyncConnection, playback_ids: Sequence[str], now: datetime) -> dict[str, str | None]:
    """For each of the sessions that lives: the code of what refuses it now, or None. Others are left out."""
    found = await rows(connection, QUERIES["judged"], {"playback_ids": list(playback_ids), "now": now})
    return {one["playback_id"]: _verdict(one, now) for one in found}


def _verdict(found: Row, now: datetime) -> str | None:
    if found["signed_out"]:
        return SIGNED_OUT
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
    device = Device(found["device_kind"])
    # Where the plan allows less than it did, the newest streams go, and those with rungs that it does not open.
    older = found["older"] if viewer.entitlements.streams(now) < found["streams"] else 0
    refusal = decide(terms, viewer, device, now, to_play=True, others=older)
    if refusal is not None:
        return refusal.code
    by = right(terms, viewer, device, now)
    limit = by.max_height if by else None
    return "plan" if limit is not None and (found["max_height"] is None or found["max_height"] > limit) else None
