"""The sandbox with the people who pay there: what a story or the contract of providers needs of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg

from matinee.clock import ManualClock
from matinee.settings import Settings
from serving.billing.providers.sandbox.cards import BY_NAME
from serving.billing.providers.sandbox.core import Sandbox
from serving.billing.providers.sandbox.faults import Faults as Switches
from serving.billing.providers.sandbox.notices import HEADER, deliver, sign
from tests.providers.faults import Fault, Faults
from tests.serving.billing.provider_contract import Webhook

_FATES = {
    Fault.silent: "before", Fault.silent_done: "after", Fault.gateway: "error", Fault.gateway_done: "after",
    Fault.broken: "error", Fault.broken_done: "after", Fault.busy: "error",
}  # fmt: skip


class Planned:
    """The fates of calls as the faults of a server are planned: what a server hears as POST is a change here."""

    def __init__(self, planned: Faults) -> None:
        self.planned = planned

    def fate(self, _: Switches, operation: str, key: str) -> str | None:
        method = "GET" if operation in ("look", "look_refund", "listed") else "POST"
        fault = self.planned.take(f"{method} /{operation}/{key}")
        return _FATES.get(fault) if fault else None


class SandboxBench:
    currency = "EUR"

    def __init__(self, settings: Settings, clock: ManualClock) -> None:
        self.settings, self.clock, self.faults = settings, clock, Faults()
        self.provider = self.impatient = Sandbox(settings, clock)
        self.provider.calls = Planned(self.faults)

    async def pay(self, url: str, card: str, *, owner: bool = True) -> None:
        await self.provider.submit(url.rpartition("/")[2], BY_NAME[card])
        await self.confirm(url, owner=owner)

    async def confirm(self, url: str, *, owner: bool = True) -> None:
        await self.provider.confirm(url.rpartition("/")[2], is_owner=owner)

    async def charged(self, payment_id: str) -> list[int]:
        return self._read("amount_minor FROM sandbox.payment WHERE payment_id = %s AND state = 'succeeded'", payment_id)

    async def refunded(self, payment_id: str) -> list[int]:
        query = "r.amount_minor FROM sandbox.refund r JOIN sandbox.payment p ON p.ref = r.payment_ref"
        return self._read(f"{query} WHERE p.payment_id = %s", payment_id)

    async def dispute(self, payment_id: str) -> None:
        found = await self.provider.look(payment_id, None)
        assert found is not None
        assert await self.provider.dispute(found.ref)

    async def close_dispute(self, payment_id: str, *, won: bool) -> None:
        found = await self.provider.look(payment_id, None)
        assert found is not None
        await self.provider.close_dispute(found.disputes[0].ref, won=won)

    async def payout(self) -> None:
        self.clock.advance(timedelta(days=2))

    async def balance(self) -> int:
        paid_out = sum([
            each.money.minor async for each in self.provider.listed(datetime(2020, 1, 1, tzinfo=UTC), self.clock.now())
            if each.kind == "payout"
        ])  # fmt: skip
        (owed,) = self._read(
            """coalesce((SELECT sum(amount_minor - fee_minor - refunded_minor) FROM sandbox.payment
                         WHERE state = 'succeeded'), 0)
             - coalesce((SELECT sum(CASE state WHEN 'won' THEN 0 WHEN 'open' THEN amount_minor
                                    ELSE amount_minor + fee_minor END) FROM sandbox.dispute), 0)"""
        )
        return int(owed) + paid_out

    async def webhooks(self) -> list[Webhook]:
        told: list[Webhook] = []

        async def post(body: bytes, headers: Mapping[str, str]) -> int:
            told.append(Webhook({"HOST": "here", **headers}, body))
            return 200

        await deliver(self.provider, post)
        return told

    def forgeries(self, real: Webhook) -> list[tuple[Webhook, datetime]]:
        now = self.clock.now()
        other = real.body.replace(b"succeeded", b"failed")
        strange = sign(self.settings.model_copy(update={"home_path": self.settings.home_path / "other"}), other, now)
        return [
            (replace(real, body=other), now),
            (replace(real, headers={}), now),
            (replace(real, headers={HEADER: strange}, body=other), now),
            (real, now + timedelta(seconds=301)),
            (real, now - timedelta(seconds=61)),
        ]

    async def aclose(self) -> None:
        await self.provider.aclose()

    @contextmanager
    def gone(self) -> Iterator[None]:
        nowhere = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "payments_patience_s": 0.1}
        self.impatient = Sandbox(self.settings.model_copy(update=nowhere), self.clock)
        yield
        self.impatient = self.provider

    def _read(self, columns: str, *values: str) -> list[int]:
        with psycopg.connect(self.settings.database()) as connection:
            return [found for (found,) in connection.execute(f"SELECT {columns}".encode(), values).fetchall()]
