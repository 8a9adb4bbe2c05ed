"""YooKassa: hosted pages, saved methods and refunds with receipts of 54-FZ, by its API v3.

What it does not offer: closing a page that nobody paid (it closes by itself within the hour), dropping a saved method
(we forget its token), disputes and payouts (they are in its registers, which a person reads).
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from matinee.clock import Clock, SystemClock
from matinee.settings import Settings
from serving.billing.documents import fiscal
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
from serving.billing.providers.yookassa import notices, objects
from serving.billing.providers.yookassa.client import Client, OtherRequestError

_PAYMENTS, _REFUNDS = "/payments", "/refunds"
_LOOKING = "looking at a payment"
_LOCALES = {"ru": "ru_RU", "en": "en_US"}
_LONGEST_DESCRIPTION = 128
_SKEW = timedelta(minutes=10)  # between our clock and theirs, amply


class YooKassa:
    """See `base.Provider`. References are YooKassa's ids of payments, refunds and payment methods."""

    name = "yookassa"

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Raises: SettingsError, as `Client`; or a network of notices is none."""
        self._clock = clock or SystemClock()
        self._networks = notices.networks(settings.yookassa_networks)
        self._client = Client(settings)

    async def open(self, order: Order) -> Outcome:
        page = {"type": "redirect", "return_url": order.return_url, "locale": _LOCALES.get(order.language, "ru_RU")}
        body = {**_asked(order), "confirmation": page, "save_payment_method": order.save_method}
        return await self._pay("opening a page", order, body)

    async def charge(self, order: Order) -> Outcome:
        if not order.method_ref:
            raise ProviderRefusedError("yookassa keeps no method for this charge", "no_method")
        body = {**_asked(order), "payment_method_id": order.method_ref}
        return await self._pay("charging a saved method", order, body)

    async def look(self, payment_id: str, ref: str | None, *, since: datetime | None = None) -> Outcome | None:
        if ref is not None:  # one that they told us and know no more is of another shop: no word on what was charged
            return objects.payment(await self._client.get(_LOOKING, f"{_PAYMENTS}/{objects.checked(ref)}"))
        found = await self._found(payment_id, since)
        return None if found is None else objects.payment(found)

    async def cancel(self, ref: str) -> None:
        path = f"{_PAYMENTS}/{objects.checked(ref)}/cancel"
        try:
            await self._client.post("closing a payment", path, f"cancel:{ref}"[:64], {})
        except ProviderRefusedError as error:
            if error.status != 400:  # 400: only what waits to be captured can be closed
                raise

    async def refund(self, refund_id: str, ref: str, money: Money, receipt: tuple[Item, ...] = ()) -> RefundOutcome:
        body: dict[str, Any] = {
            "payment_id": objects.checked(ref),
            "amount": objects.amount(money),
            "metadata": {"refund_id": refund_id},
        }
        if receipt and (email := objects.mark(await self._payment(ref) or {}, "email")):
            body["receipt"] = fiscal.receipt(receipt, money.currency, email)
        made, is_new = await self._client.post("giving back", _REFUNDS, refund_id, body)
        return objects.refund(
            made if is_new else await self._client.get("giving back", f"{_REFUNDS}/{objects.ref(made)}")
        )

    async def look_refund(self, refund_id: str, ref: str | None, payment_ref: str) -> RefundOutcome | None:
        what = "looking at a refund"
        if ref is not None:
            return objects.refund(await self._client.get(what, f"{_REFUNDS}/{objects.checked(ref)}"))
        async for each in self._client.every(what, _REFUNDS, payment_id=payment_ref):
            if objects.mark(each, "refund_id") == refund_id:
                return objects.refund(each)
        return None

    def notice(
        self,
        headers: Mapping[str, str],  # noqa: ARG002 - nothing in them proves anything
        body: bytes,
        now: datetime,  # noqa: ARG002 - nor is there a time in it
        address: str,
    ) -> Notice:
        return notices.notice(body, address, self._networks)

    async def whose(self, notice: Notice) -> str | None:
        ref: str | None = notice.ref
        if notice.kind == "refund":
            told = await self._client.get("looking at a refund", f"{_REFUNDS}/{objects.checked(notice.ref)}")
            ref = str(told.get("payment_id"))
        elif notice.kind != "payment":
            return None
        return objects.mark(await self._payment(ref) or {}, "payment_id")

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Movement]:
        what, names = "listing what changed our balance", ("gte", "lt")
        captured = {f"captured_at.{n}": _time(at) for n, at in zip(names, (since, until), strict=True)}
        async for each in self._client.every(what, _PAYMENTS, status="succeeded", **captured):
            for movement in objects.payment_movements(each):
                yield movement
        created = {f"created_at.{n}": _time(at) for n, at in zip(names, (since, until), strict=True)}
        async for each in self._client.every(what, _REFUNDS, status="succeeded", **created):
            paid = await self._payment(str(each.get("payment_id"))) or {}
            yield objects.refund_movement(each, objects.mark(paid, "payment_id"))

    async def forget(self, method_ref: str) -> None:
        """YooKassa has no call for that: without its token, which the caller drops, nobody can charge a method."""

    async def forget_customer(self, customer_id: str) -> None:
        """YooKassa has no customers, and no call that takes an e-mail out of a payment's metadata."""

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _pay(self, what: str, order: Order, body: Mapping[str, Any]) -> Outcome:
        since = asked_since(order.payment_id, order.since)
        # YooKassa may have forgotten the key, and would take the money again.
        if self._clock.now() - since >= REPEATABLE and (known := await self._found(order.payment_id, since)):
            return objects.payment(known)
        try:
            made, is_new = await self._client.post(what, _PAYMENTS, order.payment_id, body)
        except OtherRequestError:
            # An e-mail or a description that changed since is no other payment.
            known = await self._found(order.payment_id, since)
            if known is None or not _is_of(known, order):
                raise
            return objects.payment(known)
        if not is_new:
            made = await self._client.get(what, f"{_PAYMENTS}/{objects.ref(made)}")
        return objects.payment(made)

    async def _payment(self, ref: str) -> dict[str, Any] | None:
        try:
            return await self._client.get(_LOOKING, f"{_PAYMENTS}/{objects.checked(ref)}")
        except ProviderRefusedError as error:
            if error.code == "not_found":
                return None
            raise

    async def _found(self, payment_id: str, since: datetime | None) -> dict[str, Any] | None:
        """A payment by what we wrote on it: near the time of the first call, then from then on."""
        first = asked_since(payment_id, since)
        for window in (
            {"created_at.gte": _time(first - _SKEW), "created_at.lt": _time(first + _SKEW)},
            {"created_at.gte": _time(first + _SKEW)},
        ):
            async for each in self._client.every("finding a payment", _PAYMENTS, **window):
                if objects.mark(each, "payment_id") == payment_id:
                    return each
        return None


def _asked(order: Order) -> dict[str, Any]:
    """What pages and charges have in common. The e-mail goes where the receipt's is, for receipts of refunds."""
    marks = {"payment_id": order.payment_id, "customer_id": order.customer_id, "invoice": order.invoice_number}
    body: dict[str, Any] = {
        "amount": objects.amount(order.money),
        "capture": True,
        "description": order.description[:_LONGEST_DESCRIPTION],
        "metadata": marks,
    }
    if order.receipt and order.email:
        marks["email"] = order.email
        body["receipt"] = fiscal.receipt(order.receipt, order.money.currency, order.email)
    return body


def _is_of(known: Mapping[str, Any], order: Order) -> bool:
    asked = (objects.amount(order.money), order.customer_id)
    return (known.get("amount"), objects.mark(known, "customer_id")) == asked


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
