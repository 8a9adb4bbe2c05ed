"""YooKassa's objects as the rest of billing sees them: https://yookassa.ru/developers/api"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from serving.billing.errors import MoneyError
from serving.billing.ledger.money import Money, decimal, parse
from serving.billing.providers.base import (
    MethodSeen,
    Movement,
    Outcome,
    ProviderAwayError,
    ProviderRefusedError,
    RefundOutcome,
    State,
)

P = ParamSpec("P")
R = TypeVar("R")
_REF = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_STATES = {
    "pending": State.pending,
    "waiting_for_capture": State.pending,  # captured by itself, as we ask for it
    "succeeded": State.succeeded,
    "canceled": State.failed,
}
# Reasons of `cancellation_details` -> ours of `base.FAILURES`; others are told as they are.
_REASONS = {
    "3d_secure_failed": "authentication_failed",
    "call_issuer": "card_declined",
    "canceled_by_merchant": "canceled",
    "card_expired": "expired_card",
    "country_forbidden": "card_declined",
    "expired_on_capture": "expired",
    "expired_on_confirmation": "expired",
    "fraud_suspected": "card_declined",
    "general_decline": "card_declined",
    "identification_required": "authentication_required",
    "insufficient_funds": "insufficient_funds",
    "invalid_card_number": "card_declined",
    "invalid_csc": "card_declined",
    "issuer_unavailable": "card_declined",
    "payment_method_limit_exceeded": "card_declined",
    "payment_method_restricted": "card_declined",
    "permission_revoked": "method_gone",
}


def understood(read: Callable[P, R]) -> Callable[P, R]:
    """An answer in another form than the documented one says nothing of what was done."""

    @wraps(read)
    def reading(*given: P.args, **named: P.kwargs) -> R:
        try:
            return read(*given, **named)
        except (KeyError, TypeError, ValueError, AttributeError, MoneyError) as error:
            raise ProviderAwayError(f"yookassa: an answer that nobody understands ({error})") from error

    return reading


def amount(money: Money) -> dict[str, str]:
    """As YooKassa takes it: major units with two decimals.

    Raises:
        ProviderRefusedError: another currency than the rouble.
    """
    if money.currency != "RUB":
        raise ProviderRefusedError(
            f"yookassa takes roubles alone, not {money.currency}: sell in RUB where it is used", "currency"
        )
    return {"value": f"{decimal(money):.2f}", "currency": money.currency}


def checked(ref: str) -> str:
    """A reference that becomes part of an address.

    Raises:
        ProviderRefusedError: it is none of YooKassa's.
    """
    if not _REF.fullmatch(ref):
        raise ProviderRefusedError(f"yookassa has no reference {ref[:80]!r}", "not_found")
    return ref


@understood
def payment(body: Mapping[str, Any]) -> Outcome:
    """A Payment object."""
    state, whole = _STATES[body["status"]], _money(body["amount"])
    url = (body.get("confirmation") or {}).get("confirmation_url")
    paid = state is State.succeeded
    return Outcome(
        ref=body["id"],
        state=State.action if body["status"] == "pending" and url else state,
        money=whole if paid else Money(0, whole.currency),
        fee_minor=_fee(body, whole) if paid else 0,
        checkout_url=url if body["status"] == "pending" else None,
        failure=_failure(body) if state is State.failed else None,
        method=_method(body.get("payment_method")) if paid else None,
        refunded_minor=_money(body["refunded_amount"]).minor if body.get("refunded_amount") else 0,
    )


@understood
def refund(body: Mapping[str, Any]) -> RefundOutcome:
    """A Refund object."""
    state = _STATES[body["status"]]
    return RefundOutcome(
        body["id"], state, _money(body["amount"]), _failure(body) if state is State.failed else None
    )  # fmt: skip


@understood
def payment_movements(body: Mapping[str, Any]) -> Iterator[Movement]:
    """What a captured payment changed of the balance: its amount and the commission."""
    whole, at, ours = _money(body["amount"]), datetime.fromisoformat(body["captured_at"]), mark(body, "payment_id")
    made = [Movement(body["id"], "payment", whole, at, ours)]
    if fee := _fee(body, whole):
        made.append(Movement(f"{body['id']}/fee", "fee", Money(-fee, whole.currency), at, ours))
    return iter(made)


@understood
def refund_movement(body: Mapping[str, Any], payment_id: str | None) -> Movement:
    at = datetime.fromisoformat(body["created_at"])
    return Movement(body["id"], "refund", -_money(body["amount"]), at, payment_id, mark(body, "refund_id"))


@understood
def ref(body: Mapping[str, Any]) -> str:
    return checked(body["id"])


@understood
def mark(body: Mapping[str, Any], name: str) -> str | None:
    """What we wrote on it (`metadata`)."""
    found = (body.get("metadata") or {}).get(name)
    return found if isinstance(found, str) else None


def _money(told: Mapping[str, str]) -> Money:
    return parse(told["value"], told["currency"])


def _fee(body: Mapping[str, Any], whole: Money) -> int:
    income = body.get("income_amount")
    return (whole - _money(income)).minor if income else 0


def _failure(body: Mapping[str, Any]) -> str:
    reason = (body.get("cancellation_details") or {}).get("reason") or "canceled"
    return _REASONS.get(reason, reason)


def _method(told: Mapping[str, Any] | None) -> MethodSeen | None:
    if not told or not told.get("saved"):
        return None
    card = told.get("card")
    label = f"{card.get('card_type', 'Card')} •••• {card['last4']}" if card else told.get("title") or told["type"]
    return MethodSeen(told["id"], label)
