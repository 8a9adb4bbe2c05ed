"""A small, stateful server of Stripe's documented API (docs.stripe.com/api), version 2026-10-28.endive.

It knows customers, Checkout Sessions in payment mode with their hosted page, PaymentIntents, PaymentMethods, charges,
refunds, disputes, balance transactions, payouts, events and signed webhooks, and of these only what is documented and
used here: another parameter is `parameter_unknown`, as a misspelt one is there. Idempotency as documented
(docs.stripe.com/api/idempotent_requests): status and body of the first execution are kept for 24 hours, errors of
executions too, other parameters under a key are refused, and so is a key that is in flight (409); what did not pass
validation is not kept.
"""

import asyncio
import hashlib
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from matinee.clock import Clock, SystemClock
from tests.providers.faults import Fault, Faults, Faulty
from tests.providers.running import Running
from tests.providers.stripe_forms import amount, needed, nested, only, whole, within
from tests.providers.stripe_store import CARDS, VERSION, RefusedError, Store, Thing, invalid, public

DAY_S = 86_400
SEARCH_LATE_S = 60  # what is younger, its search does not know
_LISTS = ("limit", "starting_after", "created", "expand")
# What may be expanded: the field of an object that names another.
_EXPANDABLE = (
    "payment_intent",
    "latest_charge",
    "balance_transaction",
    "payment_method",
    "source",
    "customer",
    "charge",
)


@dataclass
class Kept:
    """A request under an idempotency key; without status it is in flight."""

    fingerprint: str
    at: int
    status: int = 0
    body: bytes = b""


