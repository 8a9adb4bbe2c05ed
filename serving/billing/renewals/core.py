"""The renewal run: whatever the clock says of subscriptions, and the charges that follow from it.

Batch after batch: one transaction turns what is due and writes invoices and payments (`created`), then providers are
asked with no transaction open, then one transaction settles what they said. A run may be killed anywhere, run twice,
late, or by several processes at once: who takes a subscription holds it alone, a period has one invoice, and the id of
a payment follows from invoice and attempt, so that a charge that is made again is the same charge. What a run that died
left `created` is settled by the next sweep.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.errors import MatineeError
from serving.billing.invoices.core import Invoice
from serving.billing.payments import core as payments
from serving.billing.payments.asking import charged, order_of, own_page
from serving.billing.payments.desk import Desk
from serving.billing.payments.forward import Heard
from serving.billing.payments.fulfilment import closed_many, payers, refused_many
from serving.billing.payments.rows import QUERIES as PAYMENTS
from serving.billing.payments.rows import Method, Payment
from serving.billing.payments.settling import apply, as_json, together
from serving.billing.providers.base import Order
from serving.billing.subscriptions import core as subscriptions
from serving.db import row, rows

QUERIES = load(Path(__file__).parent)
BATCH = 500
LANES = 2  # batches under way at once: one is written while the other one's charges are
# Charges under way in a lane: real providers bear some (Stripe 100 requests a second), the embedded one gathers them.
# What needs transactions of ours too is never more than `AT_ONCE`: it waits in line for the desk's few connections.
AT_ONCE, AT_ONCE_OF = 16, {"sandbox": 500}
PUT_OFF = timedelta(hours=1)  # a subscription that nothing can be made of, before it is tried again
log = logging.getLogger("matinee.billing")

Told = Callable[[int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a run did: subscriptions turned, and what became of the charges among them."""

    turned: int = 0
    paid: int = 0
    refused: int = 0
    pending: int = 0  # nobody heard the provider's answer: the sweep will
    free: int = 0
    put_off: int = 0  # a defect, or a provider's: see the log

    def __add__(self, other: "Renewed") -> "Renewed":
        return Renewed(*(a + b for a, b in zip(_counts(self), _counts(other), strict=True)))


@dataclass(frozen=True, slots=True)
class _Turned:
    taken: int
    free: int
    refused: int
    charges: list[tuple[Payment, Order]]
    begun: list[Payment]  # by a run that died, or whose provider was away


async def waiting(desk: Desk, at: datetime) -> int:
    """How many subscriptions a run at `at` would turn."""
    async with desk.transaction() as connection:
        found = await row(connection, QUERIES["waiting"], {"at": at})
    return found["count"] if found else 0


async def renew(
    desk: Desk,
    at: datetime,
    *,
    told: Told | None = None,
    batch: int = BATCH,
    lanes: int = LANES,
) -> Renewed:
    """Turn every subscription that is due at `at`; `told` hears after each batch how many that were.

    Connections: one for each lane, so a desk of `lanes` of them is enough.
    """

    async def lane() -> Renewed:
        done = Renewed()
        while (more := await _step(desk, at, batch)).turned or more.put_off:
            done += more
            if told is not None:
                told(more.turned + more.put_off)
        return done

    total = Renewed()
    for done in await _all(lane() for _ in range(lanes)):
        total += done
    return total


async def _step(desk: Desk, at: datetime, batch: int) -> Renewed:
    """One batch. Where something of it is broken, one by one: what is broken is put off and holds up no other."""
    try:
        work = await together(desk, lambda connection: _turned(connection, desk, at, batch))
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise
    except Exception:  # a defect met by one must not keep all others from being renewed
        if batch > 1:
            log.exception("a batch of renewals cannot be written: one by one")
            done = Renewed()
            for _ in range(batch):
                done += (one := await _step(desk, at, 1))
                if not one.turned and not one.put_off:
                    break
            return done
        log.exception("a subscription cannot be turned")
        return await _put_off(desk, at)
    heard = await _asked(desk, work.charges)
    settled = await _settled(desk, heard, at)
    settled += await _again(desk, work.begun, at)
    states = [payment.state for payment in settled]
    return Renewed(
        turned=work.taken, paid=states.count("succeeded"), refused=states.count("failed") + work.refused,
        pending=len(states) - states.count("succeeded") - states.count("failed"), free=work.free,
    )  # fmt: skip


