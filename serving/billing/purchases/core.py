"""Renting and buying titles: an order is an invoice, its payment opens the title, its refund closes it again.

A refund or a lost dispute ends the right at once, also of a rental that was started, unless whoever refunds lets it
stay (goodwill); a partial one leaves it. What is for sale is what has offers: of an episode whose series has them, the
series.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from psycopg import AsyncConnection

from matinee.db import outbox
from matinee.db.queries import load
from serving.billing import customers
from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Draft, Line
from serving.billing.ledger.money import Money, least
from serving.billing.products import core as products
from serving.billing.promo import core as promos
from serving.billing.promo.codes import key_of
from serving.billing.promo.terms import apply
from serving.billing.purchases.offers import Offer, choose, price_of
from serving.catalog.core import refuse, unknown
from serving.db import Row, row, rows
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights import rentals
from serving.rights.core import ANY_DEVICE, Terms, decide, right, terms_of
from serving.rights.entitlements import Entitlements, parse

QUERIES = load(Path(__file__).parent)
Kind = Literal["rent", "buy"]


@dataclass(frozen=True, slots=True)
class Sale:
    """What would be sold: `title_id` is that of the offer."""

    title_id: str
    kind: Kind
    names: dict[str, str]
    price: Money

    @property
    def line(self) -> Line:
        return Line(self.kind, self.price.minor, names=self.names, title_id=self.title_id)


async def order(
    connection: AsyncConnection,
    customer_id: str,
    viewer: Viewer,
    title_id: str,
    kind: Kind,
    at: datetime,
    *,
    promo: str | None = None,
) -> Invoice:
    """Order a title at the price of the viewer's region: an open invoice, of which nothing may be due.

    An order that was begun and not paid is gone on with where it still says the same, and taken back else.

    Raises:
        Problem: 404 `unknown_title`; 403 why the viewer may not see it; 409 `not_on_offer`, `no_price`, `owned`,
            `rented` or `included`; 422 why the code is of no use (`PromoError`).
    """
    await row(connection, QUERIES["lock_customer"], {"customer_id": customer_id})
    sale = await offered(connection, viewer, title_id, kind, at)
    country = viewer.region or ""
    begun = await _begun(connection, customer_id, sale, promo, country, at)
    if begun is not None:
        return begun
    lines, used = (sale.line,), None
    if promo is not None:
        used = await promos.reserve(connection, promo, customer_id, lines, sale.price.currency, at)
        lines = apply(used, lines, least(sale.price.currency))
    draft = Draft(
        kind, "purchase", sale.price.currency, lines, country, await _tax(connection, country, at), country,
        viewer.language, title_id=sale.title_id,
    )  # fmt: skip
    invoice = await invoices.issue(connection, customer_id, draft, at)
    if used is not None:
        await promos.attach(connection, used, invoice, at)
    return invoice


async def offered(connection: AsyncConnection, viewer: Viewer, title_id: str, kind: Kind, at: datetime) -> Sale:
    """What the viewer would get and pay.

    Raises:
        Problem: as `order` does.
    """
    asked = {"title_id": title_id, "account_id": viewer.account_id, "at": at}
    found = await row(connection, QUERIES["to_sell"], asked)
    if found is None:
        raise unknown(title_id)
    held = parse(found["entitlements"])
    viewer, terms = replace(viewer, entitlements=held), terms_of(found)
    offers = await _offers(connection, found, kind)
    if refusal := decide(terms, viewer, ANY_DEVICE, at):
        raise refuse(refusal, title_id, [_told(offer) for offer in offers])
    chosen = choose(offers, viewer.region, held, at)
    if chosen is None:
        raise Problem(409, "not_on_offer", f"the title {title_id} is not to {kind} in your region now")
    if not found["playable"]:
        raise Problem(409, "not_playable", f"there is no film to play for {title_id} yet")
    _check_not_owned(held, terms, viewer, kind, at)
    return Sale(found["offers_of"], kind, found["titles"] or {}, price_of(chosen, title_id))


async def _offers(connection: AsyncConnection, found: Row, kind: Kind) -> list[Offer]:
    asked = {"title_id": found["offers_of"], "kind": kind}
    return [Offer(**one) for one in await rows(connection, QUERIES["for_sale"], asked)]


def _told(offer: Offer) -> Row:
    price = None if offer.price is None else str(offer.price)
    return {
        "kind": offer.kind, "plans": offer.plans, "price": price, "currency": offer.currency,
        "regions": offer.regions, "from": offer.from_, "until": offer.until,
    }  # fmt: skip


def _check_not_owned(held: Entitlements, terms: Terms, viewer: Viewer, kind: Kind, at: datetime) -> None:
    """Nobody pays for what is there: bought or given to keep; rented now; or, to rent it, open anyhow."""
    titles = [one for one in held.titles if one.title_id in terms.titles and one.window.holds(at)]
    if any(one.kind != "rent" and (kind == "rent" or one.window.until is None) for one in titles):
        raise Problem(409, "owned", "you have this title already: play it")
    if kind == "buy":
        return
    if titles:
        raise Problem(409, "rented", "you rent this title already: play it")
    if right(terms, replace(viewer, entitlements=replace(held, titles=())), ANY_DEVICE, at) is not None:
        raise Problem(409, "included", "you can play this title without renting it")


async def _begun(
    connection: AsyncConnection, customer_id: str, sale: Sale, promo: str | None, country: str, at: datetime
) -> Invoice | None:
    """The open order of the same title, if it says what a new one would; others of it are taken back."""
    asked = {"customer_id": customer_id, "title_id": sale.title_id}
    wanted = None if promo is None else key_of(promo)
    same: Invoice | None = None
    for one in await rows(connection, QUERIES["open_order"], asked):
        invoice = await invoices.get(connection, one["invoice_id"])
        code = None if one["code"] is None else key_of(one["code"])
        is_same = (invoice.purpose, invoice.currency, invoice.country, code) == (
            sale.kind, sale.price.currency, country, wanted,
        )  # fmt: skip
        if same is None and is_same and invoice.total_minor + invoice.discount_minor == sale.price.minor:
            same = invoice
            continue
        await invoices.void(connection, invoice.invoice_id, at)
        await promos.released(connection, invoice.invoice_id, at)
    return same


async def _tax(connection: AsyncConnection, country: str, at: datetime) -> int:
    return await products.tax(connection, country, at) if country else 0


async def paid(connection: AsyncConnection, invoice: Invoice, at: datetime) -> None:
    """Open the title, in the transaction of the money. Told twice, or of an erased account: nothing."""
    account_id = await customers.account_of(connection, invoice.customer_id)
    if account_id is None or invoice.title_id is None:
        return
    given = await rentals.give(
        connection, account_id, invoice.purpose, at, title_id=invoice.title_id, invoice_id=invoice.invoice_id
    )
    if given is not None:
        await outbox.put(connection, "account", account_id, {"why": invoice.purpose})


async def paid_many(connection: AsyncConnection, given: Sequence[Invoice], at: datetime) -> None:
    for invoice in given:
        await paid(connection, invoice, at)


async def withdrawn(connection: AsyncConnection, invoice: Invoice, at: datetime) -> None:
    """Close what the invoice opened: after a refund that ends the right, or a lost dispute. Told twice: nothing."""
    closed = await rows(connection, QUERIES["taken_back"], {"invoice_id": invoice.invoice_id, "at": at})
    for one in closed:
        await outbox.put(connection, "account", one["account_id"], {"why": "refunded"})
