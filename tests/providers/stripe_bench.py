"""Stripe's local server with the people who pay there: what a story or the contract of providers needs of it."""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from matinee.clock import ManualClock
from matinee.settings import Settings
from serving.billing.providers.base import Provider
from serving.billing.providers.stripe import Stripe
from tests.providers.stripe_server import CARDS, StripeServer
from tests.serving.billing.provider_contract import Webhook

PATIENCE_S = 0.2


class StripeBench:
    currency = "EUR"

    def __init__(self, server: StripeServer, clock: ManualClock, home: Path) -> None:
        self.server, self.clock, self.faults = server, clock, server.faults
        self.settings = Settings.load(home).model_copy(
            update={
                "stripe_secret_key": server.key,
                "stripe_webhook_secret": server.webhook_secret,
                "stripe_url": server.store.url,
            }
        )
        self.provider: Provider = Stripe(self.settings, clock)
        self.impatient: Provider = Stripe(self.settings.model_copy(update={"payments_patience_s": PATIENCE_S}), clock)
        self.browser = httpx.AsyncClient(timeout=10)

    async def pay(self, url: str, card: str, *, owner: bool = True) -> None:
        number = CARDS["good" if card == "later_poor" else card]
        answer = await self.browser.post(url, data={"card": number})
        if "/3d_secure/" in answer.headers.get("location", ""):
            await self.confirm(answer.headers["location"], owner=owner)
        if card == "later_poor":  # no card of Stripe's list does that: the account behind it runs dry
            self.server.store.cards.update(dict.fromkeys(self.server.store.prepared, CARDS["poor"]))

    async def confirm(self, url: str, *, owner: bool = True) -> None:
        assert (await self.browser.get(url)).status_code == 200
        await self.browser.post(url, data={"answer": "complete" if owner else "fail"})

    async def charged(self, payment_id: str) -> list[int]:
        taken = self.server.store.every("charge", status="succeeded")
        return [each["amount"] for each in taken if each["metadata"]["payment_id"] == payment_id]

    async def refunded(self, payment_id: str) -> list[int]:
        return [each["amount"] for each in self.server.store.every("refund", charge=self._charge(payment_id)["id"])]

    async def dispute(self, payment_id: str) -> None:
        self.server.store.dispute(self._charge(payment_id))

    async def close_dispute(self, payment_id: str, *, won: bool) -> None:
        (made,) = self.server.store.every("dispute", charge=self._charge(payment_id)["id"])
        self.server.store.close_dispute(made, won=won)

    async def payout(self) -> None:
        self.server.store.payout("eur")

    async def balance(self) -> int:
        return self.server.store.balance("eur")

    async def webhooks(self) -> list[Webhook]:
        return [Webhook(*each) for each in self.server.store.untold()]

    def forgeries(self, real: Webhook) -> list[tuple[Webhook, datetime]]:
        now, body = self.clock.now(), real.body
        moment, signature = str(int(now.timestamp())), real.headers["Stripe-Signature"].partition("v1=")[2]
        stranger = self.server.store.signed(body.decode(), int(now.timestamp()), "whsec_stranger")
        headers = [
            f"t={int(moment) + 1},v1={signature}",  # another time than was signed
            f"t={moment},v0={signature}",
            f"t={moment},v1=",
            f"t={moment},v1=é{signature}",
            f"t=1_{moment[1:]},v1={signature}",
            f"t={moment},t={int(moment) + 400},v1={signature}",
            "",
        ]
        return [
            (Webhook(real.headers, body.replace(b"evt_", b"evil")), now),
            (Webhook(*stranger), now),
            (real, now + timedelta(seconds=301)),
            (real, now - timedelta(seconds=61)),
            (Webhook({}, body), now),
            *((Webhook({"stripe-signature": header}, body), now) for header in headers),
        ]

    def gone(self) -> AbstractContextManager[None]:
        return self.server.running.gone()

    def _charge(self, payment_id: str) -> dict[str, object]:
        taken = self.server.store.every("charge", status="succeeded")
        return next(each for each in taken if each["metadata"]["payment_id"] == payment_id)

    async def aclose(self) -> None:
        for each in (self.provider, self.impatient, self.browser):
            await each.aclose()
