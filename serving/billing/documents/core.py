"""The papers of an account: which there are, and one of them."""

from datetime import UTC, datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.settings import Settings
from serving.billing.documents.model import Seller, Sheet, document, sheet
from serving.billing.invoices import core as invoices
from serving.db import Row, row, rows
from serving.problems import Problem

QUERIES = load(Path(__file__).parent)
_NEWEST = (datetime(9999, 1, 1, tzinfo=UTC), "")


async def listed(
    connection: AsyncConnection, account_id: str, limit: int, before: tuple[datetime, str] | None = None
) -> list[Row]:
    """The account's invoices and credit notes, the newest first, from behind `before` (when issued, id)."""
    before_at, before_id = before or _NEWEST
    asked = {"account_id": account_id, "before_at": before_at, "before_id": before_id, "limit": limit}
    return await rows(connection, QUERIES["of_customer"], asked)


async def paper(
    connection: AsyncConnection, settings: Settings, account_id: str, invoice_id: str, language: str | None
) -> Sheet:
    """A paper of the account; without a language in that of the invoice.

    Raises:
        Problem: 404, the account has no such invoice.
    """
    found = await row(connection, QUERIES["paper"], {"invoice_id": invoice_id, "account_id": account_id})
    if found is None:
        raise unknown_invoice()
    invoice = await invoices.get(connection, invoice_id)
    seller = Seller(settings.seller_name, settings.seller_address, settings.seller_tax_id)
    made = document(invoice, seller, paid_by=found["paid_by"], credited=found["credited"])
    return sheet(made, language or invoice.language, found["zone"] or "UTC")


def unknown_invoice() -> Problem:
    return Problem(404, "unknown_invoice", "this account has no such invoice")
