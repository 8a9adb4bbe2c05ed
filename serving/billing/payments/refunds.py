"""Refunds: reserved, made at the provider, settled; never above what was paid.

created    reserved on the payment, whose row is locked, and committed; its id is the key at the provider
pending    the provider was asked
succeeded  credit note, postings and the end of the right, in one transaction
failed     the provider refused: the reserve is free again, the reason is kept
"""

import logging
from dataclasses import asdict, replace
from datetime import datetime
from typing import Literal

from psycopg import AsyncConnection

from matinee.ids import uuid7
from serving.billing.documents import fiscal
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.ledger import core as ledger
from serving.billing.ledger import facts
from serving.billing.ledger.money import Money
from serving.billing.payments.asking import receipt_of
from serving.billing.payments.desk import Desk
from serving.billing.payments.fulfilment import told_refund
from serving.billing.payments.rows import QUERIES, Payment, PaymentError, Refund
from serving.billing.payments.settling import as_json, surplus_refund, together
from serving.billing.providers.base import (
    REPEATABLE,
    Provider,
    ProviderAwayError,
    ProviderRefusedError,
    RefundOutcome,
    State,
)
from serving.billing.purchases import core as purchases
from serving.billing.subscriptions import core as subscriptions
from serving.db import execute, row, rows
from serving.problems import Problem

log = logging.getLogger("matinee.billing")


async def refund(
    desk: Desk,
    payment_id: str,
    amount_minor: int | None,
    reason: str,
    at: datetime,
    *,
    asked_by: str | None,
    keeps_right: bool = False,
    refund_id: str | None = None,
) -> Refund:
    """Give a payment back, all that is left of it or `amount_minor`. What it paid for ends when all of it went back,
    but for goodwill (`keeps_right`). The same `refund_id` again is the same refund.

    Raises:
        Problem: 404, no such payment; 409, it was not paid, is disputed, or its provider is not used any more; 422,
            more than is left, or nothing.
    """
    wanted = refund_id or uuid7()

    async def reserved(connection: AsyncConnection) -> None:
        await _reserve(desk, connection, wanted, payment_id, amount_minor, reason, at, asked_by, keeps_right)

    await together(desk, reserved)
    return await push(desk, wanted, at)


async def push(desk: Desk, refund_id: str, at: datetime) -> Refund:
    """Make a refund at its provider, or hear what became of it, and settle it. A provider that is away leaves it."""
    async with desk.transaction() as connection:
        this, payment = await _found(connection, refund_id)
        invoice = await invoices.get(connection, payment.invoice_id)
    if this.settled:
        return this
    outcome, failure = None, None
    try:
        outcome = await _made(desk.provider(payment.provider), this, payment, invoice, at)
    except ProviderAwayError as error:
        log.warning("refund %s: %s", refund_id, error)
    except ProviderRefusedError as error:
        log.warning("refund %s is refused: %s", refund_id, error)
        failure = error.code
    return await together(desk, lambda connection: _settled(connection, refund_id, outcome, failure, at))


async def surplus_again(desk: Desk, payment_id: str, at: datetime) -> bool:
    """Give back what came too much and whose refund was refused; whether it is settled now. Not while a bank has it, or
    may, nor by a provider that is not used any more."""

    async def reserved(connection: AsyncConnection) -> str | None:
        payment = await _locked(connection, payment_id)
        left = payment.amount_minor - payment.refunded_minor
        if not (payment.surplus and payment.state == "succeeded" and left and desk.uses(payment.provider)):
            return None
        if await _is_disputed(connection, payment_id):
            return None
        again = surplus_refund(payment, at, 1 + len(await of_payment(connection, payment_id)), left)
        await execute(connection, QUERIES["reserve"], {"payment_id": payment_id, "amount": left})
        await connection.execute(QUERIES["add_refunds"], {"refunds": as_json([again])})
        return again["refund_id"]

    refund_id = await together(desk, reserved)
    return refund_id is not None and (await push(desk, refund_id, at)).state == "succeeded"


