"""YooKassa's local server with the people who pay there: what a story or the contract of providers needs of it."""

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import orjson

from matinee.clock import ManualClock
from matinee.settings import Settings
from serving.billing.providers.base import Provider
from serving.billing.providers.yookassa import YooKassa
from tests.providers.yookassa_server import ADDRESS, CARDS, KEY, SHOP, YooKassaServer
from tests.serving.billing.provider_contract import Webhook


class YooKassaBench:
    currency = "RUB"

    def __init__(self, server: YooKassaServer, clock: ManualClock) -> None:
        self.server, self.clock, self.faults = server, clock, server.faults
        self.provider: Provider = YooKassa(configured(server), server.clock)
        self.impatient: Provider = YooKassa(configured(server, 0.25), server.clock)
        self._told = 0

    async def aclose(self) -> None:
        await self.provider.aclose()
        await self.impatient.aclose()

    async def pay(self, url: str, card: str, *, owner: bool = True) -> None:
        async with httpx.AsyncClient() as browser:
            await browser.post(url, data={"do": "pay", "number": CARDS[card].number})
            await browser.post(url, data={"do": "confirm" if owner else "refuse"})

    async def confirm(self, url: str, *, owner: bool = True) -> None:
        raise NotImplementedError("an automatic payment of YooKassa asks nobody")

    async def charged(self, payment_id: str) -> list[int]:
        return [round(float(value) * 100) for value in self.server.charged(payment_id)]

    async def refunded(self, payment_id: str) -> list[int]:
        ours = {p["id"] for p in self.server.payments.values() if p["metadata"].get("payment_id") == payment_id}
        given = [r["amount"]["value"] for r in self.server.refunds.values() if r["payment_id"] in ours]
        return [round(float(value) * 100) for value in given]

    async def dispute(self, payment_id: str) -> None:
        raise NotImplementedError("disputes are in YooKassa's registers")

    async def close_dispute(self, payment_id: str, *, won: bool) -> None:
        raise NotImplementedError("disputes are in YooKassa's registers")

    async def payout(self) -> None:
        raise NotImplementedError("payouts are in YooKassa's registers")

    async def balance(self) -> int:
        return int(self.server.balance() * 100)

    async def webhooks(self) -> list[Webhook]:
        found = [Webhook({}, told.body, ADDRESS) for told in self.server.notifications[self._told :]]
        self._told = len(self.server.notifications)
        return found

    def forgeries(self, real: Webhook) -> list[tuple[Webhook, datetime]]:
        now = self.clock.now()
        told = orjson.loads(real.body)
        climbing = {**told, "object": {**told["object"], "id": "../refunds"}}
        return [
            (replace(real, address="203.0.113.9"), now),
            (replace(real, address=""), now),
            (replace(real, address="2a02:5181:0000:0000"), now),
            (replace(real, body=b"<html>"), now),
            (replace(real, body=b"[]"), now),
            (replace(real, body=orjson.dumps({**told, "type": "error"})), now),
            (replace(real, body=orjson.dumps(climbing)), now),
        ]

    def gone(self) -> AbstractContextManager[None]:
        return self.server.running.gone()


def given(server: YooKassaServer) -> dict[str, Any]:
    """What settings say of this server."""
    return {
        "payments": "yookassa", "yookassa_shop_id": SHOP, "yookassa_secret_key": KEY, "yookassa_url": server.url,
    }  # fmt: skip


def configured(server: YooKassaServer, patience_s: float = 5.0, **more: Any) -> Settings:
    return Settings.model_validate({**given(server), "payments_patience_s": patience_s, **more})
