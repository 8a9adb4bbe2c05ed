"""What the domains of money say, as clients hear it: amounts and names in the language of the request."""

from collections.abc import Iterable
from itertools import groupby

from fastapi import Request

from serving.billing.documents.model import LANGUAGES
from serving.billing.invoices.lines import Line
from serving.billing.ledger.money import Money, share, show
from serving.billing.products.core import Price
from serving.billing.types import Amount, LineView, PlanView, PricedPlan, PriceView

_FALLBACK = "en"


def language_of(request: Request) -> str:
    """The first language of `Accept-Language` that we speak (RFC 9110, 12.5.4)."""
    asked = []
    for place, part in enumerate(request.headers.get("accept-language", "").split(",")[:20]):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        asked.append((-quality, place, tag.strip().lower().partition("-")[0]))
    return next((tag for quality, _, tag in sorted(asked) if quality < 0 and tag in LANGUAGES), _FALLBACK)


def amount(minor: int, currency: str, language: str) -> Amount:
    """An amount with its words."""
    return Amount(minor=minor, currency=currency, text=show(Money(minor, currency), language))


def money(given: Money, language: str) -> Amount:
    return amount(given.minor, given.currency, language)


def plans(prices: Iterable[Price], language: str) -> list[PlanView]:
    """Prices in the order of their plans, as plans."""
    return [_plan(list(group), language) for _, group in groupby(prices, key=lambda price: price.plan_id)]


def _plan(prices: list[Price], language: str) -> PlanView:
    first = prices[0]
    return PlanView(
        plan_id=first.plan_id,
        name=first.name(language),
        rank=first.rank,
        streams=first.streams,
        max_height=first.max_height,
        includes=list(first.includes),
        devices=list(first.devices),
        prices=[price_view(price, language) for price in prices],
    )


def price_view(price: Price, language: str) -> PriceView:
    monthly = Money(share(price.money.minor, 1, price.months), price.money.currency)
    return PriceView(
        price_id=price.price_id,
        months=price.months,
        amount=money(price.money, language),
        monthly=money(monthly, language),
    )


def priced(price: Price, language: str) -> PricedPlan:
    return PricedPlan(
        price_id=price.price_id,
        plan_id=price.plan_id,
        name=price.name(language),
        months=price.months,
        amount=money(price.money, language),
    )


def line(given: Line, currency: str, language: str) -> LineView:
    names = given.names
    return LineView(
        kind=given.kind,
        name=names.get(language) or names.get(_FALLBACK) or next(iter(names.values()), ""),
        amount=amount(given.amount_minor, currency, language),
        since=given.period.lower if given.period else None,
        until=given.period.upper if given.period else None,
    )