async def of_payment(connection: AsyncConnection, payment_id: str) -> list[Refund]:
    """Its refunds, the first one first."""
    return [Refund(**each) for each in await rows(connection, QUERIES["refunds_of"], {"payment_id": payment_id})]


async def _reserve(
    desk: Desk,
    connection: AsyncConnection,
    refund_id: str,
    payment_id: str,
    amount_minor: int | None,
    reason: str,
    at: datetime,
    asked_by: str | None,
    keeps_right: bool,
) -> None:
    payment = await _locked(connection, payment_id)
    if not desk.uses(payment.provider):
        raise Problem(
            409, "provider_unused", f"payment {payment_id} was taken by {payment.provider}: give it back there"
        )
    if await row(connection, QUERIES["refund"], {"refund_id": refund_id}):
        return
    if payment.state != "succeeded":
        raise Problem(409, "not_paid", f"payment {payment_id} is {payment.state}: only what was paid goes back")
    if await _is_disputed(connection, payment_id):
        raise Problem(409, "payment_disputed", f"the bank has payment {payment_id} back, or may: it cannot go twice")
    left = await _left(connection, payment)
    amount = left if amount_minor is None else amount_minor
    if not 0 < amount <= left:
        raise Problem(
            422, "refund_too_much", f"of payment {payment_id} {left} {payment.currency} (minor units) are left to give"
        )
    await execute(connection, QUERIES["reserve"], {"payment_id": payment_id, "amount": amount})
    new = Refund(
        refund_id, payment_id, "created", amount, payment.currency, reason, at,
        keeps_right=keeps_right, asked_by=asked_by, asked_at=at,
    )  # fmt: skip
    await connection.execute(QUERIES["add_refunds"], {"refunds": as_json([asdict(new)])})


async def _is_disputed(connection: AsyncConnection, payment_id: str) -> bool:
    """Whether the bank has it back, or may."""
    found = await rows(connection, QUERIES["disputes_of"], {"payment_id": payment_id})
    return any(dispute["state"] != "won" for dispute in found)


async def _left(connection: AsyncConnection, payment: Payment) -> int:
    """What can be given back: what an invoice gave back to the balance (a downgrade) cannot go to the bank as well."""
    left = payment.amount_minor - payment.refunded_minor
    if payment.surplus:
        return left
    await rows(connection, QUERIES["lock_invoices"], {"invoices": [payment.invoice_id]})
    found = await row(connection, QUERIES["creditable"], {"invoice_id": payment.invoice_id, "but": None})
    return min(left, found["left_minor"]) if found else 0


async def _made(
    provider: Provider, this: Refund, payment: Payment, invoice: Invoice, at: datetime
) -> RefundOutcome | None:
    ref = payment.provider_ref
    if ref is None:
        raise PaymentError(f"payment {payment.payment_id} succeeded without the provider's reference: settle it again")
    if this.provider_ref is not None or at - this.created_at >= REPEATABLE:
        found = await provider.look_refund(this.refund_id, this.provider_ref, ref)
        if found is not None:
            return found
    sold = receipt_of(invoice, payment.amount_minor)
    given = fiscal.refunded(sold, this.amount_minor) if sold else ()
    return await provider.refund(this.refund_id, ref, Money(this.amount_minor, this.currency), given)


async def _settled(
    connection: AsyncConnection, refund_id: str, outcome: RefundOutcome | None, failure: str | None, at: datetime
) -> Refund:
    this, payment = await _found(connection, refund_id)
    payment = await _locked(connection, payment.payment_id)
    this, _ = await _found(connection, refund_id)  # as it is under the lock
    if this.settled:
        return this
    state, ref = "pending", this.provider_ref
    if outcome is not None:
        state, ref, failure = outcome.state.value, outcome.ref, outcome.failure
    if outcome is None and failure is not None:
        state = State.failed.value
    done = replace(this, state=state, provider_ref=ref, failure=failure, asked_at=at)
    if done.settled:
        done = replace(done, settled_at=at)
    if state == "failed":
        freed = {"payment_id": payment.payment_id, "amount": this.amount_minor}
        await execute(connection, QUERIES["unreserve"], freed)
    if state == "succeeded":
        done = await given_back(connection, done, payment, at)
    await execute(connection, QUERIES["put_refund"], asdict(done))
    return done


