"""YooKassa's API v3 as documented (https://yookassa.ru/developers/api), with a state, in memory, on loopback.

Payments, refunds, lists, idempotence for 24 hours, receipts, the hosted page with 3-D Secure, saved methods,
notifications until they are answered 200. Not there: payouts, deals, wallets and whatever else no subscription needs.
"""

import json
import uuid
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from matinee.clock import Clock
from tests.providers.faults import Faults, Faulty
from tests.providers.running import Running

SHOP, KEY = "100500", "test_local_key"
ADDRESS = "185.71.76.10"  # of those that notifications come from
KEYS_KEPT, PAGE_OPEN, CAPTURE_WITHIN = timedelta(hours=24), timedelta(hours=1), timedelta(days=7)
COMMISSION = Decimal("0.035")
PAUSES_S = (10, 60, 600, 3_600, 14_400, 43_200)  # between tries to notify, within 24 hours


@dataclass(frozen=True)
class Card:
    """`reason`: why a payment by it is canceled; `later`: why an automatic one is; `asks`: 3-D Secure on the page."""

    number: str
    brand: str = "Visa"
    reason: str = ""
    later: str = ""
    asks: bool = False


CARDS = {
    "good": Card("4242424242424242"),
    "mir": Card("2200000000000004", "Mir"),
    "declined": Card("5555555555554444", "MasterCard", "general_decline"),
    "poor": Card("4000000000009995", reason="insufficient_funds"),
    "old": Card("4000000000000069", reason="card_expired"),
    "secure": Card("4000002500003155", asks=True),
    "always_secure": Card("4000002760003184", later="3d_secure_failed", asks=True),
    "later_poor": Card("4000000000000341", later="insufficient_funds"),
    "later_revoked": Card("4000000000003220", later="permission_revoked"),
}
_BY_NUMBER = {card.number: card for card in CARDS.values()}
_MODES = {
    "full_prepayment", "partial_prepayment", "advance", "full_payment", "partial_payment", "credit", "credit_payment",
}  # fmt: skip
_SUBJECTS = {
    "commodity", "excise", "job", "service", "gambling_bet", "gambling_prize", "lottery", "lottery_prize",
    "intellectual_activity", "payment", "agent_commission", "property_right", "non_operating_gain", "insurance_premium",
    "sales_tax", "resort_fee", "composite", "another",
}  # fmt: skip


class Refusal(Exception):  # noqa: N818 - an answer, not a defect
    def __init__(self, status: int, code: str, description: str, parameter: str | None = None) -> None:
        super().__init__(description)
        body = {"type": "error", "id": str(uuid.uuid4()), "code": code, "description": description}
        self.answer = JSONResponse(body | ({"parameter": parameter} if parameter else {}), status)


def invalid(description: str, parameter: str) -> Refusal:
    return Refusal(400, "invalid_request", description, parameter)


@dataclass
class Told:
    """A notification, until it is answered 200."""

    body: bytes
    due_at: datetime
    tries: int = 0


