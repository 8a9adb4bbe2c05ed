"""Plans in versions and their prices: what is on sale where, and what becomes of those who subscribed earlier.

A price is of one version of a plan; who subscribed at it keeps price and version for as long as the subscription lives,
unless the price is succeeded, which is announced thirty days before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from serving.billing.errors import BillingError
from serving.billing.ledger.money import Money
from serving.db import Row, row, rows

QUERIES = load(Path(__file__).parent)


class ProductError(BillingError):
    """There is no such plan or price, or it cannot become what was asked."""


@dataclass(frozen=True, slots=True)
class Price:
    """What `months` of a version of a plan cost, tax included, and what the version offers.

    `names`: {language: the plan's name}; `rank`: a change to a higher one is an upgrade; `max_height` in lines (None:
    any); no `regions`: wherever no other price is for.
    """

    price_id: str
    plan_id: str
    version: int
    months: int
    money: Money
    names: Mapping[str, str]
    rank: int
    streams: int
    max_height: int | None
    includes: tuple[str, ...]
    devices: tuple[str, ...]
    regions: tuple[str, ...]
    is_sold: bool
    succeeded_by: str | None = None
    succeeds_at: datetime | None = None

    @property
    def order(self) -> tuple[int, int]:
        """What comes later is the larger one."""
        return self.rank, self.months

    def name(self, language: str) -> str:
        return self.names.get(language) or self.names.get("en") or self.plan_id


async def on_sale(connection: AsyncConnection, region: str | None, at: datetime) -> list[Price]:
    """What may be subscribed to in a region (ISO 3166-1), the smallest plan first, months before years."""
    return [_price(found) for found in await rows(connection, QUERIES["on_sale"], {"region": region, "at": at})]


async def price(connection: AsyncConnection, price_id: str, at: datetime) -> Price:
    """One price, sold or not.

    Raises:
        ProductError: there is none of that id.
    """
    found = await row(connection, QUERIES["price"], {"price_id": price_id, "at": at})
    if found is None:
        raise ProductError(f"there is no price {price_id!r}: `matinee billing plans` lists them")
    return _price(found)


async def prices(connection: AsyncConnection, at: datetime) -> dict[str, Price]:
    """Every price there ever was, by its id."""
    return {found["price_id"]: _price(found) for found in await rows(connection, QUERIES["prices"], {"at": at})}


def kept(known: Mapping[str, Price], price_id: str, at: datetime) -> Price:
    """What a price has become by a moment: itself, or what succeeded it."""
    found = known[price_id]
    while found.succeeded_by is not None and found.succeeds_at is not None and found.succeeds_at <= at:
        found = known[found.succeeded_by]
    return found


async def tax(connection: AsyncConnection, country: str, at: datetime) -> int:
    """The rate of value added tax in a country, in hundredths of a percent; 0 where none is known."""
    found = await row(connection, QUERIES["tax"], {"country": country, "day": at.date()})
    return found["rate_bp"] if found else 0


async def taxes(connection: AsyncConnection, countries: Iterable[str], at: datetime) -> dict[str, int]:
    """The rates of several countries; one that is not in it has none."""
    asked = {"countries": sorted(set(countries)), "day": at.date()}
    return {found["country"]: found["rate_bp"] for found in await rows(connection, QUERIES["taxes"], asked)}


def _price(found: Row) -> Price:
    return Price(
        price_id=found["price_id"],
        plan_id=found["plan_id"],
        version=found["version"],
        months=found["months"],
        money=Money(found["amount_minor"], found["currency"]),
        names=found["names"],
        rank=found["rank"],
        streams=found["streams"],
        max_height=found["max_height"],
        includes=tuple(found["includes"]),
        devices=tuple(found["devices"]),
        regions=tuple(found["regions"]),
        is_sold=found.get("is_sold", True),
        succeeded_by=found["succeeded_by"],
        succeeds_at=found["succeeds_at"],
    )
