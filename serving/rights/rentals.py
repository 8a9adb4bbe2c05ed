"""Rentals: thirty days to start, forty-eight hours from the first play. What is bought stays for ever."""

from datetime import datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.errors import MatineeError
from matinee.ids import uuid7
from serving.db import execute, row
from serving.problems import Problem
from serving.rights.core import Refusal
from serving.rights.entitlements import HeldTitle

QUERIES = load(Path(__file__).parent)
TO_START = timedelta(days=30)
TO_WATCH = timedelta(hours=48)


class RightsError(MatineeError):
    """What should be given is not there."""


async def start(connection: AsyncConnection, held: HeldTitle | None, now: datetime) -> datetime | None:
    """Let a rental's hours begin, if it has not begun; returns when it ends (None: it is no rental).

    Raises:
        Problem: 403 `rental`, it ended or was taken back meanwhile.
    """
    if held is None or held.kind != "rent":
        return None
    if held.is_started:
        return held.window.until
    given = {"entitlement_id": held.entitlement_id, "now": now, "closed": now + TO_WATCH}
    started = await row(connection, QUERIES["start_rental"], given)
    if started is None:
        refusal = Refusal("rental")
        raise Problem(403, refusal.code, refusal.detail)
    return started["closed"]


async def give(
    connection: AsyncConnection,
    account_id: str,
    kind: str,
    now: datetime,
    *,
    title_id: str | None = None,
    plan_id: str | None = None,
    life: timedelta | None = None,
    invoice_id: str | None = None,
) -> str | None:
    """Give an account a title or a plan: `kind` is `rent` (to be started within `TO_START`), `buy` (for ever), or
    `grant` (for `life`, else for ever). Returns the entitlement's id; None where the invoice that it was bought by has
    given one before.

    Raises:
        RightsError: there is no such title or plan.
    """
    if plan_id is not None and await row(connection, QUERIES["is_plan"], {"plan_id": plan_id}) is None:
        raise RightsError(f"there is no plan {plan_id!r}: see the table `plan`")
    if title_id is not None and await row(connection, QUERIES["is_title"], {"title_id": title_id}) is None:
        raise RightsError(f"there is no title {title_id!r}: ingest its feed first")
    life = TO_START if kind == "rent" else life
    given = {
        "entitlement_id": uuid7(),
        "account_id": account_id,
        "kind": kind,
        "title_id": title_id,
        "plan_id": plan_id,
        "now": now,
        "closed": now + life if life is not None else None,
        "invoice_id": invoice_id,
    }
    return given["entitlement_id"] if await execute(connection, QUERIES["add_entitlement"], given) else None
