"""One transaction in which what a provider told becomes payments, postings, paid invoices and rights. Many at once."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import orjson
from psycopg import AsyncConnection
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.types.json import Jsonb

from matinee.ids import content_uuid7, uuid7
from serving.billing.invoices import core as invoices
from serving.billing.ledger import core as ledger
from serving.billing.ledger import facts
from serving.billing.ledger.money import Money
from serving.billing.payments.desk import Desk
from serving.billing.payments.forward import Heard, forward
from serving.billing.payments.fulfilment import fulfil_many, refused_many
from serving.billing.payments.rows import QUERIES, Payment, PaymentError
from serving.billing.subscriptions import core as subscriptions
from serving.db import rows

_ORDERS = ("start", "change", "resume")  # of subscriptions; what people do between an order and its payment may end it
_TRIES = 5  # of a transaction that another one stood in the way of
T = TypeVar("T")
log = logging.getLogger("matinee.billing")


@dataclass(frozen=True, slots=True)
class Applied:
    """Payments as they are now, in the order heard of, and refunds (ids) that have to be made at their providers."""

    payments: list[Payment]
    refunds: list[str]


@dataclass(frozen=True, slots=True)
class _Move:
    was: Payment
    now: Payment
    heard: Heard

    @property
    def succeeded(self) -> bool:
        return self.now.state == "succeeded" != self.was.state

    @property
    def failed(self) -> bool:
        return self.now.state == "failed" != self.was.state


async def together(desk: Desk, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Do work in one transaction; again where another one stood in its way (then nothing of it was done)."""
    for _ in range(_TRIES - 1):
        try:
            async with desk.transaction() as connection:
                return await work(connection)
        except (DeadlockDetected, SerializationFailure) as error:
            log.info("once more: %s", error)
    async with desk.transaction() as connection:
        return await work(connection)


async def apply(connection: AsyncConnection, heard: Sequence[Heard], at: datetime) -> Applied:
    """Move payments forward by what was heard of each, with all that follows from it, in the caller's transaction.

    Money for an invoice that needs none any more (paid already, void) is posted too, and a refund of it is written.

    Raises:
        PaymentError: a payment is unknown, or its provider took another amount.
    """
    by_id = {each.payment_id: each for each in heard}
    found = await rows(connection, QUERIES["lock"], {"payments": list(by_id)})
    known = {each["payment_id"]: Payment(**each) for each in found}
    if missing := set(by_id) - set(known):
        raise PaymentError(f"there is no payment {min(missing)!r}")
    moves = [_Move(known[name], forward(known[name], each, at), each) for name, each in by_id.items()]
    moves = await _surplus_marked(connection, moves, at)
    moves = await _methods_saved(connection, moves, at)
    changed = {"payments": as_json([asdict(move.now) for move in moves]), "payment_ids": list(by_id)}
    await connection.execute(QUERIES["put"], changed)
    refunds = [surplus_refund(move.now, at) for move in moves if move.succeeded and move.now.surplus]
    if refunds:
        await connection.execute(QUERIES["add_refunds"], {"refunds": as_json(refunds)})
    await ledger.post(connection, [fact for move in moves for fact in _facts(move, at)])
    await _told_invoices(connection, moves, at)
    return Applied([move.now for move in moves], [refund["refund_id"] for refund in refunds])


async def _surplus_marked(connection: AsyncConnection, moves: list[_Move], at: datetime) -> list[_Move]:
    """Of payments that succeeded now, the first of each open invoice pays it; the others are surplus, and so is what
    would open nothing any more (a second subscription)."""
    wanted = sorted({move.now.invoice_id for move in moves if move.succeeded or move.failed})
    if not wanted:
        return moves
    states = await rows(connection, QUERIES["lock_invoices"], {"invoices": wanted})
    needed = {each["invoice_id"] for each in states if each["state"] == "open"}
    taken = {move.now.invoice_id for move in moves if move.succeeded}
    orders = [
        each["invoice_id"] for each in states if each["reason"] in _ORDERS and each["invoice_id"] in needed & taken
    ]
    if orders:
        needed -= await subscriptions.give_up_useless(connection, await invoices.get_many(connection, orders), at)
    marked = []
    for move in moves:
        if move.succeeded and move.now.invoice_id not in needed:
            now = replace(move.now, surplus=True, refunded_minor=move.now.amount_minor)
            marked.append(replace(move, now=now))
            continue
        if move.succeeded:
            needed.discard(move.now.invoice_id)
        marked.append(move)
    return marked