async def given_back(connection: AsyncConnection, done: Refund, payment: Payment, at: datetime) -> Refund:
    """All that follows from money having gone back: credit note, posting, the end of the right, a letter.

    What was refunded at the provider by hand may be more than its invoice has left, as some of that went to the balance
    before: the note is of what is left, and the rest is taken from the balance by the posting.
    """
    invoice = await invoices.get(connection, payment.invoice_id)
    money, number = Money(done.amount_minor, done.currency), invoice.number
    left = 0 if payment.surplus else await _creditable(connection, invoice, done)
    if credited := min(done.amount_minor, left):
        note = await invoices.credit(connection, invoice.invoice_id, credited, "refund", at, refund_id=done.refund_id)
        done, number = replace(done, note_id=note.invoice_id), note.number
    await ledger.post(connection, [facts.refund(done.refund_id, payment.customer_id, payment.provider, money, at)])
    if not payment.surplus:
        await _right(connection, done, payment, invoice, at)
    await told_refund(connection, invoice, done.amount_minor, number)
    return done


async def _right(connection: AsyncConnection, done: Refund, payment: Payment, invoice: Invoice, at: datetime) -> None:
    """It ends when all that was paid went back, to the bank or, before, to the balance."""
    others = await rows(connection, QUERIES["refunds_of"], {"payment_id": payment.payment_id})
    gone = done.amount_minor + sum(
        each["amount_minor"] for each in others if each["state"] == "succeeded" and each["refund_id"] != done.refund_id
    )
    now = await invoices.get(connection, invoice.invoice_id)
    if done.keeps_right or (gone < payment.amount_minor and now.credited_minor < now.total_minor):
        if invoice.purpose == "subscription":
            await subscriptions.reduced(connection, invoice, done.amount_minor, at)
        return
    if left := await _creditable(connection, invoice, done):  # what was paid from the balance goes back there
        await invoices.credit(connection, invoice.invoice_id, left, "refund", at, refund_id=done.refund_id)
    await withdrawn(connection, invoice, at, "refunded", before_minor=gone - done.amount_minor)


async def _creditable(connection: AsyncConnection, invoice: Invoice, but: Refund) -> int:
    """What the invoice has left to give back, less what other refunds on their way will take."""
    await rows(connection, QUERIES["lock_invoices"], {"invoices": [invoice.invoice_id]})
    found = await row(connection, QUERIES["creditable"], {"invoice_id": invoice.invoice_id, "but": but.refund_id})
    return max(found["left_minor"], 0) if found else 0


async def withdrawn(
    connection: AsyncConnection, invoice: Invoice, at: datetime, why: Literal["refunded", "dispute_lost"],
    *, before_minor: int,
) -> None:  # fmt: skip
    """What the invoice opened ends now; `before_minor` of its payment went back earlier."""
    if invoice.purpose == "subscription":
        await subscriptions.withdrawn(connection, invoice, at, why=why, before_minor=before_minor)
    else:
        await purchases.withdrawn(connection, invoice, at)


async def _found(connection: AsyncConnection, refund_id: str) -> tuple[Refund, Payment]:
    found = await row(connection, QUERIES["refund"], {"refund_id": refund_id})
    if found is None:
        raise PaymentError(f"there is no refund {refund_id!r}")
    this = Refund(**found)
    paid = await row(connection, QUERIES["payments"], {"payments": [this.payment_id]})
    assert paid is not None  # a foreign key says so
    return this, Payment(**paid)


async def _locked(connection: AsyncConnection, payment_id: str) -> Payment:
    found = await row(connection, QUERIES["lock"], {"payments": [payment_id]})
    if found is None:
        raise Problem(404, "payment_not_found", f"there is no payment {payment_id}")
    return Payment(**found)
