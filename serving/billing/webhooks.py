"""What providers tell us: kept once, never believed. A notice only says which payment to look at.

So it may come twice, late, in any order, or never: each ends in what the provider says when asked, and `sweep` asks
where nobody told. What cannot be used stays in `provider_event` with its reason.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from matinee.db.queries import load
from matinee.errors import MatineeError, SettingsError
from serving.billing.payments import core, refunds
from serving.billing.payments.desk import Desk
from serving.billing.providers import NAMES
from serving.billing.providers.base import ForgedError, Notice, ProviderAwayError
from serving.db import Row, execute, row
from serving.problems import Problem

QUERIES = load(Path(__file__).parent)
KEPT = timedelta(days=90)  # one that is done with; providers repeat one for days (Stripe: 3)
_PRUNED = 1_000  # at once
WAITS = timedelta(days=3)  # that a notice is tried again, for as long as providers themselves do
log = logging.getLogger("matinee.billing")


async def receive(desk: Desk, provider: str, headers: Mapping[str, str], body: bytes, address: str) -> None:
    """Keep a notice and draw its conclusions; when this returns it is safe to answer 200.

    Raises:
        Problem: 404, no such provider; 400, the notice is not the provider's, or not of now.
    """
    at = desk.clock.now()
    try:
        if provider not in NAMES:
            raise Problem(404, "not_found", f"no provider {provider!r} tells anything here")
        notice = desk.provider(provider).notice(headers, body, at, address)
    except SettingsError:
        raise Problem(404, "not_found", f"no provider {provider!r} is used here") from None
    except ForgedError as error:
        log.warning("a notice of %s from %s is refused: %s", provider, address, error)
        raise Problem(400, "forged_notice", f"this is no notice of {provider}: {error}") from None
    await _keep(desk, provider, notice, at)
    await handle(desk, provider, notice.event_id, at)


async def handle(desk: Desk, provider: str, event_id: str, at: datetime) -> bool:
    """Act on a notice that is kept. False: not now, the sweep tries again; the reason is kept with it."""
    async with desk.transaction() as connection:
        event = await row(connection, QUERIES["event"], {"provider": provider, "event_id": event_id})
    if event is None or event["handled_at"] is not None:
        return True
    try:
        reason, done = await _acted(desk, event, at), True
    except ProviderAwayError as error:
        reason, done = str(error), False
    except MatineeError as error:
        # A payment that is not written yet comes within moments; what still makes no sense later never will.
        reason, done = str(error), at - event["received_at"] >= WAITS
        log.warning("notice %s of %s: %s", event_id, provider, error)
    async with desk.transaction() as connection:
        told = {"provider": provider, "event_id": event_id, "at": at if done else None, "reason": reason}
        await execute(connection, QUERIES["event_handled"], told)
    return done


async def prune(connection: AsyncConnection, at: datetime) -> int:
    """Forget notices that were done with long ago; returns how many. What nobody could use yet stays."""
    return await execute(connection, QUERIES["event_prune"], {"before": at - KEPT, "limit": _PRUNED})


async def _keep(desk: Desk, provider: str, notice: Notice, at: datetime) -> None:
    kept = {
        "provider": provider, "event_id": notice.event_id, "kind": notice.kind, "ref": notice.ref, "at": at,
        "body": Jsonb({"name": notice.name, "payment_id": notice.payment_id, **notice.body}),
    }  # fmt: skip
    async with desk.transaction() as connection:
        await execute(connection, QUERIES["event_kept"], kept)


async def _acted(desk: Desk, event: Row, at: datetime) -> str | None:
    """Look at what the notice is about; the reason why nothing came of it, None where something did.

    Raises:
        ProviderAwayError, MatineeError: it cannot be used, now at least.
    """
    provider, told = desk.provider(event["provider"]), event["body"]
    notice = Notice(event["event_id"], event["kind"], told["name"], event["ref"], told.get("payment_id"), told)
    if notice.kind in ("method", "other"):
        return f"nothing to do for {notice.name}"
    payment_id = notice.payment_id or await provider.whose(notice)
    if payment_id is None:
        return "of no payment of ours"
    async with desk.transaction() as connection:
        waiting = [each for each in await refunds.of_payment(connection, payment_id) if not each.settled]
    for refund in waiting:
        await refunds.push(desk, refund.refund_id, at)
    await core.settle(desk, payment_id, at)
    return None
