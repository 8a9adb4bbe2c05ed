"""Offers of one title that contradict each other. The constraint `offer_no_contradiction` says the same of rows."""

from collections.abc import Sequence
from itertools import combinations

from matinee.contracts.feed import Offer


def contradiction(offers: Sequence[Offer]) -> str | None:
    """Why these offers cannot stand together, None where they can.

    Wrong is two prices for renting (or two for buying), in one currency, for the same plans, in one country, at one
    moment. Subscription and free offers have no price and may overlap; so may prices in several currencies.
    """
    for (first, one), (second, other) in combinations(enumerate(offers), 2):
        if _is_same_sale(one, other) and _meet_in_time(one, other):
            common = _common_regions(one, other)
            if common != ():
                where = "everywhere" if common is None else f"in {', '.join(common)}"
                what = f"both {one.kind} in {one.currency} {where} at one time"
                return f"offers.{second}: contradicts offers.{first}, {what}"
    return None


def _is_same_sale(one: Offer, other: Offer) -> bool:
    return (
        one.kind in ("rent", "buy")
        and one.kind == other.kind
        and one.currency == other.currency
        and set(one.plans) == set(other.plans)
    )


def _meet_in_time(one: Offer, other: Offer) -> bool:
    return (one.until is None or other.from_ is None or other.from_ < one.until) and (
        other.until is None or one.from_ is None or one.from_ < other.until
    )


def _common_regions(one: Offer, other: Offer) -> tuple[str, ...] | None:
    """Countries of both; None: all."""
    if not one.regions or not other.regions:
        return (one.regions or other.regions) or None
    return tuple(sorted(set(one.regions) & set(other.regions)))
