"""Names of payments follow from what they pay, so that whoever makes an attempt again makes the same one."""

from typing import Literal

from matinee.ids import content_uuid7
from serving.billing.invoices.core import Invoice
from serving.billing.payments.rows import Payment

# A hosted page; a saved method charged by its owner, who is here; one charged by the clock. Each is counted for itself.
Way = Literal["page", "present", "charge"]


def payment_id_of(invoice: Invoice, way: Way, attempt: int) -> str:
    """The same for the same attempt, however often it is made: so is the charge at the provider."""
    return content_uuid7(int(invoice.issued_at.timestamp() * 1000), way, invoice.invoice_id, str(attempt))


def by_owner(invoice: Invoice, payment: Payment) -> bool:
    """Whether somebody paid by hand; the clock's charges are the others."""
    return payment.method_id is None or payment.payment_id == payment_id_of(invoice, "present", payment.attempt)
