"""Payments, refunds, disputes and ways to pay, as their tables hold them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from matinee.db.queries import load
from serving.billing.errors import BillingError

QUERIES = load(Path(__file__).parent)


class PaymentError(BillingError):
    """A payment cannot be made, found or believed."""


@dataclass(frozen=True, slots=True)
class Payment:
    """An attempt to be paid for an invoice; amounts in minor units, tax included.

    `method_id`: charged without its owner; None: by a hosted page at `checkout_url`. `saved_id`: the way to pay that
    was saved by it. `surplus`: its invoice needed no money any more, so it is given back.
    """

    payment_id: str
    invoice_id: str
    customer_id: str
    provider: str
    state: str
    amount_minor: int
    currency: str
    created_at: datetime
    provider_ref: str | None = None
    method_id: str | None = None
    saved_id: str | None = None
    save_method: bool = False
    attempt: int = 1
    checkout_url: str | None = None
    failure: str | None = None
    fee_minor: int = 0
    refunded_minor: int = 0
    surplus: bool = False
    asked_at: datetime | None = None
    settled_at: datetime | None = None

    @property
    def settled(self) -> bool:
        return self.state in ("succeeded", "failed")


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back. `note_id`: its credit note, None for what never paid an invoice."""

    refund_id: str
    payment_id: str
    state: str
    amount_minor: int
    currency: str
    reason: str
    created_at: datetime
    note_id: str | None = None
    provider_ref: str | None = None
    keeps_right: bool = False
    failure: str | None = None
    asked_by: str | None = None
    asked_at: datetime | None = None
    settled_at: datetime | None = None

    @property
    def settled(self) -> bool:
        return self.state in ("succeeded", "failed")


@dataclass(frozen=True, slots=True)
class Method:
    """A way to pay that a provider keeps for us under `provider_ref`."""

    method_id: str
    customer_id: str
    provider: str
    label: str
    created_at: datetime
    provider_ref: str | None = None
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A buyer's bank wants money back; the provider holds it until the dispute is won or lost."""

    dispute_id: str
    payment_id: str
    provider: str
    provider_ref: str
    amount_minor: int
    currency: str
    fee_minor: int
    reason: str
    state: str
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Payer:
    """Whom letters go to and receipts are for; without an account: nobody."""

    customer_id: str
    account_id: str | None
    email: str | None
    language: str | None
