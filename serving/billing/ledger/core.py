"""The book: facts are written once, with all their postings, and never changed. PostgreSQL keeps it so (0130)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.errors import CheckViolation, ForeignKeyViolation

from matinee.db.queries import load
from serving.billing.errors import AlreadyPostedError, LedgerError
from serving.db import row, rows

QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Posting:
    """One line: a debit above zero, a credit below it, in minor units. `party`: whose of the ledger's accounts."""

    ledger: str
    party: str
    currency: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """A business fact: `source` is the id of what happened, unique within its kind."""

    kind: str
    source: str
    occurred_at: datetime
    postings: tuple[Posting, ...]


async def post(connection: AsyncConnection, transactions: Sequence[Transaction]) -> None:
    """Write facts, in one statement however many they are, in the transaction that makes them true.

    Raises:
        LedgerError: one has no postings, a posting of nothing, or does not sum to zero in a currency; nothing was sent.
        AlreadyPostedError: one is in the ledger, or twice among these. Roll back: others of them were written.
    """
    for transaction in transactions:
        check(transaction)
    if not transactions:
        return
    names = [(each.kind, each.source) for each in transactions]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise AlreadyPostedError(f"{twice[0][0]} of {twice[0][1]} is given twice: a fact is written once")
    lines = [
        (place, line, posting)
        for place, each in enumerate(transactions, 1)
        for line, posting in enumerate(each.postings, 1)
    ]
    columns = {
        "kinds": [kind for kind, _ in names],
        "sources": [source for _, source in names],
        "moments": [each.occurred_at for each in transactions],
        "places": [place for place, _, _ in lines],
        "lines": [line for _, line, _ in lines],
        "ledgers": [posting.ledger for _, _, posting in lines],
        "parties": [posting.party for _, _, posting in lines],
        "currencies": [posting.currency for _, _, posting in lines],
        "amounts": [posting.amount_minor for _, _, posting in lines],
    }
    written = {(each["kind"], each["source"]) for each in await rows(connection, QUERIES["post"], columns)}
    if known := [name for name in names if name not in written]:
        raise AlreadyPostedError(f"{known[0][0]} of {known[0][1]} is in the ledger: a fact is written once")


async def correct(connection: AsyncConnection, correction: Transaction) -> None:
    """Write what a person put right.

    Raises:
        AlreadyPostedError: this was corrected before.
        LedgerError: there is no such account, or it is not for such a party.
    """
    try:
        async with connection.transaction():
            await post(connection, [correction])
    except (CheckViolation, ForeignKeyViolation) as error:
        said = error.diag.message_detail if isinstance(error, ForeignKeyViolation) else error.diag.message_primary
        raise LedgerError(f"the ledger refuses it: {said}") from None


def check(transaction: Transaction) -> None:
    """Raises: LedgerError where the ledger would not take it."""
    name = f"{transaction.kind} of {transaction.source}"
    if not transaction.postings:
        raise LedgerError(f"{name} has no postings: a fact without money is none")
    sums: dict[str, int] = {}
    for posting in transaction.postings:
        if posting.amount_minor == 0:
            raise LedgerError(f"{name} posts nothing to {posting.ledger}: leave the posting out")
        sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount_minor
    for currency, left in sums.items():
        if left:
            raise LedgerError(f"{name} does not balance: {left} {currency} are left over")


async def balance(connection: AsyncConnection, ledger: str, party: str, currency: str) -> int:
    """The sum of all postings of one account, in minor units."""
    found = await row(connection, QUERIES["balance"], {"ledger": ledger, "party": party, "currency": currency})
    return found["amount_minor"] if found else 0
