"""What a Stripe account holds, and the rules by which its payments move: no HTTP here."""

import itertools
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from stripe import WebhookSignature

from matinee.clock import Clock

LATER_S = 60
VERSION = "2026-10-28.endive"
# https://docs.stripe.com/testing; what a card does on the page, and what when it is charged without its owner.
CARDS = {
    "good": "4242424242424242",
    "declined": "4000000000000002",
    "poor": "4000000000009995",
    "secure": "4000002500003155",  # asks its owner unless set up
    "always_secure": "4000002760003184",
    "disputed": "4000000000000259",
    "slow_refund": "4000000000007726",  # pending at first, then succeeded
    "lost_refund": "4000000000005126",  # succeeded at first, then failed
}
DECLINES = {CARDS["declined"]: "generic_decline", CARDS["poor"]: "insufficient_funds"}
_SECURE = (CARDS["secure"], CARDS["always_secure"])
Thing = dict[str, Any]


class RefusedError(Exception):
    """A request that is answered by an error."""

    def __init__(self, status: int, kind: str, message: str, *, stored: bool = True, **more: Any) -> None:
        super().__init__(message)
        self.status, self.stored = status, stored
        self.error = {"type": kind, "message": message, **more}


def invalid(message: str, code: str | None = None, *, stored: bool = True, **more: Any) -> RefusedError:
    extra = {"code": code} if code else {}
    return RefusedError(400, "invalid_request_error", message, stored=stored, **extra, **more)


