"""What happens to money after it was paid, and not by us: disputes, and refunds made at the provider by hand."""

from dataclasses import asdict
from datetime import datetime
from functools import partial

from psycopg import AsyncConnection

from matinee.ids import content_uuid7
from serving.billing.invoices import core as invoices
from serving.billing.ledger import core as ledger
from serving.billing.ledger import facts
from serving.billing.payments.desk import Desk
from serving.billing.payments.refunds import given_back, withdrawn
from serving.billing.payments.rows import QUERIES, Dispute, Payment, Refund
from serving.billing.payments.settling import as_json, together
from serving.billing.providers.base import DisputeSeen, Outcome
from serving.billing.subscriptions import core as subscriptions
from serving.db import execute, row, rows

AT_PROVIDER = "provider"  # the reason of a refund that somebody made there


async def heard(desk: Desk, payment: Payment, outcome: Outcome, at: datetime) -> None:
    """Bring our books to what the provider tells of a payment that succeeded. Told again: nothing.

    Each dispute and what was refunded are booked in transactions of their own: what stops one stops no other.
    """
    if not outcome.disputes and outcome.refunded_minor <= payment.refunded_minor:
        return
    for seen in outcome.disputes:
        await together(desk, partial(_disputed_now, payment_id=payment.payment_id, seen=seen, at=at))
    in_all = outcome.refunded_minor
    if in_all > payment.refunded_minor:
        await together(desk, partial(_refunded_there, payment_id=payment.payment_id, in_all=in_all, at=at))


async def of_payment(connection: AsyncConnection, payment_id: str) -> list[Dispute]:
    """Its disputes, the first one first."""
    return [Dispute(**each) for each in await rows(connection, QUERIES["disputes_of"], {"payment_id": payment_id})]


async def _locked(connection: AsyncConnection, payment_id: str) -> Payment:
    found = await row(connection, QUERIES["lock"], {"payments": [payment_id]})
    assert found is not None  # read before, and payments are never removed
    return Payment(**found)


async def _disputed_now(connection: AsyncConnection, payment_id: str, seen: DisputeSeen, at: datetime) -> None:
    payment = await _locked(connection, payment_id)
    known = {each.provider_ref: each for each in await of_payment(connection, payment_id)}
    await _disputed(connection, payment, seen, known.get(seen.ref), at)


async def _disputed(
    connection: AsyncConnection, payment: Payment, seen: DisputeSeen, known: Dispute | None, at: datetime
) -> None:
    """Held back while it is open; then ours again, or lost: then what it paid for ends."""
    money = seen.money
    if known is None:
        known = Dispute(
            content_uuid7(int(seen.opened_at.timestamp() * 1000), "dispute", payment.provider, seen.ref),
            payment.payment_id, payment.provider, seen.ref, money.minor, money.currency, seen.fee_minor, seen.reason,
            "open", seen.opened_at,
        )  # fmt: skip
        await execute(connection, QUERIES["add_dispute"], asdict(known))
        await ledger.post(connection, [facts.dispute(known.dispute_id, payment.provider, money, at)])
    if known.state != "open" or seen.state == "open":
        return
    closed = {"dispute_id": known.dispute_id, "state": seen.state, "fee_minor": seen.fee_minor, "at": at}
    await execute(connection, QUERIES["close_dispute"], closed)
    if seen.state == "won":
        await ledger.post(connection, [facts.dispute_won(known.dispute_id, payment.provider, money, at)])
        invoice = await invoices.get(connection, payment.invoice_id)
        if invoice.subscription_id is not None and not payment.surplus:
            await subscriptions.give_withheld(connection, invoice, at)
        return
    refunds = await rows(connection, QUERIES["refunds_of"], {"payment_id": payment.payment_id})
    gone = sum(each["amount_minor"] for each in refunds if each["state"] == "succeeded")
    if payment.surplus:  # nothing was sold for it, so nothing is lost: it is the customer's, who has it now
        owed = min(payment.amount_minor - gone, money.minor)
    else:
        owed = min(await _credited(connection, payment.invoice_id), money.minor)
    lost = facts.dispute_lost(
        known.dispute_id, payment.provider, money, seen.fee_minor, at, customer_id=payment.customer_id, owed_minor=owed
    )
    await ledger.post(connection, [lost])
    if not payment.surplus:
        invoice = await invoices.get(connection, payment.invoice_id)
        await withdrawn(connection, invoice, at, "dispute_lost", before_minor=gone)


async def _credited(connection: AsyncConnection, invoice_id: str) -> int:
    """What of an invoice went to the balance, and not on to the bank: who has it back twice owes it."""
    await rows(connection, QUERIES["lock_invoices"], {"invoices": [invoice_id]})
    found = await row(connection, QUERIES["credited"], {"invoice_id": invoice_id})
    return found["kept_minor"] if found else 0


async def _refunded_there(connection: AsyncConnection, payment_id: str, in_all: int, at: datetime) -> None:
    """Somebody refunded in the provider's own pages: the money is gone, so our books say so."""
    payment = await _locked(connection, payment_id)
    more = in_all - payment.refunded_minor
    if more <= 0:
        return
    refund_id = content_uuid7(
        int(payment.created_at.timestamp() * 1000), "refunded there", payment.payment_id, str(in_all)
    )
    await execute(connection, QUERIES["reserve"], {"payment_id": payment.payment_id, "amount": more})
    new = Refund(refund_id, payment.payment_id, "succeeded", more, payment.currency, AT_PROVIDER, at, settled_at=at)
    await connection.execute(QUERIES["add_refunds"], {"refunds": as_json([asdict(new)])})
    done = await given_back(connection, new, payment, at)
    await execute(connection, QUERIES["put_refund"], asdict(done))
