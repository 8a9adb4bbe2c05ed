"""The embedded payment provider: every rule of a real one, and no money.

Its books lie in a schema of their own, written on connections and in transactions of its own, so that a crash between
what it did and what we wrote of it is as real as with a provider on another continent. Charges that come within a few
milliseconds share one transaction, and so one wait for the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
import psycopg_pool
from psycopg import AsyncConnection

from matinee.clock import Clock
from matinee.settings import Settings
from serving.billing.documents.fiscal import Item
from serving.billing.ledger.money import Money
from serving.billing.providers.base import (
    Movement,
    Notice,
    Order,
    Outcome,
    ProviderAwayError,
    ProviderError,
    ProviderRefusedError,
    RefundOutcome,
    State,
)
from serving.billing.providers.sandbox.bank import QUERIES, Bank
from serving.billing.providers.sandbox.books import Payment, charged, hosted, token
from serving.billing.providers.sandbox.faults import Calls
from serving.billing.providers.sandbox.notices import read
from serving.db import execute, row, rows
from serving.links import site

PAGE = "/sandbox/pay/"
_GATHER_S = 0.002
_GATHERED = 500
_GONE = (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed)
T = TypeVar("T")


class Sandbox(Bank):
    """See `Provider` for what we ask of it, `Bank` for what people do there."""

    name = "sandbox"

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        super().__init__(settings, clock)
        self.calls = Calls()
        self._patience_s = settings.payments_patience_s
        self._waiting: list[tuple[Order, asyncio.Future[Outcome]]] = []
        self._flushing: set[asyncio.Task[None]] = set()

    async def open(self, order: Order) -> Outcome:
        async def make() -> Outcome:
            async with self.books() as connection:
                await self.write(connection, [hosted(order)])
                return self._of(order, (await _payments(connection, [order.payment_id]))[order.payment_id])

        return await self._call("open", order.payment_id, make)

    async def charge(self, order: Order) -> Outcome:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, done))
        if len(self._waiting) == 1:
            flush = asyncio.create_task(self._flush())
            self._flushing.add(flush)
            flush.add_done_callback(self._flushing.discard)
        return await done

    async def _flush(self) -> None:
        await asyncio.sleep(_GATHER_S)
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), _GATHERED):
            some = waiting[start : start + _GATHERED]
            try:
                said = await self.charge_many([order for order, _ in some])
            except Exception as error:  # noqa: BLE001 - who asked hears it
                said = [error] * len(some)
            for (_, done), one in zip(some, said, strict=True):
                if done.done():
                    continue
                if isinstance(one, Exception):
                    done.set_exception(one)
                else:
                    done.set_result(one)

    async def charge_many(self, orders: Sequence[Order]) -> list[Outcome | ProviderError]:
        """As `charge` for each, in one transaction; the answers are in the order of `orders`."""
        try:
            faults = await self.switches()
        except _GONE as error:
            return [_away(error) for _ in orders]
        fates = [self.calls.fate(faults, "charge", order.payment_id) for order in orders]
        heard = [order for order, fate in zip(orders, fates, strict=True) if fate not in ("before", "error")]
        await asyncio.sleep(min(faults.delay, self._patience_s))
        try:
            async with self.books() as connection:
                refs = [order.method_ref for order in heard]
                methods = {m["ref"]: m for m in await rows(connection, QUERIES["methods"], {"refs": refs})}
                known = {
                    order.payment_id: methods.get(order.method_ref or "")
                    for order in heard
                    if methods.get(order.method_ref or "", {}).get("customer_id") == order.customer_id
                }
                made = [charged(order, known.get(order.payment_id), faults) for order in heard]
                await self.write(connection, made)
                found = await _payments(connection, [order.payment_id for order in heard])
        except _GONE as error:
            return [_away(error) for _ in orders]
        late = "after" if faults.delay >= self._patience_s else None
        return [
            self._answered(order, found.get(order.payment_id), fate or late)
            for order, fate in zip(orders, fates, strict=True)
        ]

    def _answered(self, order: Order, found: Payment | None, fate: str | None) -> Outcome | ProviderError:
        if fate is not None or found is None:
            return self._silence(fate)
        try:
            return self._of(order, found)
        except ProviderRefusedError as error:
            return error

    async def look(
        self,
        payment_id: str,
        ref: str | None,
        *,
        since: datetime | None = None,  # noqa: ARG002 - it is found by our key
    ) -> Outcome | None:
        async def find() -> Outcome | None:
            found = await self.payment(ref, payment_id=payment_id)
            if found is None and ref is not None:
                raise ProviderRefusedError(f"the sandbox has no payment {ref}", "resource_missing")
            return found.outcome(self._page(found)) if found else None

        return await self._call("look", payment_id, find)

    async def cancel(self, ref: str) -> None:
        async def close() -> None:
            await self.abandon(ref)

        await self._call("cancel", ref, close)

    async def refund(
        self,
        refund_id: str,
        ref: str,
        money: Money,
        receipt: tuple[Item, ...] = (),  # noqa: ARG002 - the sandbox has no cash register
    ) -> RefundOutcome:
        async def give() -> RefundOutcome:
            async with self.books() as connection:
                payment = await self.locked(connection, ref)
                if found := await row(connection, QUERIES["refund_of"], {"refund_id": refund_id}):
                    if (found["payment_ref"], _money(found)) != (ref, money):
                        raise _reused(refund_id)
                    return _refund(found)
                _check_refund(payment, money)
                refund_ref = token("refund")
                made: dict[str, Any] = {"ref": refund_ref, "refund_id": refund_id, "payment_ref": ref}
                made |= {"amount_minor": money.minor, "currency": money.currency, "at": self.clock.now()}
                await execute(connection, QUERIES["refund"], made)
                await execute(connection, QUERIES["refunded"], {"ref": ref, "amount_minor": money.minor})
                await self.notify(connection, [("refund.succeeded", refund_ref, refund_id)])
                return _refund(made)

        return await self._call("refund", refund_id, give)

    async def look_refund(
        self,
        refund_id: str,
        ref: str | None,  # noqa: ARG002 - it is found by our key
        payment_ref: str,  # noqa: ARG002 - as well
    ) -> RefundOutcome | None:
        async def find() -> RefundOutcome | None:
            async with self.books() as connection:
                found = await row(connection, QUERIES["refund_of"], {"refund_id": refund_id})
                return _refund(found) if found else None

        return await self._call("look_refund", refund_id, find)

    def notice(
        self,
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
        address: str,  # noqa: ARG002 - its signature says whose it is
    ) -> Notice:
        return read(self.settings, headers, body, now)

    async def whose(self, notice: Notice) -> str | None:
        return notice.payment_id

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Movement]:
        midnight = since.replace(hour=0, minute=0, second=0, microsecond=0)
        bounds = {"since": since, "until": until, "now": self.clock.now(), "day_before": midnight - timedelta(days=1)}

        async def find() -> list[dict[str, Any]]:
            async with self.books() as connection:
                return await rows(connection, QUERIES["movements"], bounds)

        for found in await self._call("listed", since.isoformat(), find):
            about = (found["payment_id"], found["refund_id"])
            yield Movement(found["ref"], found["kind"], _money(found), found["at"], *about)

    async def forget(self, method_ref: str) -> None:
        async def drop() -> None:
            async with self.books() as connection:
                await execute(connection, QUERIES["forget"], {"ref": method_ref, "at": self.clock.now()})

        await self._call("forget", method_ref, drop)

    async def forget_customer(self, customer_id: str) -> None:
        """The sandbox keeps nothing of a person."""

    async def aclose(self) -> None:
        await asyncio.gather(*self._flushing, return_exceptions=True)
        await super().aclose()

    async def _call(self, operation: str, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do it as a provider far away would: late, or unheard, where a switch says so."""
        try:
            faults = await self.switches()
            fate = self.calls.fate(faults, operation, key)
            await asyncio.sleep(min(faults.delay, self._patience_s))
            if fate in ("before", "error"):
                raise self._silence(fate)
            done = await work()
        except _GONE as error:
            raise _away(error) from None
        if fate == "after" or faults.delay >= self._patience_s:
            raise self._silence("after")
        return done

    def _silence(self, fate: str | None) -> ProviderAwayError:
        said = "answered 502" if fate == "error" else f"did not answer within {self._patience_s:g} s"
        return ProviderAwayError(f"the sandbox {said}: ask again")

    def _of(self, order: Order, payment: Payment) -> Outcome:
        if not payment.is_of(order):
            raise _reused(order.payment_id)
        return payment.outcome(self._page(payment))

    def _page(self, payment: Payment) -> str | None:
        return site(self.settings) + PAGE + payment.ref if payment.state == "action" else None


