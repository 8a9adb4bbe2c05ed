"""Setting prices: a new one for who subscribes from now on, and, announced, for who has subscribed already."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from matinee.db import outbox
from serving.billing.ledger.money import LARGEST, Money, least, show
from serving.billing.products.core import QUERIES, Price, ProductError, prices
from serving.db import Row, execute, row, rows

ANNOUNCED = timedelta(days=30)  # before what people pay changes
_REGION = re.compile(r"[A-Z]{2}")
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class NewPrice:
    """What `months` of a plan are to cost. No `regions`: those where the plan is sold for this currency so far.

    `streams` and `max_height` make a new version of the plan, which who subscribed earlier does not get.
    """

    plan_id: str
    months: int
    money: Money
    regions: Sequence[str] | None = None
    streams: int | None = None
    max_height: int | None = None


@dataclass(frozen=True, slots=True)
class Priced:
    price_id: str
    version: int
    regions: tuple[str, ...]
    replaced: tuple[str, ...]
    told: int


async def set_price(connection: AsyncConnection, new: NewPrice, at: datetime, *, existing: datetime | None) -> Priced:
    """Sell at a new price from now on, in the place of what was sold there until now.

    `existing` None: who subscribed earlier keeps price and version. Otherwise they get the new ones with the first
    renewal at or after that moment, and those who pay by themselves are written to now.

    Raises:
        ProductError: no such plan; a wrong interval, amount or region; less than thirty days' notice.
    """
    if existing is not None and existing < at + ANNOUNCED:
        raise ProductError(f"who subscribed already is told {ANNOUNCED.days} days before: not from {existing:%Y-%m-%d}")
    _check(new)
    version = await _version(connection, new, at)
    known = await prices(connection, at)
    regions = _regions(new, known)
    there = [
        price
        for price in known.values()
        if (price.plan_id, price.months, price.money.currency) == (new.plan_id, new.months, new.money.currency)
        and set(price.regions) == set(regions)
    ]
    price_id = _name(new, known)
    sold = {"plan_id": new.plan_id, "months": new.months, "regions": list(regions), "at": at}
    replaced = [each["price_id"] for each in await rows(connection, QUERIES["replaced"], sold)]
    await execute(connection, QUERIES["end_sale"], {"price_ids": replaced, "at": at})
    made = {**sold, "price_id": price_id, "version": version, "currency": new.money.currency}
    await execute(connection, QUERIES["add_price"], {**made, "amount_minor": new.money.minor})
    told = 0
    if existing is not None and there:
        earlier = {price.price_id: price for price in there}
        given = {"price_ids": list(earlier), "price_id": price_id, "succeeds_at": existing, "at": at}
        await execute(connection, QUERIES["succeed"], given)
        told = await _tell(connection, earlier, new.money, existing)
    return Priced(price_id, version, regions, tuple(replaced), told)


def _check(new: NewPrice) -> None:
    if new.months not in (1, 12):
        raise ProductError(f"plans are sold by the month or by the year (1 or 12), not for {new.months} months")
    lowest = least(new.money.currency)
    if not lowest <= new.money.minor <= LARGEST:
        raise ProductError(
            f"a price in {new.money.currency} lies between {lowest}, below which no provider charges, and {LARGEST} "
            f"(minor units), not at {new.money.minor}"
        )
    for region in new.regions or ():
        if not _REGION.fullmatch(region):
            raise ProductError(f"{region!r} is no region: give codes of ISO 3166-1, such as DE")


def _regions(new: NewPrice, known: Mapping[str, Price]) -> tuple[str, ...]:
    if new.regions is not None:
        return tuple(sorted(set(new.regions)))
    found = {
        price.regions
        for price in known.values()
        if price.is_sold and price.plan_id == new.plan_id and price.money.currency == new.money.currency
    }
    if len(found) != 1:
        raise ProductError(
            f"{new.plan_id} in {new.money.currency} is sold in {len(found) or 'no'} places: name regions"
        )
    return found.pop()


async def _version(connection: AsyncConnection, new: NewPrice, at: datetime) -> int:
    newest = await row(connection, QUERIES["newest_version"], {"plan_id": new.plan_id})
    if newest is None:
        raise ProductError(f"there is no plan {new.plan_id!r}: `matinee billing plans` lists them")
    wanted: Row = {
        **newest,
        "streams": new.streams or newest["streams"],
        "max_height": new.max_height or newest["max_height"],
    }
    if wanted == newest:
        return newest["version"]
    made = {**wanted, "plan_id": new.plan_id, "version": newest["version"] + 1, "at": at}
    await execute(connection, QUERIES["add_version"], made)
    await execute(connection, QUERIES["set_plan"], made)
    return made["version"]


def _name(new: NewPrice, known: Mapping[str, Price]) -> str:
    base = f"{new.plan_id}-{'month' if new.months == 1 else 'year'}-{new.money.currency.lower()}"
    names = (base if count == 1 else f"{base}-{count}" for count in range(1, len(known) + 2))
    return next(name for name in names if name not in known)


async def _tell(connection: AsyncConnection, earlier: Mapping[str, Price], becomes: Money, when: datetime) -> int:
    found = await rows(connection, QUERIES["concerned"], {"price_ids": list(earlier)})
    letters = [
        ("mail", each["account_id"], _letter(each, earlier[each["price_id"]], becomes, when))
        for each in found
        if earlier[each["price_id"]].money != becomes
    ]
    for first in range(0, len(letters), _BATCH):
        await outbox.put_many(connection, letters[first : first + _BATCH])
    return len(letters)


def _letter(whose: Row, price: Price, becomes: Money, when: datetime) -> Mapping[str, Any]:
    language = whose["language"]
    data = {
        "plan": price.name(language),
        "was": show(price.money, language),
        "becomes": show(becomes, language),
        "from": when.isoformat(),
    }
    return {"to": whose["email"], "template": "price_change", "language": language, "data": data}
