"""Calls of providers about payments, with no transaction open: what is ordered, and what each answer means."""

import logging
from collections.abc import Awaitable, Callable

from serving.billing.documents import fiscal
from serving.billing.documents.fiscal import FiscalError
from serving.billing.invoices.core import Invoice
from serving.billing.ledger.money import Money
from serving.billing.payments.desk import Desk
from serving.billing.payments.forward import Heard
from serving.billing.payments.rows import Payment
from serving.billing.providers.base import (
    Order,
    Outcome,
    Provider,
    ProviderAwayError,
    ProviderError,
    ProviderRefusedError,
    State,
)
from serving.links import link

UNAUTHENTICATED = "authentication_required"
log = logging.getLogger("matinee.billing")


def order_of(
    invoice: Invoice, payment: Payment, *, email: str | None, return_url: str, method_ref: str | None = None
) -> Order:
    """What a provider is asked for. Equal for the same payment, so that it may be sent again."""
    names = invoice.lines[0].names if invoice.lines else {}
    return Order(
        payment_id=payment.payment_id,
        money=Money(payment.amount_minor, payment.currency),
        description=names.get(invoice.language) or names.get("en") or "Matinee",
        invoice_number=invoice.number,
        customer_id=invoice.customer_id,
        email=email,
        language=invoice.language,
        return_url=return_url.replace("{payment_id}", payment.payment_id),
        save_method=payment.save_method,
        receipt=receipt_of(invoice, payment.amount_minor),
        method_ref=method_ref,
        since=payment.created_at,
    )


def receipt_of(invoice: Invoice, amount_minor: int) -> tuple[fiscal.Item, ...]:
    """The items for a Russian cash register; none where the buyer is elsewhere."""
    if invoice.currency != "RUB" or not invoice.lines:
        return ()
    try:
        return fiscal.items(invoice.lines, amount_minor, invoice.tax_bp or None, "ru")
    except FiscalError as error:
        log.warning("invoice %s has no fiscal receipt: %s", invoice.number, error)
        return ()


def own_page(desk: Desk) -> str:
    """Where a buyer comes back to, if a bank sends them anywhere."""
    return link(desk.settings, "billing")


async def asked(provider: Provider, payment: Payment, call: Callable[[], Awaitable[Outcome]]) -> Heard:
    """What a call that may move money brought. Nobody heard an answer: nothing is known, and it stays so until a look.

    A request that is refused is refused for good, unless an earlier copy of it was carried out.
    """
    try:
        return Heard(payment.payment_id, await call())
    except ProviderAwayError as error:
        log.warning("payment %s: %s", payment.payment_id, error)
        return Heard(payment.payment_id)
    except ProviderRefusedError as error:
        log.warning("payment %s is refused: %s", payment.payment_id, error)
        try:
            found = await provider.look(payment.payment_id, payment.provider_ref, since=payment.created_at)
        except ProviderError:
            return Heard(payment.payment_id)
        return Heard(payment.payment_id, found) if found else Heard(payment.payment_id, failure=error.code)


async def charged(provider: Provider, payment: Payment, order: Order, *, present: bool = False) -> Heard:
    """Charge a saved method. Where its bank wants the owner and they are not here (`present`), nothing is taken."""
    heard = await asked(provider, payment, lambda: provider.charge(order))
    if present or heard.outcome is None or heard.outcome.state is not State.action:
        return heard
    return await closed_page(provider, payment, heard.outcome.ref, UNAUTHENTICATED)


async def closed_page(provider: Provider, payment: Payment, ref: str, failure: str) -> Heard:
    """Close a page on which nobody paid; what was paid meanwhile is heard of.

    Some pages cannot be closed, or are being paid: while the provider says so, nothing was given up.
    """
    try:
        await provider.cancel(ref)
        found = await provider.look(payment.payment_id, ref)
    except ProviderAwayError:
        return Heard(payment.payment_id)
    if found is not None and found.state is not State.failed:
        return Heard(payment.payment_id, found)
    return Heard(payment.payment_id, failure=failure)
