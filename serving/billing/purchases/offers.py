"""Which of a title's offers a viewer buys by. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from serving.billing.errors import MoneyError
from serving.billing.ledger.money import Money, least, parse, show
from serving.problems import Problem
from serving.rights.entitlements import Entitlements, Window


@dataclass(frozen=True, slots=True)
class Offer:
    """A price of a title as the feed said it, in major units; no regions: everywhere; no plans: for everybody."""

    kind: str
    plans: Sequence[str]
    price: Decimal | None
    currency: str | None
    regions: Sequence[str]
    from_: datetime | None
    until: datetime | None


def choose(offers: Sequence[Offer], region: str | None, held: Entitlements, at: datetime) -> Offer | None:
    """The offer that is open in the region to whom holds these plans, None where there is none.

    Of several rather one in the currency of the country, then one that is made for the region, then one for
    subscribers, then the cheapest of the same currency; else the first of the feed.
    """
    plans = frozenset(plan for one in held.plans_at(at) for plan in one.opens)
    open_now = [
        offer
        for offer in offers
        if Window(offer.from_, offer.until).holds(at)
        and (not offer.regions or region in offer.regions)
        and (not offer.plans or plans & set(offer.plans))
    ]
    own = _currencies(region)
    fit = {id(offer): (offer.currency in own, bool(offer.regions), bool(offer.plans)) for offer in open_now}
    best = max(open_now, key=lambda offer: fit[id(offer)], default=None)
    if best is None:
        return None
    equal = [o for o in open_now if fit[id(o)] == fit[id(best)] and o.currency == best.currency]
    return min(equal, key=lambda offer: Decimal("Infinity") if offer.price is None else offer.price)


def _currencies(region: str | None) -> tuple[str, ...]:
    """Legal tender of the country (CLDR)."""
    from babel.numbers import get_territory_currencies

    return tuple(get_territory_currencies(region)) if region else ()


def price_of(offer: Offer, title_id: str) -> Money:
    """The offer's price in minor units.

    Raises:
        Problem: 409 `no_price`, there is none, it is none of its currency, or less than any provider charges.
    """
    if not offer.price or offer.currency is None:
        raise Problem(409, "no_price", f"the title {title_id} has no price to {offer.kind} it for")
    try:
        found = parse(f"{offer.price.normalize():f}", offer.currency)
        if found.minor < (lowest := least(offer.currency)):
            raise MoneyError(
                f"{show(found, 'en')} is less than providers charge, {show(Money(lowest, found.currency), 'en')}"
            )
        return found
    except MoneyError as error:
        raise Problem(409, "no_price", f"the title {title_id} cannot be sold: {error}; mend its feed") from error
