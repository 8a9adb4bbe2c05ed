"""`matinee billing plans` and `matinee billing price`: what is sold, where, for how much."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serving.billing.payments.desk import Desk
    from serving.billing.products.core import Price
    from serving.billing.products.pricing import Priced


def plans(
    region: Annotated[str | None, typer.Option(help="Only what is sold in this country, for example RU.")] = None,
    every: Annotated[bool, typer.Option("--all", help="What is not sold any more, too.")] = False,
) -> None:
    """List plans and prices; who subscribed at a price keeps it until it is succeeded."""
    from matinee.console import console, table
    from serving.billing.commands import with_desk
    from serving.billing.products import core

    async def read(desk: "Desk") -> list["Price"]:
        async with desk.transaction() as connection:
            if region is not None:
                return await core.on_sale(connection, region.upper(), desk.clock.now())
            return list((await core.prices(connection, desk.clock.now())).values())

    found = [price for price in with_desk(read) if every or price.is_sold]
    columns = ("price", "version", "costs", "where", "streams", "lines", "sold")
    console.print(table("plans and prices", columns, [_line(price) for price in found]))
    console.print("change one: matinee billing price PLAN MONTHS AMOUNT CURRENCY", highlight=False)


def _line(price: "Price") -> tuple[object, ...]:
    from serving.billing.ledger.money import show

    kept = f"till {price.succeeds_at:%Y-%m-%d}" if price.succeeds_at else "kept"
    return (
        price.price_id, price.version, show(price.money, "en"), ",".join(price.regions) or "elsewhere", price.streams,
        str(price.max_height or "any"), "yes" if price.is_sold else kept,
    )  # fmt: skip


def price(
    plan: Annotated[str, typer.Argument(help="The plan's id, for example basic.")],
    months: Annotated[int, typer.Argument(help="1 or 12.")],
    amount: Annotated[str, typer.Argument(help="With tax, for example 6.99.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217, for example EUR.")],
    existing: Annotated[
        str, typer.Option(help="For who subscribed earlier: keep, or a date (30 days ahead, at least) to move them on.")
    ] = "keep",
    region: Annotated[
        list[str] | None, typer.Option(help="Where; may be given several times. By default where it is sold now.")
    ] = None,
    streams: Annotated[int | None, typer.Option(min=1, help="Streams at once: a new version of the plan.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Lines of video: a new version of the plan.")] = None,
) -> None:
    """Sell a plan at a new price from now on. Who subscribed earlier keeps theirs, or is told and moved on later."""
    from matinee.console import console
    from matinee.db import audit
    from serving.billing.commands import with_desk
    from serving.billing.ledger.money import parse, show
    from serving.billing.products.pricing import NewPrice, set_price

    moment = _moment(existing)
    money = parse(amount, currency.upper())
    regions = [each.upper() for each in region] if region else None
    new = NewPrice(plan, months, money, regions, streams, height)

    async def work(desk: "Desk") -> "Priced":
        at = desk.clock.now()
        async with desk.transaction() as connection:
            made = await set_price(connection, new, at, existing=moment)
            details = {
                "price": made.price_id, "amount_minor": money.minor, "currency": money.currency, "existing": existing,
                "told": made.told,
            }  # fmt: skip
            await audit.record(
                connection, actor=None, action="price.set", subject=made.price_id, details=details, at=at
            )
        return made

    made = with_desk(work)
    where = ", ".join(made.regions) or "wherever no other price is for"
    console.print(f"{made.price_id}: {show(money, 'en')}, version {made.version}, sold from now on in {where}")
    if made.replaced:
        console.print(f"no longer sold: {', '.join(made.replaced)}")
    if moment is not None:
        console.print(f"{made.told} subscribers are told by letter: `matinee worker outbox` sends them")
    console.print("see: matinee billing plans --all")


def _moment(existing: str) -> datetime | None:
    if existing == "keep":
        return None
    try:
        return datetime.fromisoformat(existing).replace(tzinfo=UTC)
    except ValueError as error:
        raise typer.BadParameter("give `keep` or a date like 2027-03-01", param_hint="--existing") from error
