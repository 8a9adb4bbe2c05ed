"""What Stripe's objects mean in our words. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

from stripe import BalanceTransaction, Charge, Dispute, PaymentIntent, PaymentMethod, Refund
from stripe.checkout import Session

from serving.billing.ledger.money import share
from serving.billing.providers.base import DisputeSeen, MethodSeen, Movement, Outcome, RefundOutcome, State
from serving.billing.providers.stripe.amounts import received

T = TypeVar("T")

# Statuses of disputes that took money; inquiries (`warning_…`) and those that were prevented took none.
_DISPUTES: dict[str, Literal["open", "won", "lost"]] = {
    "needs_response": "open", "under_review": "open", "appeal_needs_response": "open", "appeal_under_review": "open",
    "won": "won", "lost": "lost",
}  # fmt: skip
_REFUNDS = {
    "succeeded": State.succeeded, "failed": State.failed, "canceled": State.failed,
    "pending": State.pending, "requires_action": State.pending,
}  # fmt: skip
Kind = Literal["payment", "refund", "fee", "dispute", "payout", "other"]
# `reporting_category` of balance transactions; where money comes in by a payment a fee may be taken at once.
_MOVES: dict[str, Kind] = {
    "charge": "payment", "charge_failure": "payment", "partial_capture_reversal": "payment",
    "refund": "refund", "refund_failure": "refund", "dispute": "dispute", "dispute_reversal": "dispute",
    "payout": "payout", "payout_reversal": "payout", "fee": "fee", "network_cost": "fee", "tax": "fee",
}  # fmt: skip
# Why a card was refused, as far as its owner is told: of a lost, stolen or suspected one Stripe asks to say no more.
_TOLD = ("insufficient_funds", "expired_card", "authentication_required")
_BRANDS = {"visa": "Visa", "mastercard": "Mastercard", "amex": "American Express", "unionpay": "UnionPay", "jcb": "JCB"}


def expanded(value: "T | str | None", kind: type[T]) -> T | None:
    """An expandable field's object; None where there is only its id, or nothing."""
    return value if isinstance(value, kind) else None


def id_of(value: object) -> str | None:
    """An expandable field's id, expanded or not."""
    return value if isinstance(value, str) or value is None else str(getattr(value, "id"))  # noqa: B009 - any object


def mark(thing: object, name: str) -> str | None:
    """What we wrote on an object: a key of its metadata."""
    return getattr(getattr(thing, "metadata", None), name, None)


def session(page: Session, disputes: Sequence[Dispute] = ()) -> Outcome:
    """Of a hosted page. A refused card leaves it open: the buyer takes another one there."""
    intent = expanded(page.payment_intent, PaymentIntent)
    if intent is not None and intent.status in ("succeeded", "processing", "requires_capture"):
        return payment(intent, page.id, disputes)
    nothing = received(0, str(page.currency))
    if page.status == "open":
        return Outcome(page.id, State.action, nothing, checkout_url=page.url)
    if page.status == "expired":
        return Outcome(page.id, State.failed, nothing, failure="expired")
    if intent is not None and intent.status in ("requires_payment_method", "canceled"):
        return payment(intent, page.id)
    return Outcome(page.id, State.pending, nothing)


def payment(intent: PaymentIntent, ref: str, disputes: Sequence[Dispute] = ()) -> Outcome:
    """Of a PaymentIntent, under the reference by which we know it."""
    nothing = received(0, intent.currency)
    match intent.status:
        case "succeeded":
            charge = expanded(intent.latest_charge, Charge)
            return Outcome(
                ref,
                State.succeeded,
                received(intent.amount_received, intent.currency),
                fee_minor=_fee(charge),
                method=_kept(intent),
                refunded_minor=received(charge.amount_refunded, charge.currency).minor if charge else 0,
                disputes=tuple(seen for each in disputes if (seen := dispute(each))),
            )
        case "requires_action" if url := _page(intent):
            return Outcome(ref, State.action, nothing, checkout_url=url)
        case "requires_payment_method":
            return Outcome(ref, State.failed, nothing, failure=_why(intent))
        case "canceled":
            return Outcome(ref, State.failed, nothing, failure="canceled")
    return Outcome(ref, State.pending, nothing)