class StripeServer:
    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.key, self.webhook_secret = "sk_test_4eC39HqLyjWDarjtT1zdp7dc", "whsec_local"
        self.faults = Faults()
        self.keys: dict[str, Kept] = {}
        self.requests: list[str] = []
        self.store = Store(self.clock, self.webhook_secret)
        self.running = Running(Faulty(self._app(), self.faults))

    def start(self) -> str:
        self.store.url = self.running.start()
        return self.store.url

    def stop(self) -> None:
        self.running.stop()

    def reset(self, clock: Clock | None = None) -> None:
        """An empty account, on the same port."""
        self.clock = clock or self.clock
        self.store = Store(self.clock, self.webhook_secret)
        self.store.url = self.running.url
        self.keys.clear()
        self.faults.clear()
        self.requests.clear()

    async def deliver(self, url: str, tries: int = 3) -> list[int]:
        """Post the webhooks that wait to an address, each until it is taken; the last status of each."""
        told: list[int] = []
        async with httpx.AsyncClient(timeout=5) as client:
            for headers, body in self.store.untold():
                status = 0
                for _ in range(tries):
                    status = (await client.post(url, headers=headers, content=body)).status_code
                    if 200 <= status < 300:
                        break
                told.append(status)
        return told

    def _app(self) -> Starlette:
        api: dict[str, tuple[str, Callable[[Thing, str], Thing]]] = {
            "/v1/customers": ("POST", self._make_customer),
            "/v1/customers/": ("GET", self._list("customer", "email")),
            "/v1/customers/search": ("GET", self._search_customers),
            "/v1/customers/{ref}": ("DELETE", self._delete_customer),
            "/v1/checkout/sessions": ("POST", self._make_page),
            "/v1/checkout/sessions/": ("GET", self._list("checkout.session", "payment_intent", "customer", "status")),
            "/v1/checkout/sessions/{ref}": ("GET", self._get("checkout.session")),
            "/v1/checkout/sessions/{ref}/expire": ("POST", self._expire_page),
            "/v1/payment_intents": ("POST", self._make_intent),
            "/v1/payment_intents/": ("GET", self._list("payment_intent", "customer")),
            "/v1/payment_intents/{ref}": ("GET", self._get("payment_intent")),
            "/v1/payment_intents/{ref}/confirm": ("POST", self._confirm),
            "/v1/payment_intents/{ref}/cancel": ("POST", self._cancel),
            "/v1/payment_methods/{ref}/detach": ("POST", self._detach),
            "/v1/refunds": ("POST", self._make_refund),
            "/v1/refunds/": ("GET", self._list("refund", "payment_intent", "charge")),
            "/v1/refunds/{ref}": ("GET", self._get("refund")),
            "/v1/disputes/": ("GET", self._list("dispute", "payment_intent", "charge")),
            "/v1/disputes/{ref}": ("GET", self._get("dispute")),
            "/v1/charges/{ref}": ("GET", self._get("charge")),
            "/v1/balance_transactions/": ("GET", self._list("balance_transaction", "type", "payout", "source")),
            "/v1/events/": ("GET", self._list("event", "type")),
        }  # fmt: skip
        routes = [
            Route(path.removesuffix("/"), self._endpoint(path, work), methods=[method])
            for path, (method, work) in api.items()
        ]
        routes += [
            Route("/c/pay/{ref}", self._page, methods=["GET", "POST"]),
            Route("/3d_secure/{ref}", self._challenge, methods=["GET", "POST"]),
            Route("/{rest:path}", _unknown, methods=["GET", "POST", "DELETE"]),
        ]
        return Starlette(routes=routes)

    # --- the API's manners

    def _endpoint(self, path: str, work: Callable[[Thing, str], Thing]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            body = (await request.body()).decode()
            self.requests.append(f"{request.method} {request.url.path}")
            self.store.tick()
            try:
                self._authenticate(request)
                given = nested(body if request.method == "POST" else request.url.query)
                if request.method == "POST":
                    return await self._once(request, body, lambda: work(given, request.path_params.get("ref", "")))
                return _json(200, work(given, request.path_params.get("ref", "")))
            except RefusedError as error:
                return _json(error.status, {"error": error.error})

        answer.__name__ = path
        return answer

    def _authenticate(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if given != self.key:
            text = f"Invalid API Key provided: {given[:7]}****{given[-4:]}"
            raise RefusedError(401, "invalid_request_error", text, stored=False)
        if request.headers.get("stripe-version") != VERSION:
            raise invalid(f"This server speaks {VERSION}.", stored=False)

    async def _once(self, request: Request, body: str, work: Callable[[], Thing]) -> Response:
        key = request.headers.get("idempotency-key")
        fingerprint = hashlib.sha256(f"{request.url.path}?{body}".encode()).hexdigest()
        kept = self.keys.get(key) if key else None
        if kept and self.store.now() - kept.at < DAY_S:
            if kept.fingerprint != fingerprint:
                text = f"Keys for idempotent requests can only be used with the same parameters, '{key}' was not."
                raise RefusedError(400, "idempotency_error", text, stored=False)
            if not kept.status:
                text = f"There is currently another in-progress request using this Idempotency Key ({key})."
                raise RefusedError(409, "idempotency_error", text, code="idempotency_key_in_use", stored=False)
            return Response(kept.body, kept.status, {"Idempotent-Replayed": "true"}, "application/json")
        kept = Kept(fingerprint, self.store.now())
        if key:
            self.keys[key] = kept
        await asyncio.sleep(0)  # others come meanwhile
        try:
            answer = _json(200, work())
        except RefusedError as error:
            answer = _json(error.status, {"error": error.error})
            if not error.stored and key:
                del self.keys[key]
        if request.scope.get("fault") is Fault.broken_done:
            answer = _json(500, {"error": {"type": "api_error", "message": "An unknown error occurred"}})
        kept.status, kept.body = answer.status_code, bytes(answer.body)
        return answer

    def _get(self, kind: str) -> Callable[[Thing, str], Thing]:
        def one(given: Thing, ref: str) -> Thing:
            only(given, "expand")
            return self._shown(self.store.get(ref, kind), given.get("expand"))

        return one

    def _list(self, kind: str, *filters: str) -> Callable[[Thing, str], Thing]:
        def some(given: Thing, _: str) -> Thing:
            only(given, *_LISTS, *filters)
            found = self.store.every(kind, **{name: given[name] for name in filters if name in given})
            found = [thing for thing in found if within(thing["created"], given.get("created"))]
            if after := given.get("starting_after"):
                found = found[found.index(self.store.get(after, kind)) + 1 :]
            limit = whole(given.get("limit", "10"), "limit")
            expand = [path.removeprefix("data.") for path in given.get("expand", [])]
            data = [self._shown(thing, expand) for thing in found[:limit]]
            return {"object": "list", "data": data, "has_more": len(found) > limit, "url": "/v1"}

        return some

    def _shown(self, thing: Thing, expand: Any = None) -> Thing:
        """An object with what is asked for in the place of its id, at most four deep."""
        shown = dict(public(thing))
        for path in expand or []:
            if path.count(".") > 3:
                raise invalid("You cannot expand more than 4 levels of a property.", stored=False)
            name, _, rest = path.partition(".")
            if name not in _EXPANDABLE or name not in shown:
                raise invalid(f"This property cannot be expanded ({name}).", stored=False)
            value = shown[name]
            ref = value["id"] if isinstance(value, dict) else value
            if ref in self.store.things:
                under = value if isinstance(value, dict) else public(self.store.things[ref])
                shown[name] = self._shown(under, [rest] if rest else None)
        return shown

    # --- what it does

    def _make_customer(self, given: Thing, _: str) -> Thing:
        only(given, "email", "metadata", "name", "expand")
        made = self.store.make("cus", "customer", email=given.get("email"), metadata=given.get("metadata", {}))
        return public(made)

    def _search_customers(self, given: Thing, _: str) -> Thing:
        only(given, "query", "limit", "page")
        asked = re.fullmatch(r"metadata\['([^']+)'\]:'([^']*)'", needed(given, "query"))
        if asked is None:
            raise invalid("We were unable to parse your search query.")
        seen = [
            each for each in self.store.every("customer")
            if each["metadata"].get(asked[1]) == asked[2] and each["created"] <= self.store.now() - SEARCH_LATE_S
        ]  # fmt: skip
        data = [public(each) for each in seen[: whole(given.get("limit", "10"), "limit")]]
        return {
            "object": "search_result", "data": data, "has_more": len(seen) > len(data), "next_page": None,
            "url": "/v1/customers/search",
        }  # fmt: skip

    def _delete_customer(self, given: Thing, ref: str) -> Thing:
        """Its cards are nobody's any more; its payments stay."""
        only(given)
        gone = self.store.get(ref, "customer")
        for each in self.store.every("payment_method", customer=ref):
            each["customer"] = None
        del self.store.things[ref]
        self.store.tell("customer.deleted", gone)
        return {"id": ref, "object": "customer", "deleted": True}

    def _make_page(self, given: Thing, _: str) -> Thing:
        only(given, "mode", "customer", "client_reference_id", "metadata", "line_items", "payment_intent_data",
              "success_url", "cancel_url", "locale", "adaptive_pricing", "expand")  # fmt: skip
        if given.get("mode") != "payment" or "success_url" not in given:
            raise invalid("Missing required param: success_url, or mode is not payment.", stored=False)
        (item,) = needed(given, "line_items").values()
        price = only(needed(item, "price_data"), "currency", "unit_amount", "product_data")
        if not only(needed(price, "product_data"), "name", "description").get("name"):
            raise invalid("You cannot create a product with an empty name.", "parameter_invalid_empty", stored=False)
        total = amount(price["unit_amount"], price["currency"]) * whole(item.get("quantity", "1"), "quantity")
        intent = only(
            given.get("payment_intent_data", {}), "description", "metadata", "setup_future_usage", "capture_method"
        )
        customer = self.store.get(given["customer"], "customer")["id"] if "customer" in given else None
        made = self.store.make(
            "cs_test", "checkout.session", mode="payment", status="open", payment_status="unpaid", amount_total=total,
            amount_subtotal=total, currency=price["currency"], customer=customer, customer_details=None,
            client_reference_id=given.get("client_reference_id"), metadata=given.get("metadata", {}),
            payment_intent=None, success_url=given["success_url"], cancel_url=given.get("cancel_url"),
            expires_at=self.store.now() + DAY_S, locale=given.get("locale"), payment_method_types=["card"],
            ui_mode="hosted_page", _intent=intent, _name=price["product_data"]["name"],
        )  # fmt: skip
        made["url"] = f"{self.store.url}/c/pay/{made['id']}"
        return public(made)

    def _expire_page(self, given: Thing, ref: str) -> Thing:
        only(given, "expand")
        page = self.store.get(ref, "checkout.session")
        if page["status"] != "open":
            raise invalid('Only Checkout Sessions with a status in ["open"] can be expired.')
        self.store.expire(page)
        return public(page)

    def _make_intent(self, given: Thing, _: str) -> Thing:
        only(given, "amount", "currency", "customer", "payment_method", "description", "metadata", "off_session",
              "confirm", "setup_future_usage", "return_url", "capture_method", "expand")  # fmt: skip
        total = amount(needed(given, "amount"), needed(given, "currency"))
        customer = self.store.get(needed(given, "customer"), "customer")["id"]
        method = self._usable(given, customer)
        intent = self.store.intent(
            total, given["currency"], customer, description=given.get("description"),
            metadata=given.get("metadata", {}), setup_future_usage=given.get("setup_future_usage"),
            capture_method=given.get("capture_method", "automatic_async"),
        )  # fmt: skip
        if given.get("confirm") == "true":
            off = given.get("off_session") == "true"
            self.store.confirm(intent, method, off_session=off, return_url=given.get("return_url", ""))
        return self._shown(intent, given.get("expand"))

    def _usable(self, given: Thing, customer: str) -> Thing:
        method = self.store.get(needed(given, "payment_method"), "payment_method")
        if method["customer"] != customer:
            raise invalid(
                "The provided PaymentMethod was detached from a Customer, or is another's. It may not be used again.",
                "payment_method_unexpected_state", param="payment_method",
            )  # fmt: skip
        return method

    def _confirm(self, given: Thing, ref: str) -> Thing:
        only(given, "payment_method", "off_session", "return_url", "expand")
        intent = self.store.get(ref, "payment_intent")
        method = self._usable(given, intent["customer"])
        off = given.get("off_session") == "true"
        self.store.confirm(intent, method, off_session=off, return_url=given.get("return_url", ""))
        return self._shown(intent, given.get("expand"))

    def _cancel(self, given: Thing, ref: str) -> Thing:
        only(given, "cancellation_reason", "expand")
        intent = self.store.get(ref, "payment_intent")
        if intent["status"] in ("succeeded", "canceled"):
            raise invalid(
                f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
                "payment_intent_unexpected_state",
            )
        intent.update(status="canceled", cancellation_reason=given.get("cancellation_reason"), next_action=None)
        self.store.tell("payment_intent.canceled", intent)
        return public(intent)

    def _detach(self, given: Thing, ref: str) -> Thing:
        only(given, "expand")
        method = self.store.get(ref, "payment_method")
        if method["customer"] is None:
            raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
        method["customer"] = None
        self.store.tell("payment_method.detached", method)
        return public(method)

    def _make_refund(self, given: Thing, _: str) -> Thing:
        only(given, "payment_intent", "amount", "metadata", "reason", "expand")
        intent = self.store.get(needed(given, "payment_intent"), "payment_intent")
        back = whole(given["amount"], "amount") if "amount" in given else None
        return public(self.store.refund(intent, back, given.get("metadata", {})))

    # --- pages of people

    async def _page(self, request: Request) -> Response:
        page = self.store.things.get(request.path_params["ref"])
        self.store.tick()
        if page is None or page["status"] != "open":
            return HTMLResponse("<h1>This page is closed.</h1>", 404)
        refused = ""
        if request.method == "POST":
            given = dict(parse_qsl((await request.body()).decode()))
            if there := self.store.on_page(page, given.get("card", "").replace(" ", "")):
                return RedirectResponse(there, 303)
            refused = '<p id="refused">Your card was declined.</p>'
        shown = (
            f"<h1>{html.escape(page['_name'])}</h1><p>{page['amount_total']} {page['currency'].upper()}</p>{refused}"
        )
        form = '<form method="post"><input name="card" placeholder="Card number"><button id="pay">Pay</button></form>'
        back = f'<a id="back" href="{html.escape(page["cancel_url"] or "")}">Back</a>'
        return HTMLResponse(f"<!doctype html><title>Checkout</title>{shown}{form}{back}")

    async def _challenge(self, request: Request) -> Response:
        intent = self.store.things.get(request.path_params["ref"])
        if intent is None or intent["status"] != "requires_action":
            return HTMLResponse("<h1>There is nothing to confirm.</h1>", 404)
        if request.method == "POST":
            given = dict(parse_qsl((await request.body()).decode()))
            return RedirectResponse(self.store.answered(intent, owner=given.get("answer") == "complete"), 303)
        buttons = "".join(
            f'<button id="{each}" name="answer" value="{each}">{each}</button>' for each in ("complete", "fail")
        )
        return HTMLResponse(f'<!doctype html><title>3D Secure</title><form method="post">{buttons}</form>')


async def _unknown(request: Request) -> Response:
    text = f"Unrecognized request URL ({request.method}: {request.url.path})."
    return _json(404, {"error": {"type": "invalid_request_error", "message": text}})


def _json(status: int, body: Thing) -> Response:
    return Response(json.dumps(body, indent=2), status, media_type="application/json")


__all__ = ["CARDS", "StripeServer"]
