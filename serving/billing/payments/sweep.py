"""What was left half done is brought to its end: after crashes, lost notices, providers that were away, closed pages.

Nothing here is needed where all goes well; run it every minute or two, by as many processes as there are.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import psycopg_pool
from psycopg import AsyncConnection

from matinee.errors import MatineeError
from serving.billing import idempotency, webhooks
from serving.billing.invoices import core as invoices
from serving.billing.payments import core, methods, refunds
from serving.billing.payments.desk import Desk
from serving.billing.payments.fulfilment import given_up, refused_many
from serving.billing.payments.rows import QUERIES, Method
from serving.billing.payments.settling import together
from serving.db import rows

AFTER = timedelta(seconds=60)  # so long somebody else is probably at work on it
_BATCH = 200
_AT_ONCE = 16
_CLOCKS_DIFFER = timedelta(minutes=1)
log = logging.getLogger("matinee.billing")


@dataclass(frozen=True, slots=True)
class Swept:
    """How many were brought to an end, of each sort; `failed`: tried in vain, again later."""

    payments: int = 0
    refunds: int = 0
    notices: int = 0
    abandoned: int = 0
    forgotten: int = 0
    failed: int = 0


async def sweep(desk: Desk, at: datetime, *, after: timedelta = AFTER, most: int | None = None) -> Swept:
    """Ask about payments and refunds that are not settled for `after` (then with growing pauses; 0: about all, now),
    give back once more what came too much, hear notices that nobody could use, take back invoices that nobody paid for
    a day, have providers forget removed methods and erased customers. What is
    only kept for a while goes: answers, notices that are done with.

    `most`: of each sort no more, and none of the clock's charges, which renewal runs ask about: for processes that
    have other work too. After an outage thousands may wait.
    """
    limit = min(_BATCH, most or _BATCH)
    asked = {"at": at, "after": after, "before": at - after, "limit": limit, "charges": most is None}

    async def settle(one: dict[str, Any]) -> bool:
        return (await core.settle(desk, one["payment_id"], at)).settled

    async def give_back(one: dict[str, Any]) -> bool:
        return (await refunds.push(desk, one["refund_id"], at)).settled

    async def give_again(one: dict[str, Any]) -> bool:
        return await refunds.surplus_again(desk, one["payment_id"], at)

    async def hear(one: dict[str, Any]) -> bool:
        return await webhooks.handle(desk, one["provider"], one["event_id"], at)

    async def forget(one: dict[str, Any]) -> bool:
        method = Method(**one)
        return method.provider_ref is not None and await methods.forget(
            desk, method.method_id, method.provider, method.provider_ref
        )

    async def forget_customer(one: dict[str, Any]) -> bool:
        return await methods.forget_customer(desk, one["customer_id"], one["providers"], at)

    async def take_back(one: dict[str, Any]) -> bool:
        await together(desk, lambda connection: _abandoned(connection, one["invoice_id"], at))
        return True

    batches = None if most is None else 1
    payments = await _all(desk, QUERIES["claim_payments"], asked, settle, batches)
    given = await _all(desk, QUERIES["claim_refunds"], asked, give_back, batches)
    again = await _all(desk, QUERIES["surplus_kept"], asked, give_again, batches)
    given = (given[0] + again[0], given[1] + again[1])
    heard = await _all(desk, webhooks.QUERIES["claim_events"], asked, hear, batches)
    day_ago = {"before": at - core.PAGE_LIFE - _CLOCKS_DIFFER, "limit": limit}
    left = await _some(await _found(desk, QUERIES["abandoned"], day_ago), take_back)
    gone = await _all(desk, QUERIES["claim_methods"], asked, forget, batches)
    people = await _all(desk, webhooks.QUERIES["claim_customers"], asked, forget_customer, batches)
    gone = (gone[0] + people[0], gone[1] + people[1])
    async with desk.transaction() as connection:
        await idempotency.prune(connection, at)
        await webhooks.prune(connection, at)
    counts = [payments, given, heard, left, gone]
    return Swept(*(done for done, _ in counts), failed=sum(failed for _, failed in counts))


async def _all(
    desk: Desk,
    query: Any,
    asked: dict[str, Any],
    work: Callable[[dict[str, Any]], Awaitable[bool]],
    batches: int | None,
) -> tuple[int, int]:
    """Batch after batch, or so many; what was asked about is marked, and comes once."""
    done = failed = 0
    seen: set[str] = set()
    for _ in count() if batches is None else range(batches):
        some = await _found(desk, query, asked)
        new = [each for each in some if next(iter(each.values())) not in seen]
        seen |= {next(iter(each.values())) for each in new}
        more_done, more_failed = await _some(new, work)
        done, failed = done + more_done, failed + more_failed
        if len(new) < asked["limit"]:
            break
    return done, failed


async def _some(some: Sequence[dict[str, Any]], work: Callable[[dict[str, Any]], Awaitable[bool]]) -> tuple[int, int]:
    """How many came to an end, and how many failed; what fails stops no other."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(each: dict[str, Any]) -> bool | None:
        async with slots:
            try:
                return await work(each)
            except (MatineeError, psycopg.Error, psycopg_pool.PoolTimeout) as error:
                log.warning("sweep of %s: %s", next(iter(each.values())), error)
            except Exception:  # a defect met by one must not keep all others waiting
                log.exception("sweep of %s stumbled over a defect", next(iter(each.values())))
            return None

    ended = await asyncio.gather(*(one(each) for each in some))
    return sum(end is True for end in ended), sum(end is None for end in ended)


async def _found(desk: Desk, query: Any, asked: dict[str, Any]) -> list[dict[str, Any]]:
    async with desk.transaction() as connection:
        return await rows(connection, query, asked)


async def _abandoned(connection: AsyncConnection, invoice_id: str, at: datetime) -> None:
    invoice = await invoices.get(connection, invoice_id)
    if invoice.reason == "resume":  # its owner thought better of it: the pause lasts as long as it was to
        await given_up(connection, [invoice_id], at)
    elif invoice.state == "open":
        await refused_many(connection, [(invoice, None)], at)
