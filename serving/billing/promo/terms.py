"""What a code takes off, and off what: pure, over the lines of an invoice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from serving.billing.ledger.money import share

if TYPE_CHECKING:
    from serving.billing.invoices.lines import Line

SOLD = frozenset({"plan", "rent", "buy"})


@dataclass(frozen=True, slots=True)
class Promo:
    """A code as it stands for one invoice.

    `value`: of `percent` in hundredths (2500 = 25 %), of `amount` in minor units of `currency`, of `free_period` in
    months. `left`: for how many periods it is still good, this one included (of `free_period`: months); None: for all.
    `repeats`: the first use, where this is a later period of it.
    """

    promo_id: str
    code: str
    kind: str
    value: int
    currency: str | None = None
    left: int | None = 1
    plans: frozenset[str] = frozenset()
    titles: frozenset[str] = frozenset()
    first_time: bool = False
    limit_total: int | None = None
    limit_person: int | None = None
    from_: datetime | None = None
    until: datetime | None = None
    withdrawn_at: datetime | None = None
    used: int = 0
    repeats: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A code that stands on a period: it took `off_minor` off `listed_minor`."""

    promo: Promo
    listed_minor: int
    off_minor: int


def covered(promo: Promo, lines: Sequence[Line]) -> list[Line]:
    """The lines that the code is for: whole periods of its plans, its titles; of any, where it names none."""
    return [line for line in lines if line.kind in SOLD and line.amount_minor > 0 and _is_for(promo, line)]


def covers(promo: Promo, lines: Sequence[Line], currency: str) -> bool:
    """Whether the code takes anything off these lines of an invoice in `currency`."""
    return promo.currency in (None, currency) and bool(covered(promo, lines)) and promo.left != 0


def _is_for(promo: Promo, line: Line) -> bool:
    if line.kind == "plan":
        is_named = line.plan_id in promo.plans
        return line.months is not None and (is_named or not (promo.plans or promo.titles))
    return promo.kind != "free_period" and (line.title_id in promo.titles or not (promo.plans or promo.titles))


def apply(promo: Promo, lines: Sequence[Line], least_minor: int) -> tuple[Line, ...]:
    """The lines with what the code takes off as the last one; the same lines where it takes off nothing.

    Never more is taken off than there is to pay; a rest below `least_minor`, which no provider charges (`money.least`),
    is waived. The line's tax is zero here: issuing the invoice makes the tax of all lines, so that it is that of what
    is left to pay.
    """
    for_it = covered(promo, lines)
    off = promo.value if promo.kind == "amount" else sum(_off(promo, line) for line in for_it)
    most = min(sum(line.amount_minor for line in for_it), sum(line.amount_minor for line in lines))
    off = min(off, most)
    if off > 0 and sum(line.amount_minor for line in lines) - off < least_minor:
        off = most
    if off <= 0 or promo.left == 0:
        return tuple(lines)
    return (*lines, discount(promo, for_it[0], off))


def discount(promo: Promo, line: Line, off: int) -> Line:
    """The line of what a code takes off another one."""
    names = {"en": f"Promo code {promo.code}", "ru": f"Промокод {promo.code}"}
    return replace(line, kind="discount", amount_minor=-off, tax_minor=0, names=names, price_id=None, months=None)


def stands_off(standing: Standing, line: Line, currency: str) -> int:
    """What the code of a period takes off the whole price of another plan of the same interval in that period.

    Free months of a longer period: as large a part as they were of what it was ordered with.
    """
    promo = standing.promo
    if promo.currency not in (None, currency) or not covered(promo, [line]):
        return 0
    off = promo.value if promo.kind == "amount" else share(line.amount_minor, promo.value, 10_000)
    if promo.kind == "free_period":
        off = share(line.amount_minor, standing.off_minor, standing.listed_minor) if standing.listed_minor else 0
    return min(off, line.amount_minor)


def _off(promo: Promo, line: Line) -> int:
    if promo.kind == "percent":
        return share(line.amount_minor, promo.value, 10_000)
    months = line.months or 0
    return share(line.amount_minor, min(months, promo.left or 0), months)


def left_after(promo: Promo, lines: Sequence[Line]) -> int | None:
    """For how many further periods (of `free_period`: months) it is good after these lines; None: for all."""
    if promo.left is None:
        return None
    taken = 1
    if promo.kind == "free_period":
        taken = max((line.months or 0 for line in covered(promo, lines)), default=0)
    elif not any(line.kind == "plan" for line in lines):
        return 0  # a title has one period
    return max(0, promo.left - taken)
