"""What becomes of money when an account is erased: the books stay, and nothing in them leads to a person.

Nothing is charged any more: subscriptions end, open invoices are void, saved ways to pay are removed here and dropped
by their providers at the next sweep, and so is the customer that a provider has an e-mail of. Invoices, payments and
postings stay under a customer without an account, as the law asks of books; a payment keeps its provider's id, by which
refunds and disputes of it still find home.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from serving.billing.subscriptions.settling import void_all
from serving.db import execute, rows

QUERIES = load(Path(__file__).parent)


async def erase(connection: AsyncConnection, accounts: Sequence[str], at: datetime) -> Mapping[str, int]:
    """Cut what leads from money to these accounts; what was done -> how often. Done again: nothing.

    It goes before the accounts themselves, whose rows are what leads to their customers.
    """
    await rows(connection, QUERIES["lock_payments_of"], {"accounts": list(accounts)})
    found = await rows(connection, QUERIES["customers_of"], {"accounts": list(accounts)})
    asked = {"customers": [each["customer_id"] for each in found], "accounts": list(accounts), "at": at}
    owed = [each["invoice_id"] for each in await rows(connection, QUERIES["lock_owed"], asked)]
    await void_all(connection, owed, at)
    counts = {"invoices void": len(owed)}
    for what, query in {
        "subscriptions ended": "end_subscriptions",
        "ways to pay removed": "forget_methods",
        "payment pages": "forget_pages",
        "customers of providers": "forget_customers",
        "reasons of refunds": "forget_reasons",
        "notices of providers": "forget_notices",
    }.items():
        counts[what] = await execute(connection, QUERIES[query], asked)
    await execute(connection, QUERIES["forget_staff"], asked)
    return {what: count for what, count in counts.items() if count}