async def _payments(connection: AsyncConnection, payment_ids: Sequence[str]) -> dict[str, Payment]:
    found = await rows(connection, QUERIES["payments"], {"payment_ids": list(payment_ids), "refs": []})
    return {each["payment_id"]: Payment(**each) for each in found}


def _check_refund(payment: Payment, money: Money) -> None:
    if payment.state != "succeeded":
        raise ProviderRefusedError(f"payment {payment.ref} is {payment.state}: nothing to give back", "not_paid")
    if any(dispute["state"] != "won" for dispute in payment.disputes):
        raise ProviderRefusedError(f"payment {payment.ref} is disputed: the bank decides", "charge_disputed")
    left = payment.money - Money(payment.refunded_minor, payment.currency)
    if money.currency != payment.currency or not 0 < money.minor <= left.minor:
        raise ProviderRefusedError(
            f"{money.minor} {money.currency} of payment {payment.ref}: {left.minor} {left.currency} are left",
            "amount_too_large",
        )


def _refund(found: Mapping[str, Any]) -> RefundOutcome:
    return RefundOutcome(found["ref"], State.succeeded, _money(found))


def _money(found: Mapping[str, Any]) -> Money:
    return Money(found["amount_minor"], found["currency"])


def _reused(key: str) -> ProviderRefusedError:
    return ProviderRefusedError(f"{key} was used for another payment already", "idempotency_key_reused")


def _away(error: Exception) -> ProviderAwayError:
    return ProviderAwayError(f"the sandbox's database does not answer ({type(error).__name__}): ask again")
