"""The books against themselves: what PostgreSQL enforces is counted again, and what only code keeps is looked at."""

from dataclasses import dataclass
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from serving.db import row, rows

QUERIES = load(Path(__file__).parent)
_MOST = 100  # of a kind that are named

# Query -> what is wrong of whatever it finds, and what to do.
CHECKS = {
    "guards": ("a guard of the ledger is off", "ALTER TABLE … ENABLE TRIGGER, then look at who wrote meanwhile"),
    "unbalanced": ("a transaction does not sum to zero", "write a correction for what is left over"),
    "empty": ("a transaction has no postings", "it was written past the guards: restore it from a backup"),
    "lines": ("an invoice is not the sum of its lines", "credit the invoice and issue it anew"),
    "charges": ("an invoice and the ledger differ", "write a correction, with the invoice in the audit log"),
    "credited": ("an invoice and its credit notes differ", "set credited_minor to what the notes have"),
    "paid": ("an invoice is paid and no payment was", "look at its payments, then void or correct it"),
    "unpaid": ("a payment succeeded and its invoice is not paid", "`matinee billing reconcile --all` settles it anew"),
    "movements": ("a payment, refund or dispute and the ledger differ", "write a correction"),
    "refunds": ("more goes back than was paid", "stop the refund at the provider"),
    "notes": ("a refund has no credit note of its amount", "credit the invoice by what was refunded"),
    "surplus": (
        "money that came too much was refused to go back three times",
        "look why at the provider; refund it there, or otherwise, and write a correction under this id",
    ),
    "owed": ("a customer owes beyond open invoices", "look at their payments and refunds, then write a correction"),
    "disputed": ("what is held back is not what open disputes are about", "ask the provider about its disputes"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: `check` as in CHECKS, the id of the thing, and what differs."""

    check: str
    id: str
    detail: str

    @property
    def what(self) -> str:
        return CHECKS[self.check][0]

    @property
    def remedy(self) -> str:
        return CHECKS[self.check][1]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and what was wrong. `sums`: currency -> all postings added up, which is nothing."""

    facts: int
    postings: int
    sums: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        return not self.findings and not any(self.sums.values())


async def verify(connection: AsyncConnection) -> Verified:
    """Look at everything there is, as of one moment; at most 100 findings of a kind are named.

    Call it first in a transaction: it makes that repeatable.
    """
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    findings = []
    for check in CHECKS:
        found = await rows(connection, QUERIES[check])
        findings += [Finding(check, each["id"], each["detail"]) for each in found[:_MOST]]
    total = await row(connection, QUERIES["total"]) or {"facts": 0, "postings": 0, "sums": {}}
    return Verified(total["facts"], total["postings"], total["sums"], tuple(findings))
