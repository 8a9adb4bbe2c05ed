"""What subscriptions do to invoices that were issued: take back open ones, give back what is unused of paid ones."""

import logging
from collections.abc import Sequence
from datetime import datetime

from psycopg import AsyncConnection

from serving.billing.invoices import core as invoices
from serving.billing.promo import core as promos
from serving.billing.subscriptions.rows import QUERIES, Subscription
from serving.db import rows

log = logging.getLogger("matinee.billing")


async def void_all(connection: AsyncConnection, invoice_ids: Sequence[str], at: datetime) -> None:
    """Take back open invoices, and what they used of promo codes. Money that comes all the same is given back."""
    for invoice_id in invoice_ids:
        await invoices.void(connection, invoice_id, at)
    if invoice_ids:
        await promos.released_many(connection, invoice_ids, at)


async def give_credit(
    connection: AsyncConnection, whose: Subscription, amount_minor: int, reason: str, at: datetime
) -> dict[str, int]:
    """Give some of what was paid for the subscription to its customer's balance, of the newest invoice first; returns
    how much of which.

    What refunds have taken, or are about to take, of those invoices is not given once more.
    """
    given: dict[str, int] = {}
    for found in await rows(connection, QUERIES["creditable"], {"subscription_id": whose.subscription_id}):
        if amount_minor <= 0:
            return given
        part = min(amount_minor, found["left_minor"])
        await invoices.credit(connection, found["invoice_id"], part, reason, at)
        given[found["invoice_id"]] = part
        amount_minor -= part
    if amount_minor > 0:
        log.warning("subscription %s: %s (minor units) are unused, and its invoices have no more to give back",
                    whose.subscription_id, amount_minor)  # fmt: skip
    return given
