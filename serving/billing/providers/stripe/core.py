"""Stripe by its official library, in the API version that the library is pinned to.

A hosted page is a Checkout Session in payment mode; a saved method is charged by a PaymentIntent off session, which is
confirmed anew on session where the bank wants the card's owner. What Stripe replays for an idempotency key is an answer
of the past, so it is looked at again.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import stripe
from stripe import PaymentIntent, Refund

from matinee.clock import Clock, SystemClock
from matinee.settings import Settings
from serving.billing.documents.fiscal import Item
from serving.billing.ledger.money import Money
from serving.billing.providers.base import (
    REPEATABLE,
    Movement,
    Notice,
    Order,
    Outcome,
    ProviderRefusedError,
    RefundOutcome,
    asked_since,
)
from serving.billing.providers.stripe import notices, objects
from serving.billing.providers.stripe.amounts import sent
from serving.billing.providers.stripe.client import Client, replayed

_LANGUAGES = ("ru", "en")
_CAPTURE = "automatic"  # at once; by default it may come later, and the fee with it
_INTENT = ["latest_charge.balance_transaction", "payment_method"]
_SESSION = [f"payment_intent.{field}" for field in _INTENT]
_SKEW = timedelta(minutes=10)  # between our clock and Stripe's, amply


class Stripe:
    """See `base.Provider`. References: `cs_…` of a hosted page, `pi_…` of a saved method's charge."""

    name = "stripe"

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Raises: SettingsError, as `Client`."""
        self._clock = clock or SystemClock()
        self._client = Client(settings)
        self._api = self._client.api
        self._webhook_secret = settings.stripe_webhook_secret

    async def open(self, order: Order) -> Outcome:
        what, customer = "opening a page", await self._customer(order)
        if known := await self._made_long_ago(order, customer):
            return known
        request = self._api.checkout.sessions.create_async(
            _page(order, customer), {"idempotency_key": order.payment_id}
        )
        page = await self._client.ask(what, request)
        return await self._session(page.id) if replayed(page) else objects.session(page)

    async def charge(self, order: Order) -> Outcome:
        what, (customer, _) = "charging a saved method", _method(order)
        if known := await self._made_long_ago(order, customer):
            return known
        request = self._api.payment_intents.create_async(_charge(order), {"idempotency_key": order.payment_id})
        intent = await self._settled(what, request)
        if objects.asks_for_owner(intent):
            intent = await self._ask_owner(intent, order)
        return objects.payment(intent, intent.id)

    async def look(self, payment_id: str, ref: str | None, *, since: datetime | None = None) -> Outcome | None:
        # A reference that Stripe told us and knows no more is of another account: no sign that nobody was charged.
        ref = ref or await self._found(payment_id, asked_since(payment_id, since))
        return await self._known(ref) if ref else None

    async def cancel(self, ref: str) -> None:
        closing: Awaitable[object]
        if ref.startswith("cs_"):
            closing = self._api.checkout.sessions.expire_async(ref)
        else:
            closing = self._api.payment_intents.cancel_async(ref)
        try:
            await self._client.ask("closing a page", closing)
        except ProviderRefusedError as error:
            if error.status != 400:  # 400: it is paid or closed already
                raise

    async def refund(
        self,
        refund_id: str,
        ref: str,
        money: Money,
        receipt: tuple[Item, ...] = (),  # noqa: ARG002 - for providers with cash registers
    ) -> RefundOutcome:
        amount, intent, marks = sent(money), await self._intent_of(ref), {"refund_id": refund_id}
        request = self._api.refunds.create_async(
            {"payment_intent": intent, "amount": amount, "metadata": marks}, {"idempotency_key": refund_id}
        )
        try:
            made = await self._client.ask("giving back", request)
        except stripe.CardError as error:
            raise self._client.told("giving back", error) from None
        return objects.refund(await self._refund(made.id) if replayed(made) else made)

    async def look_refund(self, refund_id: str, ref: str | None, payment_ref: str) -> RefundOutcome | None:
        if ref is not None:
            return objects.refund(await self._refund(ref))
        intent = await self._intent_of(payment_ref)
        async for each in self._client.every("finding a refund", self._api.refunds.list_async, payment_intent=intent):
            if objects.mark(each, "refund_id") == refund_id:
                return objects.refund(each)
        return None

    def notice(
        self,
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
        address: str,  # noqa: ARG002 - a signature says more
    ) -> Notice:
        return notices.notice(headers, body, now, self._webhook_secret)

    async def whose(self, notice: Notice) -> str | None:
        intent = notice.body.get("payment_intent")
        if notice.payment_id or not isinstance(intent, str):
            return notice.payment_id
        return objects.mark(await self._intent(intent), "payment_id")

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Movement]:
        window = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
        changes = self._client.every(
            "listing what changed our balance",
            self._api.balance_transactions.list_async,
            created=window,
            expand=["data.source"],
        )
        async for change in changes:
            disputed = await self._disputed(change.source) if isinstance(change.source, stripe.Dispute) else None
            for movement in objects.movements(change, disputed):
                yield movement

    async def forget(self, method_ref: str) -> None:
        method = method_ref.rpartition("/")[2]
        try:
            await self._client.ask("forgetting a method", self._api.payment_methods.detach_async(method))
        except ProviderRefusedError as error:
            if error.status not in (400, 404):  # not attached any more; never there
                raise

    async def forget_customer(self, customer_id: str) -> None:
        # Its search may be an hour behind: nobody is forgotten that soon after having been made (`claim_customers`).
        query = {"query": f"metadata['customer_id']:'{customer_id}'", "limit": 100}
        found = await self._client.ask("finding a customer", self._api.customers.search_async(query))  # pyright: ignore[reportArgumentType] - the type has no literal
        for each in found.data:
            try:
                await self._client.ask("forgetting a customer", self._api.customers.delete_async(each.id))
            except ProviderRefusedError as error:
                if error.status != 404:  # gone, and the search has not heard of it
                    raise

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _customer(self, order: Order) -> str:
        """Stripe's customer of ours: found by e-mail, as lists are exact at once, where its search is late."""
        email, mark = {"email": order.email} if order.email else {}, ""
        if order.email:
            mark = sha256(order.email.encode()).hexdigest()[:16]
            async for each in self._client.every("finding a customer", self._api.customers.list_async, **email):
                if objects.mark(each, "customer_id") == order.customer_id:
                    return each.id
        given: Any = {"metadata": {"customer_id": order.customer_id}, **email}
        key = f"customer:{order.customer_id}:{mark}"
        request = self._api.customers.create_async(given, {"idempotency_key": key})
        return (await self._client.ask("making a customer", request)).id

    async def _ask_owner(self, intent: PaymentIntent, order: Order) -> PaymentIntent:
        """The same PaymentIntent on session: its bank's page, from which the owner comes back to us."""
        given: Any = {
            "payment_method": _method(order)[1],
            "off_session": False,
            "return_url": order.return_url,
            "expand": _INTENT,
        }
        key = f"{order.payment_id}:confirm"
        request = self._api.payment_intents.confirm_async(intent.id, given, {"idempotency_key": key})
        return await self._settled("asking a card's owner", request)

    async def _settled(self, what: str, request: Awaitable[PaymentIntent]) -> PaymentIntent:
        """A PaymentIntent as it is after a request, the card declined or not."""
        try:
            intent = await self._client.ask(what, request)
        except stripe.CardError as error:
            return await self._intent(self._client.declined(what, error))
        return await self._intent(intent.id) if replayed(intent) else intent

    async def _known(self, ref: str) -> Outcome:
        if ref.startswith("cs_"):
            return await self._session(ref)
        intent = await self._intent(ref)
        return objects.payment(intent, ref, await self._disputes(intent))

    async def _made_long_ago(self, order: Order, customer: str) -> Outcome | None:
        """What an order made before Stripe forgot its idempotency key, where that may be."""
        since = asked_since(order.payment_id, order.since)
        if self._clock.now() - since < REPEATABLE:
            return None
        ref = await self._found(order.payment_id, since, customer=customer)
        return await self._known(ref) if ref else None

    async def _session(self, ref: str) -> Outcome:
        request = self._api.checkout.sessions.retrieve_async(ref, {"expand": _SESSION})
        page = await self._client.ask("looking at a page", request)
        intent = objects.expanded(page.payment_intent, PaymentIntent)
        return objects.session(page, await self._disputes(intent) if intent else ())

    async def _disputes(self, intent: PaymentIntent) -> list[stripe.Dispute]:
        charge = objects.expanded(intent.latest_charge, stripe.Charge)
        if charge is None or not charge.disputed:
            return []
        found = self._client.every("looking at disputes", self._api.disputes.list_async, payment_intent=intent.id)
        return [each async for each in found]

    async def _intent(self, ref: str) -> PaymentIntent:
        request = self._api.payment_intents.retrieve_async(ref, {"expand": _INTENT})
        return await self._client.ask("looking at a payment", request)

    async def _intent_of(self, ref: str) -> str:
        if not ref.startswith("cs_"):
            return ref
        page = await self._client.ask("looking at a page", self._api.checkout.sessions.retrieve_async(ref))
        if (intent := objects.id_of(page.payment_intent)) is None:
            raise ProviderRefusedError(f"stripe: nothing was paid on page {ref}", "not_paid")
        return intent

    async def _refund(self, ref: str) -> Refund:
        return await self._client.ask("looking at a refund", self._api.refunds.retrieve_async(ref))

    async def _disputed(self, dispute: stripe.Dispute) -> str | None:
        request = self._api.charges.retrieve_async(objects.id_of(dispute.charge) or "")
        return objects.mark(await self._client.ask("looking at a charge", request), "payment_id")

    async def _found(self, payment_id: str, since: datetime, **where: str) -> str | None:
        """A reference by what we wrote on it, among what was made since: lists have the newest first."""
        made = {"gte": int((since - _SKEW).timestamp())}
        every, api = self._client.every, self._api
        async for each in every("finding a page", api.checkout.sessions.list_async, created=made, **where):
            if each.client_reference_id == payment_id:
                return each.id
        async for each in every("finding a payment", api.payment_intents.list_async, created=made, **where):
            if objects.mark(each, "payment_id") == payment_id:
                return each.id
        return None