@dataclass
class YooKassaServer:
    clock: Clock
    receipts: bool = True  # the shop has a cash register: what comes without a receipt is refused
    faults: Faults = field(default_factory=Faults)
    processing: int = 0  # so many next POSTs are answered 202 before they are done
    payments: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods: dict[str, Card] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)  # by payment
    challenged: set[str] = field(default_factory=set)
    notifications: list[Told] = field(default_factory=list)
    keys: dict[tuple[str, str], tuple[bytes, datetime, int, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        routes = [
            Route("/v3/payments", self._api(self._make_payment), methods=["POST"]),
            Route("/v3/payments", self._api(self._list_payments)),
            Route("/v3/payments/{id}", self._api(self._payment)),
            Route("/v3/payments/{id}/capture", self._api(self._capture), methods=["POST"]),
            Route("/v3/payments/{id}/cancel", self._api(self._cancel), methods=["POST"]),
            Route("/v3/refunds", self._api(self._make_refund), methods=["POST"]),
            Route("/v3/refunds", self._api(self._list_refunds)),
            Route("/v3/refunds/{id}", self._api(self._refund)),
            Route("/checkout/{id}", self._page),
            Route("/checkout/{id}", self._submitted, methods=["POST"]),
        ]
        self.running = Running(Faulty(Starlette(routes=routes), self.faults))

    @property
    def url(self) -> str:
        """For MATINEE_YOOKASSA_URL."""
        return f"{self.running.url}/v3"

    @contextmanager
    def serving(self) -> Iterator["YooKassaServer"]:
        with self.running:
            yield self

    def reset(self) -> None:
        """As new, at the same address."""
        self.faults.clear()
        self.processing = 0
        for kept in (
            self.payments,
            self.refunds,
            self.methods,
            self.cards,
            self.challenged,
            self.notifications,
            self.keys,
        ):
            kept.clear()

    # -- what people and the shop's bank do ----------------------------------------------------------------------------

    def pay(self, payment_id: str, number: str) -> dict[str, Any]:
        """A card on the hosted page."""
        payment, card = self._aged(payment_id), _BY_NUMBER.get(number.replace(" ", ""))
        if payment["status"] != "pending" or "confirmation" not in payment or payment_id in self.challenged:
            return payment
        if card is None:
            return self._canceled(payment, "yoo_money", "invalid_card_number")
        self.cards[payment_id] = card
        if card.reason:
            return self._canceled(payment, "payment_network", card.reason)
        if card.asks:
            self.challenged.add(payment_id)
            return payment
        return self._taken(payment, card)

    def confirm(self, payment_id: str, *, owner: bool) -> dict[str, Any]:
        """The answer to the bank's question (3-D Secure)."""
        payment = self._aged(payment_id)
        if payment["status"] != "pending" or payment_id not in self.challenged:
            return payment
        self.challenged.discard(payment_id)
        if not owner:
            return self._canceled(payment, "payment_network", "3d_secure_failed")
        return self._taken(payment, self.cards[payment_id])

    def charged(self, mark: str) -> list[str]:
        """What was taken for a payment of ours, each."""
        return [
            payment["amount"]["value"]
            for payment in self.payments.values()
            if payment["metadata"].get("payment_id") == mark and payment["status"] == "succeeded"
        ]

    def balance(self) -> Decimal:
        taken = (p["income_amount"]["value"] for p in self.payments.values() if p["status"] == "succeeded")
        given = (r["amount"]["value"] for r in self.refunds.values() if r["status"] == "succeeded")
        return sum(map(Decimal, taken), Decimal(0)) - sum(map(Decimal, given), Decimal(0))

    async def notify(self, post: Callable[[bytes, str], Awaitable[int]]) -> int:
        """Send what is due, `post(body, address)`; returns how many were answered 200, the others come again."""
        now, heard = self.clock.now(), 0
        for told in [each for each in self.notifications if each.due_at <= now]:
            if await post(told.body, ADDRESS) == 200:
                self.notifications.remove(told)
                heard += 1
            elif told.tries == len(PAUSES_S):
                self.notifications.remove(told)
            else:
                told.due_at, told.tries = now + timedelta(seconds=PAUSES_S[told.tries]), told.tries + 1
        return heard

    # -- the API -------------------------------------------------------------------------------------------------------

    def _api(self, work: Callable[[Request, Any], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                self._check_key(request)
                if request.method == "GET":
                    return JSONResponse(work(request, None))
                return self._once(request, await request.body(), work)
            except Refusal as refusal:
                return refusal.answer

        return answer

    def _check_key(self, request: Request) -> None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic" or b64decode(given).decode() != f"{SHOP}:{KEY}":
            raise Refusal(401, "invalid_credentials", "Error in shopId or secret key", "Authorization")

    def _once(self, request: Request, raw: bytes, work: Callable[[Request, Any], Any]) -> Response:
        key = request.headers.get("idempotence-key", "")
        if not 0 < len(key) <= 64:
            raise invalid("Idempotence key is absent or too long", "Idempotence-Key")
        now, place = self.clock.now(), (request.url.path, key)
        if place in self.keys and self.keys[place][1] + KEYS_KEPT > now:
            was, _, status, answer = self.keys[place]
            if was != raw:
                raise invalid("Idempotence key duplicated", "Idempotence-Key")
            return JSONResponse(answer, status)
        if self.processing:
            self.processing -= 1
            later = {"type": "processing", "description": "Request accepted, but not processed yet", "retry_after": 50}
            return JSONResponse(later, 202)
        try:
            body = json.loads(raw)
        except ValueError:
            raise invalid("Not JSON", "body") from None
        made = deepcopy(work(request, body))
        self.keys[place] = (raw, now, 200, made)
        return JSONResponse(made)

    def _make_payment(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        amount = _amount(body, "amount")
        if len(body.get("description") or "") > 128:
            raise invalid("Description is too long", "description")
        marks = _metadata(body)
        self._check_receipt(body, amount)
        payment: dict[str, Any] = {
            "id": _id(), "status": "pending", "paid": False, "amount": body["amount"], "created_at": self._now(),
            "description": body.get("description"), "metadata": marks, "refundable": False, "test": True,
            "recipient": {"account_id": SHOP, "gateway_id": "1"}, "capture": bool(body.get("capture")),
        }  # fmt: skip
        method_id = body.get("payment_method_id")
        if method_id is None:
            payment |= self._page_of(request, body, payment["id"])
        elif method_id not in self.methods:
            raise invalid("Payment method is not found, or was not saved", "payment_method_id")
        self.payments[payment["id"]] = payment
        if method_id is not None:
            card = self.methods[method_id]
            payment["payment_method"] = _method(method_id, card, saved=True)
            why = card.reason or card.later
            self._canceled(payment, "payment_network", why) if why else self._taken(payment, card)
        return _shown(payment)

    def _page_of(self, request: Request, body: dict[str, Any], payment_id: str) -> dict[str, Any]:
        confirmation = body.get("confirmation") or {}
        if confirmation.get("type") != "redirect":
            raise invalid("Confirmation is absent, or of a type that is not offered here", "confirmation.type")
        if not str(confirmation.get("return_url", "")).startswith(("http://", "https://")):
            raise invalid("Return address is absent", "confirmation.return_url")
        if confirmation.get("locale") not in (None, "ru_RU", "en_US"):
            raise invalid("Unknown locale", "confirmation.locale")
        url = f"{request.base_url}checkout/{payment_id}"
        shown = {"type": "redirect", "return_url": confirmation["return_url"], "confirmation_url": url}
        return {"confirmation": shown, "save": bool(body.get("save_payment_method"))}

    def _check_receipt(self, body: dict[str, Any], amount: Decimal) -> None:
        receipt = body.get("receipt")
        if receipt is None:
            if self.receipts:
                raise invalid("Receipt is missing or illegal", "receipt")
            return
        customer = receipt.get("customer") or {}
        if not (customer.get("email") or customer.get("phone")):
            raise invalid("E-mail or phone of the customer is absent", "receipt.customer")
        total = Decimal(0)
        for item in receipt.get("items") or ():
            if not 0 < len(item.get("description", "")) <= 128:
                raise invalid("Description is absent or too long", "receipt.items.description")
            if item.get("vat_code") not in range(1, 13):
                raise invalid("Unknown VAT code", "receipt.items.vat_code")
            if item.get("payment_mode") not in _MODES or item.get("payment_subject") not in _SUBJECTS:
                raise invalid("Unknown mode or subject", "receipt.items.payment_mode")
            total += _amount(item, "amount") * Decimal(item["quantity"])
        if total != amount:
            raise invalid(f"Receipt is of {total}, not of {amount}", "receipt.items")

    def _payment(self, request: Request, _: None) -> dict[str, Any]:
        return _shown(self._aged(request.path_params["id"]))

    def _capture(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        payment = self._aged(request.path_params["id"])
        if payment["status"] != "waiting_for_capture":
            raise invalid("Only a payment that waits for capture is captured", "payment_id")
        if "amount" in body and _amount(body, "amount") > Decimal(payment["amount"]["value"]):
            raise invalid("More than was authorised", "amount")
        payment["amount"] = body.get("amount", payment["amount"])
        return _shown(self._succeeded(payment))

    def _cancel(self, request: Request, _: Any) -> dict[str, Any]:
        payment = self._aged(request.path_params["id"])
        if payment["status"] != "waiting_for_capture":
            raise invalid("Only a payment that waits for capture is canceled", "payment_id")
        return _shown(self._canceled(payment, "merchant", "canceled_by_merchant"))

    def _make_refund(self, _: Request, body: dict[str, Any]) -> dict[str, Any]:
        amount, marks = _amount(body, "amount"), _metadata(body)
        payment = self.payments.get(body.get("payment_id", ""))
        if payment is None or payment["status"] != "succeeded":
            raise invalid("Payment is not found, or not paid", "payment_id")
        left = Decimal(payment["amount"]["value"]) - Decimal(payment["refunded_amount"]["value"])
        if amount > left or body["amount"]["currency"] != payment["amount"]["currency"]:
            raise invalid("More than is left of the payment", "amount")
        self._check_receipt(body, amount)
        payment["refunded_amount"] = _rub(Decimal(payment["refunded_amount"]["value"]) + amount)
        payment["refundable"] = amount < left
        refund = {
            "id": _id(), "status": "succeeded", "amount": body["amount"], "created_at": self._now(),
            "payment_id": payment["id"], "metadata": marks,
        }  # fmt: skip
        self.refunds[refund["id"]] = refund
        self._tell("refund.succeeded", refund)
        return refund

    def _refund(self, request: Request, _: None) -> dict[str, Any]:
        if request.path_params["id"] not in self.refunds:
            raise Refusal(404, "not_found", "Refund doesn't exist or access denied", "refund_id")
        return self.refunds[request.path_params["id"]]

    def _list_payments(self, request: Request, _: None) -> dict[str, Any]:
        for payment_id in list(self.payments):
            self._aged(payment_id)
        return _page(request, [_shown(payment) for payment in self.payments.values()])

    def _list_refunds(self, request: Request, _: None) -> dict[str, Any]:
        return _page(request, list(self.refunds.values()))

    # -- the hosted page -----------------------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        payment_id = request.path_params["id"]
        if payment_id not in self.payments:
            return HTMLResponse("no such payment", 404)
        payment = self._aged(payment_id)
        if payment["status"] != "pending":
            return HTMLResponse(f"<p>{payment['status']}</p><a href='{payment['confirmation']['return_url']}'>back</a>")
        if payment_id in self.challenged:
            asked = '<button name="do" value="confirm">yes</button><button name="do" value="refuse">no</button>'
        else:
            asked = '<input name="number"><button name="do" value="pay">pay</button>'
        return HTMLResponse(f"<p>{payment['amount']['value']} RUB</p><form method='post'>{asked}</form>")

    async def _submitted(self, request: Request) -> Response:
        payment_id = request.path_params["id"]
        if payment_id not in self.payments:
            return HTMLResponse("no such payment", 404)
        form = parse_qs((await request.body()).decode())
        said = form.get("do", [""])[0]
        if said == "pay":
            payment = self.pay(payment_id, form.get("number", [""])[0])
        else:
            payment = self.confirm(payment_id, owner=said == "confirm")
        waits = payment["status"] == "pending"
        return RedirectResponse(request.url.path if waits else payment["confirmation"]["return_url"], 303)

    # -- states --------------------------------------------------------------------------------------------------------

    def _aged(self, payment_id: str) -> dict[str, Any]:
        if payment_id not in self.payments:
            raise Refusal(404, "not_found", "Payment doesn't exist or access denied", "payment_id")
        payment, now = self.payments[payment_id], self.clock.now()
        if payment["status"] == "pending" and _moment(payment["created_at"]) + PAGE_OPEN <= now:
            return self._canceled(payment, "yoo_money", "expired_on_confirmation")
        if payment["status"] == "waiting_for_capture" and _moment(payment["expires_at"]) <= now:
            return self._canceled(payment, "yoo_money", "expired_on_capture")
        return payment

    def _taken(self, payment: dict[str, Any], card: Card) -> dict[str, Any]:
        payment["paid"] = True
        payment.setdefault("payment_method", _method(payment["id"], card, saved=payment.get("save", False)))
        if payment["payment_method"]["saved"]:
            self.methods[payment["payment_method"]["id"]] = card
        payment["authorization_details"] = {"rrn": "0", "auth_code": "0", "three_d_secure": {"applied": card.asks}}
        if payment["capture"]:
            return self._succeeded(payment)
        payment |= {"status": "waiting_for_capture", "expires_at": _text(self.clock.now() + CAPTURE_WITHIN)}
        self._tell("payment.waiting_for_capture", payment)
        return payment

    def _succeeded(self, payment: dict[str, Any]) -> dict[str, Any]:
        whole = Decimal(payment["amount"]["value"])
        payment |= {
            "status": "succeeded", "captured_at": self._now(), "refunded_amount": _rub(Decimal(0)), "refundable": True,
            "income_amount": _rub(whole - (whole * COMMISSION).quantize(Decimal("0.01"))),
        }  # fmt: skip
        self._tell("payment.succeeded", payment)
        return payment

    def _canceled(self, payment: dict[str, Any], party: str, reason: str) -> dict[str, Any]:
        payment |= {"status": "canceled", "paid": False, "cancellation_details": {"party": party, "reason": reason}}
        self._tell("payment.canceled", payment)
        return payment

    def _tell(self, event: str, about: dict[str, Any]) -> None:
        body = {"type": "notification", "event": event, "object": _shown(about)}
        self.notifications.append(Told(json.dumps(body).encode(), self.clock.now()))

    def _now(self) -> str:
        return _text(self.clock.now())


def _shown(payment: dict[str, Any]) -> dict[str, Any]:
    """As the API tells it: what only we know stays out, and where to confirm once that is over."""
    hidden = {"capture", "save"} | (set() if payment["status"] == "pending" else {"confirmation"})
    return {name: value for name, value in payment.items() if name not in hidden}


def _page(request: Request, found: list[dict[str, Any]]) -> dict[str, Any]:
    asked = dict(request.query_params)
    limit = int(asked.pop("limit", "10"))
    if not 1 <= limit <= 100:
        raise invalid("Limit is 1 to 100", "limit")
    cursor = asked.pop("cursor", None)
    for name, value in asked.items():
        found = [each for each in found if _fits(each, name, value)]
    found = sorted(found, key=lambda each: (each["created_at"], each["id"]), reverse=True)
    start = next((at for at, each in enumerate(found) if each["id"] == cursor), 0)
    rest = found[start + limit :]
    return {"type": "list", "items": found[start : start + limit]} | ({"next_cursor": rest[0]["id"]} if rest else {})


def _fits(each: dict[str, Any], name: str, value: str) -> bool:
    field_, _, compare = name.partition(".")
    if not compare:
        return each.get(field_) == value
    if field_ not in each:
        return False
    at, bound = _moment(each[field_]), _moment(value)
    return {"gte": at >= bound, "gt": at > bound, "lte": at <= bound, "lt": at < bound}[compare]


def _amount(body: dict[str, Any], name: str) -> Decimal:
    told = body.get(name)
    if not isinstance(told, dict) or not isinstance(told.get("value"), str) or told.get("currency") != "RUB":
        raise invalid("Amount is a text of roubles: value, currency", name)
    try:
        value = Decimal(told["value"])
    except InvalidOperation:
        raise invalid("Amount is no number", f"{name}.value") from None
    if value <= 0 or value.as_tuple().exponent != -2:
        raise invalid("Amount is above zero and has two decimals", f"{name}.value")
    return value


def _metadata(body: dict[str, Any]) -> dict[str, str]:
    marks = body.get("metadata") or {}
    if len(marks) > 16 or any(len(name) > 32 or len(str(value)) > 512 for name, value in marks.items()):
        raise invalid("Metadata has 16 names of 32 characters with 512 each at most", "metadata")
    return marks


def _method(method_id: str, card: Card, *, saved: bool) -> dict[str, Any]:
    number = {"first6": card.number[:6], "last4": card.number[-4:], "card_type": card.brand}
    return {
        "type": "bank_card", "id": method_id, "saved": saved, "status": "active" if saved else "inactive",
        "title": f"Bank card *{card.number[-4:]}",
        "card": {**number, "expiry_month": "12", "expiry_year": "2030", "issuer_country": "RU"},
    }  # fmt: skip


def _rub(value: Decimal) -> dict[str, str]:
    return {"value": f"{value:.2f}", "currency": "RUB"}


def _id() -> str:
    return str(uuid.uuid4())


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
