"""What a period costs, and what is charged or given back when it is changed half way. Pure; minor units throughout."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from serving.billing.ledger.money import share, tax_included

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Worth:
    """What was paid for the time from `since` to `until`, in minor units, without discounts and what went back."""

    minor: int
    since: datetime
    until: datetime

    def unused(self, at: datetime) -> int:
        """The part for the time that is left at a moment: all of it before the beginning, nothing after the end."""
        return prorated(self.minor, max(at, self.since), self.until, self.until - self.since)


@dataclass(frozen=True, slots=True)
class Change:
    """A change that takes effect now.

    `charged` is what the new plan costs from now to the period's end, and so what that time is paid with afterwards;
    `unused` is what is left of what was paid. The customer pays `due`, or is given `credit`; one of them is 0. `off`:
    what a code takes off the list price, which `charged` is without.
    """

    charged: int
    unused: int
    off: int = 0

    @property
    def due(self) -> int:
        return max(self.charged - self.unused, 0)

    @property
    def credit(self) -> int:
        return max(self.unused - self.charged, 0)


def prorated(minor: int, since: datetime, until: datetime, whole: timedelta) -> int:
    """The part of an amount for a part of a period, half to even, exact to the microsecond."""
    length = whole // _MICROSECOND
    part = min(max((until - since) // _MICROSECOND, 0), length)
    return share(minor, part, length) if length else 0


def within(price_minor: int, worth: Worth, period: tuple[datetime, datetime], at: datetime, off: int = 0) -> Change:
    """A change to another price of the same interval: the period stays, the rest of it costs the new price's part.

    `off`: what a code takes off the whole price.
    """
    since, until = period
    listed, charged = (
        prorated(each, max(at, since), until, until - since) for each in (price_minor, price_minor - off)
    )
    return Change(charged, worth.unused(at), listed - charged)


def anew(price_minor: int, worth: Worth, at: datetime, off: int = 0) -> Change:
    """A change to another interval: a whole new period begins now."""
    return Change(price_minor - off, worth.unused(at), off)


def fair(made: Change, least_minor: int, *, is_less: bool = False) -> Change:
    """The change without what nobody should be asked for: less than providers take (`money.least`), or, by who paid
    little because of a code, anything for taking less."""
    is_waived = is_less or made.due < least_minor
    return replace(made, charged=min(made.charged, made.unused)) if is_waived else made


def monthly_net(price_minor: int, months: int, rate_bp: int) -> int:
    """The price of a month without the tax in it."""
    return share(price_minor - tax_included(price_minor, rate_bp), 1, months)
