"""What a payment becomes when something is heard of it. Pure, and only ever forward:

    created -> pending -> failed -> succeeded

A payment that we gave up on may have succeeded after all: money that was taken is never overlooked. What the provider
told before is not unlearned: a late message about an earlier state changes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from serving.billing.payments.rows import Payment, PaymentError
from serving.billing.providers.base import Outcome, State


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a payment: the provider's word (`outcome`), or that nothing was taken (`failure`: its code), or
    neither: nobody knows."""

    payment_id: str
    outcome: Outcome | None = None
    failure: str | None = None


def forward(payment: Payment, heard: Heard, at: datetime) -> Payment:
    """The payment after what was heard at `at`.

    Raises:
        PaymentError: the provider took another amount than was asked for. Nothing is believed then.
    """
    outcome = heard.outcome
    asked = replace(payment, asked_at=at)
    if outcome is None:
        if heard.failure is None:
            return replace(asked, state="pending" if payment.state == "created" else payment.state)
        return asked if payment.settled else _failed(asked, heard.failure, at)
    asked = replace(asked, provider_ref=payment.provider_ref or outcome.ref)
    if outcome.state is State.succeeded:
        _check(payment, outcome)
        fee = max(payment.fee_minor, outcome.fee_minor)  # not known at first, sometimes
        if payment.state == "succeeded":
            return replace(asked, fee_minor=fee)
        return replace(asked, state="succeeded", fee_minor=fee, failure=None, checkout_url=None, settled_at=at)
    if payment.settled:
        return asked
    if outcome.state is State.failed:
        return _failed(asked, outcome.failure or "failed", at)
    return replace(asked, state="pending", checkout_url=outcome.checkout_url or payment.checkout_url)


def _failed(payment: Payment, failure: str, at: datetime) -> Payment:
    return replace(payment, state="failed", failure=failure, checkout_url=None, settled_at=at)


def _check(payment: Payment, outcome: Outcome) -> None:
    taken, wanted = (outcome.money.minor, outcome.money.currency), (payment.amount_minor, payment.currency)
    if taken != wanted:
        raise PaymentError(
            f"payment {payment.payment_id}: {payment.provider} took {taken[0]} {taken[1]} (minor units) instead of "
            f"{wanted[0]} {wanted[1]}: look at {outcome.ref} there, and give back or correct by hand"
        )
