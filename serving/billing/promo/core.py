"""Uses of codes: reserved with an invoice, redeemed when it is paid, released when it is void.

`promo.used` counts uses, reserved ones too, and one conditional update counts it up: of any number of people at once
no more than the limit get in. What a code still gives at renewals is a row a renewal, and no further use. A refund
gives no use back: the code did its work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from matinee.db.queries import load
from matinee.ids import uuid7
from serving.billing.promo.codes import PromoError, key_of, written
from serving.billing.promo.terms import Promo, Standing, covered, covers, left_after
from serving.db import Row, execute, row, rows

if TYPE_CHECKING:
    from serving.billing.invoices.core import Invoice
    from serving.billing.invoices.lines import Line

QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class NewPromo:
    """A code to be made; see `Promo` for `value`. `periods`: of a subscription, None: all; no limit: None."""

    code: str
    kind: Literal["percent", "amount", "free_period"]
    value: int
    currency: str | None = None
    periods: int | None = 1
    plans: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    first_time: bool = False
    limit_total: int | None = None
    limit_person: int | None = 1
    from_: datetime | None = None
    until: datetime | None = None


async def look(
    connection: AsyncConnection, code: str, customer_id: str, lines: Sequence[Line], currency: str, at: datetime
) -> Promo:
    """The code, if the customer may use it for these lines now; nothing is kept.

    Raises:
        PromoError: 422 with the reason.
    """
    promo = await _found(connection, code, at)
    if promo.limit_total is not None and promo.used >= promo.limit_total:
        raise _exhausted(promo)
    _check_fit(promo, lines, currency)
    await _check_person(connection, promo, customer_id)
    return promo


async def reserve(
    connection: AsyncConnection, code: str, customer_id: str, lines: Sequence[Line], currency: str, at: datetime
) -> Promo:
    """Take one use of the code for an invoice of these lines in `currency`; `attach` it to the invoice once that is
    issued, in the same transaction.

    Raises:
        PromoError: 422 with the reason; no use is taken.
    """
    promo = await _found(connection, code, at)
    _check_fit(promo, lines, currency)
    await row(connection, QUERIES["lock_customer"], {"customer_id": customer_id})
    async with connection.transaction():  # a savepoint: a refusal leaves no use behind
        if await row(connection, QUERIES["take_use"], {"promo_id": promo.promo_id, "at": at}) is None:
            await _found(connection, code, at)
            raise _exhausted(promo)
        await _check_person(connection, promo, customer_id)
    return promo


async def attach(connection: AsyncConnection, promo: Promo, invoice: Invoice, at: datetime) -> None:
    """Write that this invoice has what `reserve` took, or what `carried` found."""
    await attach_many(connection, [(promo, invoice)], at)


async def attach_many(connection: AsyncConnection, given: Sequence[tuple[Promo, Invoice]], at: datetime) -> None:
    redemptions = [
        {
            "redemption_id": uuid7(),
            "promo_id": promo.promo_id,
            "customer_id": invoice.customer_id,
            "subscription_id": invoice.subscription_id,
            "invoice_id": invoice.invoice_id,
            "periods_left": left_after(promo, invoice.lines),
            "repeats": promo.repeats,
        }
        for promo, invoice in given
    ]
    if redemptions:
        await execute(connection, QUERIES["add_redemptions"], {"redemptions": Jsonb(redemptions), "at": at})


async def redeemed(connection: AsyncConnection, invoice_id: str, at: datetime) -> None:
    """The invoice is paid: its code is used for good. An invoice without one, or told twice: nothing."""
    await redeemed_many(connection, [invoice_id], at)


async def redeemed_many(connection: AsyncConnection, invoice_ids: Sequence[str], at: datetime) -> None:
    await execute(connection, QUERIES["redeem"], {"invoice_ids": list(invoice_ids), "at": at})


async def released(connection: AsyncConnection, invoice_id: str, at: datetime) -> None:
    """The invoice is void: its use of a code is free again. An invoice without one, or told twice: nothing."""
    await released_many(connection, [invoice_id], at)


async def released_many(connection: AsyncConnection, invoice_ids: Sequence[str], at: datetime) -> None:
    await execute(connection, QUERIES["release"], {"invoice_ids": list(invoice_ids), "at": at})


async def carried(connection: AsyncConnection, subscription_id: str, *, changing: bool = False) -> Promo | None:
    """The code that the subscription's next period still has, None: none. It needs no `reserve`: `apply` it if it
    `covers` the lines, then `attach` it. A code that was withdrawn or is over meanwhile keeps what it promised.

    `changing`: for a change, which takes back earlier ones that were not paid, and their uses."""
    return (await carried_many(connection, [subscription_id], changing=changing)).get(subscription_id)


async def carried_many(
    connection: AsyncConnection, subscription_ids: Sequence[str], *, changing: bool = False
) -> dict[str, Promo]:
    """Subscription -> the code that its next period still has, for those that have one."""
    asked = {"subscription_ids": list(subscription_ids), "changing": changing}
    found = await rows(connection, QUERIES["carried"], asked)
    return {one["subscription_id"]: _promo(one, one["periods_left"]) for one in found if one["periods_left"] != 0}


async def standing(connection: AsyncConnection, subscription_id: str, since: datetime, months: int) -> Standing | None:
    """The code that the period of so many months which began at a moment was paid with, None: none.

    What is changed within the period is priced by it too, and takes no further use.
    """
    found = await row(
        connection, QUERIES["standing"], {"subscription_id": subscription_id, "since": since, "months": months}
    )
    return Standing(_promo(found, None), found["listed_minor"], found["discount_minor"]) if found else None


async def add(connection: AsyncConnection, new: NewPromo, at: datetime) -> str:
    """Make a code; returns its id.

    Raises:
        PromoError: 422 `promo_invalid` names what is wrong; 409 `promo_taken`, an open code reads the same.
    """
    code = written(new.code)
    if wrong := await _wrong(connection, new):
        raise PromoError("invalid", wrong)
    given = {
        "promo_id": uuid7(), "code": code, "kind": new.kind, "value": new.value, "currency": new.currency,
        "periods": new.periods, "plans": list(new.plans), "titles": list(new.titles), "first_time": new.first_time,
        "limit_total": new.limit_total, "limit_person": new.limit_person, "from_": new.from_, "until": new.until,
        "at": at,
    }  # fmt: skip
    if not await execute(connection, QUERIES["add"], given):
        raise PromoError("taken", f"there is an open code that reads as {code} does: withdraw it first", 409)
    return given["promo_id"]


async def listed(connection: AsyncConnection, limit: int = 100, after: str | None = None) -> list[Row]:
    """Codes with their uses (`used`: reserved ones too, `redeemed`), the newest first."""
    return await rows(connection, QUERIES["listed"], {"limit": limit, "after": after})


async def withdraw(connection: AsyncConnection, code: str, at: datetime) -> Row:
    """Take a code back: nobody gets it any more; who has it keeps it. Returns its `promo_id`, `code` and `used`.

    Raises:
        PromoError: 422 `promo_unknown`, there is no such open code.
    """
    found = await row(connection, QUERIES["withdraw"], {"key": key_of(code), "at": at})
    if found is None:
        raise _unknown(code)
    return found


async def _found(connection: AsyncConnection, code: str, at: datetime) -> Promo:
    key = key_of(code)
    found = await row(connection, QUERIES["found"], {"key": key}) if 3 <= len(key) <= 32 and "\0" not in key else None
    if found is None:
        raise _unknown(code)
    promo = _promo(found, found["value"] if found["kind"] == "free_period" else found["periods"])
    if promo.withdrawn_at is not None or (promo.until is not None and promo.until <= at):
        raise PromoError("expired", f"the code {promo.code} is over")
    if promo.from_ is not None and at < promo.from_:
        raise PromoError("early", f"the code {promo.code} is for later")
    return promo


def _promo(found: Row, left: int | None) -> Promo:
    known: Mapping[str, object] = {name: found[name] for name in Promo.__slots__ if name in found}
    return Promo(**{**known, "left": left, "plans": frozenset(found["plans"]), "titles": frozenset(found["titles"])})  # pyright: ignore[reportArgumentType] - columns named as fields; a test holds the query against the type


def _check_fit(promo: Promo, lines: Sequence[Line], currency: str) -> None:
    if not covered(promo, lines):
        raise PromoError("not_for_this", f"the code {promo.code} is not for what you chose")
    if not covers(promo, lines, currency):
        raise PromoError("currency", f"the code {promo.code} is for prices in {promo.currency}, not {currency}")


async def _check_person(connection: AsyncConnection, promo: Promo, customer_id: str) -> None:
    asked = {"promo_id": promo.promo_id, "customer_id": customer_id}
    uses = await row(connection, QUERIES["own_uses"], asked)
    if uses is not None and promo.limit_person is not None and uses["uses"] >= promo.limit_person:
        raise PromoError("used", f"you have used the code {promo.code} as often as one may")
    if promo.first_time:
        paid = await row(connection, QUERIES["has_paid"], {"customer_id": customer_id})
        if paid is not None and paid["has_paid"]:
            raise PromoError("first_time", f"the code {promo.code} is for who pays for the first time")


def _unknown(code: str) -> PromoError:
    return PromoError("unknown", f"there is no code {code[:40]!r}: see how it is written")


def _exhausted(promo: Promo) -> PromoError:
    return PromoError("exhausted", f"the code {promo.code} was used as often as it could be")


_MOST = {"percent": 10_000, "amount": 10**11, "free_period": 24}


async def _wrong(connection: AsyncConnection, new: NewPromo) -> str | None:
    """What is wrong with a code to be made, None: nothing."""
    if not 0 < new.value <= _MOST[new.kind]:
        return f"the value of a {new.kind} code lies between 1 and {_MOST[new.kind]}, not {new.value}"
    if (new.kind == "amount") != (new.currency is not None):
        return "an amount needs a currency" if new.kind == "amount" else f"a {new.kind} code has no currency"
    if any(limit is not None and limit < 1 for limit in (new.limit_total, new.limit_person, new.periods)):
        return "a limit is at least 1; leave it out for none"
    if new.from_ is not None and new.until is not None and new.until <= new.from_:
        return f"a code must end after it starts: {new.from_} .. {new.until}"
    if new.kind == "free_period" and new.titles:
        return "free months are of plans, not of titles"
    plans = await rows(connection, QUERIES["unknown_plans"], {"plans": list(new.plans)})
    titles = await rows(connection, QUERIES["unknown_titles"], {"titles": list(new.titles)})
    if unknown := [one["asked"] for one in (*plans, *titles)]:
        return f"there is no plan or title {', '.join(unknown)}"
    return None