def asks_for_owner(intent: PaymentIntent) -> bool:
    """Whether the bank refused to be charged without its customer, who may be asked (3-D Secure)."""
    error = intent.last_payment_error
    return intent.status == "requires_payment_method" and error is not None and error.code == "authentication_required"


def refund(given: Refund) -> RefundOutcome:
    state = _REFUNDS.get(given.status or "", State.pending)
    failure = (given.failure_reason or given.status) if state is State.failed else None
    return RefundOutcome(given.id, state, received(given.amount, given.currency), failure)


def dispute(told: Dispute) -> DisputeSeen | None:
    """None: no money was taken."""
    if (state := _DISPUTES.get(told.status)) is None:
        return None
    money = received(told.amount, told.currency)
    fee = sum(_share_of(each.fee, each, told.amount) for each in told.balance_transactions)
    return DisputeSeen(
        told.id,
        money,
        received(fee, told.currency).minor,
        told.reason,
        state,
        datetime.fromtimestamp(told.created, UTC),
    )


def movements(change: BalanceTransaction, disputed: str | None) -> list[Movement]:
    """A balance transaction as one movement, and another of the fee that it was charged.

    Where Stripe converts, a payment, refund, dispute and their fees are told in the currency that was paid in, and a
    payout in the bank's. `disputed`: the payment_id of a dispute's charge, which the dispute itself does not tell.
    """
    source = change.source  # of many kinds, expanded
    kind = _MOVES.get(change.reporting_category, "other")
    at = datetime.fromtimestamp(change.created, UTC)
    payment_id, refund_id = disputed or mark(source, "payment_id"), mark(source, "refund_id")
    gross, currency = change.amount, change.currency
    if isinstance(source, (Charge, Refund, Dispute)) and source.currency != currency:
        gross, currency = (source.amount if gross > 0 else -source.amount), source.currency
    fee = _share_of(change.fee, change, abs(gross))
    if kind == "fee":
        gross, fee = gross - fee, 0
    moves = [Movement(change.id, kind, received(gross, currency), at, payment_id, refund_id)] if gross else []
    if fee:
        moves.append(Movement(f"{change.id}/fee", "fee", received(-fee, currency), at, payment_id, refund_id))
    return moves


def _fee(charge: Charge | None) -> int:
    change = expanded(charge.balance_transaction, BalanceTransaction) if charge else None
    if charge is None or change is None:
        return 0
    return received(_share_of(change.fee, change, charge.amount), charge.currency).minor


def _share_of(fee: int, change: BalanceTransaction, amount: int) -> int:
    """A fee of the currency of our balance there, in that of `amount`: the same part of it."""
    gross = abs(change.amount)
    return fee if gross in (0, amount) else share(fee, amount, gross)


def _page(intent: PaymentIntent) -> str | None:
    action = intent.next_action
    return action.redirect_to_url.url if action and action.redirect_to_url else None


def _why(intent: PaymentIntent) -> str:
    error = intent.last_payment_error
    if error is None:
        return "canceled"
    if error.code == "payment_intent_authentication_failure":
        return "authentication_failed"
    if error.decline_code is None:
        return error.code or "card_declined"
    return error.decline_code if error.decline_code in _TOLD else "card_declined"


def _kept(intent: PaymentIntent) -> MethodSeen | None:
    method, customer = expanded(intent.payment_method, PaymentMethod), id_of(intent.customer)
    if method is None or customer is None or intent.setup_future_usage != "off_session":
        return None
    return MethodSeen(f"{customer}/{method.id}", _label(method))


def _label(method: PaymentMethod) -> str:
    card = getattr(method, "card", None)
    if card is None:
        return method.type.replace("_", " ").title()
    brand = card.brand or "card"
    return f"{_BRANDS.get(brand, brand.replace('_', ' ').title())} •••• {card.last4}"