async def _methods_saved(connection: AsyncConnection, moves: list[_Move], at: datetime) -> list[_Move]:
    seen = {
        (move.now.provider, move.heard.outcome.method.ref): (move, move.heard.outcome.method)
        for move in moves
        if move.succeeded and move.now.save_method and not move.now.surplus
        and move.was.state != "failed"  # it was given up, maybe for one that keeps nothing
        and move.heard.outcome is not None and move.heard.outcome.method is not None
    }  # fmt: skip
    if not seen:
        return moves
    given = [
        {"method_id": uuid7(), "customer_id": move.now.customer_id, "provider": provider, "provider_ref": ref,
         "label": method.label, "created_at": at}
        for (provider, ref), (move, method) in seen.items()
    ]  # fmt: skip
    saved = await rows(connection, QUERIES["save_methods"], {"methods": as_json(given)})
    ids = {(each["provider"], each["provider_ref"]): each["method_id"] for each in saved}
    owners = {move.now.payment_id: ids.get(key) for key, (move, _) in seen.items()}
    return [
        replace(move, now=replace(move.now, saved_id=owners.get(move.now.payment_id, move.now.saved_id)))
        for move in moves
    ]


def surplus_refund(payment: Payment, at: datetime, *again: int) -> dict[str, Any]:
    """The whole of a payment that nothing is to be bought by. Tried again, of how many refunds it is the next one, and
    what is left of the payment."""
    moment, amount = int(payment.created_at.timestamp() * 1000), payment.amount_minor
    name = content_uuid7(moment, "surplus", payment.payment_id)
    if again:
        count, amount = again
        name = content_uuid7(moment, "surplus", payment.payment_id, str(count))
    return {
        "refund_id": name,
        "payment_id": payment.payment_id,
        "amount_minor": amount,
        "currency": payment.currency,
        "reason": "surplus",
        "keeps_right": True,
        "asked_by": None,
        "created_at": at,
        "asked_at": at,
    }


def _facts(move: _Move, at: datetime) -> list[ledger.Transaction]:
    """A fee is posted once, when it is first told: with the payment, or later."""
    payment, posted = move.now, []
    if move.succeeded:
        money = Money(payment.amount_minor, payment.currency)
        posted.append(facts.payment(payment.payment_id, payment.customer_id, payment.provider, money, at))
    if (
        payment.state == "succeeded"
        and payment.fee_minor
        and not (move.was.state == "succeeded" and move.was.fee_minor)
    ):
        fee = Money(payment.fee_minor, payment.currency)
        posted.append(facts.fee(payment.payment_id, payment.provider, fee, at))
    return posted


async def _told_invoices(connection: AsyncConnection, moves: Sequence[_Move], at: datetime) -> None:
    paid = {move.now.invoice_id: move.now for move in moves if move.succeeded and not move.now.surplus}
    if paid:
        done = await invoices.paid_many(connection, list(paid), at)
        await fulfil_many(connection, [(invoice, paid[invoice.invoice_id]) for invoice in done], at)
    lost = {move.now.invoice_id: move.now for move in moves if move.failed and move.now.invoice_id not in paid}
    if lost:
        known = await invoices.get_many(connection, list(lost))
        still = [(each, lost[each.invoice_id]) for each in known if each.state == "open"]
        await refused_many(connection, still, at)


def as_json(records: list[dict[str, Any]]) -> Jsonb:
    return Jsonb(records, dumps=orjson.dumps)