def _marks(order: Order) -> dict[str, str]:
    return {"payment_id": order.payment_id, "customer_id": order.customer_id, "invoice": order.invoice_number}


def _method(order: Order) -> tuple[str, str]:
    """Whose it is at Stripe, and which."""
    customer, _, method = (order.method_ref or "").partition("/")
    if not method:
        raise ProviderRefusedError(f"stripe keeps no method {order.method_ref!r}", "no_method")
    return customer, method


def _page(order: Order, customer: str) -> Any:
    intent: dict[str, Any] = {
        "description": order.description,
        "metadata": _marks(order),
        "capture_method": _CAPTURE,
    }
    if order.save_method:
        intent["setup_future_usage"] = "off_session"
    price = {
        "currency": order.money.currency.lower(),
        "unit_amount": sent(order.money),
        "product_data": {"name": order.description},
    }
    return {
        "mode": "payment",
        "customer": customer,
        "client_reference_id": order.payment_id,
        "metadata": _marks(order),
        "line_items": [{"quantity": 1, "price_data": price}],
        "payment_intent_data": intent,
        "success_url": order.return_url,
        "cancel_url": order.return_url,
        "locale": order.language if order.language in _LANGUAGES else "auto",
        "adaptive_pricing": {"enabled": False},  # what is owed is owed in the invoice's currency
    }


def _charge(order: Order) -> Any:
    customer, method = _method(order)
    return {
        "amount": sent(order.money),
        "currency": order.money.currency.lower(),
        "customer": customer,
        "payment_method": method,
        "description": order.description,
        "metadata": _marks(order),
        "off_session": True,
        "confirm": True,
        "capture_method": _CAPTURE,
        "expand": _INTENT,
    }
