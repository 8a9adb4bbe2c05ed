"""Amounts: whole numbers of a currency's minor unit, never fractions."""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from serving.billing.errors import MoneyError

LARGEST = 10**11
_AMOUNT = re.compile(r"([0-9]{1,15})(?:[.,]([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency (ISO 4217), in its minor unit: cents, kopecks, whole yen."""

    minor: int
    currency: str

    def __add__(self, other: "Money") -> "Money":
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.minor - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.minor <= self._same(other)

    def _same(self, other: "Money") -> int:
        if self.currency != other.currency:
            raise MoneyError(f"{self.currency} and {other.currency} do not mix: convert nothing, keep them apart")
        return other.minor


@cache
def digits(currency: str) -> int:
    """How many decimal places the minor unit has (CLDR): 2 for EUR, 0 for JPY, 3 for KWD.

    Raises:
        MoneyError: no currency has this code.
    """
    from babel.numbers import get_currency_precision, list_currencies

    if currency not in list_currencies("en"):
        raise MoneyError(f"there is no currency {currency!r}: give a code of ISO 4217, such as EUR")
    return get_currency_precision(currency)


# What a charge has to come to, in major units: Stripe's list; of roubles YooKassa's.
_LEAST = {
    "AED": "2", "BGN": "1", "CZK": "15", "DKK": "2.5", "GBP": "0.3", "HKD": "4", "HUF": "175", "JPY": "50", "MXN": "10",
    "MYR": "2", "NOK": "3", "PLN": "2", "RON": "2", "RUB": "1", "SEK": "3", "THB": "10",
}  # fmt: skip


@cache
def least(currency: str) -> int:
    """The smallest charge that providers take, in minor units: fifty cents or their like where no list tells.

    Raises:
        MoneyError: no currency has this code.
    """
    places = digits(currency)
    major = Decimal(_LEAST.get(currency, "0.5" if places else "50"))
    return int(major.scaleb(places))


def decimal(money: Money) -> Decimal:
    """The amount in the currency's major unit, exactly: 12.34."""
    return Decimal(money.minor).scaleb(-digits(money.currency))


def parse(text: str, currency: str) -> Money:
    """What a person or a provider wrote: `12.34` or `12,34`, no signs, no groups.

    Raises:
        MoneyError: it is no amount, has more decimal places than the currency, or is above 10**11 minor units.
    """
    places = digits(currency)
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise MoneyError(f"{text[:40]!r} is no amount: write it as 12.34")
    whole, fraction = found[1], found[2] or ""
    if len(fraction) > places:
        raise MoneyError(f"{text.strip()} has {len(fraction)} decimal places, {currency} has {places}")
    minor = int(whole + fraction.ljust(places, "0"))
    if minor > LARGEST:
        raise MoneyError(f"{text.strip()} {currency} is above what one payment may be")
    return Money(minor, currency)


def show(money: Money, language: str) -> str:
    """As people of the language read it: `12,34 €`, `$12.34` (CLDR)."""
    from babel.numbers import format_currency

    return format_currency(decimal(money), money.currency, locale=language)


def share(minor: int, part: int, whole: int) -> int:
    """`minor * part / whole`, halves to the even neighbour, in exact integers.

    Raises:
        MoneyError: `whole` is not above zero.
    """
    if whole <= 0:
        raise MoneyError(f"there is no part of {whole}")
    quotient, rest = divmod(minor * part, whole)
    return quotient + (2 * rest > whole or (2 * rest == whole and quotient % 2 == 1))


def split(parts: list[int], part: int, whole: int) -> list[int]:
    """`part / whole` of each of them, so that they add up to that share of their sum: none is off by more than one.

    For a `part` that grows up to `whole`, the differences from one to the next add up to the parts themselves.
    """
    shares, before, done = [], 0, 0
    for each in parts:
        before += each
        until = share(before, part, whole)
        shares.append(until - done)
        done = until
    return shares


def tax_included(gross_minor: int, rate_bp: int) -> int:
    """The tax within a price that includes it; the rate in hundredths of a percent."""
    return share(gross_minor, rate_bp, 10_000 + rate_bp)