class Store:
    """All objects by id; every change of one that Stripe tells of is an event."""

    def __init__(self, clock: Clock, webhook_secret: str) -> None:
        self.clock, self.webhook_secret = clock, webhook_secret
        self.things: dict[str, Thing] = {}
        self.cards: dict[str, str] = {}  # PaymentMethod -> number
        self.prepared: set[str] = set()  # PaymentMethods that were set up with their owner there
        self.events: list[Thing] = []
        self.told = 0
        self.later: list[tuple[int, Callable[[], None]]] = []
        self._serial = itertools.count(1)
        self.url = ""

    def now(self) -> int:
        return int(self.clock.now().timestamp())

    def make(self, prefix: str, kind: str, **fields: Any) -> Thing:
        # Serial: of what came within a second, the later is known.
        made = f"{prefix}_{next(self._serial):08d}{secrets.token_hex(6)}"
        thing = {"id": made, "object": kind, "created": self.now(), "livemode": False, **fields}
        self.things[made] = thing
        return thing

    def get(self, ref: str, kind: str) -> Thing:
        thing = self.things.get(ref)
        if thing is None or thing["object"] != kind:
            raise RefusedError(
                404,
                "invalid_request_error",
                f"No such {kind}: '{ref}'",
                code="resource_missing",
                param="id",
                stored=False,
            )
        return thing

    def every(self, kind: str, **equal: Any) -> list[Thing]:
        """Newest first, as lists are."""
        found = [
            t for t in self.things.values() if t["object"] == kind and all(t.get(k) == v for k, v in equal.items())
        ]
        return found[::-1]

    def tell(self, name: str, about: Thing) -> None:
        snapshot = json.loads(json.dumps(about))
        event = self.make(
            "evt", "event", type=name, api_version=VERSION, data={"object": snapshot}, pending_webhooks=1,
            request={"id": None, "idempotency_key": None},
        )  # fmt: skip
        self.events.append(event)

    def untold(self) -> list[tuple[dict[str, str], bytes]]:
        """Headers and bodies of webhooks for what happened since the last time, signed now."""
        events, self.told = self.events[self.told :], len(self.events)
        return [self.signed(json.dumps(event, indent=2), self.now()) for event in events]

    def signed(self, body: str, at: int, secret: str | None = None) -> tuple[dict[str, str], bytes]:
        signature = WebhookSignature.generate_signature_header(body, secret or self.webhook_secret, at)
        return {"Stripe-Signature": signature, "Content-Type": "application/json; charset=utf-8"}, body.encode()

    # --- payments

    def intent(self, amount: int, currency: str, customer: str, **fields: Any) -> Thing:
        made = self.make(
            "pi", "payment_intent", amount=amount, amount_received=0, currency=currency, customer=customer,
            status="requires_payment_method", payment_method=None, latest_charge=None, last_payment_error=None,
            next_action=None, cancellation_reason=None, setup_future_usage=None, capture_method="automatic_async",
            confirmation_method="automatic", payment_method_types=["card"], description=None, metadata={},
        )  # fmt: skip
        made.update(fields)
        made["client_secret"] = f"{made['id']}_secret_{secrets.token_hex(8)}"
        self.tell("payment_intent.created", made)
        return made

    def method(self, number: str) -> Thing:
        made = self.make(
            "pm", "payment_method", type="card", customer=None,
            billing_details={"email": "ada@example.org", "name": "Ada Vale"},
            card={"brand": "visa", "display_brand": "visa", "last4": number[-4:], "exp_month": 12, "exp_year": 2040},
        )  # fmt: skip
        self.cards[made["id"]] = number
        return made

    def confirm(self, intent: Thing, method: Thing, *, off_session: bool, return_url: str = "") -> None:
        """Try to charge. Raises: RefusedError (402) when the card is declined."""
        if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise invalid(
                f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}.",
                "payment_intent_unexpected_state",
            )
        number = self.cards[method["id"]]
        intent.update(payment_method=method["id"], last_payment_error=None, next_action=None)
        if number in DECLINES:
            raise self.decline(intent, "card_declined", "Your card was declined.", DECLINES[number])
        asks = number in _SECURE and not (number == CARDS["secure"] and method["id"] in self.prepared)
        if asks and off_session:
            text = "Your card was declined. This transaction requires authentication."
            raise self.decline(intent, "authentication_required", text, "authentication_required")
        if asks:
            page = {"url": f"{self.url}/3d_secure/{intent['id']}", "return_url": return_url}
            intent.update(status="requires_action", next_action={"type": "redirect_to_url", "redirect_to_url": page})
            self.tell("payment_intent.requires_action", intent)
            return
        self.succeed(intent)

    def decline(self, intent: Thing, code: str, message: str, why: str) -> RefusedError:
        error = {"type": "card_error", "code": code, "decline_code": why, "message": message}
        intent.update(status="requires_payment_method", last_payment_error=error, next_action=None)
        self.charge(intent, "failed")
        self.tell("payment_intent.payment_failed", intent)
        return RefusedError(402, "card_error", message, code=code, decline_code=why, payment_intent=intent)

    def charge(self, intent: Thing, status: str) -> Thing:
        made = self.make(
            "ch", "charge", amount=intent["amount"], currency=intent["currency"], status=status,
            paid=status == "succeeded", captured=status == "succeeded", payment_intent=intent["id"],
            customer=intent["customer"], payment_method=intent["payment_method"], metadata=dict(intent["metadata"]),
            amount_refunded=0, refunded=False, disputed=False, balance_transaction=None,
        )  # fmt: skip
        intent["latest_charge"] = made["id"]
        self.tell(f"charge.{status}", made)
        return made

    def succeed(self, intent: Thing) -> None:
        intent.update(status="succeeded", amount_received=intent["amount"], next_action=None)
        charge = self.charge(intent, "succeeded")
        fee = min(intent["amount"], round(intent["amount"] * 0.029) + 30)
        change = self.move(charge, intent["amount"], fee, "charge", "charge")
        if intent["capture_method"] == "automatic":
            charge["balance_transaction"] = change["id"]
        else:
            self.later.append((self.now() + LATER_S, lambda: self._captured(charge, change)))
        if intent["setup_future_usage"]:
            self.things[intent["payment_method"]]["customer"] = intent["customer"]
            self.prepared.add(intent["payment_method"])
        self.tell("payment_intent.succeeded", intent)
        if self.cards[intent["payment_method"]] == CARDS["disputed"]:
            self.dispute(charge)

    def _captured(self, charge: Thing, change: Thing) -> None:
        charge["balance_transaction"] = change["id"]
        self.tell("charge.updated", charge)

    def move(self, source: Thing, amount: int, fee: int, kind: str, category: str) -> Thing:
        return self.make(
            "txn", "balance_transaction", amount=amount, fee=fee, net=amount - fee, currency=source["currency"],
            type=kind, reporting_category=category, source=source["id"], exchange_rate=None, status="pending",
            fee_details=[],
        )  # fmt: skip

    def balance(self, currency: str) -> int:
        return sum(t["net"] for t in self.every("balance_transaction", currency=currency))

    # --- pages

    def on_page(self, page: Thing, number: str) -> str | None:
        """A buyer pays on a hosted page. Returns where to go on; None: stay, the card was refused."""
        if page["status"] != "open":
            return None
        intent = self.things.get(page["payment_intent"] or "")
        if intent is None:
            intent = self.intent(page["amount_total"], page["currency"], page["customer"], **page["_intent"])
            page["payment_intent"] = intent["id"]
        try:
            self.confirm(intent, self.method(number), off_session=False, return_url=page["success_url"])
        except RefusedError:
            return None
        if intent["status"] == "requires_action":
            return intent["next_action"]["redirect_to_url"]["url"]
        self.complete(intent)
        return page["success_url"]

    def answered(self, intent: Thing, *, owner: bool) -> str:
        """A challenge is answered. Returns where to go on."""
        back = intent["next_action"]["redirect_to_url"]["return_url"]
        if owner:
            self.succeed(intent)
            self.complete(intent)
            return back
        self.decline(intent, "payment_intent_authentication_failure", "We are unable to authenticate you.", "")
        intent["last_payment_error"]["decline_code"] = None
        pages = self.every("checkout.session", payment_intent=intent["id"])
        return pages[0]["url"] if pages else back

    def complete(self, intent: Thing) -> None:
        for page in self.every("checkout.session", payment_intent=intent["id"]):
            page.update(status="complete", payment_status="paid", url=None)
            page["customer_details"] = {"email": "ada@example.org", "name": "Ada Vale"}
            self.tell("checkout.session.completed", public(page))

    def expire(self, page: Thing) -> None:
        page.update(status="expired", url=None)
        intent = self.things.get(page["payment_intent"] or "")
        if intent and intent["status"] != "succeeded":
            intent.update(status="canceled", cancellation_reason="abandoned", next_action=None)
        self.tell("checkout.session.expired", public(page))

    def tick(self) -> None:
        """What time does by itself: pages expire a day after they were made, and what comes later comes."""
        due = [work for at, work in self.later if at <= self.now()]
        self.later = [each for each in self.later if each[0] > self.now()]
        for work in due:
            work()
        for page in self.every("checkout.session", status="open"):
            if page["expires_at"] <= self.now():
                self.expire(page)

    # --- money back

    def refund(self, intent: Thing, amount: int | None, metadata: Mapping[str, str]) -> Thing:
        charge = self.things.get(intent["latest_charge"] or "")
        if charge is None or not charge["paid"]:
            raise invalid(f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
        left = charge["amount"] - charge["amount_refunded"]
        if left == 0:
            raise invalid(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
        if charge["disputed"]:
            raise invalid(f"Charge {charge['id']} has been charged back; cannot issue a refund.", "charge_disputed")
        back = left if amount is None else amount
        if not 0 < back <= left:
            raise invalid(
                f"Refund amount ({back}) is greater than unrefunded amount on charge ({left})", param="amount"
            )
        made = self.make(
            "re", "refund", amount=back, currency=charge["currency"], charge=charge["id"],
            payment_intent=intent["id"], status="succeeded", metadata=dict(metadata), failure_reason=None, reason=None,
        )  # fmt: skip
        charge["amount_refunded"] += back
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        made["balance_transaction"] = self.move(made, -back, 0, "refund", "refund")["id"]
        self.tell("refund.created", made)
        self.tell("charge.refunded", charge)
        number = self.cards[charge["payment_method"]]
        if number == CARDS["slow_refund"]:
            made["status"] = "pending"
        if number in (CARDS["slow_refund"], CARDS["lost_refund"]):
            self.later.append((self.now() + LATER_S, lambda: self._refunded(made, charge)))
        return made

    def _refunded(self, made: Thing, charge: Thing) -> None:
        """The end of a refund that was not over."""
        if made["status"] == "pending":
            made["status"] = "succeeded"
            self.tell("refund.updated", made)
            return
        made.update(status="failed", failure_reason="expired_or_canceled_card")
        charge["amount_refunded"] -= made["amount"]
        charge["refunded"] = False
        change = self.move(made, made["amount"], 0, "refund_failure", "refund_failure")
        made["failure_balance_transaction"] = change["id"]
        self.tell("refund.failed", made)

    def dispute(self, charge: Thing) -> Thing:
        charge["disputed"] = True
        made = self.make(
            "dp", "dispute", amount=charge["amount"], currency=charge["currency"], charge=charge["id"],
            payment_intent=charge["payment_intent"], reason="fraudulent", status="needs_response", metadata={},
            balance_transactions=[], is_charge_refundable=False,
        )  # fmt: skip
        made["balance_transactions"] = [self.move(made, -charge["amount"], 1500, "adjustment", "dispute")]
        self.tell("charge.dispute.created", made)
        self.tell("charge.dispute.funds_withdrawn", made)
        return made

    def close_dispute(self, made: Thing, *, won: bool) -> None:
        made["status"] = "won" if won else "lost"
        if won:
            made["balance_transactions"].append(
                self.move(made, made["amount"], -1500, "adjustment", "dispute_reversal")
            )
            self.tell("charge.dispute.funds_reinstated", made)
        self.tell("charge.dispute.closed", made)

    def payout(self, currency: str) -> Thing | None:
        amount = self.balance(currency)
        if amount <= 0:
            return None
        made = self.make("po", "payout", amount=amount, currency=currency, status="paid", metadata={}, automatic=True)
        made["balance_transaction"] = self.move(made, -amount, 0, "payout", "payout")["id"]
        self.tell("payout.paid", made)
        return made


def public(thing: Thing) -> Thing:
    return {name: value for name, value in thing.items() if not name.startswith("_")}
