"""Customers: whom everything of money names, in place of an account that may be erased one day."""

from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.ids import uuid7
from serving.billing.errors import BillingError
from serving.db import row

QUERIES = load(Path(__file__).parent)


async def of_account(connection: AsyncConnection, account_id: str, at: datetime) -> str:
    """The account's customer, made where it has none.

    Raises:
        BillingError: there is no such account.
    """
    asked = {"customer_id": uuid7(), "account_id": account_id, "at": at}
    for query in ("customer_of", "add_customer", "customer_of"):
        if found := await row(connection, QUERIES[query], asked):
            return found["customer_id"]
    raise BillingError(f"there is no account {account_id!r}: it was erased, or never made")


async def account_of(connection: AsyncConnection, customer_id: str) -> str | None:
    """Whose customer it is; None where the account was erased."""
    found = await row(connection, QUERIES["account_of"], {"customer_id": customer_id})
    return found["account_id"] if found else None