async def _turned(connection: AsyncConnection, desk: Desk, at: datetime, batch: int) -> _Turned:
    """One transaction: what the clock says, invoices, payments that are about to be asked for."""
    due = await subscriptions.due(connection, at, batch)
    charges = await subscriptions.turn_many(connection, due, at) if due else []
    free = [charge.invoice for charge in charges if charge.invoice.due_minor == 0]
    await closed_many(connection, free, at)
    owed = [charge for charge in charges if charge.invoice.due_minor]
    methods = await _methods(connection, desk, [charge.method_id for charge in owed if charge.method_id])
    lost = [(charge.invoice, None) for charge in owed if charge.method_id not in methods]
    if lost:
        await refused_many(connection, lost, at)
    planned = [
        (charge.invoice, methods[charge.method_id], charge.attempt) for charge in owed if charge.method_id in methods
    ]
    new, begun = await _written(connection, planned, at)
    people = await payers(connection, (invoice.customer_id for _, invoice, _ in new)) if new else {}
    page = own_page(desk)
    orders = [
        (payment, order_of(invoice, payment, email=people[invoice.customer_id].email, return_url=page,
                           method_ref=method.provider_ref))
        for payment, invoice, method in new
    ]  # fmt: skip
    return _Turned(len(due), len(free), len(lost), orders, begun)


async def _methods(connection: AsyncConnection, desk: Desk, method_ids: Sequence[str]) -> dict[str | None, Method]:
    """Those that can be charged still."""
    if not method_ids:
        return {}
    found = await rows(connection, PAYMENTS["methods"], {"methods": list(method_ids)})
    used = {name for name in {each["provider"] for each in found} if desk.uses(name)}
    known = [Method(**each) for each in found if each["removed_at"] is None and each["provider_ref"]]
    return {method.method_id: method for method in known if method.provider in used}


async def _written(
    connection: AsyncConnection, planned: Sequence[tuple[Invoice, Method, int]], at: datetime
) -> tuple[list[tuple[Payment, Invoice, Method]], list[Payment]]:
    """Payments that are new, and those that are under way: begun by an earlier run, or by who pays by hand."""
    made = [
        (payments.planned(invoice, method.provider, "charge", attempt, at, method.method_id), invoice, method)
        for invoice, method, attempt in planned
    ]
    if not made:
        return [], []
    asked = {"payments": [payment.payment_id for payment, _, _ in made]}
    begun = {each["payment_id"]: Payment(**each) for each in await rows(connection, PAYMENTS["payments"], asked)}
    invoices = {"invoices": [invoice.invoice_id for _, invoice, _ in made]}
    begun |= {each["payment_id"]: Payment(**each) for each in await rows(connection, PAYMENTS["charging"], invoices)}
    busy = {payment.invoice_id for payment in begun.values()}
    new = [each for each in made if each[1].invoice_id not in busy]
    await connection.execute(PAYMENTS["add"], {"payments": as_json([asdict(payment) for payment, _, _ in new])})
    return new, list(begun.values())


async def _asked(desk: Desk, charges: Sequence[tuple[Payment, Order]]) -> list[Heard]:
    slots = _slots(payment for payment, _ in charges)

    async def one(payment: Payment, order: Order) -> Heard:
        async with slots[payment.provider]:
            try:
                return await charged(desk.provider(payment.provider), payment, order)
            except Exception:  # a defect in one charge must not lose what is known of the others
                log.exception("charge %s: nobody knows what became of it", payment.payment_id)
                return Heard(payment.payment_id)

    return await asyncio.gather(*(one(payment, order) for payment, order in charges))


async def _settled(desk: Desk, heard: Sequence[Heard], at: datetime) -> list[Payment]:
    if not heard:
        return []
    try:
        return (await together(desk, lambda connection: apply(connection, heard, at))).payments
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise
    except Exception:
        if len(heard) == 1:
            log.exception("payment %s cannot be settled: the sweep tries again", heard[0].payment_id)
            async with desk.transaction() as connection:
                return [await payments.get(connection, heard[0].payment_id)]
        log.exception("a batch of charges cannot be settled: one by one")
        return [payment for one in heard for payment in await _settled(desk, [one], at)]


async def _again(desk: Desk, begun: Sequence[Payment], at: datetime) -> list[Payment]:
    """Ask what became of charges of before; a provider that is away is asked by the sweep."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(payment: Payment) -> Payment:
        async with slots:
            try:
                return await payments.settle(desk, payment.payment_id, at)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                raise
            except MatineeError as error:
                log.warning("payment %s: %s", payment.payment_id, error)
            except Exception:  # a defect in one must not end this run, and each later one at the same place
                log.exception("payment %s: nobody knows what became of it", payment.payment_id)
            return payment

    return await _all(one(payment) for payment in begun)


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What they return. Where one fails the others are stopped before it is told: they use what the caller closes."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _slots(asked: Iterable[Payment]) -> dict[str, asyncio.Semaphore]:
    return {name: asyncio.Semaphore(AT_ONCE_OF.get(name, AT_ONCE)) for name in {each.provider for each in asked}}


async def _put_off(desk: Desk, at: datetime) -> Renewed:
    async with desk.transaction() as connection:
        first = {"at": at, "until": at + PUT_OFF}
        found = await row(connection, QUERIES["put_off"], first)
    if found is None:
        return Renewed()
    log.error("subscription %s cannot be turned: tried again in %s", found["subscription_id"], PUT_OFF)
    return Renewed(put_off=1)


def _counts(done: Renewed) -> tuple[Any, ...]:
    return (done.turned, done.paid, done.refused, done.pending, done.free, done.put_off)
