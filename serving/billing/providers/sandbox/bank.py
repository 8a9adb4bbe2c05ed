"""What happens at the sandbox apart from our calls: people give cards, banks ask and decide, time passes.

Each is one transaction of the provider's own, on connections of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg_pool
from psycopg import AsyncConnection

from matinee.clock import Clock, SystemClock
from matinee.db.connect import pool
from matinee.db.queries import load
from matinee.errors import SettingsError
from matinee.ids import content_uuid7
from matinee.settings import Settings
from serving.billing.providers.base import ProviderRefusedError, State
from serving.billing.providers.sandbox.books import DISPUTE_FEE_MINOR, Payment, answer, token
from serving.billing.providers.sandbox.cards import BY_NAME, Card, Verdict
from serving.billing.providers.sandbox.faults import Faults
from serving.db import execute, row, rows

QUERIES = load(Path(__file__).parent)
PAGE_LIFE = timedelta(hours=24)
DISPUTED_AFTER = timedelta(minutes=1)  # of the card whose owner disputes


class Bank:
    """The books, and who writes them without being asked by us.

    Raises:
        SettingsError: `MATINEE_PAYMENTS` names a provider of real money, or a fault is unknown.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        if settings.payments != "sandbox":
            raise SettingsError(
                f"the sandbox moves no money and does not run beside MATINEE_PAYMENTS={settings.payments}: "
                "unset that to try things out"
            )
        self.settings, self.clock = settings, clock or SystemClock()
        self.faults = Faults.parse(settings.sandbox_faults)
        self.woken = asyncio.Event()  # something is to be told to our webhook
        self._pool: psycopg_pool.AsyncConnectionPool | None = None
        self._opening = asyncio.Lock()

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def payment(self, ref: str | None, *, payment_id: str = "") -> Payment | None:
        """A payment by its name here or by ours, after what time did to it."""
        async with self.books() as connection:
            found = await row(connection, QUERIES["payments"], {"payment_ids": [payment_id], "refs": [ref]})
            if found is None:
                return None
            payment, at = Payment(**found), self.clock.now()
            if not payment.settled and payment.expires_at <= at:
                await execute(connection, QUERIES["age"], {"ref": payment.ref, "at": at})
                await self.notify(connection, [("payment.failed", payment.ref, payment.payment_id)])
                return replace(payment, state="failed", failure="expired")
            if payment.card == "disputed" and not payment.disputes and payment.state == "succeeded":
                await self.happen(connection)
                again = await row(connection, QUERIES["payments"], {"payment_ids": [], "refs": [payment.ref]})
                return Payment(**again) if again else None
            return payment

    async def submit(self, ref: str, card: Card, *, save: bool = True) -> Payment:
        """The buyer gives a card on the hosted page: the payment succeeds, fails, or waits for `confirm`. The card is
        kept where the order asked for it and the buyer lets it (`save`).

        Raises:
            ProviderRefusedError: there is no such payment.
        """
        async with self.books() as connection:
            faults = await self.switched(connection)
            payment = await self.locked(connection, ref)
            if payment.settled or payment.waits_for_bank:
                return payment
            declined = faults.declined(payment.payment_id)
            payment = replace(payment, card=card.name, save_method=save and payment.save_method)
            return await self._decide(connection, payment, card, card.present, declined=declined)

    async def confirm(self, ref: str, *, is_owner: bool) -> Payment:
        """The buyer answers the bank's question (3-D Secure).

        Raises:
            ProviderRefusedError: there is no such payment.
        """
        async with self.books() as connection:
            payment = await self.locked(connection, ref)
            if not payment.waits_for_bank:
                return payment
            if not is_owner:
                return await self.settle(connection, payment, State.failed, failure="authentication_failed")
            return await self._decide(connection, payment, BY_NAME[payment.card or ""], Verdict.paid)

    async def abandon(self, ref: str) -> Payment:
        """The page is closed for good; what is settled stays as it is.

        Raises:
            ProviderRefusedError: there is no such payment.
        """
        async with self.books() as connection:
            payment = await self.locked(connection, ref)
            return payment if payment.settled else await self.settle(connection, payment, State.failed, "canceled")

    async def dispute(self, ref: str, reason: str = "fraudulent") -> str | None:
        """The buyer's bank takes back what is left of a payment; returns the dispute's name, None where it cannot."""
        async with self.books() as connection:
            return await self._dispute(connection, ref, reason)

    async def close_dispute(self, dispute_ref: str, *, won: bool) -> None:
        """The bank decides for us or against us; nothing happens to a dispute that is closed."""
        async with self.books() as connection:
            what = {"ref": dispute_ref, "state": "won" if won else "lost", "at": self.clock.now()}
            if await row(connection, QUERIES["close_dispute"], what):
                await self.notify(connection, [("dispute.closed", dispute_ref, dispute_ref)])

    async def happen(self, connection: AsyncConnection) -> None:
        """What time brings: owners of the disputed card tell their bank."""
        before = self.clock.now() - DISPUTED_AFTER
        for found in await rows(connection, QUERIES["to_dispute"], {"before": before}):
            await self._dispute(connection, found["ref"], "fraudulent")

    async def switches(self) -> Faults:
        """The faults that are switched on: the table's, else the setting's."""
        async with self.books() as connection:
            return await self.switched(connection)

    async def switch(self, faults: str | None) -> None:
        """Switch faults on, for all processes; None: as the setting says."""
        async with self.books() as connection:
            await execute(connection, QUERIES["switch" if faults is not None else "switch_off"], {"faults": faults})

    @asynccontextmanager
    async def books(self) -> AsyncIterator[AsyncConnection]:
        """One transaction of the provider's own."""
        async with self._opening:
            if self._pool is None:
                made = pool(self.settings, size=4)
                await made.open(wait=False)
                self._pool = made
        async with self._pool.connection(timeout=self.settings.payments_patience_s) as connection:
            yield connection

    async def switched(self, connection: AsyncConnection) -> Faults:
        found = await row(connection, QUERIES["switches"])
        return Faults.parse(found["faults"]) if found else self.faults

    async def write(self, connection: AsyncConnection, made: Sequence[Mapping[str, Any]]) -> None:
        if not made:
            return
        at = self.clock.now()
        columns: dict[str, Any] = {name: [each[name] for each in made] for name in made[0]}
        new = await rows(connection, QUERIES["write"], {**columns, "at": at, "expires_at": at + PAGE_LIFE})
        told = [(f"payment.{each['state']}", each["ref"], each["payment_id"]) for each in new]
        told = [one for one in told if one[0] != "payment.action"]
        await self.notify(connection, told)

    async def locked(self, connection: AsyncConnection, ref: str) -> Payment:
        await execute(connection, QUERIES["lock"], {"ref": ref})
        found = await row(connection, QUERIES["payments"], {"payment_ids": [], "refs": [ref]})
        if found is None:
            raise ProviderRefusedError(f"the sandbox has no payment {ref}", "resource_missing")
        payment, at = Payment(**found), self.clock.now()
        if not payment.settled and payment.expires_at <= at:
            return await self.settle(connection, payment, State.failed, failure="expired")
        return payment

    async def _decide(
        self, connection: AsyncConnection, payment: Payment, card: Card, verdict: Verdict, *, declined: bool = False
    ) -> Payment:
        said = answer(card, payment.money, verdict, declined=declined)
        if said.state is State.succeeded and payment.save_method and payment.method_ref is None:
            payment = replace(payment, method_ref=token("method"))
            kept = {"ref": payment.method_ref, "customer_id": payment.customer_id, "card": card.name}
            await execute(connection, QUERIES["save_method"], {**kept, "at": self.clock.now()})
        return await self.settle(connection, payment, said.state, said.failure, said.fee_minor)

    async def settle(
        self,
        connection: AsyncConnection,
        payment: Payment,
        state: State,
        failure: str | None = None,
        fee_minor: int = 0,
    ) -> Payment:
        now = replace(payment, state=state.value, failure=failure, fee_minor=fee_minor)
        columns = {"ref": now.ref, "state": now.state, "card": now.card, "method_ref": now.method_ref}
        columns |= {"save_method": now.save_method, "failure": failure, "fee_minor": fee_minor, "at": self.clock.now()}
        await execute(connection, QUERIES["settle"], columns)
        if now.settled:
            await self.notify(connection, [(f"payment.{now.state}", now.ref, now.payment_id)])
        return now

    async def _dispute(self, connection: AsyncConnection, ref: str, reason: str) -> str | None:
        made = {"dispute_ref": token("dispute"), "ref": ref, "fee_minor": DISPUTE_FEE_MINOR, "reason": reason}
        if not await execute(connection, QUERIES["dispute"], {**made, "at": self.clock.now()}):
            return None
        await self.notify(connection, [("dispute.opened", made["dispute_ref"], made["dispute_ref"])])
        return made["dispute_ref"]

    async def notify(self, connection: AsyncConnection, told: Sequence[tuple[str, str, str]]) -> None:
        """Have our webhook told (kind, what of, whose key), unless a switch loses it."""
        if not told:
            return
        faults, at = await self.switched(connection), self.clock.now()
        kept = [one for one in told if faults.chance("notice", one[0], one[2]) >= faults.lost]
        ids = [content_uuid7(int(at.timestamp() * 1000), kind, key) for kind, _, key in kept]
        columns = {"event_id": ids, "kind": [one[0] for one in kept], "ref": [one[1] for one in kept]}
        await execute(connection, QUERIES["notify"], {**columns, "at": at})
        self.woken.set()
