"""What subscriptions do to invoices that were issued: take back open ones, give back what is unused of paid ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import AsyncConnection

from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.promo import core as promos
from serving.billing.subscriptions.rows import QUERIES, Subscription, held
from serving.db import row, rows

log = logging.getLogger("matinee.billing")


async def void_all(connection: AsyncConnection, invoice_ids: Sequence[str], at: datetime) -> None:
    """Take back open invoices, and what they used of promo codes. Money that comes all the same is given back."""
    for invoice_id in invoice_ids:
        await invoices.void(connection, invoice_id, at)
    if invoice_ids:
        await promos.released_many(connection, invoice_ids, at)


@dataclass(frozen=True, slots=True)
class Given:
    """What went to the balance of which invoices (minor units), and what waits for the end of their disputes."""

    credited: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, int] = field(default_factory=dict)


async def give_credit(
    connection: AsyncConnection, whose: Subscription, amount_minor: int, reason: str, at: datetime
) -> Given:
    """Give some of what was paid for the subscription to its customer's balance, of the newest invoice first.

    What refunds have taken, or are about to take, of those invoices is not given once more. What a bank may have back
    waits: write it into the event's details as `withheld`, for `give_withheld`.
    """
    given = Given()
    for found in await rows(connection, QUERIES["creditable"], {"subscription_id": whose.subscription_id}):
        if amount_minor <= 0:
            return given
        part = min(amount_minor, found["left_minor"])
        if not found["waits"]:
            await invoices.credit(connection, found["invoice_id"], part, reason, at)
        (given.withheld if found["waits"] else given.credited)[found["invoice_id"]] = part
        amount_minor -= part
    if amount_minor > 0:
        log.warning("subscription %s: %s (minor units) are unused, and its invoices have no more to give back",
                    whose.subscription_id, amount_minor)  # fmt: skip
    return given


async def give_withheld(connection: AsyncConnection, invoice: Invoice, at: datetime) -> None:
    """The dispute of an invoice's payment is won: what waited for that goes to the balance. Told again: nothing."""
    assert invoice.subscription_id is not None, "an invoice of a subscription"
    whose = (await held(connection, [invoice.subscription_id]))[invoice.subscription_id]
    asked = {"subscription_id": whose.subscription_id, "invoice_id": invoice.invoice_id}
    found = await row(connection, QUERIES["withheld"], asked)
    left = {
        each["invoice_id"]: each["left_minor"]
        for each in await rows(connection, QUERIES["creditable"], asked)
        if not each["waits"]
    }
    amount = min(found["minor"] if found else 0, left.get(invoice.invoice_id, 0))
    if amount > 0:
        await invoices.credit(connection, invoice.invoice_id, amount, "dispute_won", at)
